"""A profile of a tiny model: what is run, what is counted, what the record says."""

import itertools
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from fake_nvml import FakeNvml
from lowrank.analyse.efficiency import collect_profiles
from lowrank.base import provenance
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.base.names import DENSE
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import (
    load_base,
    load_compressed,
    load_compressed_beside,
    shared_copy,
)
from lowrank.figures import efficiency
from lowrank.profile import gpu_reference, job, memory, watch
from lowrank.profile.gpu_reference import (
    decomposed,
    measure_reference,
    random_model,
    reference_folder,
)
from lowrank.profile.iteration import make_work
from lowrank.profile.memory import beside, weight_bytes
from lowrank.profile.nvml import NvmlMeter, nvml_meter
from lowrank.profile.rounds import Trial, compare
from lowrank.profile.workloads import (
    Requests,
    Workload,
    distinct,
    fixed,
    make_prompt,
    of_benchmark,
)
from lowrank.project.studies import Model
from lowrank.running.nvml import Nvml, open_nvml
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from tiny import ARCHITECTURE, save_model, write_parquet

SETTINGS = {
    "dtype": "float32",
    "device": "cpu",
    "seed": 3,
    "workloads": [
        {"phase": "prefill", "prompt": 12, "new_tokens": 0, "batch": None},
        {"phase": "decode", "prompt": 6, "new_tokens": 3, "batch": 1},
    ],
    "rows": 2,
    "batch": 2,
    "largest_batch": 8,
    "trials": 5,
    "seconds": 0,
    "warm_up": 3,
    "gpus": 1,
}
TINY_TIED = Architecture.from_config(ARCHITECTURE | {"tie_word_embeddings": True})
TINY = Model("tiny", "Tiny", [], Architecture.from_config(ARCHITECTURE))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Other tests run beside these: threads that wait for each other would take seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def dense(weights):
    return load_base(weights, "float32")


def test_a_benchmark_s_rows_are_quantiles_of_its_lengths():
    lengths = list(range(1, 101))
    made = of_benchmark("ARC", Requests(lengths, 25), 4)
    assert made.lengths == tuple(
        np.quantile(lengths, [0.125, 0.375, 0.625, 0.875], method="nearest")
    )
    assert (made.phase, made.batch, made.tokens) == ("prefill", 4, sum(made.lengths))
    assert made.rows_per_question == 4
    assert made.padding == pytest.approx(1 - (13 + 38 + 63 + 88) / (4 * 88))


def test_decode_counts_new_tokens_and_prefill_counts_the_prompt():
    entry = {"prompt": 10, "new_tokens": 4}
    assert fixed({**entry, "phase": "decode"}, 3).tokens == 12
    assert fixed({**entry, "phase": "prefill"}, 3).tokens == 30


def test_a_searched_batch_is_no_part_of_a_name_and_names_are_unique():
    entry = {"phase": "prefill", "prompt": 8, "new_tokens": 0}
    assert fixed(entry, 37, is_searched=True).name == "prefill 8, largest batch"
    one, other = Requests([3, 5], 1), Requests([7, 9], 1)
    made = distinct(
        [
            fixed(entry, 2),
            fixed(entry, 2),
            of_benchmark("ARC", one, 2),
            of_benchmark("ARC", other, 2),
        ]
    )
    assert [workload.name for workload in made] == ["prefill 8, batch 2", "ARC", "ARC (2)"]


def test_rows_are_padded_on_the_left_and_the_same_for_every_model():
    workload = Workload("w", "prefill", (3, 5))
    made, again = make_prompt(workload, 100, 7), make_prompt(workload, 100, 7)
    assert made.mask_BT.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(made.ids_BT, again.ids_BT)


def test_prefill_of_a_padded_row_is_that_row_alone(dense):
    workload = Workload("w", "prefill", (4, 9))
    prompt = make_prompt(workload, 260, 3)
    kept = {}

    def keep(module, inputs, output):
        kept["logits"] = output

    hook = dense.lm_head.register_forward_hook(keep)
    make_work(dense, workload, 3).run()
    hook.remove()
    with torch.no_grad():
        alone = dense(torch.from_numpy(prompt.ids_BT[:1, 5:])).logits[:, -1]
    torch.testing.assert_close(kept["logits"][:1, -1], alone, rtol=1e-4, atol=1e-4)
    assert kept["logits"].shape[1] == 1


def test_decode_starts_anew_each_time_and_holds_what_the_formula_says(dense):
    work = make_work(dense, Workload("w", "decode", (6, 6), 3), 3)
    lengths = []
    hook = dense.model.layers[0].self_attn.register_forward_hook(
        lambda module, arguments, keywords, output: lengths.append(
            keywords["past_key_values"].get_seq_length()
        ),
        with_kwargs=True,
    )
    work.run()
    work.run()
    hook.remove()
    assert lengths == [7, 8, 9, 7, 8, 9]
    # layers x (keys, values) x rows x heads x tokens x head size x bytes
    assert work.cache_bytes() == 4 * 2 * 2 * 2 * 9 * 8 * 4


def test_weights_are_counted_once_where_they_are_tied(tmp_path):
    tied = load_base(save_model(tmp_path, tie_word_embeddings=True), "float32")
    buffers = sum(buffer.nbytes for buffer in tied.buffers())
    assert weight_bytes(tied) - buffers == 4 * TINY_TIED.parameters()


REQUESTS = [{"context_ids": [1] * 5, "continuation_ids": [1] * (1 + n)} for n in range(4)]


@pytest.fixture(scope="module")
def compressed(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    factors = folder / "factors.safetensors"
    write_json(folder / "base.json", {"files": {}, "source": "test"})
    factorize_layer(weights, TINY.architecture, 2, 1, "tucker", factors)
    chosen = Decomposition.make(TINY.architecture, [2])
    compress(
        TINY.architecture, "tiny", folder / "base.json", chosen, {2: factors}, folder / "model"
    )
    return folder / "model"


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
    assert record["surroundings"]["before"]["cores"] >= 1
    assert record["surroundings"]["after"]["busy_cores_of_others"] >= 0
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


def test_a_pair_shares_what_its_models_have_in_common(weights):
    dense = load_base(weights, "float32")
    ours = shared_copy(dense)
    again = {id(tensor) for tensor in (*ours.parameters(), *ours.buffers())}
    assert again == {id(tensor) for tensor in (*dense.parameters(), *dense.buffers())}
    path = "model.layers.1.mlp.up_proj"
    ours.set_submodule(path, torch.nn.Linear(32, 48, bias=False))
    assert dense.get_submodule(path).weight is not ours.get_submodule(path).weight
    (alone_in_dense,) = beside(ours, [dense])
    assert alone_in_dense is dense.get_submodule(path).weight


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
    monkeypatch.setattr(job, "make_work", allocator.make_work)
    monkeypatch.setattr(memory, "make_work", allocator.make_work)
    models = {"dense": dense, "configuration": dense}
    made = job.measure(lambda device: models, [], SEARCHED)["configuration"]
    assert made["largest_batch"] == 10  # 2 caches of 10 rows, and 20 to run: 40 of 42
    assert [one["batch"] for one in made["workloads"]] == [10, 10, 1]
    assert made["workloads"][1]["name"] == "decode 6+3, largest batch"
    assert max(allocator.batches) == 16


def test_an_error_that_is_no_lack_of_memory_ends_the_search(dense, monkeypatch):
    def fail(model, workload, seed):
        raise ValueError("the prompt is too long")

    monkeypatch.setattr(job, "make_work", fail)
    with pytest.raises(ValueError, match="too long"):
        job._largest_batch({"dense": dense}, SEARCHED)


def failing(message, after):
    """A work whose run fails from a call on."""
    calls = itertools.count()

    def make(model, workload, seed):
        def run():
            if next(calls) >= after:
                raise RuntimeError(message)

        return SimpleNamespace(run=run, cache_bytes=lambda: 0)

    return make


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "CUDA error: unspecified launch failure",
            r"the GPU failed during prefill 12, batch 2 \(CUDA error: .*\); nothing was written",
        ),
        ("CUDA out of memory. Tried", r"memory ran out during prefill 12, batch 2 .*lower `batch`"),
    ],
)
def test_a_gpu_that_fails_in_a_trial_is_one_line_and_no_file(
    dense, monkeypatch, tmp_path, message, expected
):
    monkeypatch.setattr(job, "make_work", failing(message, after=10))
    monkeypatch.setattr(gpu_reference, "random_model", lambda *arguments: dense)
    with pytest.raises(LowrankError, match=expected):
        measure_reference(TINY, STUDY, SETTINGS, tmp_path)
    assert not list(tmp_path.iterdir())


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


def test_rounds_of_a_slowed_gpu_are_left_out_where_enough_remain():
    trials = [
        Trial(name, number, 0, 1, 9.0 if number == 2 and name == "x" else 1.0, throttled=reasons)
        for number in range(6)
        for name in ("x", "dense")
        for reasons in [("hardware thermal slowdown",) if number == 2 else ()]
    ]
    workload = Workload("w", "prefill", (3,))
    made = job._workload_record("x", trials, workload, 1, None)
    assert (made["dropped_rounds"], made["latency"]["ratio"]["value"]) == (1, 1.0)
    assert made["doubts"]["device"] == [
        "rounds in which hardware or heat slowed the GPU down were dropped"
    ]
    few = job._workload_record("x", trials[:10], workload, 1, None)
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


def test_a_gpu_that_is_not_there_is_one_clear_line(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(LowrankError, match="run with `device: cpu`"):
        job.measure(lambda device: {}, [], {**SETTINGS, "device": "cuda"})
    with pytest.raises(LowrankError, match="run with `device: cpu`"):
        reference_folder(tmp_path, "cuda", "tiny")


def test_a_bare_machine_is_told_what_it_lacks(monkeypatch):
    found = {"torch": "2.3.1+cu121", "transformers": "5.23.0"}
    monkeypatch.setattr(provenance, "versions", lambda names: found)
    provenance.require_packages({"transformers": "4.56"})
    with pytest.raises(LowrankError, match=r"torch 2.3.1\+cu121 is too old: 2.8 or newer"):
        provenance.require_packages({"torch": "2.8"})
    with pytest.raises(LowrankError, match="nvidia-ml-py is not installed: 12 or newer"):
        provenance.require_packages({"nvidia-ml-py": "12"})


def state_around(nvml, joins=()):
    """The doubts of a measurement on GPU-0, which processes join while it lasts."""
    gpus = watch.GpuWatch(Nvml(nvml))
    before = gpus.before(["GPU-0"])
    for pid in joins:
        nvml.join("GPU-0", pid)
    return watch.doubts(before, gpus.after(["GPU-0"]))


def test_a_gpu_of_this_process_alone_is_not_doubted():
    assert state_around(FakeNvml(), [None]) == []


def test_in_a_container_the_first_new_process_is_this_one():
    assert state_around(FakeNvml(), [4711]) == []
    assert state_around(FakeNvml(), [4711, 4712]) == ["busy: 1 other process(es) on the GPU"]


def test_a_process_that_was_there_before_is_another_whatever_its_number():
    nvml = FakeNvml()
    nvml.join("GPU-0")  # this process's number, in another namespace
    assert state_around(nvml, [4711]) == ["busy: 1 other process(es) on the GPU"]


def test_a_list_of_processes_that_lacks_this_one_is_not_believed():
    assert state_around(FakeNvml()) == ["other processes on the GPU could not be listed"]


def test_a_list_of_processes_that_is_denied_is_no_empty_list():
    nvml = FakeNvml()

    def denied(handle):
        raise nvml.NVMLError("No Permission")

    nvml.nvmlDeviceGetComputeRunningProcesses = denied
    assert state_around(nvml) == ["other processes on the GPU could not be listed"]


def test_a_busy_process_on_another_gpu_does_not_matter():
    nvml = FakeNvml(uuids=("GPU-0", "GPU-1"))
    nvml.join("GPU-1", 99)
    assert state_around(nvml, [None]) == []


def test_a_throttled_gpu_is_doubted_by_its_old_name_too():
    nvml = FakeNvml()
    nvml.nvmlDeviceGetCurrentClocksEventReasons = None  # a driver before 535
    assert state_around(nvml, [None]) == ["throttle reasons could not be read"]
    nvml.pids["GPU-0"].clear()
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x40 | 0x4 | 0x1
    assert state_around(nvml, [4711]) == [
        "throttled: hardware thermal slowdown",
        "throttled: software power cap (normal at full load)",
    ]


def test_without_nvml_nothing_is_taken_for_clean(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as where it is not installed
    gpus = watch.GpuWatch(open_nvml())
    found = watch.doubts(gpus.before(["GPU-0"]), gpus.after(["GPU-0"]))
    assert found[0].startswith("NVML cannot be used (")
    assert found[0].endswith("clocks and throttling are unknown")
    assert found[1] == "other processes on the GPU could not be listed"


def test_what_nvml_cannot_say_is_null():
    nvml = FakeNvml()

    class MismatchError(Exception):  # as of a library that does not fit: no NVMLError
        pass

    def fail(*arguments):
        raise MismatchError("Unversioned function called")

    nvml.nvmlDeviceGetTemperature = fail
    nvml.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 400_000
    (state,) = watch.GpuWatch(Nvml(nvml)).before(["GPU-0"])
    assert (state["name"], state["power_cap_watts"]) == ("A GPU", 400)
    assert state["temperature_celsius"] is None and state["ecc"] is None


def test_a_processor_that_others_use_is_doubted(monkeypatch):
    def load(everyone, own):
        """Ten seconds in which this process and everyone worked so many."""
        clocks = iter([(100.0, 50.0, 7.0), (110.0, 50.0 + everyone, 7.0 + own)])
        monkeypatch.setattr(watch, "_clocks", lambda: next(clocks))
        cpu = watch.CpuWatch()
        after = cpu.after()
        return after["busy_cores_of_others"], watch.doubts(cpu.before(), after)

    assert load(everyone=20, own=18) == (pytest.approx(0.2), [])
    assert load(everyone=20, own=5) == (1.5, ["busy: more than 0.5 cores in use by others"])
    monkeypatch.setattr(watch, "_clocks", lambda: None)
    after = watch.CpuWatch().after()
    assert watch.doubts({}, after) == ["the load of other processes could not be read"]


STUDY = {
    "series": {"": {}},
    "method": "tucker",
    "rank": 1,
    "tensors": "all",
    "control": True,
    "depth": None,
    "width": None,
    "configurations": {"a": {"layers": [2]}, "b": {"layers": [2, 4]}},
}


def test_random_weights_are_not_zero_have_the_shapes_and_repeat():
    made = Decomposition.make(TINY.architecture, [2], rank=2)
    dense = random_model(TINY, SETTINGS, "cpu")
    model, again = (
        decomposed(one, TINY, made, 3) for one in (dense, random_model(TINY, SETTINGS, "cpu"))
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    cores = len(made.tensors) * made.rank**2  # counted for Tucker, folded when it is loaded
    removed = made.removed_parameters(TINY.architecture) + cores
    assert parameters == TINY.architecture.parameters() - removed
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
        if "norm" not in name:
            assert one.std() > 0
    product = model.model.layers[1].mlp.up_proj.weight
    assert product.std() == pytest.approx(model.config.initializer_range, rel=0.6)
    own = {id(parameter) for parameter in model.parameters()}
    shared = sum(one.numel() for one in dense.parameters() if id(one) in own)
    factors = len(made.tensors) * 2  # left and right, the only parameters of its own
    assert len(own) == len(list(dense.parameters())) + factors - len(made.tensors)
    assert shared < parameters < TINY.architecture.parameters()


def test_a_reference_is_kept_while_settings_and_code_agree_and_says_what_it_is(
    tmp_path, monkeypatch
):
    settings = {**SETTINGS, "workloads": SETTINGS["workloads"][:1]}
    paths = measure_reference(TINY, STUDY, settings, tmp_path)
    assert [path.stem for path in paths] == [DENSE, "tucker-r1-l2-all", "tucker-r1-l2.4-all"]
    record = read_json(paths[1])
    assert record["provenance"]["source"] == "random:seed=3"
    trials = record["workloads"][0]["trials"]
    assert len(trials) == 2 * settings["trials"]
    assert {trial["name"] for trial in trials} == {"configuration", "dense"}
    # One round holds all models: dense, dense again, and two configurations.
    assert {trial["turn"] for path in paths for trial in turns(path)} == {0, 1, 2, 3}
    times = [path.stat().st_mtime_ns for path in paths]
    measure_reference(TINY, STUDY, settings, tmp_path)
    assert [path.stat().st_mtime_ns for path in paths] == times
    measure_reference(TINY, STUDY, settings | {"trials": 6}, tmp_path)
    assert read_json(paths[1])["settings"]["trials"] == 6
    measured = paths[1].stat().st_mtime_ns
    monkeypatch.setattr(gpu_reference, "code_digest", lambda: "other code")
    measure_reference(TINY, STUDY, settings | {"trials": 6}, tmp_path)
    assert paths[1].stat().st_mtime_ns != measured


def turns(path):
    return read_json(path)["workloads"][0]["trials"]
