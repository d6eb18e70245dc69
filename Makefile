# `make help` lists the targets. Each does its own set-up: a machine needs make and Python 3.11 or newer with its venv.

PROFILE ?= mini
OUT ?= runs/reproduce
SEEDS ?= 0
WORLD ?= toy-scenes
# where torch and torchvision come from, e.g. https://download.pytorch.org/whl/cpu for the small CPU-only build
TORCH_INDEX ?=
# so many tests or notebooks side by side; where it is not given, a reproduction chooses itself
JOBS ?= 2
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(shell grep -E '^torch(vision)?==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help install test lint pairs chromium reproduce prepare zoo lab book bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo 'options:  PROFILE=smoke|mini|small|paper  OUT=runs/reproduce  SEEDS="0 1 2"  WORLD=toy-scenes  JOBS=2'
	@echo "          PYTHON=python3.12  TORCH_INDEX=https://download.pytorch.org/whl/cpu  (a small torch without CUDA)"

# torch first, by itself: its index holds nothing but torch, and everything else must accept the torch that is there.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench,book]'
	@touch $(READY)

install: $(READY) ## make the environment in .venv (the other targets do it when it is needed)

reproduce: $(READY) ## run the whole reproduction at PROFILE into OUT
	$(BIN)/t2i reproduce --profile $(PROFILE) --out $(OUT) --seeds $(SEEDS) $(if $(filter-out file,$(origin JOBS)),--jobs $(JOBS))

test: lint chromium ## check style and notebook pairs, then run the tests
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(READY) pairs ## check style and notebook pairs only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if command -v actionlint >/dev/null; then actionlint; fi

# The pair is compared, never synchronised: jupytext's own --sync trusts modification times, which a checkout resets.
pairs: $(READY)
	@for base in $$(ls notebooks/*.ipynb notebooks/*.py 2>/dev/null | sed -E 's/\.(ipynb|py)$$//' | sort -u); do \
		test -f $$base.ipynb && test -f $$base.py || { echo "$$base: one of the pair .ipynb and .py is missing" >&2; exit 1; }; \
		$(BIN)/jupytext --quiet --to py:percent --output - $$base.ipynb | $(BIN)/ruff format --quiet --stdin-filename $$base.py - \
			| diff -u $$base.py - || { echo "$$base.ipynb and $$base.py differ; after an edit of the .py run:" \
			"$(BIN)/jupytext --update --to ipynb $$base.py" >&2; exit 1; }; \
	done

# The browser tests drive Debian's chromium. Without it they are skipped, and say so.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || exit 0; \
		echo "installing chromium for the browser tests"; \
		apt-get update -qq -o Acquire::http::Timeout=20 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium \
			>/dev/null || echo "chromium could not be installed: the browser tests will be skipped" >&2

prepare: $(READY) ## prepare the dataset WORLD for PROFILE
	$(BIN)/t2i prepare $(WORLD) --profile $(PROFILE)

zoo: $(READY) ## train the systems that are shipped anew, and pack them (hours on a CPU; it goes on where it was)
	$(BIN)/t2i prepare toy-scenes
	$(BIN)/t2i prepare toy-scenes --train 40000
	$(BIN)/t2i zoo

lab: $(READY) ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		$(if $(filter 0,$(shell id -u)),--allow-root)

book: $(READY) ## make a static site of the notebooks as they were saved, in build/book
	rm -rf build/book
	$(BIN)/python -m t2i_core.book --out build/book

bench: $(READY) ## measure speed and memory as ratios
	$(BIN)/python -m tests.bench

clean: ## remove .venv, build/ and caches; data/ and runs/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
