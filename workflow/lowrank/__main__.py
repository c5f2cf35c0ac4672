"""Run a module that knows how to load low-rank checkpoints: `python -m lowrank lm_eval …`."""

import importlib.util
import runpy
import sys

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("error: name a module to run, such as `python -m lowrank lm_eval --model hf`")
    del sys.argv[0]
    if importlib.util.find_spec(sys.argv[0].partition(".")[0]) is None:
        sys.exit(f"error: there is no module {sys.argv[0]!r} here: install it, or correct its name")
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
