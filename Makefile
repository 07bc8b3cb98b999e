# Two commands matter: `make run` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint types gallery clean

run: $(VENV)/.installed
	@$(BIN)/dreamstream run

# The tests wait for processes and clocks a good part of the time, in which mypy runs; what it says
# comes after them, and either one's failure is this one's. In a fresh checkout the tests are
# collected once before: else every worker would compile all of them for itself. What sh has in the
# background ignores Ctrl-C, so that has to end mypy by hand.
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "$(BIN)/mypy beside $(BIN)/pytest"
	@$(BIN)/mypy > $(VENV)/mypy.log 2>&1 & mypy=$$!; \
	trap 'kill $$mypy 2> /dev/null; exit 130' INT; \
	test -d tests/__pycache__ || $(BIN)/pytest --collect-only --quiet > /dev/null 2>&1; \
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal; tests=$$?; \
	wait $$mypy; types=$$?; cat $(VENV)/mypy.log; \
	test $$tests -eq 0 && test $$types -eq 0

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
