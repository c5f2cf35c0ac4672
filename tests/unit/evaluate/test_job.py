"""The job of an evaluation only waits where another process does the work."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("script", ["evaluate", "evaluate_encoder"])
def test_a_job_imports_nothing_heavy_before_it_must(script):
    code = (
        "import runpy, sys; "
        f"runpy.run_path('workflow/scripts/{script}.py', run_name='imported'); "
        "print([name for name in ('torch', 'transformers', 'pandas', 'lm_eval') "
        "if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": "workflow"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
