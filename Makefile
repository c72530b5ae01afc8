# Every command that people and CI use. `make quickstart` and `make test` set up everything they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
.DEFAULT_GOAL := help
# Without compiled files each start of Python would compile PyTorch anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

# .venv holds what requirements.lock pins, or, once a target needs it, what requirements-dev.lock pins, which is more.
READY := $(VENV)/.ready
DEV   := $(VENV)/.ready-dev

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(if $(wildcard $(DEV)),$(DEV),$(READY)) ## create .venv and install what requirements.lock pins

setup-dev: $(DEV) ## the same with what the tests and checks need (requirements-dev.lock)

$(READY): requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' scripts/setup.sh requirements.lock $(VENV)
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml
	@PYTHON='$(PYTHON)' scripts/setup.sh requirements-dev.lock $(VENV)
	@touch $@

quickstart: setup ## the main job: train LeNet and write its report
	@$(BIN)/cnnlab quickstart

test: setup-dev ## the fast tests (no GPU, no network)
	@$(BIN)/python -m pytest -m "not full and not slow" -n 2

test-full: setup-dev ## every test but the slow ones, with coverage
	@$(BIN)/python -m pytest -m "not slow" -n 2 --hypothesis-profile=full --cov --cov-report=term:skip-covered

slow: setup-dev ## the slow tests: real training on real images, Ray, torchrun
	@$(BIN)/python -m pytest -m slow --durations=10

check: setup-dev ## format, lint, types, import contracts, complete lock files
	@PYTHON='$(PYTHON)' scripts/lock.sh check
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fix: setup-dev ## let ruff mend format and lint
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup-dev ## images/s against a plain tutorial loop, in one run
	@$(BIN)/python benchmarks/throughput.py

docs: setup-dev ## the tables of docs/recipes.md and docs/studies.md, the outputs in docs/theory.md, and the API reference into docs/api
	@$(BIN)/python docs/tables.py
	@$(BIN)/python docs/consoles.py
	@$(BIN)/python docs/reference.py

pictures: setup-dev ## docs/pictures: terminals and drawings, and the reports of a run and of studies: make pictures RUN=… STUDIES=…
	@$(BIN)/python docs/pictures.py $(RUN) $(STUDIES)

RUNS ?= runs
results: setup-dev ## the tables of docs/results.md, from a folder of runs: make results RUNS=FOLDER
	@$(BIN)/python docs/results.py $(RUNS)

lock: ## pin the newest releases that pyproject.toml admits and that are at least seven days old
	@PYTHON='$(PYTHON)' scripts/lock.sh write

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage docs/api

# Two set-ups at once would clear each other's .venv.
.NOTPARALLEL:
.PHONY: help setup setup-dev quickstart test test-full slow check fix bench docs pictures results lock clean
