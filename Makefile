# make env · make demo · make test · make test-all · make lint · make docs · make smoke · make bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One of cpu, cuda12, tpu; found by what the machine has, or given: make env ACCELERATOR=cpu
ACCELERATOR ?= $(shell if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then echo cuda12; \
	elif ls /dev/accel0 /dev/vfio/0 >/dev/null 2>&1; then echo tpu; else echo cpu; fi)
REQUIREMENTS := $(if $(filter cuda12,$(ACCELERATOR)),requirements.txt,requirements-$(ACCELERATOR).txt)
STAMP := $(VENV)/installed-$(ACCELERATOR)

.PHONY: env demo test test-all lint docs smoke bench clean

env: $(STAMP)

$(STAMP): requirements.txt requirements-cpu.txt requirements-tpu.txt requirements-dev.txt
	@echo "Installing for: $(ACCELERATOR) ($(REQUIREMENTS))"
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else f"Python {v} found; pmd_jax needs 3.11 or newer: make env PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r $(REQUIREMENTS) -r requirements-dev.txt
	@rm -f $(VENV)/installed-* && touch $@

demo: env
	$(BIN)/python -m pmd_jax.main --config=launch/demo.py

test: env
	$(BIN)/python -m pytest -m "not slow and not browser"

test-all: env
	$(BIN)/python -m pytest

smoke: env
	$(BIN)/python -m pmd_jax.main --config=launch/smoke.py

bench: env
	$(BIN)/python -m pip install --quiet -r requirements-parity.txt
	$(BIN)/python -m benchmarks.run

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
