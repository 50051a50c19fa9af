# make demo       plan the TG-119 C-shape with the built-in rules planner
# make test       lint, import rules, tests
# make test-slow  the tests that take minutes
# The environment is built in $(VENV) from pyproject.toml and constraints.txt alone.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: help demo test test-slow lint environment clean

help:
	@sed -n 's/^# //p' Makefile

environment: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || { \
	  echo 'radplan needs Python 3.10 to 3.13, $(PYTHON) is not; name another one:' \
	    'make PYTHON=/path/to/python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[plan,llm,scene,test]'
	touch $@

demo: $(STAMP)
	$(BIN)/radplan plan tg119 --protocol tg119_cshape_easy --planner rules --out $(DEMO) --overwrite

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) $(DEMO) build dist RadPlanAgent/Logic/radplan.egg-info \
	  .pytest_cache .ruff_cache .import_linter_cache
