# make demo         load, query and copy the IANA time zone tables on a PostgreSQL of its own
# make test         the whole suite, on servers it starts itself
# make test-oldest  the dialect's tests on the oldest SQLAlchemy that is supported
# make test-asan    the Python suite on a core built with ASan and UBSan
# make fuzz         the fuzz targets of csrc/wire and csrc/codec, and DSNs against libpq
# make bench        throughput of pgasync and its peers; bench-count: instructions;
#                   bench-values: what each makes of the same values; bench-dialects:
#                   where postgresql+pgasync differs from postgresql+asyncpg, and why
# make format       clang-format and ruff; make lint: what the suite checks of it
# make clean        removes everything made here, virtual environments included
#
# Each needs Python, a C compiler and the OpenSSL headers; everything else is
# installed into a virtual environment: .venv, or .venv-3.12 for PYTHON=python3.12.
# ARGS goes to pytest, the demo or the benchmark: make test ARGS='-k cancel'.

ifeq ($(origin PYTHON), undefined)
  PYTHON := python3
  VENV := .venv
else
  VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
ASAN_VENV := .venv-asan
BIN := $(VENV)/bin
CC ?= cc
PIP_INSTALL := bin/python -m pip install --quiet --quiet --disable-pip-version-check \
  --root-user-action=ignore

SOURCES := pyproject.toml setup.py $(wildcard csrc/*/*.c csrc/*/*.h)
PACKAGE := $(wildcard pgasync/*.py pgasync/*.pyi pgasync/sqlalchemy/*.py)

# greenlet copies pieces of the C stack about, red zones and all: its tests run with
# memcpy unchecked.
ASAN_GREENLETS := dialect examples test_servers.py
RUN_ASAN = cd tests && LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) \
  $$($(CC) -print-file-name=libstdc++.so)" \
  ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1$$ASAN_EXTRA" \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
  PYTHONMALLOC=malloc \
  ../$(ASAN_VENV)/bin/pytest

.PHONY: demo test test-oldest test-asan fuzz bench bench-count bench-values bench-dialects format lint clean check-tools

demo: $(VENV)/.built
	@$(BIN)/python tests/run_demo.py $(ARGS)

test: $(VENV)/.built $(VENV)/.sqlalchemy-2.0
	@$(BIN)/pytest $(ARGS)
ifeq ($(ARGS),)
	@echo "The tests of the dialect and of the examples again, on SQLAlchemy 2.0"
	@PYTHONPATH=$(CURDIR)/$(VENV)/sqlalchemy-2.0 $(BIN)/pytest -q -m "not slow" tests/dialect
	@PYTHONPATH=$(CURDIR)/$(VENV)/sqlalchemy-2.0 $(BIN)/pytest -q tests/examples
	@echo "SQLAlchemy's own tests of a dialect, on both versions of it"
	@$(BIN)/python tests/run_sqlalchemy.py $(VENV)/sqlalchemy-2.0
endif

# Left out is what depends on SQLAlchemy's own mending since: cancelled tasks, the details
# of reflection, and the comparison.
test-oldest: $(VENV)/.built
	@test -d $(VENV)/sqlalchemy-oldest || $(VENV)/$(PIP_INSTALL) \
	  --target $(VENV)/sqlalchemy-oldest 'sqlalchemy[asyncio]==2.0.26'
	@PYTHONPATH=$(CURDIR)/$(VENV)/sqlalchemy-oldest $(BIN)/pytest -q tests/dialect \
	  $(patsubst %,--ignore tests/dialect/test_%.py,cancellation storm reflection against_asyncpg) \
	  $(ARGS)

# libasan must be the first library of the process; libstdc++ is there because its
# exceptions (greenlet) need a known address. CPython's own leaks at exit would
# drown ours, so leaks are the business of tests/driver/test_leaks.py. Left out:
# tests/wire and the codecs' fuzz target, which compile and run their C under the
# sanitizers anyway, and the style checks. Run inside tests/, so that the in-tree
# pgasync is not found first.
test-asan: $(ASAN_VENV)/.built
ifeq ($(ARGS),)
	@$(RUN_ASAN) --ignore=wire --ignore=codec/test_fuzz.py \
	  --ignore=test_style.py $(ASAN_GREENLETS:%=--ignore=%)
	@export ASAN_EXTRA=:replace_intrin=0 && $(RUN_ASAN) $(ASAN_GREENLETS)
else
	@$(RUN_ASAN) $(ARGS)
endif

fuzz: $(VENV)/.built
	@$(BIN)/python tests/fuzz.py $(ARGS)

bench: $(VENV)/.bench
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-count: $(VENV)/.bench
	@$(BIN)/python benchmarks/count.py $(ARGS)

bench-values: $(VENV)/.bench
	@$(BIN)/python benchmarks/values.py $(ARGS)

bench-dialects: $(VENV)/.built
	@$(BIN)/python benchmarks/dialects.py $(ARGS)

format: $(VENV)/.built
	@$(BIN)/clang-format -i --style=file:csrc/.clang-format \
	  $$(git ls-files -co --exclude-standard '*.c' '*.h')
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format --quiet .

lint: $(VENV)/.built
	@$(BIN)/pytest -q tests/test_style.py tests/test_layers.py

clean:
	rm -rf .venv .venv-* build dist *.egg-info pgasync/*.so .pytest_cache .mypy_cache \
	  .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What must be there before anything else, each reported by name.
check-tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is not a Python 3.10 or newer: install one (Debian, Ubuntu:" \
	    "apt-get install python3), or name one: make $(MAKECMDGOALS)" \
	    "PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "the venv module of $(PYTHON) is missing (Debian, Ubuntu:" \
	    "apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) setup.py check_tools

# A stamp: newer sources mean a new build, a newer pyproject.toml also new packages.
# The C core is built in place, so an edit of pgasync/*.py needs no step at all.
$(VENV)/.built: $(SOURCES) | check-tools
	@if [ ! $(VENV)/.packages -nt pyproject.toml ]; then \
	  echo "Setting up $(VENV)"; \
	  $(PYTHON) -m venv $(VENV) && \
	  $(VENV)/$(PIP_INSTALL) --upgrade 'setuptools>=77' && \
	  $(VENV)/$(PIP_INSTALL) --no-build-isolation -e '.[dev]' && \
	  touch $(VENV)/.packages; \
	else \
	  echo "Building pgasync._core for $(VENV)"; \
	  $(VENV)/$(PIP_INSTALL) --no-build-isolation --no-deps -e .; \
	fi
	@touch $@

# The older SQLAlchemy lies in a folder of its own, in front of the newer one when
# it is asked for.
$(VENV)/.sqlalchemy-2.0: $(VENV)/.built
	@test -f $@ || $(VENV)/$(PIP_INSTALL) --target $(VENV)/sqlalchemy-2.0 \
	  'sqlalchemy[asyncio]<2.1'
	@touch $@

# The peers are installed beside it, by their extra.
$(VENV)/.bench: $(VENV)/.built
	@test -f $@ || $(VENV)/$(PIP_INSTALL) --no-build-isolation -e '.[bench]'
	@touch $@

$(ASAN_VENV)/.built: $(SOURCES) $(PACKAGE) | check-tools
	@if [ ! $(ASAN_VENV)/.packages -nt pyproject.toml ]; then \
	  echo "Setting up $(ASAN_VENV)"; \
	  $(PYTHON) -m venv $(ASAN_VENV) && \
	  $(ASAN_VENV)/$(PIP_INSTALL) --upgrade 'setuptools>=77' && \
	  PGASYNC_SANITIZE=1 $(ASAN_VENV)/$(PIP_INSTALL) --no-build-isolation '.[dev]' && \
	  touch $(ASAN_VENV)/.packages; \
	else \
	  echo "Building pgasync._core for $(ASAN_VENV)"; \
	  PGASYNC_SANITIZE=1 $(ASAN_VENV)/$(PIP_INSTALL) --no-build-isolation --no-deps \
	    --force-reinstall .; \
	fi
	@touch $@
