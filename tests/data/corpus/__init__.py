"""A corpus of label files, images and lists as people have them, each made here.

docs/your_data.md has the table of it, written by scripts/data_cases.py.
"""

from corpus.images import broken_images, images, turns
from corpus.label_files import modes, refusals
from corpus.numbers import colors, numbers
from corpus.texts import lists, yamls

MAKERS = {
    "Label files": (modes, numbers, colors, refusals),
    "Images": (images, broken_images, turns),
    "Lists and the data file": (lists, yamls),
}
CASES = [case for makers in MAKERS.values() for make in makers for case in make()]


def table() -> str:
    """Returns the corpus as tables of Markdown."""
    parts = []
    for heading, makers in MAKERS.items():
        rows = [f"### {heading}\n", "| case | what comes of it |", "|---|---|"]
        for case in (case for make in makers for case in make()):
            outcome = "read"
            if case.said:
                outcome = f"read, and said: “{case.said}”"
            elif case.refused:
                outcome = f"refused: “{case.refused}”"
            rows.append(f"| {case.title} | {outcome} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"
