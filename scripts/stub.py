"""Writes the builder of each network of `kseg.models.MODELS` into kseg/__init__.pyi.

    python scripts/stub.py

`make format` runs it. All other public names of kseg are written in that file by hand.
"""

from pathlib import Path

import kseg
from kseg.models import MODELS

_STUB = Path(kseg.__file__).with_suffix(".pyi")


def stub(text: str) -> str:
    """Returns the text of the stub with a line for each network of the table, and no other."""
    kept = [line for line in text.splitlines() if not line.startswith("from .models.")]
    builders = [
        f"from .models.{file} import build_{name} as build_{name}"
        for name, file in MODELS.files.items()
    ]
    return "\n".join([*kept, *sorted(builders)]) + "\n"


if __name__ == "__main__":
    _STUB.write_text(stub(_STUB.read_text(encoding="utf-8")), encoding="utf-8")
