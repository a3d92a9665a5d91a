# make demo: install the package and analyze the sample photographs.
# make serve: run the web service on http://127.0.0.1:8000.
# make test: install everything the tests need and run them, two at a time; on more cores say
# WORKERS=8. make check: lint, types, tests.
# make weekly: what takes too long for every change: each network of the literature, each graph.
# make docs: build the documentation into build/docs.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The versions that the tests last passed with.
TORCH := torch==2.14.1 torchvision==0.29.1
WORKERS ?= 2
MARKED ?= not slow

.PHONY: demo serve test weekly lint check docs samples clean

demo: $(VENV)/base
	$(BIN)/crackseg analyze data/samples --config data/samples/scale.toml --out demo-report

serve: $(VENV)/service
	$(BIN)/crackseg serve --data crackseg-data

test: $(VENV)/test # one thread for each test: two that take both cores take three times as long
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal -m '$(MARKED)'

weekly: $(VENV)/test
	$(BIN)/pytest -m slow tests/networks tests/training

lint: $(VENV)/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

docs: $(VENV)/test
	$(BIN)/sphinx-build -W --keep-going -q docs build/docs

samples: $(VENV)/base
	$(BIN)/python data/make_samples.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/base: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[reports]'
	@touch $@

$(VENV)/service: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[service]'
	@touch $@ $(VENV)/base

$(VENV)/test: pyproject.toml | $(BIN)/python
	$(PIP) $(TORCH)
	$(PIP) --editable '.[train,test,service,docs,gis,remote]'
	@touch $@ $(VENV)/base $(VENV)/service

clean:
	rm -rf $(VENV) demo-report
