# `make quickstart` and `make test` work in a fresh clone: they need make, bash and Python 3.11 or newer, nothing else.
# Another Python: make PYTHON=/path/to/python3 quickstart

SHELL := bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(SUITABLE)' >/dev/null 2>&1 && { echo $$python; break; }; done)

# Of pip's many lines, show those that take time: the downloads of 100 MB and more.
LARGE_DOWNLOADS := awk '/^ *(Downloading|Using cached) .*\(([0-9][0-9][0-9]+\.[0-9]+ MB|[0-9.]+ GB)\)/ { print; fflush() }'
INSTALL := $(PY) -m pip install --disable-pip-version-check --progress-bar off --log $(VENV)/install.log -c constraints.txt

.PHONY: help quickstart sweep test bench soak lint doctor clean distclean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1#/p' Makefile | while IFS='#' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

quickstart: $(VENV)/.installed ## run suites/quickstart.yaml and show its leaderboard; what is done is skipped
	@$(VENV)/bin/eqbench run suites/quickstart.yaml

sweep: $(VENV)/.installed ## search hyperparameters on the digits: suites/sweeps/quickstart.yaml
	@$(VENV)/bin/eqbench sweep suites/sweeps/quickstart.yaml

# Three parts at the same time, since each waits a lot: for Ray, for servers, for processes that it has killed.
# Without `set -m` the shell would start those in the background with Ctrl-C ignored, for themselves and what they start.
TESTS_ASIDE := eqbench tests/losses tests/models tests/data tests/evaluation tests/sweep tests/leaderboard tests/plots
TESTS_WITH_RAY := $(shell grep -lr 'mark\.ray' tests --include='test_*.py')
test: $(VENV)/.installed-dev ## every test but the slow comparisons of `make bench`
	@set -m; \
	$(PY) -m pytest -m ray -p no:cacheprovider $(TESTS_WITH_RAY) >$(VENV)/tests-with-ray.log 2>&1 & ray=$$!; \
	$(PY) -m pytest -m 'not ray' -p no:cacheprovider $(TESTS_ASIDE) >$(VENV)/tests-aside.log 2>&1 & aside=$$!; \
	set +m; \
	trap 'kill -INT -- -$$ray -$$aside 2>/dev/null' INT TERM; \
	$(PY) -m pytest -m 'not ray' tests $(TESTS_ASIDE:%=--ignore %); failed=$$?; \
	wait $$aside || failed=$$?; wait $$ray || failed=$$?; \
	echo "$(TESTS_ASIDE):"; cat $(VENV)/tests-aside.log; \
	echo "Tests with Ray:"; cat $(VENV)/tests-with-ray.log; \
	exit $$failed

bench: $(VENV)/.installed-dev ## measure speed and memory beside other implementations
	@$(PY) -m tests.benchmarks

soak: $(VENV)/.installed-dev ## 30 minutes of random kills on a small cluster; every run must come out unharmed
	@$(PY) -m tests.benchmarks.soak

lint: $(VENV)/.installed-dev ## ruff and mypy, as the continuous integration runs them
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

doctor: $(VENV)/.installed ## what is installed, what would not run here, and the fix
	@$(VENV)/bin/eqbench doctor

clean: ## remove caches and build files; results (runs/, mlflow.db) stay
	@find . -name $(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist eqbench.egg-info

distclean: clean ## the same, and remove .venv
	@rm -rf $(VENV)

$(PY):
	@"$(PYTHON)" -c '$(SUITABLE)' >/dev/null 2>&1 || { \
		echo "eqbench needs Python 3.11 or newer with its venv module; install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(PY)
	@echo "Installing into $(VENV) (about 7 GB; a few minutes, longer on a slow network); details: $(VENV)/install.log"
	@$(INSTALL) -e . | $(LARGE_DOWNLOADS)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development tools into $(VENV)"
	@$(INSTALL) -e '.[dev]' | $(LARGE_DOWNLOADS)
	@touch $@
