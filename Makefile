# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Waiting threads that spin make every test slow on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check clean

demo: $(INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" sh examples/demo.sh demo

test: $(INSTALLED)
	$(BIN)/pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo

$(INSTALLED): pyproject.toml runtimes/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt -e "runtimes/python[onnx]" -e ".[dev]"
	touch $@
