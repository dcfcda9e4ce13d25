.PHONY: install format check docs test bench

install:
	pip install -e .[dev]

format:
	python scripts/stub.py && ruff format . && ruff check --fix .

check:
	ruff format --check . && ruff check . && mypy && lint-imports
	$(MAKE) docs

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict
	python scripts/try_page.py site/try

test:
	pytest -n 2 --dist loadfile -m "not slow"

bench:
	kseg demo --out $$(mktemp -d)/kseg-demo
