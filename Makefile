# make demo: install the base package and analyze the sample photographs.
# make test: install everything the tests need and run them.
PYTHON ?= python3.11
BIN := .venv/bin
# The versions that the tests last passed with.
TORCH := torch==2.14.1 torchvision==0.29.1

.PHONY: demo test check samples clean

demo: .venv/base
	$(BIN)/crackseg analyze data/samples --out demo-report

test: .venv/test
	$(BIN)/pytest

check: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

samples: .venv/base
	$(BIN)/python data/make_samples.py

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/base: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train,test]'
	@touch $@ .venv/base

clean:
	rm -rf .venv demo-report
