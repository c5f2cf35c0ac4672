# The pinned environment in a container: `docker build -t lowrank .`, then
# `docker run --rm -v "$PWD":/work -w /work lowrank make reproduce`.
# The base image is pinned by version; add `--gpus all` where there are GPUs. The stamp that tells make
# that the environment is ready is dated past any checkout.
FROM python:3.11.13-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.lock /opt/lowrank/requirements.lock
RUN python -m venv /opt/lowrank/venv \
    && /opt/lowrank/venv/bin/python -m pip install --no-cache-dir -r /opt/lowrank/requirements.lock \
    && touch -d 2100-01-01 /opt/lowrank/venv/.runtime

# `make VENV=…` takes this environment instead of building one in the mounted folder.
ENV VENV=/opt/lowrank/venv \
    MAKEFLAGS="VENV=/opt/lowrank/venv" \
    PATH="/opt/lowrank/venv/bin:${PATH}"

WORKDIR /work
CMD ["make", "help"]
