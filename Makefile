# Everything a fresh clone needs. Only python3 (3.10 or newer, with venv) has to be there; with cargo and a C compiler
# the native engine is built too. Nothing is downloaded but Python packages and crates.
#
#   make run     a tree of 2,000 sessions: scan, plan, archive, verify, restore, compare
#   make test    every test, on each engine there is, and cargo's
#   make torture  every point of every fault, and the table in docs/durability.md from it (some fifteen minutes, as root)
#   make lint    everything that is checked without running
#   make bench   the benchmarks (see benchmarks/README.md)
#   make clean   removes what the others made

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BENCH_ARGS ?=
SAMPLE ?= .sample

BIN := $(VENV)/bin
CARGO := $(shell command -v cargo 2>/dev/null)
BUILD_INPUTS := pyproject.toml Cargo.toml $(wildcard Cargo.lock) tools/build_backend.py $(shell find rust -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test torture lint bench clean
.DELETE_ON_ERROR:

help:
	@sed -n '4,9s/^#   //p' Makefile

# The Python sources are used where they stand (editable), so only a change of what is compiled asks for a new build.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "runark needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments. Install its venv package (Debian, Ubuntu: apt-get install python3-venv), then run make again." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python $(BUILD_INPUTS)
	$(BIN)/python -m pip install --quiet --editable .
	@$(BIN)/runark --version
	@touch $@

$(VENV)/.dev: $(VENV)/.python $(BUILD_INPUTS)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(BIN)/runark --version
	@touch $(VENV)/.installed $@

run: $(VENV)/.installed
	$(BIN)/python examples/tour.py --at $(SAMPLE) --sessions 2000

test: $(VENV)/.dev
ifneq ($(CARGO),)
	$(CARGO) test --workspace --exclude runark-native --quiet
endif
	$(BIN)/python -m pytest $(PYTEST_ARGS)

TORTURE_RESULTS := tests/torture/results.jsonl
torture: $(VENV)/.dev
	rm -f $(TORTURE_RESULTS).new
	RUNARK_TORTURE=full RUNARK_TORTURE_RECORD=$(CURDIR)/$(TORTURE_RESULTS).new $(BIN)/python -m pytest tests/torture tests/conformance/test_verify.py $(PYTEST_ARGS)
	mv $(TORTURE_RESULTS).new $(TORTURE_RESULTS)
	$(BIN)/python tools/torture_table.py $(TORTURE_RESULTS) docs/durability.md

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy python tools examples
	$(BIN)/lint-imports --no-cache
ifneq ($(CARGO),)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings
endif

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

# .sample belongs to `make run`, which refuses to touch one it has not made; so does this.
clean:
	@if [ -e $(SAMPLE) ]; then $(PYTHON) examples/tour.py --at $(SAMPLE) --remove; fi
	rm -rf $(VENV) target build dist python/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f python/runark/_native*.so python/runark/_built.txt
	find . -name .git -prune -o -name __pycache__ -type d -exec rm -rf {} +
