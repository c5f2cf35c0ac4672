import csv

import numpy as np
from lowrank.base.metric import Metric
from lowrank.tables.interactions import table
from lowrank.tables.typesetting import write_table
from made_evaluations import write_result, write_scores

ROW = {"series": "nf4", "label": "cut", "quantization": "nf4"}
ROW |= {"both": "cut+nf4", "compression": "cut", "alone": "dense+nf4"}
RIGHT = {"dense": [1, 1, 1, 1], "cut": [1, 1, 1, 0], "dense+nf4": [0, 1, 1, 1]}
RIGHT |= {"cut+nf4": [0, 1, 0, 0]}


def test_losses_in_points_and_the_exact_numbers_in_the_csv(tmp_path):
    for name, right in RIGHT.items():
        frame = {"task": "t", "question": range(4), "value": right, "log_probability": None}
        write_scores(tmp_path, name, "arc", frame)
        result = {"score": {"value": np.mean(right)}, "questions": {"asked": 4, "available": 9}}
        write_result(tmp_path, name, "arc", result)
    described = [("arc", {"label": "ARC", "metric": Metric.from_config("acc").as_record()})]
    made = table("M", "s", [ROW], described, tmp_path)
    (cells,) = made.rows
    assert cells[:4] == ("ARC (points)", "nf4, cut", "nf4", "4")
    assert [cell.split(" [")[0] for cell in cells[4:8]] == ["25.0", "25.0", "75.0", "25.0"]
    files = {name: tmp_path / f"t.{name}" for name in ("csv", "pdf", "png", "tex")}
    write_table(made, **files)
    with open(files["csv"], newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["interaction"]) == 25 and line["both"] == "cut+nf4"
    assert float(line["interaction_low"]) < 0 < float(line["interaction_high"])
