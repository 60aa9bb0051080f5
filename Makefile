# SPDX-License-Identifier: Apache-2.0
# Needs python3.11 with venv, g++, make and perl; everything else is installed into .venv.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
# torch first and by exact version: a looser request may pull gigabytes of CUDA libraries.
TORCH  := $(shell grep '^torch==' constraints.txt)
# finn-plus without its dependencies: it pins another Brevitas.
FINN   := $(shell grep '^finn-plus==' constraints.txt)
# Without torchvision, which backpack asks for and a search for bits does not need.
HESSIAN := $(shell grep -E '^(curvlinops|backpack)-for-pytorch==' constraints.txt)

# One worker a core; a file's tests stay together, as they share what they build. One thread in each, else the workers fight for the cores.
JOBS   ?= $(shell nproc)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo install test test-all bench lint clean

demo: install ## train, build and verify the quickstart encoder (minutes on 2 cores)
	$(BIN)/bitloom run recipes/quickstart.yaml

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: got no $(PYTHON), must be on PATH; install Python 3.11 or give PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,finn,search,synth]'
	$(BIN)/pip install --quiet --no-deps $(FINN) $(HESSIAN)
	@touch $@

test: install ## every test that takes seconds
	$(PYTEST)

test-all: install ## also the slow ones: random encoders, real data, whole training runs
	$(PYTEST) -m 'slow or not slow'

bench: install ## the tables of docs/results.md
	$(BIN)/python -m benchmarks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## leaves runs/ alone
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
