#!/usr/bin/env bash
# Run a workflow command alone in this folder. A run that was killed leaves Snakemake's own lock
# behind; the kernel's lock taken here ends with its process, so whoever holds it may clear that.
set -euo pipefail
is_config=
for argument in "$@"; do # Snakemake would end on a traceback
  case $argument in
    --configfile | --configfiles) is_config=1 ;;
    -*) is_config= ;;
    *) if [ -n "$is_config" ] && ! [ -f "$argument" ]; then
      echo "error: $argument is no file: name a configuration, such as config/laptop.yaml" >&2
      exit 1
    fi ;;
  esac
done
exec 9>.snakemake-guard
if ! flock --nonblock 9; then
  echo "error: another run of the workflow is active in this folder; wait for it or end it" >&2
  exit 1
fi
if [ -d .snakemake/locks ] && [ -n "$(ls -A .snakemake/locks)" ]; then
  "$@" --unlock --quiet all 9>&-
fi
exec "$@"
