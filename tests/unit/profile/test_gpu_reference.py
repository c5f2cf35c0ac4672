"""A reference of random weights on a GPU, here of the tiny model on a CPU."""

import pytest
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.base.names import DENSE
from lowrank.profile import gpu_reference, job
from lowrank.profile.gpu_reference import (
    decomposed,
    measure_reference,
    random_model,
    reference_folder,
)
from lowrank.profile.rounds import compare
from lowrank.space.design_space import Decomposition
from tiny_profile import SETTINGS, TINY, failing

STUDY = {
    "series": {"": {}},
    "method": "tucker",
    "rank": 1,
    "tensors": "all",
    "calibration": "",
    "form": "pairs",
    "after": [],
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
    cores = len(made.tensors) * made.rank.label**2  # counted for Tucker, folded when it is loaded
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


def test_a_run_that_is_cut_short_leaves_the_workloads_that_it_measured(tmp_path, monkeypatch):
    real = job.make_work

    def cut(model, workload, seed):
        made = real(model, workload, seed)
        if workload.phase == "decode" and measuring:
            raise KeyboardInterrupt
        return made

    measuring = []
    monkeypatch.setattr(job, "make_work", cut)
    monkeypatch.setattr(job, "compare", lambda *rest: measuring.append(1) or compare(*rest))
    with pytest.raises(KeyboardInterrupt):
        measure_reference(TINY, STUDY, SETTINGS, tmp_path)
    kept = [read_json(path) for path in tmp_path.iterdir()]
    assert [len(record["workloads"]) for record in kept] == [1, 1, 1]
    monkeypatch.undo()
    paths = measure_reference(TINY, STUDY, SETTINGS, tmp_path)
    assert [len(read_json(path)["workloads"]) for path in paths] == [2, 2, 2]


def test_a_reference_without_a_gpu_is_one_clear_line(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(LowrankError, match="run with `device: cpu`"):
        reference_folder(tmp_path, "cuda", "tiny")
