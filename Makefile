# Each target does its own set-up: a virtual environment with nnlint and what it is tested with.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The lowest versions that generated code must run with, and so what it is generated with.
PROTOC := .venv-protoc
PROTOS := $(wildcard nnlint/protos/v1/*.proto)

.PHONY: demo test check gate gen gen-protos check-protos bench clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

# Lint the examples, then probe one of them on an embedded server. They have defects on purpose, so
# findings do not fail the target.
demo: $(READY)
	$(BIN)/nnlint --exit-zero examples
	$(BIN)/nnlint probe --exit-zero examples/biases_kill_relus.py

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(READY) check-protos
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_rooms.py

# Healthy models must be silent: all of torchvision's, and twenty of timm's.
gate: $(READY)
	$(BIN)/python benchmarks/zoo.py --gate --jobs 2

$(PROTOC)/.ready: pyproject.toml
	$(PYTHON) -m venv $(PROTOC)
	$(PROTOC)/bin/python -m pip install --quiet --disable-pip-version-check \
		grpcio==1.66.2 grpcio-tools==1.66.2 protobuf==5.27.2 "setuptools<81"
	touch $@

# Regenerate what is generated: protocol modules, JSON schemas, the rule catalogue.
gen: gen-protos $(READY)
	$(BIN)/python docs/generate.py

gen-protos: $(PROTOC)/.ready
	$(PROTOC)/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)
	rm -f $(foreach name,graph measurement worker,nnlint/protos/v1/$(name)_pb2_grpc.py)

# The checked-in modules are what the .proto files give, and they load with the lowest versions.
check-protos: $(PROTOC)/.ready
	rm -rf build/protos && mkdir -p build/protos
	$(PROTOC)/bin/python -m grpc_tools.protoc -I . --python_out=build/protos --pyi_out=build/protos \
		--grpc_python_out=build/protos $(PROTOS)
	for file in nnlint/protos/v1/*_pb2*.py*; do cmp $$file build/protos/$$file || exit 1; done
	$(PROTOC)/bin/python -W error -c "import nnlint.protos.v1.worker_pb2, nnlint.protos.v1.probe_service_pb2_grpc"

bench: $(READY)
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/rules.py
	$(BIN)/python benchmarks/probe_service.py
	$(BIN)/python benchmarks/lr_range.py
	$(BIN)/python benchmarks/overfit.py
	$(BIN)/python benchmarks/mutations.py
	$(BIN)/python benchmarks/report.py

clean:
	rm -rf $(VENV) $(PROTOC) build .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
