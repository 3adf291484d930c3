# The developer's commands. `make demo` shows the system; `make test` checks it; both build what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo demo-kafka test test-extras lint soak parts kafka clean

demo: .venv/core.stamp
	$(BIN)/opintel demo

# the same over a Kafka broker of its own, each service a process
demo-kafka: .venv/core.stamp
	$(BIN)/opintel demo --bus kafka

test: lint
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=15

# what needs an extra that is heavy to install: PyPI's torch for Linux takes 6 GB and some minutes, once
test-extras: .venv/extras.stamp
	$(BIN)/pytest -m extras -n 2 --dist loadfile

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# long fault runs, then a thousand examples of each property
soak: .venv/test.stamp
	$(BIN)/pytest -m soak
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -m hypothesis -n 2 --dist loadfile

parts:
	$(PYTHON) scripts/parts.py

# one broker on 127.0.0.1:9092 until Ctrl-C; its data stay in .parts/kafka-data
kafka:
	$(PYTHON) scripts/parts.py kafka
	deploy/kafka/start .parts/kafka-data

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "opintel needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/core.stamp: pyproject.toml | .venv/bin/python
	@echo 'installing opintel and the libraries that it needs into .venv, once: some minutes'
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/python
	@echo 'installing the test tools into .venv, once: some minutes'
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch .venv/core.stamp $@

.venv/extras.stamp: .venv/test.stamp
	$(BIN)/python -m pip install -q --disable-pip-version-check --retries 10 -e '.[test,heavy]'
	@touch $@
