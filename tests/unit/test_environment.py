import re
from pathlib import Path

import yaml


def pins(path):
    return [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]


def test_conda_has_the_pins_of_the_lock():
    environment = yaml.safe_load(Path("environment.yml").read_text())
    assert environment["dependencies"][-1]["pip"] == pins("requirements.lock")


def test_every_requirement_is_pinned_and_locked():
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins(lock))
    locked = {pin.split("==")[0].lower().replace("_", "-") for pin in pins("requirements.lock")}
    wanted = {re.split("[=<>]", pin)[0].lower() for pin in pins("requirements.in")}
    assert wanted <= locked
