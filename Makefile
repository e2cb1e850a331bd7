# Two commands: `make run` serves the page, `make test` runs every test. Each sets up what it needs: the first takes no
# torch, the second all extras.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: setup run test lint format bench clean
.DEFAULT_GOAL := run

$(BIN)/voxgender: pyproject.toml constraints.txt tools/system-packages
	tools/system-packages base
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --constraint constraints.txt --editable '.[media]'
	@touch $@

$(VENV)/.dev: $(BIN)/voxgender package.json tools/system-packages
	tools/system-packages tests
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	npm install --no-audit --no-fund --loglevel=error
	@touch $@

setup: $(VENV)/.dev

run: $(BIN)/voxgender
	$(BIN)/voxgender serve

test: setup lint
	node --test client/test/*.test.js
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck tools/system-packages .ci/run docs/deployment/*/*.sh
	$(BIN)/lint-imports
	npx --no-install tsc --project client
	npx --no-install eslint .
	npx --no-install prettier --check client eslint.config.js package.json

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	npx --no-install prettier --write client eslint.config.js package.json

bench: setup
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) node_modules
