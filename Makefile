# make setup | demo | test | lint | bench
PYTHON ?= python3
BIN := .venv/bin
# one process; the flags keep `accelerate launch` from asking for `accelerate config`
LAUNCH := $(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

.PHONY: setup demo test lint bench

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "xmodal needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev,track]'
	touch $@

demo: setup
	$(LAUNCH) xmodal/train.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest

bench: setup
	PYTHON=$(BIN)/python benchmarks/gpu.sh  # without a card a dry run
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done
