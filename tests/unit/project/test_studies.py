import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.studies import carry_rank, expand_study, order_by_influence, with_rank_files

PROJECT = Project(read_yaml("config/config.yaml"), "config")
LLAMA = PROJECT.model("llama-2-7b-chat")
SMOL = PROJECT.model("smollm2-135m-instruct")
DEFAULTS = {
    "method": "tucker",
    "rank": 1,
    "tensors": "all",
    "calibration": "",
    "form": "pairs",
    "after": [],
    "depth": None,
    "width": None,
    "control": False,
    "series": {"": {}},
}


def expand(model=LLAMA, **fields):
    return expand_study(DEFAULTS | fields, model, "study.yaml")


def names(rows, model=LLAMA):
    return [row.decomposition.name(model.architecture) for row in rows]


def test_a_share_of_the_parameters_goes_by_the_form():
    rows = expand(
        method="svd_llm",
        calibration="prose",
        rank={"share": 0.8},
        series={
            "pairs": {},
            "pivoted": {"form": "pivoted"},
            "plain": {"method": "svd"},
            "channels": {"method": "wanda"},
            "both": {"method": "wanda_sp"},
            "heads": {"method": "wanda_sp", "tensors": ["attention"]},
        },
        configurations={"20%": {"layers": [1]}},
    )
    assert names(rows) == [
        "svd_llm.prose-b0.8-l1-all",
        "svd_llm.prose-p0.8-l1-all-pivoted",
        "svd-b0.8-l1-all",
        "wanda.prose-k0.8-l1",
        "wanda_sp.prose-w0.8-l1-all",
        "wanda_sp.prose-k0.8-l1-q.k.v.so",
    ]


def test_series_cross_labels_and_own_fields_win():
    rows = expand(
        series={"r1": {"rank": 1}, "r5": {"rank": 5}},
        configurations={"one": {"layers": [1]}, "two": {"layers": [2], "rank": 9}},
    )
    assert [(row.series, row.label) for row in rows] == [
        ("r1", "one"),
        ("r1", "two"),
        ("r5", "one"),
        ("r5", "two"),
    ]
    assert [row.decomposition.rank.label for row in rows] == [1, 9, 5, 9]


def test_shares_and_ranks_a_module_are_not_carried_over():
    ranks = {"file": "ranks/a.yaml", "ranks": {2: {"q": 40, "d": 3}}}
    rows = expand(
        SMOL,
        method="svd",
        width=4096,
        rank={"break_even": 0.60},
        series={"a share": {}, "a rank": {"rank": 500}, "a module": {"rank": ranks}},
        configurations={"one": {"layers": [2], "tensors": ["q", "d"]}},
    )
    assert [row.decomposition.rank.label for row in rows] == [
        "0.6 of break-even",
        70,
        "ranks a module",
    ]
    assert names(rows, SMOL)[0] == "svd-b0.6-l2-q.d"
    assert names(rows, SMOL)[2].startswith("svd-m")
    kept = [
        [row.decomposition.rank.rank_of(SMOL.architecture, 2, tensor) for tensor in ("q", "d")]
        for row in rows
    ]
    # 0.6 of 576 · 576 / 1152 = 288 and of 576 · 1536 / 2112 = 418.9.
    assert kept == [[172, 251], [70, 70], [40, 3]]


def test_rank_files_are_read_wherever_they_are_named():
    study = DEFAULTS | {
        "rank": {"file": "a"},
        "series": {"x": {"rank": {"file": "b"}}, "y": {"rank": 5}},
        "configurations": {"one": {"layers": [1], "rank": {"file": "c"}}, "two": {"layers": [2]}},
    }
    filled = with_rank_files(study, lambda file: {1: {"q": ord(file)}})
    assert filled["rank"] == {"file": "a", "ranks": {1: {"q": 97}}}
    assert filled["series"] == {
        "x": {"rank": {"file": "b", "ranks": {1: {"q": 98}}}},
        "y": {"rank": 5},
    }
    assert filled["configurations"]["one"]["rank"]["ranks"] == {1: {"q": 99}}
    assert filled["configurations"]["two"] == {"layers": [2]}
    assert study["rank"] == {"file": "a"}


def test_the_source_of_ranks_is_no_layer():
    content = {"source": {"rule": "by hand"}, 1: {"q": 2}}
    filled = with_rank_files(DEFAULTS | {"rank": {"file": "a"}}, lambda file: content)
    assert filled["rank"]["ranks"] == {1: {"q": 2}}


def test_a_series_may_be_for_some_models_only():
    fields = {
        "series": {"small": {"models": [SMOL.name], "rank": 5}, "": {}},
        "configurations": {"a": {"layers": [1]}},
    }
    assert names(expand(**fields)) == ["tucker-r1-l1-all"]
    assert names(expand(SMOL, **fields), SMOL) == ["tucker-r5-l1-all", "tucker-r1-l1-all"]


def test_control_leaves_the_same_layers_out_once():
    rows = expand(
        control=True,
        series={"r1": {"rank": 1}, "r5": {"rank": 5}},
        configurations={"one": {"layers": [1, 2]}, "part": {"layers": [3], "tensors": "q"}},
    )
    control = [row for row in rows if row.series == "left out"]
    assert names(control) == ["drop-l1-2"]


def test_each_layer_of_the_model_itself():
    rows = expand(SMOL, configurations={"layer": {"layers": "each"}})
    assert [row.decomposition.layers for row in rows] == [(n,) for n in range(1, 31)]
    assert [row.position for row in rows] == list(map(float, range(1, 31)))


@pytest.mark.parametrize(("rank", "carried"), [(1, 1), (250, 35), (500, 70)])
def test_ranks_are_carried_over_as_fractions(rank, carried):
    assert carry_rank(rank, 4096, SMOL.architecture) == carried  # 250 · 576/4096 = 35.2
    assert carry_rank(rank, 4096, LLAMA.architecture) == rank
    assert carry_rank(rank, None, SMOL.architecture) == rank


def test_shipped_studies_share_configurations():
    asked = [
        row for study in PROJECT.studies_of(LLAMA) for row in PROJECT.configurations(study, LLAMA)
    ]
    distinct = PROJECT.decompositions(LLAMA)
    # Six of Table 4.2's lists stand in Figure 3.2 as well; dense is in none and always there.
    assert len(distinct) - 1 < len(asked) - 6


def test_figure_3_5_compares_equal_reductions():
    for row in PROJECT.configurations("figure_3_5", LLAMA):
        reduction = row.decomposition.parameter_reduction(LLAMA.architecture)
        assert reduction == pytest.approx(row.thesis_reduction, abs=1.1)


def layers_of(study, series, model=LLAMA):
    rows = [row for row in PROJECT.configurations(study, model) if row.series == series]
    return {row.label: row.decomposition.layers for row in rows}


def test_the_centred_lists_of_figure_3_7_move_nothing_but_the_distance():
    for row in PROJECT.configurations("figure_3_7", LLAMA):
        layers = row.decomposition.layers
        assert {b - a for a, b in itertools.pairwise(layers)} == {int(row.position)}
        assert row.series != "centred" or sum(layers) / 5 == 15


def test_lists_are_those_of_the_authors_code():
    """Layers count from 0 there: Python's own ranges of run.py, one more each."""

    def run(*numbers):
        return tuple(number + 1 for number in numbers)

    for rank in (1, 250, 500):
        assert list(layers_of("figure_3_2", f"rank {rank}").values()) == [
            run(*range(3, 32, 5)),
            run(*range(3, 32, 3)),
            run(*range(3, 32, 2)),
        ]
    assert set(layers_of("figure_3_4", "one layer").values()) == {run(3)}
    assert layers_of("figure_3_5", "about 8%")["all in 3 layers"] == run(3, 15, 27)
    assert layers_of("figure_3_5", "about 21%")["all in 7 layers"] == run(3, 7, 11, 15, 21, 25, 29)
    assert layers_of("figure_3_7", "as run") == {
        f"distance {distance}": run(*(2 + place * distance for place in range(5)))
        for distance in range(1, 7)
    }


def test_labels_of_figure_3_2_are_what_rank_1_removes():
    for row in PROJECT.configurations("figure_3_2", LLAMA):
        if row.series == "rank 1":
            reduction = row.decomposition.parameter_reduction(LLAMA.architecture)
            assert reduction == pytest.approx(float(row.label[:-1]), abs=0.1)


def test_lists_of_table_4_2_stand_beside_those_as_run():
    printed = layers_of("table_4_2", "")
    beside = layers_of("figure_3_2", "rank 250, Table 4.2")
    assert list(beside) == ["6%", "9%", "15%", "21%", "33%", "48%"]
    assert all(layers == printed[label] for label, layers in beside.items())


def test_a_series_may_have_configurations_of_its_own():
    rows = expand(
        series={"own": {"rank": 5, "configurations": {"a": {"layers": [1]}}}, "": {}},
        configurations={"b": {"layers": [2]}},
    )
    assert [(row.series, row.label) for row in rows] == [("own", "a"), ("", "b")]
    assert names(rows) == ["tucker-r5-l1-all", "tucker-r1-l2-all"]
    with pytest.raises(LowrankError, match=r"^study.yaml: series '' has no configurations"):
        expand(
            series={"own": {"configurations": {"a": {"layers": [1]}}}, "": {}}, configurations={}
        )
    filled = with_rank_files(
        DEFAULTS
        | {
            "series": {"x": {"configurations": {"a": {"layers": [1], "rank": {"file": "c"}}}}},
            "configurations": {},
        },
        lambda file: {1: {"q": ord(file)}},
    )
    own = filled["series"]["x"]["configurations"]["a"]
    assert own == {"layers": [1], "rank": {"file": "c", "ranks": {1: {"q": 99}}}}


def test_the_least_influential_layers_are_the_models_own():
    order = tuple(order_by_influence({n: abs(n - 20) for n in range(1, 31)}, SMOL.architecture))
    assert order[:4] == (20, 19, 21, 18)
    rows = expand(
        replace(SMOL, by_influence=order),
        method="drop",
        depth=32,  # they are not carried over
        configurations={"three": {"layers": {"least_influence": 3}}},
    )
    assert names(rows, SMOL) == ["drop-l19-21"]
    every = expand(
        replace(SMOL, by_influence=order),
        configurations={"all": {"layers": {"least_influence": 30}}},
    )
    assert names(every, SMOL) == ["tucker-r1-l1-30-all"]


@pytest.mark.parametrize("path", sorted(Path("config/influence").iterdir()), ids=lambda p: p.stem)
def test_shipped_files_of_influence_are_of_a_model_and_in_their_order(path):
    content, model = read_yaml(path), PROJECT.model(path.stem)
    assert [int(layer) for layer in content["influence"]] == list(model.by_influence)
    assert sorted(model.by_influence) == list(range(1, model.architecture.layers + 1))
    assert f"influence/{content['calibration']}.yaml" in path.read_text()
    PROJECT.calibration(content["calibration"])


@pytest.mark.parametrize(
    ("influence", "message"),
    [
        ({1: 0.1, 2: 0.2}, "influence: layer 3 is missing"),
        (dict.fromkeys(range(1, 32), 0.1), "influence: layer 31 is outside 1…30"),
    ],
)
def test_every_layer_has_an_influence(influence, message):
    with pytest.raises(LowrankError, match=message):
        order_by_influence(influence, SMOL.architecture)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"configurations": {"x": {"layers": {"least_influence": 2}}}},
            "least_influence needs config/influence/llama-2-7b-chat.yaml, which `snakemake",
        ),
        ({"configurations": {"x": {}}}, "neither .* names layers"),
        ({"configurations": {"x": {"layers": [40]}}}, "layer 40 is outside 1…32"),
        (
            {"series": {"s": {"rank": 5000}}, "configurations": {"x": {"layers": [1]}}},
            "s, x: rank 5000 is above",
        ),
        (
            {
                "rank": {"file": "ranks/a.yaml", "ranks": {40: {"q": 1}}},
                "configurations": {"x": {"layers": [1]}},
            },
            "ranks/a.yaml: layer 40 is outside 1…32",
        ),
        (
            {
                "rank": {"file": "ranks/a.yaml", "ranks": {1: {"q": 1}}},
                "configurations": {"x": {"layers": [1]}},
            },
            "the ranks lack tensor k of layer 1",
        ),
    ],
)
def test_mistakes_name_the_configuration(fields, message):
    with pytest.raises(LowrankError, match=rf"^study.yaml: configurations\.(.*: )?{message}"):
        expand(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {
                "series": {"s": {}, "t": {"rank": 2}},
                "configurations": {"x": {"layers": [1], "series": "s"}},
            },
            "s, x: two configurations are called so",
        ),
        (
            {"configurations": {"sweep": {"layers": "each"}, "2": {"layers": [1, 2]}}},
            "2: two configurations are called so",
        ),
        (
            {
                "control": True,
                "series": {"a": {}, "left out": {"rank": 2}},
                "configurations": {"x": {"layers": [1]}},
            },
            "left out, x: two configurations are called so",
        ),
        (
            {"series": {"s": {}}, "configurations": {"dense": {"layers": [1]}}},
            "s, dense: every study has a row 'dense' of its own",
        ),
    ],
)
def test_configurations_can_be_told_by_series_and_label(fields, message):
    """Figures and claims would take the first of two for both."""
    with pytest.raises(LowrankError, match=rf"^study.yaml: configurations\.{message}"):
        expand(**fields)


@pytest.mark.parametrize("series", [["s", "S"], ["s", "t"]])
def test_labels_that_differ_by_case_or_by_series_are_others(series):
    rows = expand(
        series={name: {} for name in series},
        configurations={"Dense": {"layers": [1]}, "x": {"layers": [1]}, "X": {"layers": [2]}},
    )
    assert len({(row.series, row.label) for row in rows}) == len(rows) == 6
