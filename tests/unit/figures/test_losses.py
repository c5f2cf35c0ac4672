import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.figures.losses import _curve, render

CURVES = [{"series": "one", "label": "cut"}, {"series": "one", "label": "dense"}]


def write(path, phases=("1: left", "2: right")):
    rows = [
        {
            "phase": phase,
            "step": step,
            "loss": 4.0 - step / 4,
            "held_out_loss": held,
            "learning_rate": 0,
        }
        for phase in phases
        for step, held in ((1, None), (2, 3.0), (4, None))
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_steps_go_on_from_phase_to_phase(tmp_path):
    found = _curve(write(tmp_path / "a.csv"))
    assert found["step"].to_list() == [1, 2, 4, 5, 6, 8]


def test_curves_of_a_series_are_in_one_panel(tmp_path):
    files = [write(tmp_path / name) for name in ("a.csv", "b.csv")]
    outputs = [tmp_path / f"made.{kind}" for kind in ("csv", "pdf", "png")]
    render(CURVES, files, "M", "s", *outputs)
    assert all(path.stat().st_size for path in outputs)
    table = pd.read_csv(outputs[0])
    assert list(table["label"].unique()) == ["cut", "dense"] and len(table) == 12


def test_what_is_no_curve_is_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(LowrankError, match="a.csv is no loss curve"):
        render(CURVES[:1], [tmp_path / "a.csv"], "M", "s", *[tmp_path / "x"] * 3)
