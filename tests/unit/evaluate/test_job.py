"""The job of an evaluation only waits where another process does the work."""

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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
