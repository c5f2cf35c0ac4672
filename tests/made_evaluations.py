"""Evaluations as files, written benchmark by benchmark."""

import json
import os
import time
from pathlib import Path

import pandas as pd


def write_scores(folder, name, benchmark, frame):
    """Write the scores of a configuration's questions on a benchmark, beside those on others."""
    path = Path(folder, f"{name}.csv")
    table = pd.DataFrame(frame).assign(benchmark=benchmark)
    if path.exists():
        others = pd.read_csv(path, keep_default_na=False, na_values=[""])
        others = others[others["benchmark"] != benchmark]
        table = pd.concat([others, table]) if len(others) else table
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    _date(path)
    return path


def write_result(folder, name, benchmark, result, **shared):
    """Write the result of a configuration on a benchmark, beside those on others.

    `shared` is what the file says of all of them.
    """
    path = Path(folder, f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {"benchmarks": {}}
    benchmarks = known["benchmarks"] | {benchmark: result}
    path.write_text(json.dumps(known | shared | {"benchmarks": benchmarks}))
    _date(path)
    return path


def _date(path):
    """Give a file a time of its own: some file systems count in steps of milliseconds."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))
