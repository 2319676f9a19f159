# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
# With EXTRAS=dev,tflite,examples the tests of the TFLite exporter and the camera run too: another gigabyte to install.
EXTRAS ?= dev
# Processes that the tests are dealt to.
WORKERS ?= 2
# The environment of test-libraries.
LIBRARIES ?= .venv-libraries
# The folder of the environments of test-servers.
SERVERS ?= .venv-servers
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Waiting threads that spin make every test slow on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo docs test test-arm64 test-libraries test-native-long test-pythons test-servers check clean

demo: $(INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" sh examples/demo.sh demo

test: $(INSTALLED)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# The site, into build/docs; a warning is an error, and so is a link inside it that leads nowhere.
docs: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs

# The runtime on an emulated Raspberry Pi: as root, with debootstrap and qemu-user-static installed.
test-arm64: $(INSTALLED)
	$(BIN)/python -m tests.platforms.arm64

# The native runtime under sanitizers, valgrind and fuzzers, with 2,000 models and 1,000,000 calls: half an hour.
test-native-long: $(INSTALLED)
	$(BIN)/python -m tests.native.endurance

# The runtime on every Python from 3.9 to 3.13 that is found, with old and new backends.
test-pythons: $(INSTALLED)
	$(BIN)/python -m tests.platforms.pythons

# The clients of offloading and the adapters for whole bundles against real servers, each in an environment of its own.
test-servers: $(INSTALLED)
	EETOOL_KSERVE_PYTHON=$$($(BIN)/python tools/make_server_environment.py kserve $(SERVERS)/kserve) \
	EETOOL_TRITON_PYTHON=$$($(BIN)/python tools/make_server_environment.py triton $(SERVERS)/triton) \
	EETOOL_MLSERVER_PYTHON=$$($(BIN)/python tools/make_server_environment.py mlserver $(SERVERS)/mlserver) \
	    $(BIN)/pytest tests/servers

# Networks of timm and torchvision through the commands, in an environment of its own with the torch that torchvision
# needs: 6 GB, and half an hour.
test-libraries: $(LIBRARIES)/.installed
	$(LIBRARIES)/bin/python benchmarks/export/library_networks.py

# Style, types, and the import rules: layers, circles, sizes.
check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layering.py

clean:
	rm -rf $(VENV) $(LIBRARIES) $(SERVERS) demo build

$(INSTALLED): pyproject.toml runtimes/python/pyproject.toml runtimes/measure/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt -e "runtimes/python[onnx]" -e runtimes/measure -e ".[$(EXTRAS)]"
	touch $@

$(LIBRARIES)/.installed: pyproject.toml runtimes/python/pyproject.toml runtimes/measure/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIBRARIES)
	grep -v '^torch==' constraints.txt > $(LIBRARIES)/constraints.txt
	$(LIBRARIES)/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 timm==1.0.31
	$(LIBRARIES)/bin/pip install --quiet --constraint $(LIBRARIES)/constraints.txt -e "runtimes/python[onnx]" \
	    -e runtimes/measure -e ".[tflite]"
	touch $@
