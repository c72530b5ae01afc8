# Every command that people and CI use. `make quickstart` and `make test` set up everything they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY) ## create .venv and install what requirements.lock pins

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "cnnlab needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Next: make PYTHON=python3.12 setup"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module. Next: install it (on Debian and Ubuntu: apt-get install python3-venv)"; exit 2; }
	@echo "Installing into $(VENV) from requirements.lock (the first time takes a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

quickstart: setup ## the main job: train LeNet and write its report
	@$(BIN)/cnnlab quickstart

test: setup ## the fast tests, with coverage (no GPU, no network)
	@$(BIN)/python -m pytest -m "not slow" -n 2 --cov --cov-report=term:skip-covered

slow: setup ## the slow tests: real training on real images
	@$(BIN)/python -m pytest -m slow --durations=10

check: setup ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fix: setup ## let ruff mend format and lint
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## images/s against a plain tutorial loop, in one run
	@$(BIN)/python benchmarks/throughput.py

docs: setup ## the tables of docs/recipes.md and docs/studies.md, the outputs in docs/theory.md, and the API reference into docs/api
	@$(BIN)/python docs/tables.py
	@$(BIN)/python docs/consoles.py
	@$(BIN)/python docs/reference.py

RUNS ?= runs
results: setup ## the tables of docs/results.md, from a folder of runs: make results RUNS=FOLDER
	@$(BIN)/python docs/results.py $(RUNS)

lock: ## pin the newest versions that pyproject.toml admits
	@uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" --quiet --upgrade -o requirements.lock

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage docs/api

.PHONY: help setup quickstart test slow check fix bench docs results lock clean
