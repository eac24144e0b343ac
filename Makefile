# What a user and a contributor need. `make serve` and `make test` set up everything themselves on a Debian machine
# with Python 3.11; what they can't install (no root, no network) they say, and the tests that need it are skipped.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

# Where nothing compiled is kept, each worker rewrites every test file anew, and each daemon compiles all of Millpond.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test test-fast test-long soak lint format bench bench-peers bench-compare clean

serve: $(VENV)/.installed
	$(BIN)/millpond serve $(ARGS)

# Lints first, so that what is red is red soon.
test: lint test-tools
	$(BIN)/pytest -n 3 --dist=worksteal --durations=25 $(ARGS)

# Pure decisions and fakes, without an application, a daemon, a program or a database: about a minute on two cores.
test-fast: $(VENV)/.developing
	$(BIN)/pytest -n 2 -q -m "not client and not fault and not live and not process and not whole and not heavy" \
	  --ignore=tests/clients --ignore=tests/faults $(ARGS)

# 100,000 steps of the cache against its model, in two halves side by side; docs/testing.md says how far it has come.
test-long: $(VENV)/.developing
	MILLPOND_TEST_STEPS=100000 $(BIN)/pytest -n 2 -q tests/artifacts/test_cache_model.py --timeout=14400 $(ARGS)

# An hour of everything at once; two minutes of it are in `make test`. Shows what was done and held.
soak: $(VENV)/.developing
	MILLPOND_TEST_SOAK_S=3600 $(BIN)/pytest -q -s tests/faults/test_soak.py $(ARGS)

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Everything, on a machine that does nothing else (docs/benchmarks says how long); ARGS="--list" shows the parts, and
# ARGS="--out docs/benchmarks" writes the report that is committed.
bench: $(VENV)/.developing
	$(BIN)/python -m bench $(ARGS)

# What it is measured beside: without them the benchmark has fewer rows.
bench-peers: $(VENV)/.developing
	@sh bench/install-peers.sh $(VENV)/.bench $(BIN)/python

# The pond and nginx only, beside the committed figures; fails when something costs more than a tenth.
bench-compare: $(VENV)/.developing
	$(BIN)/python -m bench --only hits,misses,herd,beside,startup --servers nginx,nginx-2,nginx-cache,millpond-1,millpond-2 \
	  --json $(VENV)/bench.json $(ARGS) >/dev/null
	$(BIN)/python -m bench.compare docs/benchmarks/figures.json $(VENV)/bench.json

.PHONY: test-tools
test-tools: $(VENV)/.developing
	@sh tests/install-tools.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { test "$$(id -u)" = 0 && apt-get -qq update && apt-get -qqy install python3-venv \
	  && $(PYTHON) -m venv --clear $(VENV); }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Millpond into $(VENV): a minute or two, once"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.developing: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(BIN)/python -c 'from hypothesis import strategies as st; st.text().validate()' # else each worker reckons it out
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
