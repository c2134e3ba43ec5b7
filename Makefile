# Two commands are all that a newcomer needs: `make demo` and `make test`. Each sets itself up from nothing.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help demo test soak bench-quick bench bench-scale unit check format readme asyncapi docs asyncapi-check asyncapi-release lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is newer than the lock once everything in it is installed.
$(VENV)/.installed: requirements-dev.lock pyproject.toml
ifdef UV
	$(UV) venv --quiet --allow-existing --python '>=3.11' $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
else
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
	@touch $@

demo: $(VENV)/.installed ## Bring up RabbitMQ and Redis, run the worker on real message files, show what became of each
	$(BIN)/python -m sandbox demo

test: $(VENV)/.installed ## Run all tests, on RabbitMQ and Redis that they bring up
	$(BIN)/python -m pytest

soak: $(VENV)/.installed ## Hold load for two minutes while things die and come back (ARGS='--seconds 60 --rate 50')
	$(BIN)/python -m sandbox soak $(ARGS)

bench-quick: $(VENV)/.installed ## Compare this worker with a raw floor, in less than a minute
	$(BIN)/python -m bench quick

bench: $(VENV)/.installed ## Compare it with the floor and a lean Node worker, in less than five minutes
	$(BIN)/python -m bench full

bench-scale: $(VENV)/.installed ## See whether replicas, tenants and a backlog change what a message costs
	$(BIN)/python -m bench scale

unit: $(VENV)/.installed ## Run the tests that need no server
	$(BIN)/python -m pytest tests/unit

check: $(VENV)/.installed ## Lint, format check and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

readme: $(VENV)/.installed ## Make the README's tables anew from the code
	$(BIN)/python -m stream.operations.tables README.md

asyncapi: $(VENV)/.installed ## Write asyncapi/asyncapi.yaml and .json from the code
	$(BIN)/python -m asyncapi document

docs: asyncapi ## Build the contract's site in asyncapi/site
	$(BIN)/python -m asyncapi site

# The parser and what it needs, at the versions and hashes of its lock.
CHECKER := asyncapi/check/node_modules/.package-lock.json
$(CHECKER): asyncapi/check/package-lock.json
	cd asyncapi/check && npm ci
	@touch $@

asyncapi-check: ## Check the contract with AsyncAPI's own parser (needs node and npm)
ifeq ($(and $(shell command -v node),$(shell command -v npm)),)
	@echo "asyncapi-check: skipped, node and npm are not on this machine"
else
	@$(MAKE) --no-print-directory $(CHECKER)
	node asyncapi/check/check.mjs asyncapi/asyncapi.yaml asyncapi/asyncapi.json
endif

asyncapi-release: $(VENV)/.installed ## Mark the present contract as released: later changes are compared with it
	$(BIN)/python -m asyncapi release

LOCK := uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11
lock: ## Resolve the dependencies anew into the two lock files (needs uv)
	$(LOCK) --upgrade --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Remove what the other targets made
	rm -rf $(VENV) .sandbox .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
