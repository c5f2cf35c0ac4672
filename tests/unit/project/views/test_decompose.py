"""Which stored factors a configuration is cut from, whether a study asks for it or not."""

import re
from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import merge, read_yaml
from lowrank.project.configuration import Project
from lowrank.project.views.decompose import (
    exported_from,
    factors_name,
    factors_rank,
    layer_factors,
    layer_inputs,
    method_module,
    method_of,
)

PATH = "{model}/{factorization}/{layer}"
SMALL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def project():
    """One study of the laptop's scale: Tucker decompositions of rank 1, and no others."""
    config = merge(read_yaml(f"config/{name}") for name in ("config.yaml", "laptop.yaml"))
    return Project(config | {"models": [SMALL], "studies": ["table_4_2"]}, "config")


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("tucker-r1-l2-all", "tucker"),  # what the studies share
        ("tucker-r1-l17.19-q.d", "tucker"),  # of no study, but no larger
        ("tucker-r3-l2-all", "tucker-r3"),
        ("svd-r1-l2-all", "svd"),
        ("svd-r7-l2-q", "svd-r7"),
        ("svd-b0.5-l1-2-q.k", "svd-r144"),  # half the break-even rank of q; that of k is smaller
        ("svd_llm.prose-r9-l2-all", "svd_llm.prose-r9"),
        ("wanda.prose-k0.5-l1-30", "wanda.prose"),  # it stores no ranks
        ("tucker-r3-l2-all+next_tokens", "tucker-r3"),
    ],
)
def test_a_rank_that_no_study_asks_for_has_factors_of_its_own(project, name, factors):
    model = project.model(SMALL)
    made = project.decomposition(model, name)
    assert factors_name(project, model, made) == factors
    expected = [f"{SMALL}/{factors}/{layer}" for layer in made.layers]
    assert layer_factors(project, model, name, PATH) == expected


@pytest.mark.parametrize(
    ("factors", "method", "rank"),
    [("tucker", "tucker", 1), ("tucker-r3", "tucker", 3), ("svd_llm.prose-r12", "svd_llm", 12)],
)
def test_the_name_of_factors_says_method_and_rank(project, factors, method, rank):
    assert method_of(factors) == method
    assert factors_rank(project, SMALL, factors) == rank
    assert method_module(factors) == method_module(method)


def test_factors_of_any_rank_read_what_their_method_reads(project):
    def path_of(rule):
        return rule + "/{model}/{calibration}"

    inputs = layer_inputs("m", "svd_llm.prose-r12", path_of)
    assert inputs == layer_inputs("m", "svd_llm.prose", path_of) == ["gather_moments/m/prose"]
    assert layer_inputs("m", "svd-r12", path_of) == []


@pytest.mark.parametrize("name", ["dense", "drop-l3", "tucker-r2-l30-d", "svd-r7-l1-q+one_epoch"])
def test_what_a_name_spells_out_can_be_exported(project, name):
    made = exported_from(project, project.model(SMALL), name, ["{model}/{decomposition}/a", "b"])
    assert made == [f"{SMALL}/{name}/a", "b"]


def test_the_documented_names_can_be_exported(project):
    text = Path("docs/exports.md").read_text().partition("## Which configurations")[2]
    names = re.findall(r"^\| `(.+?)` \|", text.partition("\n## ")[0], flags=re.MULTILINE)
    assert len(names) > 5
    for name in names:
        assert exported_from(project, project.model(SMALL), name, ["a"], is_dense=True) == ["a"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tucker-r1-l31-all", "layer 31 is outside 1…30"),
        ("tucker-r577-l2-all", "rank 577 is above the rank 576 of tensor q"),
        ("tucker-r1-l2-x", "unknown tensor 'x'"),
        ("Tucker-R1-L2-all", "not the name of a decomposition, such as 'tucker-r1-l2.5-7-all'"),
        ("tucker-r1-l2.1-all", "'tucker-r1-l1-2-all' is"),
        ("tucker-r1-l1-99999999999-all", "no model has 99999999999 layers"),
        ("svd_llm.nosuch-r3-l2-all", "nosuch.yaml does not exist"),
        ("svd-r3-l2-all+nosuch", "nosuch.yaml does not exist"),
        ("svd-r3-l2-all+nf4+one_epoch", "a quantization is the last of what is done"),
        ("tucker-r1-l2-all-pivoted", "has a core and no form 'pivoted'"),
        ("svd-m0123456789-l2-all", "is the digest of ranks that no configuration of this run has"),
        ("", "not the name of a decomposition"),
        ("a b/{c}\n", "not the name of a decomposition"),
    ],
)
def test_an_invalid_name_is_one_line_that_says_why(project, name, said):
    with pytest.raises(LowrankError) as caught:
        exported_from(project, project.model(SMALL), name, [])
    message = str(caught.value)
    assert message.startswith(f"{name!r} is no configuration of model {SMALL}: ")
    assert said in message and "\n" not in message


def test_a_name_that_no_file_can_have(project):
    for name in ("svd-r" + "1" * 5000 + "-l2-all", "x" * 201):
        with pytest.raises(LowrankError, match="has at most 200 characters") as caught:
            exported_from(project, project.model(SMALL), name, [])
        assert len(str(caught.value)) < 120


def test_what_is_asked_for_of_no_study_or_method_is_one_line(project):
    with pytest.raises(LowrankError, match="'nope' is no study of this run; known: table_4_2"):
        project.study_benchmarks("nope", project.model(SMALL))
    with pytest.raises(LowrankError, match="'tuker' is no method; did you mean 'tucker'"):
        method_module("tuker-r3")


def test_codes_are_not_exported(project):
    with pytest.raises(LowrankError, match=r"'dense\+nf4' is quantized.*export 'dense'"):
        exported_from(project, project.model(SMALL), "dense+nf4", [])


def test_a_bias_that_dense_models_have_no_place_for_is_not_multiplied_out(project):
    small, mistral, qwen = map(project.model, (SMALL, "mistral-7b", "qwen3-0.6b"))
    for model, name in ((small, "lord.prose-r3-l2-all"), (qwen, "rom_bias.prose-r3-l2-q.so")):
        assert exported_from(project, model, name, ["a"], is_dense=True) == ["a"]
    for model, name in ((mistral, "lord.prose-r3-l2-q"), (qwen, "rom_bias.prose-r3-l2-all")):
        with pytest.raises(LowrankError, match="have no place: export the low-rank form alone"):
            exported_from(project, model, name, ["a"], is_dense=True)
        assert exported_from(project, model, name, ["a"]) == ["a"]
    assert exported_from(project, mistral, "svd-r3-l2-q", ["a"], is_dense=True) == ["a"]
