# Everything a person types. The work is in dev/.
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
ARGS ?=

.PHONY: help setup run demo demo-federation test soak bench lint format lock lock-check migrate federation

help: ## show this list
	@echo "The consent broker. First: make run. Everything there is:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo "Settings of make run: HOST= PORT= PUBLIC_URL= (make run PORT=9000). More arguments: ARGS=\"...\"."

setup: ## prepare the environment in .venv from the pinned lock (Python 3.11 or 3.12)
	@sh dev/environment.sh server

run: setup ## prepare what is missing, migrate and serve on 127.0.0.1:8000
	@exec $(BIN)/consent-broker serve $(ARGS)

demo: setup ## start a broker by itself and drive the whole way through it (ARGS="--json --out DIR")
	@$(BIN)/python -m dev.demo $(ARGS)

demo-federation: setup federation ## three members train together on consented rows, a customer withdraws (ARGS="--json --out DIR")
	@$(BIN)/python -m dev.federation.demo $(ARGS)

test: ## run every test; what needs a missing program is skipped by name (ARGS="tests/credentials -x")
	@sh dev/environment.sh dev
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

soak: ## run faults and fuzzing in their long form: 20 kills, a million inputs (ARGS="tests/fuzzing")
	@sh dev/environment.sh dev
	@SOAK=1 $(BIN)/python -m pytest -q $(if $(ARGS),$(ARGS),tests/faults tests/fuzzing tests/zkp tests/interop/test_zkp.py tests/broker/test_withdrawal_race.py tests/broker/test_two_partners.py tests/broker/test_evidence.py tests/federation/flower/test_up.py tests/federation/flower/test_demonstration.py)

bench: ## measure every figure against its probe and check what it has to hold (ARGS="decisions")
	@sh dev/environment.sh dev && sh dev/environment.sh federation
	@$(BIN)/python -m benchmarks $(if $(ARGS),$(ARGS),--all)

lint: ## format, lint, types, import contracts
	@sh dev/environment.sh dev
	@echo "lint: format" && $(BIN)/ruff format --check --quiet .
	@echo "lint: rules" && $(BIN)/ruff check --quiet .
	@echo "lint: types" && $(BIN)/mypy --no-error-summary
	@echo "lint: import contracts" && sh dev/quietly.sh $(BIN)/lint-imports --no-logo

format: ## format the code and mend what can be mended by itself
	@sh dev/environment.sh dev
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

lock: ## resolve the dependencies again, keeping the present versions (ARGS="--upgrade" takes new ones)
	@sh dev/environment.sh dev
	@sh dev/lock.sh write $(ARGS)

lock-check: ## check that the locks are what pyproject.toml asks for, hashed, without registry addresses
	@sh dev/environment.sh dev
	@sh dev/lock.sh check

migrate: setup ## bring the database to the present tables (DATABASE_URL=, else the embedded one)
	@$(BIN)/consent-broker migrate $(ARGS)

federation: ## prepare .venv-federation: Flower, pinned, and this project's libraries, for training applications
	@sh dev/environment.sh federation
