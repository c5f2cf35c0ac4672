"""Ranks by loss: against numbers by hand, a plain loop, and NumPy's singular values of W X."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from lowrank.assets.calibration import prepare_calibration, read_calibration
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer, weight_of
from lowrank.decompose.loading import load_base
from lowrank.decompose.moments import moments_file
from lowrank.decompose.rank_allocation import (
    allocate_ranks,
    choose_ranks,
    fitted_ranks,
    kept_numbers,
    removed_shares,
    truncation_losses,
)
from lowrank.decompose.walk import gather_moments
from lowrank.project.registry import Registry
from lowrank.project.studies import SOURCE
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition, share_rule
from lowrank.space.methods import FORMS
from lowrank.space.rank_rule import ModuleRanks

TINY = Architecture.from_config(tiny.ARCHITECTURE)
SMOL = Architecture.from_config(
    read_yaml("config/models/smollm2-135m-instruct.yaml")["architecture"]
)

losses_of_a_group = st.lists(st.floats(0, 1e8), min_size=1, max_size=12)
removed_of_a_group = st.floats(0.01, 0.95)
shares = st.integers(5, 100).map(lambda percent: str(percent / 100))
forms = st.sampled_from(FORMS)


def losses_of(architecture, values):
    """A loss for each tensor of the model, from as many values as there are."""
    keys = [
        (layer, tensor)
        for layer in range(1, architecture.layers + 1)
        for tensor in architecture.tensors
    ]
    return dict(zip(keys, values, strict=True))


tiny_losses = st.lists(st.floats(0, 1e8), min_size=28, max_size=28).map(
    lambda values: losses_of(TINY, values)
)


def of_tensor(ranks, tensor):
    return [own[tensor] for own in ranks.values()]


# ---- the ratios ---------------------------------------------------------------------------------


def test_two_tensors_by_hand():
    """1 / log of e² and e⁴ are 1/2 and 1/4: of 2 · 0.3 they lose two thirds and one third."""
    assert removed_shares([math.e**2, math.e**4], 0.3) == pytest.approx([0.4, 0.2])


def test_what_a_tensor_cannot_give_the_others_give():
    """s = 10, 1, 1: of 3 · 0.5 the first would lose 1.25. It loses 0.9, the others 0.3 each."""
    found = removed_shares([math.exp(0.1), math.e, math.e], 0.5, most=0.9)
    assert found == pytest.approx([0.9, 0.3, 0.3])


@given(st.lists(st.floats(1.01, 1e8), min_size=1, max_size=12), removed_of_a_group)
def test_ratios_are_those_of_a_plain_loop(losses, removed):
    """Algorithm 1 to the letter, with the inverted loss that its text speaks of."""
    inverted = []
    for loss in losses:
        inverted.append(1 / math.log10(loss))  # any base
    ratios = []
    for own in inverted:
        ratios.append(len(losses) * removed * own / sum(inverted))
    found = removed_shares(losses, removed)
    if max(ratios) <= 1:
        assert found == pytest.approx(ratios)
    assert np.mean(found) == pytest.approx(removed)
    assert 0 <= min(found) <= max(found) <= 1


@given(losses_of_a_group, removed_of_a_group)
def test_a_higher_loss_loses_less_and_the_same_loss_the_same(losses, removed):
    found = dict(zip(losses, removed_shares(losses, removed), strict=True))
    ordered = [found[loss] for loss in sorted(losses)]
    assert ordered == sorted(ordered, reverse=True)
    assert removed_shares([losses[0]] * 5, removed) == pytest.approx([removed] * 5)
    squared = removed_shares([loss**2 for loss in losses], removed)
    assert squared == pytest.approx([found[loss] for loss in losses])


@given(losses_of_a_group, st.floats(0.01, 0.9), st.floats(1.0, 1.05))
def test_no_tensor_loses_less_where_more_is_removed(losses, removed, more):
    before, after = removed_shares(losses, removed), removed_shares(losses, removed * more)
    assert all(new >= old * (1 - 1e-12) for old, new in zip(before, after, strict=True))


def test_the_scale_of_the_loss_matters():
    near, far = (removed_shares([10 * k, 1000 * k], 0.3) for k in (1000, 1))
    assert near[0] - near[1] < far[0] - far[1]


def test_a_loss_of_at_most_1_is_the_limit_of_those_above():
    """It gives all that it can; 1.5 less 0.9 are shared by the others, or 0.9 by two such."""
    for loss in (0.0, 0.2, 1.0, 1 + 1e-12):
        found = removed_shares([loss, math.e, math.e], 0.5, most=0.9)
        assert found == pytest.approx([0.9, 0.3, 0.3])
    assert removed_shares([0.2, 0.5, 7.0], 0.3, most=0.9) == pytest.approx([0.45, 0.45, 0.0])
    assert removed_shares([0.2, 0.5], 0.9, most=0.9) == pytest.approx([0.9, 0.9])
    assert removed_shares([0.2, 7.0], 0.0) == [0, 0]


# ---- whole ranks --------------------------------------------------------------------------------


def test_whole_ranks_by_hand():
    """At 10 numbers a rank, 46, 38 and 26 hold 4, 3 and 2; of 110 two ranks are left over."""
    costs = [0, 10, 20, 30, 40, 50]
    assert fitted_ranks([46, 38, 26], 110, costs) == [5, 4, 2]
    assert fitted_ranks([46, 38, 26], 109, costs) == [4, 4, 2]
    assert fitted_ranks([50, 50, 50], 150, costs) == [5, 5, 5]


@given(tiny_losses, shares, forms)
def test_no_group_exceeds_its_budget_and_none_could_have_a_rank_more(losses, share, form):
    try:
        ranks = allocate_ranks(TINY, losses, share, form)
    except LowrankError as error:
        assert "does not hold rank 1" in str(error)
        return
    for tensor in TINY.tensors:
        out, in_ = TINY.shape(tensor)

        def numbers(rank, out=out, in_=in_):
            return rank * (out + in_) - (form == "pivoted") * rank**2

        own = of_tensor(ranks, tensor)
        spare = Fraction(share) * 4 * out * in_ - sum(map(numbers, own))
        assert spare >= 0
        for rank in own:
            assert 1 <= rank <= min(out, in_) and numbers(rank) <= out * in_
            more = numbers(rank + 1)
            assert rank == min(out, in_) or more > out * in_ or more - numbers(rank) > spare
    Decomposition.make(
        TINY, ["1-4"], "all", ModuleRanks.make(TINY, ranks), "svd_llm", "prose", form
    )


@given(tiny_losses, st.integers(10, 99), st.integers(0, 20))
def test_a_larger_share_keeps_more_numbers(losses, percent, more):
    kept = [
        kept_numbers(TINY, allocate_ranks(TINY, losses, f"{each / 100}", "pairs"), "pairs")
        for each in (percent, min(percent + more, 100))
    ]
    assert kept[0] <= kept[1]


@given(st.floats(0, 1e8), shares, forms)
def test_equal_losses_are_the_rule_of_equal_shares_and_what_it_rounds_away(loss, share, form):
    try:
        ranks = allocate_ranks(TINY, losses_of(TINY, [loss] * 28), share, form)
    except LowrankError as error:
        assert "does not hold rank 1" in str(error)
        return
    for tensor in TINY.tensors:
        least = share_rule(share, form).rank_of(TINY, 1, tensor)
        more = {rank - least for rank in of_tensor(ranks, tensor)}
        # Pivoted ranks cost less the higher they are: what is left may pay two for one tensor.
        assert min(more) >= 0 and (form == "pivoted" or max(more) <= 1)


def test_a_model_of_real_size_by_hand():
    """576 × 576 at 0.5, e² in layer 1 and e⁴ else: s is 1/2 and 29 times 1/4, in sum 7.75."""
    losses = losses_of(SMOL, [math.e**2] * 7 + [math.e**4] * 29 * 7)
    ranks = allocate_ranks(SMOL, losses, 0.5, "pairs")
    # Layer 1 loses 15 · (1/2) / 7.75 = 0.96774 of 288 ranks and keeps 9.29; the others 148.645.
    # 30 · 0.5 · 288 = 4320 ranks are to be given: 9 and 29 · 148 leave 19, to the lower layers.
    assert of_tensor(ranks, "q") == [9] + 19 * [149] + 10 * [148]
    assert sum(of_tensor(ranks, "q")) == 4320


def test_what_does_not_fit_and_what_gives_most():
    losses = losses_of(TINY, [5.0] * 28)
    with pytest.raises(LowrankError, match=r"^a share of 0.01 does not hold rank 1 of each tensor"):
        allocate_ranks(TINY, losses, 0.01, "pairs")
    ranks = allocate_ranks(TINY, losses | {(3, "d"): 0.5}, 0.5, "pairs")
    assert ranks[3]["d"] < min(ranks[layer]["d"] for layer in (1, 2, 4))


# ---- from stored factors to a file --------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What a run makes of a tiny model: manifest, calibration set and factors."""
    folder = tmp_path_factory.mktemp("allocation")
    weights = tiny.save_model(folder / "weights")
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    text, windows = folder / "prose.txt", folder / "calibration/prose.safetensors"
    text.write_text(tiny.words(0, 500))
    prepare_calibration(weights, text, 64, 16, 0, windows)
    tokens_ST = read_calibration(windows)
    gather_moments(weights, TINY, tokens_ST, folder / "moments")
    for layer in range(1, 5):
        path = folder / f"factors/svd_llm.prose/layer-{layer}.safetensors"
        moments = folder / "moments" / moments_file(layer)
        factorize_layer(weights, TINY, layer, 24, "svd_llm", path, moments=moments)
    return folder, tokens_ST


def files_of(folder):
    return {n: folder / f"factors/svd_llm.prose/layer-{n}.safetensors" for n in range(1, 5)}


def test_losses_are_what_numpy_leaves_of_the_outputs(made):
    folder, tokens_ST = made
    model = load_base(folder / "weights", "float32")
    seen = {}
    for layer in range(1, 5):
        for tensor in TINY.tensors:
            model.get_submodule(TINY.module_path(layer, tensor)).register_forward_pre_hook(
                lambda module, given, key=(layer, tensor): seen.update({key: given[0]})
            )
    with torch.no_grad():
        model(torch.from_numpy(tokens_ST.astype("int64")))
    rule = share_rule(0.4, "pivoted")
    losses = truncation_losses(TINY, files_of(folder), rule)
    assert len(losses) == 28
    for (layer, tensor), loss in losses.items():
        x_NI = seen[layer, tensor].flatten(0, 1).double().numpy()
        outputs_NO = x_NI @ weight_of(folder / "weights", TINY, layer, tensor).T
        values = np.linalg.svd(outputs_NO, compute_uv=False)
        left = np.sqrt(np.sum(values[rule.rank_of(TINY, layer, tensor) :] ** 2))
        assert loss == pytest.approx(left * math.sqrt(256 * 2048 / tokens_ST.size), rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_ranks_is_one_for_a_study(made, tmp_path, form):
    folder, _ = made
    path = choose_ranks(TINY, "0.40", form, folder, "prose", tmp_path / "ranks/tiny")
    rule = share_rule("0.4", form)
    assert path == tmp_path / f"ranks/tiny/svd_llm.prose-{rule.name}.yaml"
    content = Registry("config").ranks(path.absolute())
    source = content.pop(SOURCE)
    losses = truncation_losses(TINY, files_of(folder), rule)
    found = {int(layer): ranks for layer, ranks in content.items()}
    assert found == allocate_ranks(TINY, losses, 0.4, form)
    ranks = ModuleRanks.make(TINY, content)
    gamma = Decomposition.make(TINY, ["1-4"], "all", ranks, "svd_llm", "prose", form)
    dense = 4 * TINY.tensor_parameters()
    assert source["kept"] == dense - gamma.removed_parameters(TINY) <= source["budget"]
    assert source["budget"] == pytest.approx(0.4 * dense, abs=7)
    assert (source["share"], source["form"], source["model"]) == (0.4, form, "test")
    assert source["calibration"]["tokens"] == 64 * 16
    again = path.read_bytes()
    assert choose_ranks(TINY, 0.4, form, folder, "prose", path.parent).read_bytes() == again


def test_the_method_cuts_the_factors_of_svd_llm_at_its_own_ranks(made, tmp_path):
    folder, _ = made
    losses = truncation_losses(TINY, files_of(folder), share_rule(0.5, "pairs"))
    ranks = ModuleRanks.make(TINY, allocate_ranks(TINY, losses, 0.5, "pairs"))
    fields = {"layers": [1, 2, 3, 4], "rank": ranks, "calibration": "prose"}
    second, first = (
        Decomposition.make(TINY, method=method, **fields) for method in ("svd_llm_v2", "svd_llm")
    )
    name = second.name(TINY)
    assert name == first.name(TINY).replace("svd_llm.", "svd_llm_v2.")
    assert Decomposition.from_name(TINY, name, ranks.modules) == second
    assert second.factorization == first.factorization == "svd_llm.prose"
    for own in (second, first):
        output = tmp_path / own.method
        compress(TINY, "tiny", folder / "manifest.json", own, files_of(folder), output)
    assert read_json(tmp_path / "svd_llm_v2/manifest.json")["decomposition"]["name"] == name
    stored = [tmp_path / own.method / "factors.safetensors" for own in (second, first)]
    assert stored[0].read_bytes() == stored[1].read_bytes()


@pytest.mark.parametrize("rank", [3, share_rule(0.5, "pairs")])
def test_the_method_needs_a_rank_for_each_module(rank):
    with pytest.raises(LowrankError, match="'svd_llm_v2' needs a rank for each module"):
        Decomposition.make(TINY, [1], rank=rank, method="svd_llm_v2", calibration="prose")


def test_factors_of_too_few_ranks_are_refused(made, tmp_path):
    with pytest.raises(LowrankError, match=r"layer-1.safetensors holds 24 ranks of q, not 27"):
        choose_ranks(TINY, 0.98, "pivoted", made[0], "prose", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path", sorted(Path("config/ranks").glob("*/*.yaml")), ids=lambda path: path.stem
)
def test_a_kept_file_keeps_to_its_budget(path):
    entry = read_yaml(f"config/models/{path.parent.name}.yaml")
    architecture = Architecture.from_config(entry["architecture"])
    content = Registry("config").ranks(path.relative_to("config"))
    source = content.pop(SOURCE)
    ModuleRanks.make(architecture, content)
    assert len(content) == architecture.layers
    kept = kept_numbers(architecture, content, source["form"])
    budget = source["share"] * architecture.layers * architecture.tensor_parameters()
    most = sum(sum(architecture.shape(tensor)) for tensor in architecture.tensors)
    assert kept == source["kept"]
    assert budget - most - 7 < kept <= budget
