# feedsvc. `make help` lists the commands.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# One lock for every platform. Pins that still fit stay; `ARGS=--upgrade` takes the newest releases.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)
PORT ?= $(shell $(BIN)/python -c 'import socket; from itertools import count; \
	print(next(p for p in count(8000) if socket.socket().connect_ex(("127.0.0.1", p))))')
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup lock run test environments soak chaos planted check format bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## Make .venv with every tool (each command below does this by itself)

# What running needs, without the tools of the tests. `feedsvc` runs from this checkout.
.venv/run: requirements.txt pyproject.toml
	$(call install,requirements.txt)
	@touch $@

.venv/ready: requirements-dev.txt pyproject.toml
	$(call install,requirements-dev.txt)
	@touch .venv/run $@

define install
	@test -n "$(PYTHON)" || \
		{ echo "error: no Python 3.11 or newer on the PATH; install one, or set PYTHON" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON) from $(1); the first time takes a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r $(1)
	@$(PIP) --no-deps --editable .
endef

lock: .venv/ready ## Pin the packages of pyproject.toml again (needs the network)
	@$(PIP) uv
	@$(LOCK) pyproject.toml -o requirements.txt
	@$(LOCK) --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

run: .venv/run ## Start the whole service with a demo graph (PORT=8000 to choose the port)
	@exec $(BIN)/feedsvc up --demo --port $(PORT)

test: .venv/ready ## Run the tests on embedded servers (ARGS="-k feed" selects, ARGS=--cov measures)
	@$(BIN)/python -m pytest -n 2 $(ARGS)

environments: .venv/ready ## Deploy the service for real: poolers, proxies, TLS, failures (as root)
	@$(BIN)/python -m pytest tests/environments $(ARGS)

soak: .venv/ready ## Try random operations for half an hour, check each feed (ARGS="--minutes 5")
	@$(BIN)/python -m tests.soak $(ARGS)

chaos: .venv/ready ## Kill processes while clients work, check every read (needs RabbitMQ)
	@$(BIN)/python -m tests.chaos $(ARGS)

planted: .venv/ready ## Plant known errors, check that the tests catch each (ARGS="cursor" selects)
	@$(BIN)/python -m tests.planted $(ARGS)

check: .venv/ready ## Check style, format, types and import contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/ready ## Format the code
	@$(BIN)/ruff format .

bench: .venv/ready ## Run every benchmark, for an hour (ARGS="fanout" selects)
	@$(BIN)/python -m benchmarks $(or $(ARGS),all)

clean: ## Remove .venv, caches and the demo's data
	rm -rf .venv .feedsvc .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
