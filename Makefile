# One door for every command: `make` alone lists them. Each makes what it needs first, in .venv and .build.

PYTHON ?= python3
# What to hand on to the command behind a target, as in `make test ARGS='-k values'`.
ARGS ?=

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
VENV := .venv
BIN := $(VENV)/bin
# Set up when these exist: the interpreter, what the system runs on, what the checks and tests run on.
MADE := $(VENV)/made.stamp
LOCAL := $(VENV)/local.stamp
DEV := $(VENV)/dev.stamp
TYPED := services/jac_orc $(wildcard protos/*.py tests bench)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What is imported is compiled once, as in an installation: a module server starts in half the time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install up test test-aio test-cluster test-cluster-e2e check lint types contracts protos protos-check protos-release \
	golden golden-check format bench image lock clean

help:  ## Lists the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(LOCAL)  ## Sets up .venv with the command `jac-orc`
	@echo 'It is set up: $(BIN)/jac-orc'

up: $(LOCAL)  ## Runs the whole system on this machine; ARGS: options of `jac-orc up`
	@exec $(BIN)/jac-orc up $(ARGS)

test: check  ## Runs every check, then the tests; ARGS: options of pytest
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(ARGS)

# `make test` runs them on the default server.
test-aio: $(DEV)  ## Runs the tests of features and of the contract on grpc.aio, which takes over where grpcio has changed
	GRPC_SERVER=aio $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile tests/feature \
		tests/contract $(ARGS)

# One at a time, because most of them share a system, and some measure it. CONTRIBUTING.md lists the variables.
test-cluster: $(DEV)  ## Runs the tests on a cluster: KUBECONFIG, ORC_TEST_… as in CONTRIBUTING.md; ARGS
	@test -n "$$KUBECONFIG" || { echo 'This needs KUBECONFIG to name a cluster.' >&2; exit 2; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -p no:xdist -m cluster tests/contract tests/cluster tests/kustomize \
		$(ARGS)

test-cluster-e2e: $(DEV)  ## Runs the end-to-end suite on the system in a cluster: KUBECONFIG, ORC_TEST_{IMAGE,NODE}; ARGS
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -p no:xdist tests/e2e --target cluster $(ARGS)

check: lint types contracts protos-check golden-check  ## Runs every check that is not a test

lint: $(DEV)  ## Finds faults of style and form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## Checks the types
	$(BIN)/mypy --num-workers auto $(TYPED)

contracts: $(DEV)  ## Checks that the layers import only what they may
	$(BIN)/lint-imports

protos: $(DEV)  ## Writes services/jac_orc/v1 from the protos
	$(BIN)/buf format protos --write
	$(BIN)/python protos/generate.py

protos-check: $(DEV)  ## Checks the protos, the code made from them, and that no client breaks
	$(BIN)/python protos/generate.py --check
	$(BIN)/buf lint protos
	$(BIN)/buf format protos --diff --exit-code
	$(BIN)/buf breaking protos --against protos/baseline.binpb

# The baseline is the interface as last released. It is rewritten at a release, or when a break is meant, and never to
# get past `make check`.
protos-release: protos  ## Declares the interface as it is now the one that no later change may break
	$(BIN)/buf build protos --exclude-source-info --output protos/baseline.binpb

golden: $(DEV)  ## Writes the golden files anew; read the difference before you commit it
	$(BIN)/pytest tests/golden --golden-rewrite $(ARGS)

golden-check: $(DEV)  ## Checks that what is generated equals the golden files
	$(BIN)/pytest --quiet tests/golden

format: $(DEV)  ## Repairs what can be repaired without thinking
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV)  ## Measures, next to peers that it installs; ARGS: which cases, --write: the documentation, --short, --full
	$(BIN)/python -m bench $(ARGS)

IMAGE ?= jac-cloud-orc:$(VERSION)
# With docker's own host and folder, as clusters read a name without a slash: podman and buildah would name another host.
FULL_IMAGE = $(if $(findstring /,$(IMAGE)),,docker.io/library/)$(IMAGE)
# docker, podman or buildah; each keeps images of its own. Empty: the first of them that works.
BUILDER ?=

image:  ## Builds the container image IMAGE by docker, podman or buildah (BUILDER); ARGS: options of its `build`
	@if [ -n '$(BUILDER)' ]; then tool='$(BUILDER)'; \
	elif docker info >/dev/null 2>&1; then tool=docker; \
	elif command -v podman >/dev/null; then tool=podman; \
	elif command -v buildah >/dev/null; then tool=buildah; \
	else echo 'This needs docker (with its daemon running), podman or buildah.' >&2; exit 2; fi; \
	set -x; $$tool build --build-arg VERSION=$(VERSION) --tag $(FULL_IMAGE) $(ARGS) .

# The others are made upon local.txt, so that all have the same versions of what they share. image.txt is what the
# container image runs on, build.txt the build backend alone, which that image doesn't keep.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
PEERS := bentoml fastapi litserve mlserver plot ray rpc

lock: $(LOCAL)  ## Pins the dependencies of pyproject.toml in requirements/; ARGS=--upgrade: to the newest versions
	$(LOCK) --group build pyproject.toml --extra local --output-file requirements/local.txt $(ARGS)
	$(LOCK) --group build pyproject.toml --extra dev --constraints requirements/local.txt \
		--output-file requirements/dev.txt $(ARGS)
	$(LOCK) pyproject.toml --extra module-server --extra pod-manager --constraints requirements/local.txt \
		--output-file requirements/image.txt $(ARGS)
	$(LOCK) --group build --constraints requirements/local.txt --output-file requirements/build.txt $(ARGS)
	$(LOCK) --group bench-grpc --constraints requirements/local.txt --output-file requirements/bench-grpc.txt $(ARGS)
	for peer in $(PEERS); do $(LOCK) --group bench-$$peer --output-file requirements/bench-$$peer.txt $(ARGS) || exit; done

clean:  ## Removes everything that make made
	rm -rf $(VENV) .build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	find $(wildcard services protos tests bench) -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'This needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments: apt install python3-venv' >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(LOCAL): requirements/local.txt pyproject.toml $(MADE)
	@echo 'Setting up $(VENV); this takes a minute the first time.'
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/local.txt
	$(BIN)/pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt requirements/local.txt pyproject.toml $(MADE)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $(LOCAL) $@
