"""Writes the table of label and image cases into docs/your_data.md.

    python scripts/data_cases.py

The cases are those of tests/data/test_corpus.py, which also checks that the table is theirs.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## What is read, and what is refused\n"
DOCS = ROOT / "docs/your_data.md"


def main() -> None:
    """Replaces what stands under the heading, which is the last of the page."""
    spec = importlib.util.spec_from_file_location("corpus", ROOT / "tests/data/test_corpus.py")
    if spec is None or spec.loader is None:
        raise ImportError("tests/data/test_corpus.py is missing.")
    corpus = importlib.util.module_from_spec(spec)
    sys.modules["corpus"] = corpus  # dataclasses look their module up
    spec.loader.exec_module(corpus)
    before, _, after = DOCS.read_text(encoding="utf-8").partition(HEADING)
    introduction = after.strip().partition("\n\n### ")[0]
    page = f"{before}{HEADING}\n{introduction}\n\n{corpus.table()}"
    DOCS.write_text(page, encoding="utf-8")
    print(f"{DOCS}: {len(corpus.CASES)} cases")


if __name__ == "__main__":
    main()
