# Everything a newcomer needs is `make demo` and `make test`; the rest is for daily work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help check
help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

check: $(VENV)/dev  ## format, lint, types, layers, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not service and not slow"
