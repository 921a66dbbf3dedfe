# make demo    see it work: real engine, three tiny models, no downloads of weights (Ctrl-C ends it)
# make test    everything that guards a change; what CI runs
# make check   the quick part of it: format, lint, types, imports
# make bench   speed, beside nginx and the direct connection; WRITE=1 puts it into README and docs
# make deep    long searches: Hypothesis and the simulation        make fuzz    hostile bytes against h11
# make soak    200 clients, 8 models, random kills (SOAK_SECONDS)  make lock    renew requirements/*.lock
# make wheel   dist/*.whl, to install elsewhere                    make publish the same, to the package index
#
# Each needs Python >= 3.11 with its venv module (PYTHON=... names one) and make. The demonstration
# installs what runs it into .venv-demo, the others install the tools of development into .venv.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.modelswap-installed
DEMO := .venv-demo
DEMO_STAMP := $(DEMO)/.modelswap-installed
CODE := src tests bench hatch_build.py
SOAK_SECONDS ?= 300
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test check ruff mypy pyright imports format browser bench deep fuzz soak lock wheel publish clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# $(call environment,FOLDER): a virtual environment there, or one line that says what is missing.
define environment
	@test -n "$(PYTHON)" || { echo "modelswap needs Python >= 3.11; name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || { rm -rf $(1); echo "python3 -m venv failed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
endef
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

$(STAMP): requirements/dev.lock pyproject.toml hatch_build.py
	$(call environment,$(VENV))
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# Only what runs: the locked requirements of the program and its engine, and a path to src.
$(DEMO_STAMP): requirements/engine.lock
	$(call environment,$(DEMO))
	@echo "make: installing the engine into $(DEMO) (240 MB)"
	$(DEMO)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/engine.lock
	@echo "$(CURDIR)/src" > "$$($(DEMO)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/modelswap.pth"
	@touch $@

demo: $(DEMO_STAMP)
	$(DEMO)/bin/python -m modelswap demo

check: ruff mypy pyright imports

ruff: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

mypy: $(STAMP)
	$(BIN)/mypy

pyright: $(STAMP)
	$(BIN)/pyright

imports: $(STAMP)
	$(BIN)/lint-imports

# Most of a system test is waiting: four at a time keep two cores busy. These come first, in the order of
# their names; the many short unit tests at the end leave no worker without work.
test:
	@$(MAKE) --no-print-directory -j 2 check browser
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder tests/system tests/project tests/unit

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
	$(BIN)/python -m bench $(if $(WRITE),--write)

deep: $(STAMP)
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest -n 2 --timeout 0 tests/unit/core tests/unit/config tests/unit/api

fuzz: $(STAMP)
	$(BIN)/python tests/unit/http/message/fuzz_h11.py

soak: $(STAMP)
	$(BIN)/python -m bench.soak --seconds $(SOAK_SECONDS)

lock: $(STAMP)
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements/runtime.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --extra engine pyproject.toml -o requirements/engine.lock

wheel: $(STAMP)
	@rm -rf dist
	$(BIN)/uv build --no-build-isolation --python $(BIN)/python
	@ls dist

# One command: tests, builds and uploads. PROJECT_URL is where the repository can be read: it becomes the
# project's URL, and README's links lead there. UV_PUBLISH_TOKEN holds the index's token.
publish: export MODELSWAP_PROJECT_URL = $(PROJECT_URL)
publish:
	@test -n "$(PROJECT_URL)" || { echo "make publish PROJECT_URL=https://... : where can the repository be read?" >&2; exit 1; }
	@test -n "$$UV_PUBLISH_TOKEN" || { echo "make publish: set UV_PUBLISH_TOKEN to a token of the package index" >&2; exit 1; }
	@test -z "$$(git status --porcelain)" || { echo "make publish: there are uncommitted changes" >&2; exit 1; }
	$(MAKE) test
	$(MAKE) wheel
	$(BIN)/uv publish dist/*

clean:
	rm -rf $(VENV) $(DEMO) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
