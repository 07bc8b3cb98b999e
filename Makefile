# Two commands matter: `make run` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HEEDING := $(BIN)/python -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])'

.PHONY: run test lint types gallery clean

run: $(VENV)/.installed
	@$(BIN)/dreamstream run

# The tests wait for processes and clocks a good part of the time, in which mypy runs; what it says
# comes after them, and either one's failure is this one's. In a fresh checkout the tests are
# collected once before: else every worker would compile all of them for itself.
#
# Whatever ends this ends both. sh takes no signal while it waits for what is in front, so both are
# in the background. What it has there ignores Ctrl-C: mypy is ended by hand, and pytest heeds it
# again, so that it ends its workers and tells what there was until then. TERM comes to it as that.
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "$(BIN)/mypy beside $(BIN)/pytest"
	@$(BIN)/mypy > $(VENV)/mypy.log 2>&1 & mypy=$$!; \
	trap 'kill $$mypy 2> /dev/null; wait; exit 130' INT; \
	trap 'kill $$mypy 2> /dev/null; kill -INT $$tests 2> /dev/null; wait; exit 143' TERM HUP; \
	test -d tests/__pycache__ || { \
		$(HEEDING) $(BIN)/pytest --collect-only --quiet > /dev/null 2>&1 & tests=$$!; wait $$tests; \
	}; \
	$(HEEDING) $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal & tests=$$!; \
	wait $$tests; tested=$$?; tests=; \
	wait $$mypy; types=$$?; cat $(VENV)/mypy.log; \
	test $$tested -eq 0 && test $$types -eq 0

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Dreamstream needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing Dreamstream into $(VENV): about 6 GB with PyTorch, a few minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing Dreamstream and its development tools into $(VENV)."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

gallery: $(VENV)/.installed-dev
	nice $(BIN)/python docs/make_gallery.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
