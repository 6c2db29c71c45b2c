# Everything a newcomer needs. `make help` lists it; each target does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.ready
TESTS ?= tests
KILLS ?= 200
PARTS ?=

.PHONY: help setup demo test check gen bench soak

help: ## List these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) ## Make the virtual environment and leave the command at .venv/bin/lakehouse

$(STAMP): requirements.lock pyproject.toml
	@bash deploy/setup.sh

demo: setup ## Run the whole thing on sample data: ingest, SQL, search, remember, and be better the second time
	@$(BIN)/lakehouse demo

test: setup ## Run the tests (TESTS=tests/unit for a part)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup $(TESTS)

check: setup ## Lint, types, contracts, generated code, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python proto/generate.py --check
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code proto
	@$(BIN)/buf breaking proto --against proto/released.binpb
	@$(BIN)/python -m pytest -q tests/docs

gen: setup ## Generate gen/ from proto/, and the pages of docs that show the code
	@$(BIN)/python proto/generate.py
	@$(BIN)/python -m docs.tables

bench: setup .venv-peers/.ready ## Measure side by side against baselines; prints a table, writes bench/results/latest.json
	@$(BIN)/python -m bench $(PARTS)

soak: setup ## Kill a vectord under load 200 times and check what comes back (KILLS=20 for fewer)
	@$(BIN)/python -m tests.soak.kills $(KILLS)

.venv-peers/.ready: bench/peers.lock
	@bash deploy/peers.sh
