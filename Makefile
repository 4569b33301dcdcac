# Only this interpreter must exist beforehand; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The peers of the benchmarks, with PyTorch, are in an environment of their own.
BENCH_PYTHON ?= python3.11
BENCH_VENV := .venv-bench
BENCH_READY := $(BENCH_VENV)/.ready

.PHONY: setup test test-all test-rotating lint demo results bench bench-quick bench-compare gpu clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "spectral needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d; choose another one, for example: make PYTHON=python3.12 setup" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $(READY)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pylint --disable=all --enable=duplicate-code spectral

test: lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-all: lint
	$(BIN)/pytest -n 2 --dist loadfile

# Slow tests for half an hour, in an order of files that depends on the commit.
test-rotating: setup
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --budget 1800 \
		--rotate "$$(git rev-parse HEAD)"

demo: setup
	$(BIN)/spectral run examples/digits.yaml --out runs/demo --overwrite
	$(BIN)/spectral plot runs/demo

# Every verdict, table and figure of docs/results, from the runs that are committed there.
results: setup
	$(BIN)/spectral claims docs/results

$(BENCH_READY): pyproject.toml constraints.txt
	$(BENCH_PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks,cluster]'
	@touch $(BENCH_READY)

# All benchmarks beside their peers, at full or smaller size: see benchmarks/bench.py.
bench: $(BENCH_READY)
	$(BENCH_VENV)/bin/python benchmarks/bench.py

bench-quick: $(BENCH_READY)
	$(BENCH_VENV)/bin/python benchmarks/bench.py --quick

# make bench-compare OLD=FILE.json NEW=FILE.json
bench-compare: $(BENCH_READY)
	$(BENCH_VENV)/bin/python benchmarks/bench_compare.py "$(OLD)" "$(NEW)"

# What an NVIDIA GPU needs. Then: .venv/bin/python benchmarks/gpu.py
gpu: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[gpu]'

clean:
	rm -rf $(VENV) $(BENCH_VENV) .cache .pytest_cache .ruff_cache .hypothesis
