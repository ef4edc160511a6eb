# Leadglass. `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export LEADGLASS_HOME ?= $(CURDIR)/home
export PIP_DISABLE_PIP_VERSION_CHECK := 1
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.done
PYTEST := $(BIN)/python -m pytest
ARGS ?=
SECONDS ?= 60
SLOW := browser or faults or peer

.PHONY: help setup up demo test test-fast test-slow test-browser test-peers test-faults test-corpus fuzz check \
        bench bench-quick clean packages

help:  ## Say what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo "  Home directory: LEADGLASS_HOME (now $(LEADGLASS_HOME)). More for pytest or serve: ARGS='...'"

setup: $(DONE)/package viewer-dist  ## Make .venv/bin/leadglass and the viewer ready; start nothing
	@tools/debian-packages.sh --optional libnss3-tools

up: setup  ## Set up and serve; prints the first administrator's link
	@$(BIN)/leadglass init --home "$$LEADGLASS_HOME" --hostname "$${LEADGLASS_HOSTNAME:-localhost}"
	@tools/offer-trust.sh $(BIN)/leadglass "$$LEADGLASS_HOME"
	@exec $(BIN)/leadglass serve --home "$$LEADGLASS_HOME" $(ARGS)

demo: setup  ## Serve with sample studies: images within five minutes of cloning
	@tools/demo.sh $(BIN) "$$LEADGLASS_HOME" $(ARGS)

test: setup packages  ## Set up and run all tests but those over the corpus
	$(PYTEST) -m "not corpus" $(ARGS)

test-fast: setup  ## The tests that need no browser, no peer and no killing
	$(PYTEST) -m "not ($(SLOW) or corpus or fuzz)" $(ARGS)

test-slow: setup packages  ## The tests with browsers, real peers and faults
	$(PYTEST) -m "($(SLOW)) and not (corpus or fuzz)" $(ARGS)

test-browser: setup packages  ## The journeys in Chromium
	$(PYTEST) -m "browser and not corpus" $(ARGS)

test-peers: setup packages  ## The journeys against real foreign programs
	$(PYTEST) -m "peer and not corpus" $(ARGS)

test-faults: setup  ## Killed processes, full disks
	$(PYTEST) -m "faults and not corpus" $(ARGS)

test-corpus: setup packages  ## The tests over ../shared/data
	@test -d ../shared/data || { echo "../shared/data is not here: nothing to run over." >&2; exit 1; }
	$(PYTEST) -m corpus $(ARGS)

fuzz: setup  ## Fuzz each parser for SECONDS=60; findings stay in fuzz-findings
	FUZZ_SECONDS=$(SECONDS) $(PYTEST) -m fuzz $(ARGS)

check: setup  ## Lint, types, import contracts, architecture, documents
	$(BIN)/ruff check src tests tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q tests/architecture tests/docs

bench: setup packages  ## Measure beside Orthanc, at scale and at home (15 minutes); writes docs/benchmarks.md and its plot
	@tools/debian-packages.sh wrk curl
	$(BIN)/python tools/bench.py $(ARGS)

bench-quick: setup packages  ## The ratios of storing, study and frames, in under a minute; writes nothing
	@tools/debian-packages.sh wrk curl
	$(BIN)/python tools/bench.py --quick $(ARGS)

clean:  ## Remove what setup and the tests made; the home directory stays
	rm -rf $(VENV) viewer/dist build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@tools/debian-packages.sh

# --- set-up, each step once -------------------------------------------------------------------------------------

$(DONE)/venv:
	@python=$$(tools/find-python.sh); echo "Using $$($$python --version) for .venv"; \
	$$python -m venv $(VENV) || { echo "No venv: install it with: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@mkdir -p $(DONE); touch $@

$(DONE)/libraries: requirements.lock $(DONE)/venv
	@echo "Installing libraries (requirements.lock, by hash)"
	@$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(DONE)/package: pyproject.toml $(DONE)/libraries
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

.PHONY: viewer-dist
viewer-dist: $(DONE)/venv
	@$(BIN)/python tools/fetch_viewer.py
