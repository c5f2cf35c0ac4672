#!/usr/bin/env bash
# Resolve requirements*.in in a fresh environment and write the locks and environment.yml.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${PYTHON:-python3} -m venv "$work/venv"
pip="$work/venv/bin/python -m pip"
# A local build tag such as +cpu is this machine's, not part of the pin.
freeze() { $pip freeze | sed -E 's/^(torch) @ .*torch-([0-9.]+).*/\1==\2/; s/\+[a-z0-9.]+$//' | LC_ALL=C sort -f; }
$pip install --quiet -r requirements.in
freeze >"$work/lock"
$pip install --quiet -c "$work/lock" -r requirements-dev.in
freeze >"$work/dev"
{ echo "# Made by \`make lock\` from requirements.in: every package, at one version."; cat "$work/lock"; } >requirements.lock
{ echo "# Made by \`make lock\` from requirements-dev.in: what the tests and linters need on top."; LC_ALL=C comm -13 <(LC_ALL=C sort "$work/lock") <(LC_ALL=C sort "$work/dev"); } >requirements-dev.lock
{
  cat <<'HEAD'
# Made by `make lock`: the pins of requirements.lock for conda, which is what `--sdm conda` uses.
# On Linux the index's torch is the CUDA build; it pins its CUDA libraries itself.
name: lowrank
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:
HEAD
  sed 's/^/      - /' "$work/lock"
} >environment.yml
