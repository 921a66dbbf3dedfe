# make demo    see it work: real engine, three tiny models, no downloads of weights (Ctrl-C ends it)
# make test    everything that guards a change; what CI runs
# make check   the quick part of it: format, lint, types, imports
# make bench   speed, beside nginx and the direct connection
# make deep    long searches: Hypothesis and the simulation        make fuzz    hostile bytes against h11
# make soak    200 clients, 8 models, random kills (SOAK_SECONDS)  make lock    renew requirements/*.lock
#
# Each needs nothing but Python >= 3.11 (PYTHON=... to name one): .venv is made when it is missing.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.modelswap-installed
CODE := src tests bench
SOAK_SECONDS ?= 300
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test check format browser bench deep fuzz soak lock clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

$(STAMP): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "modelswap needs Python >= 3.11; name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)
	$(BIN)/modelswap demo

check: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

# Real processes on a busy machine: what fails beside others has one more try alone. The first failure
# stays in the output, with what its servers printed, and is worth a look however the second ends.
ALONE = { echo "make: these failed; once more, alone:" >&2; $(BIN)/pytest --last-failed --last-failed-no-failures none

test: check browser
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/integration || $(ALONE) --ignore tests/integration; }
	$(BIN)/pytest tests/integration || $(ALONE) tests/integration; }

# Browser tests need chromium and its driver: installed where that is possible, else skipped by name.
browser:
	@if command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null \
		|| echo "make: chromium could not be installed: the browser tests will be skipped" >&2; \
	else echo "make: no chromium with chromedriver here: the browser tests will be skipped" >&2; fi

format: $(STAMP)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# nginx is the yardstick: installed where that is possible, else the bench says that it is missing.
bench: $(STAMP)
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; } || true
	$(BIN)/python -m bench

deep: $(STAMP)
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest -n 2 --timeout 0 tests/core tests/config tests/api

fuzz: $(STAMP)
	$(BIN)/python tests/http/fuzz_h11.py

soak: $(STAMP)
	$(BIN)/python -m bench.soak --seconds $(SOAK_SECONDS)

lock: $(STAMP)
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements/runtime.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --extra engine pyproject.toml -o requirements/engine.lock

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
