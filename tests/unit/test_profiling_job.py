"""A profile of a tiny model: what is run, what is counted, what the record says."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lowrank.architecture import Architecture
from lowrank.compression import compress
from lowrank.design_space import DENSE, Decomposition
from lowrank.errors import LowrankError
from lowrank.factors import factorize_layer
from lowrank.files import read_json, write_json
from lowrank.low_rank_model import load_base
from lowrank.profiling import environment, job
from lowrank.profiling.memory import weight_bytes
from lowrank.profiling.reference import measure_reference, random_model
from lowrank.profiling.workloads import Workload, fixed, make_prompt, of_benchmark
from lowrank.profiling.works import make_work
from lowrank.studies import Model
from tiny import ARCHITECTURE, save_model

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
}
TINY_TIED = Architecture.from_config(ARCHITECTURE | {"tie_word_embeddings": True})
TINY = Model("tiny", "Tiny", [], Architecture.from_config(ARCHITECTURE))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def dense(weights):
    return load_base(weights, "float32")


def test_a_benchmark_s_rows_are_quantiles_of_its_lengths():
    lengths = list(range(1, 101))
    made = of_benchmark("ARC", lengths, 4)
    assert made.lengths == tuple(
        np.quantile(lengths, [0.125, 0.375, 0.625, 0.875], method="nearest")
    )
    assert (made.phase, made.batch, made.tokens) == ("prefill", 4, sum(made.lengths))


def test_decode_counts_new_tokens_and_prefill_counts_the_prompt():
    entry = {"prompt": 10, "new_tokens": 4}
    assert fixed({**entry, "phase": "decode"}, 3).tokens == 12
    assert fixed({**entry, "phase": "prefill"}, 3).tokens == 30


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


@pytest.fixture(scope="module")
def record(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    factors = folder / "factors.safetensors"
    write_json(folder / "base.json", {"files": {}, "source": "test"})
    factorize_layer(weights, TINY.architecture, 2, 1, "tucker", factors)
    chosen = Decomposition.make(TINY.architecture, [2])
    compress(
        TINY.architecture, "tiny", folder / "base.json", chosen, {2: factors}, folder / "model"
    )
    job.profile(weights, folder / "model", {}, SETTINGS, folder / "record.json")
    return read_json(folder / "record.json")


def test_the_record_holds_trials_ratios_memory_and_surroundings(record):
    first, second = record["workloads"]
    assert (first["name"], second["name"]) == ("prefill 12, batch 2", "decode 6+3, batch 1")
    assert len(first["trials"]) == 2 * SETTINGS["trials"]
    mine = [trial["seconds"] for trial in first["trials"] if trial["name"] == "configuration"]
    assert first["latency"]["configuration"]["median"] == pytest.approx(np.median(mine))
    low, high = first["latency"]["ratio"]["interval_95"]
    assert low <= first["latency"]["ratio"]["value"] <= high
    assert first["memory"]["weights"] < weight_bytes_of_dense(record)
    assert record["surroundings"]["before"]["cores"] >= 1
    assert record["provenance"]["seed"] == 3
    assert record["provenance"]["factors_sha256"]


def weight_bytes_of_dense(record):
    removed = record["parameter_reduction_percent"] / 100
    return record["workloads"][0]["memory"]["weights"] / (1 - removed) * 1.01


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


def test_energy_is_given_by_token_and_by_question_with_idle_power_subtracted():
    workload = Workload("w", "prefill", (10, 30))
    trials = [
        job.Trial(name, number, 0, 1, 2.0, joules)
        for number in range(5)
        for name, joules in (("configuration", 60.0), ("dense", 100.0))
    ]
    shares = job._shares(trials, workload, idle_watts=5.0)["dense_shares"]
    assert shares == {
        "watts": 50.0,
        "joules_per_token": 2.5,
        "joules_per_question": 50.0,
        "net_joules": 90.0,
        "net_joules_per_token": 2.25,
    }


def test_out_of_memory_in_the_batch_search_halves_and_goes_on(dense, monkeypatch):
    tried = []

    def make_work_or_fail(model, workload, seed):
        tried.append(workload.batch)
        if workload.batch > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(run=lambda: None)

    monkeypatch.setattr(job, "make_work", make_work_or_fail)
    assert job._batch(dense, {**SETTINGS, "largest_batch": 64}) == 5 // 2
    assert max(tried) == 8


def test_a_gpu_that_is_not_there_is_one_clear_line():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(LowrankError, match="run with `device: cpu`"):
        job.measure(lambda: None, lambda: None, {}, {**SETTINGS, "device": "cuda"})


def gpu(**changes):
    return {"uuid": "GPU-0", "throttled": [], "other_processes": []} | changes


def test_a_throttled_or_shared_gpu_is_doubted():
    assert environment.doubts([gpu()], [gpu()]) == []
    found = environment.doubts(
        [gpu()], [gpu(throttled=["hardware thermal slowdown"], other_processes=[7])]
    )
    assert found == ["busy: 1 other process(es) on the GPU", "throttled: hardware thermal slowdown"]


def test_a_busy_processor_is_doubted():
    assert environment.doubts({"busy_cores": 0.1}, {"busy_cores": 2.0}) == []
    assert "1.5 cores" in environment.doubts({"busy_cores": 1.5}, {"busy_cores": 2.0})[0]
    assert environment.doubts({"busy_cores": None}, {"busy_cores": None}) == []


def test_what_nvml_cannot_say_is_null():
    class Error(Exception):
        pass

    def fail(*arguments):
        raise Error("Not Supported")

    nvml = SimpleNamespace(
        NVMLError=Error,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetName=lambda handle: "A GPU",
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x8 | 0x1,
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 400_000,
        nvmlDeviceGetTemperature=fail,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=1)],
    )
    (state,) = environment.gpu_state(nvml, ["GPU-0"])
    assert state["name"] == "A GPU"
    assert state["throttled"] == ["hardware slowdown"]
    assert state["power_cap_watts"] == 400
    assert state["temperature_celsius"] is None
    assert state["other_processes"] == [1]


def test_random_weights_are_not_zero_have_the_shapes_and_repeat():
    made = Decomposition.make(TINY.architecture, [2], rank=2)
    model, again = (random_model(TINY, made, SETTINGS) for _ in range(2))
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


def test_a_reference_is_resumed_and_says_that_its_weights_are_random(tmp_path):
    study = {
        "series": {"": {}},
        "method": "tucker",
        "rank": 1,
        "tensors": "all",
        "control": True,
        "depth": None,
        "width": None,
        "configurations": {"a": {"layers": [2]}},
    }
    settings = {**SETTINGS, "workloads": SETTINGS["workloads"][:1], "batch": "auto"}
    paths = measure_reference(TINY, study, settings, tmp_path)
    assert [path.stem for path in paths] == [DENSE, "tucker-r1-l2-all"]
    first = paths[1].read_bytes()
    record = json.loads(first)
    assert record["provenance"]["source"] == "random:seed=3"
    paths[0].unlink()
    measure_reference(TINY, study, settings, tmp_path)
    assert paths[0].exists()
    assert paths[1].read_bytes() == first
