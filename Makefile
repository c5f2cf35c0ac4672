# Two commands: `make reproduce` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
CORES ?= all
REF ?= paper/reference/laptop
CONFIG ?= config/laptop.yaml
BUDGET ?= 120
RESULTS ?= results
FIGURES ?= figures
MODEL ?= smollm2-135m-instruct
CALIBRATION ?= prose
CONFIGURATION ?= tucker-r1-l3.18-all
PICTURES ?= figure_4_1 figure_4_2
VENV := .venv
BIN := $(VENV)/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
# A run is alone in this folder, and shows a live bar, or plain lines where there is no terminal.
RUN := PYTHONPATH=workflow .ci/guard.sh $(SNAKEMAKE) --logger=progress

.DEFAULT_GOAL := help
.PHONY: help setup reproduce doctor smoke decide methods recover quantize humaneval export ranks compare reference report test test-slurm lint layers audit lock ci-run gpu-reference archive clean

help: ## List the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

$(VENV)/.runtime: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.11 …)"; exit 1; }
	@begin=$$(date +%s); set -ex; \
	  $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock; \
	  { echo $$(($$(date +%s) - begin)); } >$@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.runtime ## Build .venv from the pinned requirements.

reproduce: $(VENV)/.runtime ## Run the whole workflow on the embedded default (no GPU, no hub).
	@$(RUN) --configfile config/laptop.yaml
	@cat results/claims.txt; echo; echo "The report is figures/report/report.pdf; all figures and tables are in figures/."

doctor: $(VENV)/.runtime ## Say what this machine can run, and what to do about the rest.
	@PYTHONPATH=workflow $(BIN)/python workflow/scripts/doctor.py --folder config

test-slurm: $(VENV)/.development ## Send the workflow through a real SLURM of one node (root; Debian's slurm-wlm, munge).
	$(BIN)/python -m pytest -n 0 -rs tests/cluster

smoke: $(VENV)/.runtime ## Run one configuration through every stage, in a few minutes.
	@$(RUN) --configfile config/laptop.yaml config/smoke.yaml
	@cat results/smoke/claims.txt; echo; echo "All figures and tables are in figures/smoke/."

decide: $(VENV)/.runtime ## Ask more questions where they decide a claim: make decide BUDGET=120 (minutes)
	@PYTHONPATH=workflow $(BIN)/python workflow/scripts/decide.py --budget $(BUDGET) --cores $(CORES) \
	  --folder config --configfiles $(CONFIG) config/decide.yaml
	@cat results/decided/claims.txt; echo; echo "The report is figures/decided/report/report.pdf."

methods: $(VENV)/.runtime ## Compare methods of compression at equal budgets, on the real small model.
	@$(RUN) --configfile config/laptop.yaml config/methods.yaml

recover: $(VENV)/.runtime ## Train compressed models, and the dense one, on the real small model.
	@$(RUN) --configfile config/laptop.yaml config/recovery.yaml

quantize: $(VENV)/.runtime ## Store compressed models, and the dense one, in few bits, on the real small model.
	@$(RUN) --configfile config/laptop.yaml config/quantization.yaml

humaneval: $(VENV)/.runtime ## Let the real small model write programs, and run them in a sandbox.
	@$(RUN) --configfile config/laptop.yaml config/humaneval.yaml

export: $(VENV)/.runtime ## Write one configuration for other tools: make export CONFIGURATION=tucker-r1-l3.18-all
	@$(RUN) --configfile $(CONFIG) -- $(RESULTS)/models/$(MODEL)/exported/$(CONFIGURATION) \
	  $(RESULTS)/models/$(MODEL)/exported/low_rank/$(CONFIGURATION)

ranks: RESULTS = results/methods
ranks: $(VENV)/.runtime ## Choose ranks by what a cut loses (SVD-LLM V2), from the factors of `make methods`.
	PYTHONPATH=workflow $(BIN)/python workflow/scripts/choose_ranks.py --folder config --model $(MODEL) \
	  --results $(RESULTS) --calibration $(CALIBRATION)

compare: $(VENV)/.runtime ## Set this run beside a kept one: make compare REF=paper/reference/laptop
	@PYTHONPATH=workflow $(BIN)/python workflow/scripts/compare.py --results $(RESULTS) --reference $(REF)

reference: $(VENV)/.runtime ## Keep the last run in REF, with PICTURES of MODEL and the verdicts.
	PYTHONPATH=workflow $(BIN)/python workflow/scripts/record_reference.py --results $(RESULTS) \
	  --output $(REF) --environment $(VENV) --pictures \
	  $(foreach name,$(PICTURES),$(wildcard $(FIGURES)/$(MODEL)/$(name).png)) $(FIGURES)/claims/claims.png

test: $(VENV)/.development ## Run all the tests.
	@begin=$$(date +%s); set -ex; $(BIN)/python -m pytest; { echo $$(($$(date +%s) - begin)); } >$(VENV)/.tests

lint: $(VENV)/.development ## Check style, formatting and the floors of the library.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=workflow $(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

layers: $(VENV)/.runtime ## Draw the floors of the library: which package imports which.
	@PYTHONPATH=workflow $(BIN)/python workflow/scripts/layers.py --contract pyproject.toml

audit: ## Look the pinned packages up among the known vulnerabilities.
	@PYTHON=$(PYTHON) .ci/audit.sh

ci-run: $(VENV)/.runtime ## Run the workflow on the real weights with a handful of questions.
	@$(RUN) --configfile config/laptop.yaml config/ci.yaml

report: $(VENV)/.runtime ## Make report.html of a run that is there: make report CONFIG=config/laptop.yaml
	$(SNAKEMAKE) --configfile $(CONFIG) --report report.html

gpu-reference: ## Measure Table 4.2 on Llama-2-7B's shapes with random weights, on this machine's GPU.
	PYTHONPATH=workflow $(PYTHON) workflow/scripts/gpu_reference.py --config config/gpu-reference.yaml --folder paper/reference

archive: $(VENV)/.development ## Pack the last run as a described crate; unpacked in a clone, nothing reruns.
	@PYTHONPATH=workflow $(BIN)/python workflow/scripts/archive.py --results $(RESULTS) --figures $(FIGURES) \
	  --output lowrank-results.tar.gz

lock: ## Resolve requirements*.in anew and write the locks and environment.yml.
	PYTHON=$(PYTHON) .ci/lock.sh

clean: ## Remove what the workflow made (the environment stays).
	rm -rf results logs figures/*/ .snakemake
