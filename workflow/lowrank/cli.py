"""What every script shares: arguments in, one clear line out on failure."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

from lowrank.errors import LowrankError, is_out_of_memory


def parser(description: str | None, *names: str, **json_names: str) -> argparse.ArgumentParser:
    """Return a parser with required text options `--name`, and JSON options by keyword."""
    made = argparse.ArgumentParser(description=description)
    for name in names:
        made.add_argument(f"--{name}", required=True)
    for name, help_text in json_names.items():
        made.add_argument(f"--{name}", required=True, type=json.loads, help=help_text)
    return made


def render_figure(description: str | None, render: Callable[..., None]) -> None:
    """Parse what every accuracy figure takes, and render it."""
    names = ("data", "label", "subtitle", "csv", "pdf", "png")
    render(**vars(parser(description, *names).parse_args()))


def run(main: Callable[[], Any]) -> None:
    """Run a script's `main`; an error that the user can act on is printed as one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        main()
    except LowrankError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200] or "no more could be had"
        print(
            f"error: out of memory ({said}); ask for fewer questions at once (`batch_size`) or run "
            "fewer jobs at a time (`--cores`)",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
