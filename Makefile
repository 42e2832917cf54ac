# make setup | demo | test | test-docs | test-oldest | lint | docs | bench | dist
PYTHON ?= python3
BIN := .venv/bin
# one process; the flags keep `accelerate launch` from asking for `accelerate config`
LAUNCH := $(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

.PHONY: setup demo test test-docs test-oldest lint docs bench dist

setup: .venv/.installed

.venv/.installed: constraints.txt
.venv-oldest/.installed: constraints-oldest.txt
.venv/.installed .venv-oldest/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "xmodal needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --constraint $(filter constraints%,$^) --editable '.[demo,dev,docs,track]'
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

# the site, and the tutorials and notebooks as a reader runs them: minutes, so not a part of `test`
test-docs: setup
	$(BIN)/python -m pytest -m slow tests/docs

# the lowest versions that pyproject.toml allows, on Python 3.11
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest

# the site, in docs/_build; a link that leads nowhere is an error, as every warning is
docs: setup
	$(BIN)/python -m sphinx -W --keep-going --quiet --builder html docs docs/_build

bench: setup
	PYTHON=$(BIN)/python benchmarks/gpu.sh  # without a card a dry run
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# what goes on a package index: the source, and a wheel made of it
dist: setup
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
