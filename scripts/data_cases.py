"""Writes the table of label and image cases into docs/your_data.md.

    python scripts/data_cases.py

The cases are those of tests/data/corpus; tests/data/test_corpus.py checks them and the table.
"""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## What is read, and what is refused\n"
DOCS = ROOT / "docs/your_data.md"


def main() -> None:
    """Replaces what stands under the heading, which is the last of the page."""
    sys.path.insert(0, str(ROOT / "tests/data"))
    corpus = importlib.import_module("corpus")
    before, _, after = DOCS.read_text(encoding="utf-8").partition(HEADING)
    introduction = after.strip().partition("\n\n### ")[0]
    page = f"{before}{HEADING}\n{introduction}\n\n{corpus.table()}"
    DOCS.write_text(page, encoding="utf-8")
    print(f"{DOCS}: {len(corpus.CASES)} cases")


if __name__ == "__main__":
    main()
