PYTHON ?= python3
BIN := .venv/bin
# An install is done again only when what it depends on has changed.
READY := .venv/.ready
DEV := .venv/.ready-dev

.PHONY: report test test-all test-fast test-free-threaded check bench speedup bench-dispatch bench-items bench-cluster cluster bench-peers proof proof-programs chaos fuzz programs docs clean
report: $(READY)
	$(BIN)/nfold

# Keep Python's bytecode, also where the environment says not to: hundreds of tests start Python, and each of them would
# compile what it imports.
test test-all test-fast: export PYTHONDONTWRITEBYTECODE :=

# Four files at a time, each in a process of its own: half of the tests wait for processes to start, or to be missed.
test: $(DEV)
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m 'not slow'

# With what is marked slow. Before an issue or a release is done.
test-all: $(DEV)
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder --hypothesis-profile=thorough

# What says most in under a minute: pure functions, reports, documents.
test-fast: $(DEV)
	$(BIN)/pytest -n 2 --dist loadfile -m 'not slow' --ignore tests/scaling/test_programs.py \
		tests/scaling tests/report tests/advice/test_advise_words.py tests/documents/test_documents.py

# On a free-threaded Python for which numba has no wheel (3.13): what needs no compiler, in an environment of its own.
# Of wheels alone: pip would build what has none yet, numba above all. make test-free-threaded PYTHON=python3.13t
FREE := .venv-free-threaded
FREE_NEEDS := numpy joblib cloudpickle pytest-benchmark threadpoolctl psutil rich typer matplotlib \
	hypothesis pytest pytest-timeout pytest-xdist

test-free-threaded:
	$(PYTHON) -c 'import sys; sys.exit(sys._is_gil_enabled())'
	$(PYTHON) -m venv $(FREE)
	$(FREE)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: $(FREE_NEEDS)
	$(FREE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(FREE)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow'

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

bench-dispatch: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	$(BIN)/python bench/overhead.py

# Functions over items and waits, beside multiprocessing, concurrent.futures and joblib. Three minutes.
bench-items: $(DEV)
	$(BIN)/python bench/items.py

# A Dask cluster for real. Forty runs in each of which a worker is killed; then several hosts, as network namespaces with
# slowed links: as root on Linux, elsewhere it says why not. Tables in bench/results. Six minutes.
cluster: $(DEV)
	$(BIN)/python tests/cluster/killed_workers.py
	$(BIN)/python tests/cluster/hosts.py

# A Dask cluster on this machine's loopback, beside Processes, and how many workers would pay. Two minutes.
bench-cluster: $(DEV)
	$(BIN)/python bench/cluster.py

# Does the verdict name what was planted in programs?
proof-programs: $(DEV)
	$(BIN)/python bench/proof_programs.py

# Is cached code ever stale, do intervals hold the truth, does the main job say the same twice, does the verdict name what
# was planted, does the ledger find its seconds? Twenty-five minutes.
proof: $(DEV)
	$(BIN)/python bench/edits.py
	$(BIN)/python bench/intervals.py
	$(BIN)/python bench/again.py
	$(BIN)/python bench/gates.py
	$(BIN)/python bench/proof.py

# Beside other people's programs; those that are not here are skipped. About seven minutes.
bench-peers: $(DEV)
	$(BIN)/python bench/peers.py
	$(BIN)/python bench/roofline.py
	$(BIN)/python bench/compiling.py

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# Two thousand runs with accidents at random moments, half of them killed workers, and every way to die at every point of
# the lane loop, on the workers of forkserver, spawn and loky (the tests have those of fork). A quarter of an hour on two
# CPUs that have other work as well; its table is kept in bench/results. `tests/chaos.py --runs 100` is the short form.
chaos: $(DEV)
	$(BIN)/python tests/chaos.py

# Files and words at random, for whatever reads them: results, benchmarks, cache entries, the command line. Ten minutes;
# the tests have a short form of it. NFOLD_FUZZ_CASE runs again the case that a failure names.
fuzz: $(DEV)
	NFOLD_FUZZ_SECONDS=600 $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -o timeout=3600 -rP tests/fuzz

# Real gunicorn, uWSGI, celery, notebooks and schedulers' ways. Ten minutes.
programs: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[programs]'
	$(BIN)/pytest -n 2 --dist loadfile tests/programs

# The API reference, from the docstrings, in build/api/index.html.
docs: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/sphinx-build -W --keep-going --quiet -b html docs/api build/api

clean:
	rm -rf .venv .venv-free-threaded build *.egg-info .mypy_cache .ruff_cache .import_linter_cache nfold-*.json nfold-*.png nfold-*.html
