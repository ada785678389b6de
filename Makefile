# Everything that people and machines do with this checkout. `make` alone explains.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One thread is as fast as two where both share a core, and batched small products are much faster.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint docs soak schedulers clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch comes first and alone, so that nothing else chooses its version. A stamp file makes a second call do nothing.
$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stormda needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	@touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/.run

install: $(VENV)/.dev ## Create .venv with stormda and the tools to develop it

demo: $(VENV)/.run ## Observations to a verified analysis ensemble, on the embedded world, in ./demo
	$(BIN)/stormda demo demo

test: $(VENV)/.dev ## The everyday test suite
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev ## ruff, mypy, import-linter, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

check: lint test ## All that CI runs: lint, then test

docs: $(VENV)/.dev ## Write docs/cli.md and docs/qc-codes.md from the program
	$(BIN)/python docs/generate.py

soak: $(VENV)/.dev ## Long tests, minutes each
	$(BIN)/python -m pytest -q -m soak

schedulers: $(VENV)/.dev ## The jobs of `stormda init` under a real Slurm and a real cron, where they are installed
	$(BIN)/python -m pytest -q -m schedulers

clean: ## Remove caches and build products; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
