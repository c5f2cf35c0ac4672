"""Run a module that knows how to load low-rank checkpoints: `python -m lowrank lm_eval …`."""

import runpy
import sys

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("error: name a module to run, such as `python -m lowrank lm_eval --model hf`")
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
