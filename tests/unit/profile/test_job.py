"""A profile of the tiny model: what its record says."""

import copy
import itertools
import weakref
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from fake_nvml import FakeNvml
from lowrank.analyse.efficiency import collect_profiles
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base, load_compressed, load_compressed_beside
from lowrank.figures import efficiency
from lowrank.profile import batch, job, memory
from lowrank.profile.iteration import make_work
from lowrank.profile.nvml import NvmlMeter, nvml_meter
from lowrank.profile.rounds import Trial, compare
from lowrank.profile.workloads import Requests, Workload
from lowrank.quantize.stored import quantize_compressed
from lowrank.running.nvml import Nvml
from lowrank.space.design_space import Decomposition
from quantizations import NF4
from tiny import write_parquet
from tiny_profile import SETTINGS, TINY, failing

REQUESTS = [{"context_ids": [1] * 5, "continuation_ids": [1] * (1 + n)} for n in range(4)]


@pytest.fixture(scope="module")
def compressed(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    factors = folder / "factors.safetensors"
    write_json(folder / "base.json", {"files": {}, "source": "test"})
    factorize_layer(weights, TINY.architecture, 2, 1, "tucker", factors)
    chosen = Decomposition.make(TINY.architecture, [2])
    made = folder / chosen.name(TINY.architecture)
    compress(TINY.architecture, "tiny", folder / "base.json", chosen, {2: factors}, made)
    return made


def test_a_model_loaded_beside_the_dense_one_is_the_one_loaded_alone(weights, compressed):
    ids = torch.arange(12)[None]
    dense = load_base(weights, "float32")
    with torch.no_grad():
        before = dense(ids).logits
        beside_it = load_compressed_beside(dense, compressed, "float32")(ids).logits
        alone_there = load_compressed(weights, compressed, "float32")[0](ids).logits
        after = dense(ids).logits
    assert torch.equal(beside_it, alone_there)
    assert torch.equal(before, after)
    assert not torch.allclose(before, beside_it)


@pytest.fixture(scope="module")
def record(weights, compressed):
    folder = compressed.parent
    for name, rows in (("requests", REQUESTS), ("questions", [{"question": "?"}])):
        write_parquet(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    benchmarks = [("ARC", folder / "requests.parquet", folder / "questions.parquet")]
    job.profile(weights, compressed, benchmarks, SETTINGS, folder / "record.json")
    return read_json(folder / "record.json")


def test_the_record_holds_trials_ratios_memory_and_surroundings(record):
    first, _, third = record["workloads"]
    names = [workload["name"] for workload in record["workloads"]]
    assert names == ["prefill 12, batch 2", "decode 6+3, batch 1", "ARC"]
    assert (third["lengths"], third["rows_per_question"]) == ([7, 8], 4)
    assert len(first["trials"]) == 2 * SETTINGS["trials"]
    mine = [trial["seconds"] for trial in first["trials"] if trial["name"] == "configuration"]
    assert first["latency"]["configuration"]["median"] == pytest.approx(np.median(mine))
    low, high = first["latency"]["ratio"]["interval_95"]
    assert low <= first["latency"]["ratio"]["value"] <= high
    assert (first["tokens"], first["rows"], first["dropped_rounds"]) == (24, 2, 0)
    assert (record["gpus"], record["largest_batch"]) == (0, None)
    [processor] = record["surroundings"]
    assert processor["before"]["cores"] >= 1
    assert processor["after"]["busy_cores_of_others"] >= 0
    assert record["provenance"]["seed"] == 3
    assert record["provenance"]["factors_sha256"]


def test_memory_of_both_models_is_counted_for_each_workload(record):
    memory = record["workloads"][0]["memory"]
    removed = memory["dense"]["weights"] - memory["configuration"]["weights"]
    share = record["parameter_reduction_percent"] / 100
    # Cores are counted for Tucker and folded when it is loaded: one value a tensor at rank 1.
    assert removed == pytest.approx(4 * (share * TINY.architecture.parameters() + 7))
    assert memory["dense"]["cache"] == memory["configuration"]["cache"] > 0
    # The dense model's own weights of one layer are in the process beside the configuration.
    one_layer = sum(rows * columns for rows, columns in map(TINY.architecture.shape, TENSORS))
    assert memory["configuration"]["others"] == 4 * one_layer


TENSORS = TINY.architecture.tensors


def test_a_model_of_fewer_bits_is_measured_as_it_is_stored(weights, compressed):
    stored = compressed.parent / "quantized"
    quantize_compressed(weights, compressed, "nf4", NF4, stored, "float32")
    job.profile(weights, stored, [], SETTINGS, compressed.parent / "bits.json")
    found = read_json(compressed.parent / "bits.json")
    assert found["quantization"] == "nf4" and found["decomposition"].endswith("+nf4")
    memory = found["workloads"][0]["memory"]["configuration"]
    assert memory["weights"] == read_json(stored / "manifest.json")["bytes"]["memory"]
    assert found["workloads"][0]["latency"]["ratio"]["value"] > 0


def test_energy_without_a_meter_is_null_with_a_reason_and_never_zero(record):
    if record["energy_meter"]["source"] is not None:
        pytest.skip("this machine measures energy")
    assert "not measured on this machine" in record["energy_meter"]["reason"]
    for workload in record["workloads"]:
        energy = workload["energy"]
        assert energy["configuration"] is None
        assert energy["ratio"] is None
        assert energy["configuration_shares"] is None
    assert record["idle_watts"] is None


def energy_trials():
    """Five rounds of 30 W for two seconds, and of 50 W for the dense model."""
    return [
        Trial(name, number, 0, 1, 1.9, energy_seconds=2.0, watts=watts, joules=2.0 * watts)
        for number in range(5)
        for name, watts in (("configuration", 30.0), ("dense", 50.0))
    ]


def test_energy_is_given_by_token_and_by_question_with_idle_power_subtracted():
    workload = Workload("w", "prefill", (10, 30), rows_per_question=4)
    shares = job._shares(energy_trials(), workload, 1, idle_watts=5.0)["dense_shares"]
    assert shares == {
        "watts": 50.0,
        "joules_per_token": 2.5,
        "joules_per_question": 4 * 50.0,  # a request for each of four choices
        "net_joules": 90.0,
        "net_joules_per_token": 2.25,
    }
    # Two devices did two such loads with the energy that was summed over them.
    assert job._shares(energy_trials(), workload, 2, None)["dense_shares"] == {
        "watts": 50.0,
        "joules_per_token": 1.25,
        "joules_per_question": 100.0,
        "net_joules": None,
        "net_joules_per_token": None,
    }


def test_fixed_work_asks_no_question():
    shares = job._shares(energy_trials(), Workload("w", "prefill", (10,)), 1, None)
    assert shares["dense_shares"]["joules_per_question"] is None


class Allocator:
    """Memory of a device: works hold their cache while they live, and need more while they run."""

    def __init__(self, capacity):
        self.capacity, self.used, self.batches = capacity, 0, []

    def take(self, size):
        if self.used + size > self.capacity:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.used += size

    def make_work(self, model, workload, seed):
        self.batches.append(workload.batch)
        held = workload.batch if workload.phase == "decode" else 0
        self.take(held)

        def run():
            self.take(2 * workload.batch)
            self.used -= 2 * workload.batch

        weakref.finalize(run, self.give, held)
        return SimpleNamespace(run=run, cache_bytes=lambda: held)

    def give(self, size):
        self.used -= size


SEARCHED = {
    **SETTINGS,
    "workloads": [
        {"phase": "prefill", "prompt": 12, "new_tokens": 0, "batch": None},
        {"phase": "decode", "prompt": 6, "new_tokens": 3, "batch": None},
        {"phase": "prefill", "prompt": 400, "new_tokens": 0, "batch": 1},
    ],
    "batch": "auto",
    "largest_batch": 64,
}


def test_the_pair_fits_at_the_batch_that_is_found(dense, monkeypatch):
    """Decode holds a cache for each of the two models, and runs beside both."""
    allocator = Allocator(capacity=42)
    for module in (batch, job, memory):
        monkeypatch.setattr(module, "make_work", allocator.make_work)
    models = {"dense": dense, "configuration": dense}
    made = job.measure(lambda device: models, [], SEARCHED)["configuration"]
    assert made["largest_batch"] == 10  # 2 caches of 10 rows, and 20 to run: 40 of 42
    assert [one["batch"] for one in made["workloads"]] == [10, 10, 1]
    assert made["workloads"][1]["name"] == "decode 6+3, largest batch"
    assert [one["batch_rule"] for one in made["workloads"]] == ["largest", "largest", "fixed"]
    assert not any("stopped" in said for said in device_doubts(made))
    assert max(allocator.batches) == 16


def device_doubts(record):
    """What is said against all that was measured of a configuration."""
    return [said for workload in record["workloads"] for said in workload["doubts"]["device"]]


def test_a_search_that_its_limit_stopped_does_not_say_what_fits(dense, monkeypatch):
    allocator = Allocator(capacity=42)
    for module in (batch, job, memory):
        monkeypatch.setattr(module, "make_work", allocator.make_work)
    models = {"dense": dense, "configuration": dense}
    made = job.measure(lambda device: models, [], {**SEARCHED, "largest_batch": 8})["configuration"]
    assert [one["batch"] for one in made["workloads"]] == [8, 8, 1]
    assert [one["batch_rule"] for one in made["workloads"]] == ["capped", "capped", "fixed"]
    stopped = [said for said in device_doubts(made) if "stopped" in said]
    assert stopped == ["the search for a batch stopped at its limit of 8 rows"] * 2


@pytest.mark.parametrize(
    ("device", "rows", "limit", "expected"),
    [
        ("cuda", "auto", 64, [(5, "largest"), (21, "largest")]),  # long requests fit fewer at once
        ("cuda", "auto", 16, [(5, "largest"), (16, "capped")]),
        ("cuda", 3, 64, [(3, "fixed"), (3, "fixed")]),
        ("cpu", "auto", 64, [(2, "fixed"), (2, "fixed")]),
    ],
)
def test_a_benchmark_runs_at_the_largest_batch_of_its_own_on_a_gpu(
    device, rows, limit, expected, dense, monkeypatch
):
    def make(model, workload, seed):
        def run():
            if sum(workload.lengths) > 210:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return SimpleNamespace(run=run)

    monkeypatch.setattr(batch, "make_work", make)
    monkeypatch.setattr(batch, "release", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    settings = {**SEARCHED, "workloads": [], "device": device, "batch": rows, "rows": 2}
    settings["largest_batch"] = limit
    requests = [("long", Requests([40] * 8, 2)), ("short", Requests([10] * 8, 2))]
    made, found = batch.chosen_workloads({"dense": dense}, requests, settings)
    records = [workload.record() for workload in made]
    assert found is None
    assert [(one["batch"], one["batch_rule"]) for one in records] == expected
    assert [one["name"] for one in records] == ["long", "short"]


def test_an_error_that_is_no_lack_of_memory_ends_the_search(dense, monkeypatch):
    def fail(model, workload, seed):
        raise ValueError("the prompt is too long")

    monkeypatch.setattr(batch, "make_work", fail)
    with pytest.raises(ValueError, match="too long"):
        batch.chosen_workloads({"dense": dense}, [], SEARCHED)


def test_other_errors_stay_what_they_are(dense, monkeypatch):
    monkeypatch.setattr(job, "make_work", failing("shapes do not match", after=10))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        job.measure(lambda device: {"dense": dense, "configuration": dense}, [], SETTINGS)


def test_two_replicas_run_at_the_same_time_and_are_summed(dense, monkeypatch):
    monkeypatch.setattr(job, "_devices", lambda settings: ["cpu", "cpu"])
    loaded, seeds = [], set()

    def load(device):
        loaded.append(device)
        return {"dense": dense, "configuration": dense}

    def make(model, workload, seed):
        seeds.add(seed)
        return make_work(model, workload, seed)

    monkeypatch.setattr(job, "make_work", make)
    settings = {**SETTINGS, "gpus": 2, "workloads": SETTINGS["workloads"][:1]}
    made = job.measure(load, [], settings)["configuration"]
    (workload,) = made["workloads"]
    assert (loaded, made["replicas"]) == (["cpu", "cpu"], 2)
    assert seeds == {3, 4}  # rows of their own
    assert (workload["batch"], workload["rows"], workload["tokens"]) == (2, 4, 48)


def measured_with(nvml, monkeypatch, dense, **changes):
    """A record of the tiny model with the meter of a simulated GPU."""
    monkeypatch.setattr(job, "rapl_meter", lambda: nvml_meter(Nvml(nvml), ["GPU-0"]))
    monkeypatch.setattr(job, "IDLE_SECONDS", {"cpu": 0.1})
    settings = {**SETTINGS, "workloads": SETTINGS["workloads"][:1], "seconds": 0.1, **changes}
    models = {"dense": dense, "configuration": dense}
    return job.measure(lambda device: models, [], settings)["configuration"]


def test_power_of_a_model_that_overflows_is_doubted(dense):
    overflown = copy.deepcopy(dense)
    with torch.no_grad():
        overflown.model.layers[1].mlp.up_proj.weight.fill_(torch.inf)
    models = {"dense": dense, "fine": dense, "broken": overflown}
    records = job.measure(lambda device: models, [], SETTINGS)
    doubt = "output is not finite in float32: power depends on the numbers"
    assert doubt in records["broken"]["doubts"] and doubt not in records["fine"]["doubts"]
    models = {"dense": overflown, "fine": dense}
    assert doubt in job.measure(lambda device: models, [], SETTINGS)["fine"]["doubts"]


def test_doubts_and_source_of_energy_reach_the_figure_s_note(dense, monkeypatch, tmp_path):
    nvml = FakeNvml(scale=1.3)
    nvml.bits = 0x4
    made = measured_with(nvml, monkeypatch, dense)
    trial = made["workloads"][0]["trials"][0]
    assert trial["throttled"] == ["software power cap"]
    assert (trial["sm_megahertz"], trial["temperature_celsius"]) == (1500, 50)
    assert trial["joules"] == pytest.approx(trial["watts"] * trial["energy_seconds"])
    assert made["idle_watts"] == pytest.approx(130, rel=0.1)
    paths = []
    for number, reduction in enumerate((0, 10, 50, 90)):
        paths.append(tmp_path / f"{number}.json")
        name = "dense" if reduction == 0 else f"c{reduction}"
        facts = {"model": "tiny", "decomposition": name, "parameter_reduction_percent": reduction}
        write_json(paths[-1], made | facts)
    collect_profiles(paths, {}, tmp_path / "table.csv", tmp_path / "fits.json")
    fits = [fit for fit in read_json(tmp_path / "fits.json") if fit["metric"] == "energy"]
    said = efficiency.notes(fits)
    assert said[0] == "energy by NVML counter"
    assert float(said[1].split("by ")[1].split("%")[0]) == pytest.approx(23, abs=3)  # 1 - 1 / 1.3
    assert "counter and sampled power differ by more than 5%" in said[2]
    assert "throttled: software power cap (normal at full load)" in said[2]


def test_a_counter_that_freezes_during_a_run_makes_no_ratio(dense, monkeypatch):
    nvml = FakeNvml()

    windows = itertools.count()
    real = NvmlMeter.window

    def window(meter):
        if next(windows) == 6:
            nvml.freeze()
        return real(meter)

    monkeypatch.setattr(NvmlMeter, "window", window)
    workload = measured_with(nvml, monkeypatch, dense)["workloads"][0]
    known = [trial["joules"] is not None for trial in workload["trials"]]
    assert any(known) and not all(known)
    assert workload["energy"]["configuration_shares"] is None
    assert workload["energy"]["ratio"] is None and workload["power"]["ratio"] is None
    assert any("energy counter" in flag for flag in workload["doubts"]["energy"])
    assert workload["latency"]["ratio"] is not None


UNKNOWN = {"x": None, "dense": None}


@pytest.mark.parametrize(("kernels", "said"), [(0.79, ["launch-bound"]), (0.81, [])])
def test_an_iteration_in_which_the_gpu_waits_for_the_host_is_called_launch_bound(kernels, said):
    trials = [Trial(name, k, 0, 1, 1.0) for k in range(5) for name in ("x", "dense")]
    computing = {"x": kernels, "dense": 0.9, "other": 0.1}
    made = job._workload_record("x", trials, computing, Workload("w", "prefill", (3,)), 1, None)
    assert made["kernel_seconds"] == {"configuration": kernels, "dense": 0.9}
    assert [text.split(":")[0] for text in made["doubts"]["device"]] == said


def test_energy_is_doubted_where_reading_it_slowed_the_work_down():
    trials = [
        Trial(name, k, 0, 1, 1.0, energy_seconds=1.2, watts=9.0, joules=9.0)
        for k in range(5)
        for name in ("x", "dense")
    ]
    made = job._workload_record("x", trials, UNKNOWN, Workload("w", "prefill", (3,)), 1, None)
    assert made["doubts"]["energy"] == ["reading the meter made the work more than 5% slower"]


def test_rounds_of_a_slowed_gpu_are_left_out_where_enough_remain():
    trials = [
        Trial(name, number, 0, 1, 9.0 if number == 2 and name == "x" else 1.0, throttled=reasons)
        for number in range(6)
        for name in ("x", "dense")
        for reasons in [("hardware thermal slowdown",) if number == 2 else ()]
    ]
    workload = Workload("w", "prefill", (3,))
    made = job._workload_record("x", trials, UNKNOWN, workload, 1, None)
    assert (made["dropped_rounds"], made["latency"]["ratio"]["value"]) == (1, 1.0)
    assert made["doubts"]["device"] == [
        "rounds in which hardware or heat slowed the GPU down were dropped"
    ]
    few = job._workload_record("x", trials[:10], UNKNOWN, workload, 1, None)
    assert (few["dropped_rounds"], few["latency"]["ratio"]["rounds"]) == (0, 5)
    assert few["doubts"]["device"] == ["throttled: hardware thermal slowdown"]


def test_two_measurements_agree_within_their_intervals(dense, monkeypatch):
    """By a clock whose noise is known: 3% a turn, on a machine that drifts."""

    def simulated(seed):
        rng = np.random.default_rng(seed)
        drift = itertools.count()
        real = {"dense": 1.0, "configuration": 0.8}

        def timer(works, iterations):
            return iterations * works * rng.normal(1, 0.03) * 1.01 ** next(drift)

        monkeypatch.setattr(
            job, "compare", lambda works, _, *rest: compare(real, timer, *rest[:3], seed)
        )
        models = {"dense": dense, "configuration": dense}
        settings = {**SETTINGS, "workloads": SETTINGS["workloads"][:1], "trials": 9}
        made = job.measure(lambda device: models, [], settings)["configuration"]
        return made["workloads"][0]["latency"]["ratio"]["interval_95"]

    (low, high), (again_low, again_high) = simulated(1), simulated(2)
    assert low < 0.8 < high and again_low < 0.8 < again_high
    assert max(low, again_low) <= min(high, again_high)
    assert high - low < 0.15


def test_a_gpu_that_is_not_there_is_one_clear_line():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(LowrankError, match="run with `device: cpu`"):
        job.measure(lambda device: {}, [], {**SETTINGS, "device": "cuda"})
