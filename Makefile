# Everything this project does, in one word each. `make help` lists the words.
# Each target makes .venv and installs what it needs; nothing outside this folder changes, but
# `make e2e` changes a cluster and installs what builds an image.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart
PUBLISHED := datasets/published
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

.PHONY: help run test peers check e2e bench docs train validate clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/ready ## Measure the quickstart campaign; dataset and report go to out/quickstart
	$(BIN)/joulery run campaigns/quickstart.yaml --out $(OUT) --force

test: check ## Check, then run all tests
	$(BIN)/pytest

peers: $(VENV)/ready-to-develop ## Test with clients and servers that others wrote, each in an environment of its own
	$(BIN)/pytest tests/peers

check: $(VENV)/ready-to-develop ## Lint, format, types, and generated documents that drifted
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

e2e: $(VENV)/ready-to-develop ## Test the exporter on the cluster of the current kubeconfig, whose node is this machine
	$(BIN)/pytest tests/e2e -m e2e

bench: $(VENV)/ready-to-develop ## Compare speed and cost with named peers
	@# A benchmark that ends with 2 has said what this machine lacks.
	for script in benchmarks/*.py; do $(BIN)/python "$$script" || [ $$? -eq 2 ]; done

docs: $(VENV)/ready-to-develop ## Write the generated documents again
	$(BIN)/python docs/generate.py

train: $(VENV)/ready-to-train ## Train the shipped models again, from the shipped data
	$(BIN)/python -m joulery.campaigns.scenarios.train

validate: $(VENV)/ready-to-develop ## Judge the energies on simulated nodes again, and say so in docs/energy.md
	@# What was found is told also when a target was missed, and then the word fails.
	missed=0; $(BIN)/joulery validate-energy --out $(PUBLISHED)/energy-validation --force --no-page \
		|| missed=$$?; $(BIN)/python docs/generate.py; exit $$missed

clean: ## Remove .venv, caches and builds; results in out/ stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The root is itself the package, whatever this folder is called. mypy finds it by this link.
$(VENV)/ready: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "joulery needs Python 3.11 or newer, and found none;" \
		"make PYTHON=/path/to/python3 names one" >&2; exit 2; }
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear $(VENV) >/dev/null || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment;" \
		"on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	mkdir -p $(VENV)/checkout && ln -sfn ../.. $(VENV)/checkout/joulery
	touch $@

$(VENV)/ready-to-train: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train]'
	touch $@

$(VENV)/ready-to-develop: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
