PYTHON ?= python3
BIN := .venv/bin
# An install is done again only when what it depends on has changed.
READY := .venv/.ready
DEV := .venv/.ready-dev

.PHONY: report test check bench speedup clean
report: $(READY)
	$(BIN)/nfold

test: $(DEV)
	$(BIN)/pytest

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV)
	$(BIN)/pytest bench --benchmark-only --benchmark-json=nfold-bench.json
	$(BIN)/nfold report nfold-bench.json

# Longer measurements; each writes its table under bench/results with machine and date.
speedup: $(DEV)
	$(BIN)/python bench/speedup.py

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .import_linter_cache nfold-*.json nfold-*.png
