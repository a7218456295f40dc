# Everything that is built, tested and measured here starts in this file. `make` lists the targets.
#
# Settings (environment or command line):
#   MILLSTREAM_CACHE   what is fetched and built once for all clones (default: ~/.cache/millstream)
#   CARGO_TARGET_DIR   cargo's output (default: the folder `target` in that cache)
#   PYTHON             the interpreter that .venv is made of (default: python3)
#   LIBRDKAFKA=1       builds librdkafka in as well, for client="librdkafka"; it stays in until LIBRDKAFKA=0.
#                      test, bench and conformance ask for it by themselves
#   SEEDS, FROM, SEED  how many seeds `make sim` runs and from where on, or the one to replay
#   ARGS               further arguments, for demo, test, conformance, bench and kafka

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export MILLSTREAM_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/millstream
# Outside the clone, so that a second clone and the CI's fresh one do not start from nothing.
export CARGO_TARGET_DIR ?= $(MILLSTREAM_CACHE)/target
# The tools, also below pip, know it by this name.
LIBRDKAFKA ?= $(if $(shell grep -s librdkafka .venv/.stamps/native.env),1)
export MILLSTREAM_LIBRDKAFKA ?= $(LIBRDKAFKA)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The build backend is maturin behind one of our own (tools/build_backend), which maturin does not know.
export MATURIN_NO_MISSING_BUILD_BACKEND_WARNING := 1
PYTHON ?= python3
ARGS ?=

VENV := .venv
STAMPS := $(VENV)/.stamps
NATIVE_ENV := $(STAMPS)/native.env
WITH_NATIVE := . $(NATIVE_ENV) &&
# Directories count too: a deleted file changes the time of its folder. The Python layer is not here, for it is
# installed as a link into the clone.
RUST_SOURCES := $(shell find crates -name target -prune -o \( -name '*.rs' -o -name '*.tsv' -o -name Cargo.toml -o -type d \) -print)
# Cargo knows a package of the workspace by its path inside the clone, and what is new by the times of files. Two clones
# with different sources would take each other's builds, so what another clone has built of ours is forgotten.
FORGET_OTHER_CLONES = built_by="$(CARGO_TARGET_DIR)/last-clone"; \
  if [ "$$(cat "$$built_by" 2>/dev/null || true)" != "$(CURDIR)" ]; then \
    rm -rf "$(CARGO_TARGET_DIR)"/*/.fingerprint/{millstream,xtask}*; \
    mkdir -p "$(CARGO_TARGET_DIR)" && echo "$(CURDIR)" > "$$built_by"; fi
MODULE := $(wildcard python/millstream/_millstream*.so)

.PHONY: help
help: ## This list
	@printf 'Millstream: targets of this Makefile\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nFirst time: make demo\n'

.PHONY: demo
demo: build ## A pipeline over 336,776 real flights, on the embedded broker
	@$(VENV)/bin/python examples/demo.py $(ARGS)

.PHONY: build
build: $(STAMPS)/built ## The Python package and the millstream program, into .venv/

.PHONY: test
test: LIBRDKAFKA = 1
test: $(STAMPS)/test-tools $(STAMPS)/built ## Every test: Rust, Python, examples, real Kafka, foreign clients
	@$(WITH_NATIVE) $(VENV)/bin/python tools/test.py $(ARGS)

.PHONY: test-fast
test-fast: $(STAMPS)/test-tools $(STAMPS)/built ## The quick ones, for the loop while writing
	@$(WITH_NATIVE) $(VENV)/bin/python tools/test.py --fast $(ARGS)

.PHONY: sim
sim: ## Broker and client under simulated faults (SEEDS=50000, or SEED=17 for one with its trace)
	@$(FORGET_OTHER_CLONES)
	@cargo run --quiet --locked --release --package millstream-sim -- \
	  $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),5000) --from $(or $(FROM),0))

.PHONY: bench
bench: LIBRDKAFKA = 1
bench: build ## Measure against librdkafka, Quix Streams, Kafka Streams (ARGS=--help)
	@$(WITH_NATIVE) $(VENV)/bin/python bench/run.py $(ARGS)

.PHONY: conformance
conformance: LIBRDKAFKA = 1
conformance: $(STAMPS)/test-tools $(STAMPS)/built ## Both clients on all brokers, with faults; writes docs/conformance.md
	@$(WITH_NATIVE) $(VENV)/bin/python tools/conformance.py $(ARGS)

.PHONY: lint
lint: $(STAMPS)/test-tools $(STAMPS)/built ## Formatting, clippy, dependencies, types, the stub against the module
	@$(WITH_NATIVE) $(VENV)/bin/python tools/lint.py

.PHONY: kafka
kafka: ## A real Apache Kafka on loopback (ARGS="start", "stop", "status", "run topics ...")
	@tools/kafka $(or $(ARGS),--help)

.PHONY: clean
clean: ## Remove what was built in this clone; the cache outside stays
	rm -rf $(VENV) build dist python/millstream/_millstream*.so .millstream
	find . -name __pycache__ -prune -exec rm -rf {} +
	@echo 'Left alone: $(MILLSTREAM_CACHE)'

# ---------------------------------------------------------------------------------------------------

$(STAMPS)/venv:
	@command -v $(PYTHON) >/dev/null || { echo 'make: there is no `$(PYTHON)` here (3.11 or later is needed)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'make: $(PYTHON) is too old: 3.11 or later is needed (make PYTHON=python3.12 ...)' >&2; exit 1; }
	@echo 'make: virtual environment $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/build-tools: tools/requirements/build.txt $(STAMPS)/venv
	@echo 'make: build tools from PyPI'
	@$(VENV)/bin/pip install --quiet --requirement $<
	@touch $@

$(STAMPS)/test-tools: tools/requirements/test.txt $(STAMPS)/venv
	@echo 'make: test tools from PyPI'
	@$(VENV)/bin/pip install --quiet --requirement $<
	@touch $@

# Always asked: it costs half a second, and the cache may have been cleaned. The file changes only when its content does.
.PHONY: native
native: $(STAMPS)/venv
	@command -v cargo >/dev/null || { echo 'make: there is no `cargo` here; Rust comes with rustup or your system' >&2; exit 1; }
	@$(VENV)/bin/python tools/native/prepare.py --env-file $(NATIVE_ENV)
	@$(FORGET_OTHER_CLONES)
$(NATIVE_ENV): native ;

$(STAMPS)/built: $(STAMPS)/build-tools $(NATIVE_ENV) $(RUST_SOURCES) Cargo.toml Cargo.lock pyproject.toml rust-toolchain.toml .cargo/config.toml $(if $(MODULE),,module-is-missing)
	@echo 'make: the Python module (cargo, release profile)'
	@$(WITH_NATIVE) VIRTUAL_ENV=$(CURDIR)/$(VENV) PATH="$(CURDIR)/$(VENV)/bin:$$PATH" maturin develop --release --locked \
	  $${MILLSTREAM_CARGO_FEATURES:+--features "$$MILLSTREAM_CARGO_FEATURES"}
	@touch $@

.PHONY: module-is-missing
module-is-missing: ;
