#!/usr/bin/env bash
# Look the pinned packages up among the known vulnerabilities, with pip-audit in an environment of
# its own. Where it or its data cannot be reached, say so and succeed.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
last_line() { grep -v '^ *$' "$1" | tail -n 1 | cut -c 1-200; }
if ! { ${PYTHON:-python3} -m venv "$work/venv" &&
  timeout 120 "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pip-audit==2.9.0; } >"$work/log" 2>&1; then
  echo "audit skipped: pip-audit cannot be installed here ($(last_line "$work/log"))"
  exit 0
fi
timeout 180 "$work/venv/bin/pip-audit" --requirement requirements.lock --no-deps --disable-pip \
  --progress-spinner off --format json --output "$work/found" >"$work/log" 2>&1 || true
"$work/venv/bin/python" - "$work/found" "$(last_line "$work/log")" <<'PYTHON'
import json, pathlib, sys

found = pathlib.Path(sys.argv[1])
packages = json.loads(found.read_text())["dependencies"] if found.exists() else []
known = [package for package in packages if "vulns" in package]
if not known:  # pip-audit itself calls that a clean bill
    why = packages[0]["skip_reason"] if packages else sys.argv[2]
    sys.exit(print(f"audit skipped: the data cannot be reached ({why})"))
vulnerable = [package for package in known if package["vulns"]]
for package in vulnerable:
    for entry in package["vulns"]:
        fixed = ", ".join(entry["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {entry['id']}, mended in {fixed}")
print(f"{len(known)} of {len(packages)} packages looked up, {len(vulnerable)} vulnerable")
sys.exit(bool(vulnerable))
PYTHON
