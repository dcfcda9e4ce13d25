.PHONY: install format check test bench

install:
	pip install -e .[dev]

format:
	python scripts/stub.py && ruff format . && ruff check --fix .

check:
	ruff format --check . && ruff check . && mypy && lint-imports

test:
	pytest -m "not slow"

bench:
	kseg demo --out $$(mktemp -d)/kseg-demo
