"""Makes tests/data/corpus a package that tests can import, and finds real data."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def nuclei():
    """The folder of cell nuclei."""
    root = os.environ.get("KSEG_TEST_DATA")
    folder = Path(root or "").resolve() / "nuclei"
    if not root or not folder.is_dir():
        pytest.skip("KSEG_TEST_DATA is not set, or has no folder nuclei")
    return folder
