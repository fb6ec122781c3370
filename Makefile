.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTO := proto/kompakt/v1/compression.proto
PACKAGES := codec client service training
CONTRACT := tests/golden/compression-v1.binpb

# Data that lies beside the checkout is used if it is there; nothing depends on it.
ifneq ($(wildcard ../shared/data),)
export KOMPAKT_DATA_DIR ?= $(abspath ../shared/data)
endif

.PHONY: help setup demo test test-full lint format types proto proto-lint release-contract report bench-serving bench-quick build clean distclean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.complete  ## Create .venv with everything

$(VENV)/.complete: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "kompakt: $(PYTHON) not found; set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kompakt: Python 3.11 or newer is needed; set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Compiles the loops once, for which every process would else wait at its first image.
LOAD_MODELS = $(BIN)/python -c 'from kompakt_service import server, settings; server.Server(settings.load_settings({}))'

demo: setup  ## Serve the default checkpoints, compress real digits, compare, draw
	$(BIN)/python examples/demo.py --out demo-out

test: setup lint types  ## Run the whole suite: lint, types, tests
	$(LOAD_MODELS)
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-full: setup  ## Hold every promise on all test digits, in about half an hour
	@mkdir -p build
	$(BIN)/pytest -s -m full tests/full
	$(BIN)/python -m tests.full.streams write build/streams.npz
	$(BIN)/python -m tests.full.streams check build/streams.npz

lint: setup proto-lint  ## Check style, import directions and the contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint Dockerfile

format: setup  ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: setup  ## Check types (mypy --strict)
	$(BIN)/mypy

PROTOC = $(BIN)/python -m grpc_tools.protoc -Iproto \
	-I"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

proto: setup  ## Generate the stubs from the contract
	PATH="$(abspath $(BIN)):$$PATH" $(PROTOC) --python_out=proto --grpc_python_out=proto \
		--mypy_out=quiet:proto --mypy_grpc_out=quiet:proto $(PROTO)

proto-lint: setup  ## Lint the contract, and compare it with the released one
	@mkdir -p build
	$(PROTOC) --include_imports --include_source_info --descriptor_set_out=build/contract.binpb $(PROTO)
	$(BIN)/buf lint build/contract.binpb --path kompakt/v1
	$(BIN)/buf breaking build/contract.binpb --against $(CONTRACT) --path kompakt/v1

release-contract: proto-lint  ## Record the contract as released
	cp build/contract.binpb $(CONTRACT)

report: setup  ## Train or reuse both models and write the paper's comparison to report-out/
	$(BIN)/kompakt report --out report-out --baseline-images 10000

bench-serving: setup  ## Measure the service beside its floors and its peers, in a quarter of an hour
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.plot docs/serving.svg

bench-quick: setup  ## Try the same in a minute, without peers; its figures mean nothing
	$(BIN)/python -m benchmarks.serving --quick --only bare,unary,batch,stream,metrics

build: setup  ## Build the wheel into dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

distclean: clean  ## Remove .venv too
	rm -rf $(VENV)

clean:  ## Remove what was built, not .venv
	rm -rf build dist demo-out report-out .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
