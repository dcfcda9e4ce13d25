"""Notebooks run from top to bottom, and are committed with their pictures."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

_FOLDER = Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize("name", ["quickstart"])
def test_notebook_runs(name, tmp_path):
    notebook = nbformat.read(_FOLDER / f"{name}.ipynb", 4)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": tmp_path}}).execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "equal labels on 9" in said
