"""Costs of compressing are sums over jobs, computed by hand; what is missing is not made up."""

import json

import pytest
from lowrank.base.errors import LowrankError
from lowrank.tables.costs import HEADER, Cost, add_up, read_cost, table

COLUMNS = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"


@pytest.fixture
def record(tmp_path):
    """A function that writes the record of a job, as Snakemake's directive `benchmark` does."""

    def write(name, seconds, memory):
        path = tmp_path / f"{name}.tsv"
        fields = f"{seconds}\t0:00:00\t{memory}\tNA\tNA\tNA\t0.0\t0.0\t99.0\t1.0"
        path.write_text(f"{COLUMNS}\n{fields}\n")
        return str(path)

    return write


def test_a_record_is_read(record, tmp_path):
    assert read_cost(record("a", 12.5, 2048.0)) == Cost(12.5, 2048.0)
    # A job that ended before a sample, and one that was gone when it was looked at.
    for memory in ("NA", "-", 0):
        assert read_cost(record("a", 0.25, memory)) == Cost(0.25, None)
    assert read_cost(tmp_path / "none.tsv") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s\tmax_rss\n",
        "s\tmax_rss\n1.0\t2.0\n1.0\t2.0\n",
        "s\n1.0\n",
        "s\tmax_rss\nnan\t2.0\n",
        "s\tmax_rss\n-1\t2.0\n",
        "s\tmax_rss\n1.0\tmuch\n",
        "s\tmax_rss\n1.0\n",
    ],
)
def test_what_is_no_record_is_one_line(tmp_path, text):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(LowrankError, match=r"a\.tsv is no record of a job .*; delete it"):
        read_cost(path)


def test_a_method_that_cuts_stored_factors(record):
    walk = record("walk", 100.0, 900.0)
    factors = [
        record(f"layer-{n}", *own) for n, own in enumerate([(7.5, 400), (8.5, 1200), (9, 1)])
    ]
    cuts = [record(f"cut-{n}", seconds, 300) for n, seconds in enumerate([3.0, 50.0, 4.0, 2.0])]
    made = add_up(walk, factors, cuts)
    assert (made.walk_seconds, made.factors_seconds) == (100.0, 25.0)
    assert made.configuration_seconds == 3.5  # the median of 2, 3, 4 and 50
    assert made.one_model_seconds == 128.5
    assert made.mebibytes == 1200.0
    assert (made.layers, made.layers_timed, made.configurations, made.jobs) == (3, 3, 4, 8)
    # Without inputs there is no walk, and nothing is missing.
    made = add_up(None, factors, cuts)
    assert made.walk_seconds is None and made.one_model_seconds == 28.5


def test_a_method_that_factorizes_each_configuration_by_itself(record):
    each = [record(f"each-{n}", *own) for n, own in enumerate([(60, 700), (90, 800), (70, 750)])]
    made = add_up(None, [], each)
    assert (made.walk_seconds, made.factors_seconds) == (None, None)
    assert made.configuration_seconds == made.one_model_seconds == 70.0
    assert (made.mebibytes, made.layers) == (800.0, 0)


def test_a_sum_of_which_a_part_is_missing_is_none(record, tmp_path):
    gone = str(tmp_path / "gone.tsv")
    walk, layer, cut = (record(name, 10.0, 100) for name in ("walk", "layer", "cut"))
    made = add_up(walk, [layer, gone], [cut, gone])
    assert made.factors_seconds is None and made.one_model_seconds is None
    assert (made.layers_timed, made.configurations_timed) == (1, 1)
    assert (made.walk_seconds, made.configuration_seconds) == (10.0, 10.0)
    assert add_up(gone, [layer], [cut]).one_model_seconds is None
    assert add_up(walk, [layer], [gone]).one_model_seconds is None
    nothing = add_up(gone, [gone], [gone])
    assert nothing.mebibytes is None and nothing.configuration_seconds is None
    assert nothing.jobs == 0


def test_memory_is_of_the_jobs_that_have_one(record):
    made = add_up(record("walk", 10, "NA"), [record("layer", 1, 512)], [record("cut", 1, 0)])
    assert (made.mebibytes, made.jobs, made.jobs_with_memory) == (512.0, 3, 1)


@pytest.fixture
def manifests(tmp_path):
    paths = [tmp_path / f"{name}.json" for name in ("a", "b")]
    for path in paths:
        own = {"device_name": "A CPU", "platform": "Linux", "device": "cpu"}
        path.write_text(json.dumps({"provenance": own}))
    return paths


def rows(record, tmp_path):
    """SVD of two layers and a walk of which one layer is missing, and a sequential method."""
    for layer in (3, 7):
        record(f"svd-{layer}", 10.25, 512)
    record("svd_llm-3", 20.0, 1536)
    cut = [record(f"cut-{n}", 4.0, 100) for n in range(2)]
    shared = {"calibration": "prose", "tokens": 32768, "layers": []}
    return [
        {"method": "svd", "calibration": "", "tokens": None, "walk": None, "layers": [3, 7]}
        | {"factors": str(tmp_path / "svd-{layer}.tsv"), "configurations": cut},
        {"method": "svd_llm", **shared, "walk": record("walk", 1000.0, 2048.0), "layers": [3, 7]}
        | {"factors": str(tmp_path / "svd_llm-{layer}.tsv"), "configurations": cut},
        {"method": "rom", **shared, "walk": None, "factors": str(tmp_path / "rom-{layer}.tsv")}
        | {"configurations": [record("rom", 1234.5, "NA"), str(tmp_path / "gone.tsv")]},
    ]


def test_the_table_says_what_was_measured_and_what_was_not(record, tmp_path, manifests):
    made = table("Model M", "A study", rows(record, tmp_path), manifests, "cpu", "1")
    assert [dict(zip(HEADER, row, strict=True)) for row in made.rows] == [
        dict(zip(HEADER, expected, strict=True))
        for expected in (
            ("svd", "", "", "2", "", "20.5", "2", "4.0", "24.5", "0.50"),
            ("svd_llm", "prose", "32,768", "2", "1,000.0", "–", "2", "4.0", "–", "2.00"),
            ("rom", "prose", "32,768", "", "", "", "2", "1,234.5", "1,234.5", "–"),
        )
    ]
    notes = " ".join(made.notes)
    assert "Model M; A study. Compressed on A CPU (Linux); device: cpu; threads a job: 1." in notes
    assert (
        "Not measured here: 1 of 2 layers of svd_llm.prose; 1 of 2 configurations of rom.prose; "
        "1 of 1 jobs of rom.prose, their memory." in notes
    )
    data = [dict(zip(made.data[0], line, strict=True)) for line in made.data[1:]]
    assert data[0]["factors_seconds"] == "20.5" and data[0]["walk_seconds"] == ""
    assert data[1]["factors_seconds"] == "" and data[1]["layers_timed"] == "1"
    assert data[2]["configurations_timed"] == "1" and data[2]["peak_resident_mebibytes"] == ""


def test_where_all_is_there_no_note_says_that_something_is_missing(record, tmp_path, manifests):
    svd = rows(record, tmp_path)[:1]
    notes = " ".join(table("M", "A study", svd, manifests, "cpu", "1").notes)
    assert "Not measured" not in notes
