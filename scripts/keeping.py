"""Results that scripts keep, to go on where they were stopped, are of one set of settings."""

import json
from pathlib import Path


def keep_to(path: Path, kept: bool, **settings) -> None:
    """Writes down what results were made with, or refuses results that were made otherwise.

    Args:
        path: A JSON file beside the results.
        kept: Whether there are results already; those without such a file are refused.
        settings: What changes them, such as the data or the weights that they start from.

    Raises:
        SystemExit: If the file names others.
    """
    text = json.dumps(settings, default=str, indent=1, sort_keys=True) + "\n"
    found = path.read_text(encoding="utf-8") if path.exists() else "unknown" if kept else text
    if found != text:
        raise SystemExit(
            f"{path.parent} holds results of other settings ({' '.join(found.split())}); name "
            "another place, or remove them."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
