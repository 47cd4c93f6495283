# Everything a newcomer needs, each in one command. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
MODEL ?= smollm2-135m-instruct
PRECISION ?=
TARGET ?= auto
GPU ?=
PROMPT ?= Which city is the capital of France?
GRPC_PORT ?= 8001
HTTP_PORT ?= 8000
METRICS_PORT ?= 8002
CHECKPOINT ?=
OUTPUT ?=
PYTEST_ARGS ?=
JOBS ?= 2
BENCH_ARGS ?=
SOAK_ARGS ?=
export PROMPT MODEL CHECKPOINT OUTPUT

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
HAS_TENSORRT := from importlib.util import find_spec as f; exit(not (f("tensorrt_rtx") or f("tensorrt")))
READY := .venv/ready
TEST_READY := .venv-test/ready

.PHONY: help
help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: PROMPT, MODEL, PRECISION (f32, bf16, int8, int4; more with TARGET=tensorrt),"
	@echo "  TARGET (auto, openvino, native, tensorrt, tensorrt-llm), GPU (sm89, ..., current), CHECKPOINT, OUTPUT,"
	@echo "  GRPC_PORT, HTTP_PORT, METRICS_PORT, PYTHON, TORCH_INDEX, PYTEST_ARGS, JOBS, BENCH_ARGS, SOAK_ARGS"

.PHONY: demo
demo: $(READY) ## Compile a model, serve it with Triton, stream an answer (PROMPT="...")
	@.venv/bin/llmasos demo --model "$$MODEL" $(addprefix --precision ,$(PRECISION)) -- "$$PROMPT"

.PHONY: serve
serve: $(READY) ## Serve MODEL with Triton until Ctrl-C
	@.venv/bin/llmasos serve $(addprefix --precision ,$(PRECISION)) --grpc-port $(GRPC_PORT) \
	  --http-port $(HTTP_PORT) --metrics-port $(METRICS_PORT) -- "$$MODEL"

.PHONY: build-engine
build-engine: $(READY) ## Compile CHECKPOINT into a Triton model repository at OUTPUT
	@if [ -z "$$CHECKPOINT" ] || [ -z "$$OUTPUT" ]; then \
	  echo "usage: make build-engine CHECKPOINT=... OUTPUT=... [PRECISION=int8]" \
	    "[TARGET=tensorrt GPU='sm89 sm120']" >&2; exit 2; fi
	@if [ "$(TARGET)" = tensorrt ] && ! .venv/bin/python -c '$(HAS_TENSORRT)'; then \
	  echo "error: TensorRT is not installed; it is NVIDIA's, under its own licence:" \
	    ".venv/bin/python -m pip install --editable '.[tensorrt-rtx]'" >&2; exit 1; fi
	@.venv/bin/llmasos build --target $(TARGET) $(addprefix --gpu ,$(GPU)) \
	  $(addprefix --precision ,$(PRECISION)) --output "$$OUTPUT" -- "$$CHECKPOINT"

.PHONY: test
test: $(TEST_READY) ## Run every test but the long sweeps, in JOBS processes
	@.venv-test/bin/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

.PHONY: test-quick
test-quick: $(TEST_READY) ## Run the tests without servers, torch and downloads: within a minute
	@.venv-test/bin/python -m pytest -n $(JOBS) --dist worksteal \
	  -m "not slow and not server and not parity and not network" $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: $(TEST_READY) ## Run the long sweeps: every value of every field
	@.venv-test/bin/python -m pytest -n $(JOBS) --dist worksteal -m slow $(PYTEST_ARGS)

.PHONY: soak
soak: $(TEST_READY) ## Load MODEL with 500 clients for 5 minutes, then kill and stop each process (SOAK_ARGS)
	@PYTHONPATH=tests/support .venv-test/bin/python -m soak $(SOAK_ARGS) -- "$$MODEL"

.PHONY: test-newest
test-newest: ## Run the quick tests with the newest Python (3.13, 3.14) and numpy 2
	@scripts/test-newest $(PYTEST_ARGS)

.PHONY: check
check: $(TEST_READY) ## Check format, lint, spelling, types and the pages made from the code
	@.venv-test/bin/ruff format --check --quiet .
	@.venv-test/bin/ruff check --quiet .
	@.venv-test/bin/typos --format brief
	@.venv-test/bin/mypy
	@.venv-test/bin/pyright --pythonpath .venv-test/bin/python
	@.venv-test/bin/python -m llmasos_app.cli.reference --check
	@.venv-test/bin/python scripts/package_map.py --check

.PHONY: docs
docs: $(TEST_READY) ## Make the pages under docs/ into a site, in site/
	@.venv-test/bin/python -m llmasos_app.cli.reference
	@.venv-test/bin/python scripts/package_map.py
	@.venv-test/bin/python -m llmasos_builder.architectures.page
	@NO_MKDOCS_2_WARNING=1 .venv-test/bin/python -m mkdocs build --strict --quiet
	@echo "the site is in site/, index.html first"

.PHONY: bench
bench: $(READY) ## Compare with other engines on this machine (BENCH_ARGS="--quick")
	@TORCH_INDEX="$(TORCH_INDEX)" .venv/bin/python -m benchmarks $(BENCH_ARGS)

.PHONY: check-gpu
check-gpu: $(READY) $(TEST_READY) ## Build for this machine's NVIDIA GPU, run, compare, measure
	@.venv-test/bin/python -m pytest -q -m gpu tests/runtime/tensorrt
	@.venv/bin/python -m benchmarks.check_gpu $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove the environments (what is cached in the home directory stays)
	@rm -rf .venv .venv-test .venv-newest site benchmarks/.envs benchmarks/work

$(READY): pyproject.toml scripts/make-venv
	@scripts/make-venv .venv "$(PYTHON)"
	@echo "installing LLMasOS and what it needs into .venv"
	@.venv/bin/python $(PIP_INSTALL) --editable .
	@touch $@

$(TEST_READY): pyproject.toml scripts/make-venv scripts/install-torch
	@scripts/make-venv .venv-test "$(PYTHON)"
	@echo "installing LLMasOS, its tests' tools and torch into .venv-test"
	@scripts/install-torch .venv-test/bin/python "$(TORCH_INDEX)"
	@.venv-test/bin/python $(PIP_INSTALL) --editable '.[dev,docs,parity,native,tensorrt-rtx]'
	@touch $@
