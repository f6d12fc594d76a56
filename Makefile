# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench docs verify-versions clean

# An unpinned torch brings gigabytes of CUDA packages; the rehearsal and the meta model need only the CPU build.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[train,dev]"
	@# pip compiles what it installs, but not a checkout; where Python writes no bytecode, every start would compile it.
	$(BIN)/python -m compileall -q lorachk
	touch $(STAMP)

demo: $(STAMP)
	@sh fixtures/demo/show.sh $(abspath $(BIN))/lorachk

# A process per CPU, each with whole files of tests.
test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

docs: $(STAMP)
	$(BIN)/python docs/generate.py

bench: $(STAMP)
	$(BIN)/python benchmarks/scan/run.py
	$(BIN)/python benchmarks/tokens/run.py
	$(BIN)/python benchmarks/memory/run.py
	$(BIN)/python benchmarks/startup/run.py

verify-versions: $(STAMP)
	$(BIN)/python benchmarks/versions/verify.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
