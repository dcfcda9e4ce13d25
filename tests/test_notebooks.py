"""Notebooks run from top to bottom, and are committed with their pictures."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

_FOLDER = Path(__file__).parent.parent / "notebooks"
# What the last outputs must say; the others are in the slow tier.
_SAYS = {
    "00_quickstart": "equal labels on 9",
    "01_segmentation_networks": "fcn8s: mean IoU 0.",
    "02_building_blocks": "no skips, max unpooling",
    "03_quantization": "pruned, quantization-aware",
    "04_your_own_data": "certified                         yes",
    "05_export_android_coral": "equal labels on 9",
    "06_instances": "PQ of the file 0.9",
}


def _texts(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_every_notebook_is_listed():
    assert {path.stem for path in _FOLDER.glob("*.ipynb")} == set(_SAYS)


def test_notebooks_are_numbered_without_a_gap_and_linked():
    names = sorted(path.stem for path in _FOLDER.glob("*.ipynb"))
    assert [int(name[:2]) for name in names] == list(range(len(names)))
    for page in ("README.md", "mkdocs.yml"):
        text = (_FOLDER.parent / page).read_text(encoding="utf-8")
        assert [name for name in names if f"notebooks/{name}.ipynb" not in text] == []


@pytest.mark.parametrize("name", _SAYS)
def test_notebook_is_committed_with_its_pictures(name):
    notebook = nbformat.read(_FOLDER / f"{name}.ipynb", 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not any(output.output_type == "error" for output in outputs)
    assert _SAYS[name] in _texts(notebook)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "00_quickstart" else pytest.mark.slow)
        for name in _SAYS
    ],
)
def test_notebook_runs(name, tmp_path, monkeypatch):
    # The command line, of this Python, whether or not kseg is installed in it.
    command = tmp_path / "bin/kseg"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom kseg.cli import run\n\nrun()\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(_FOLDER / f"{name}.ipynb", 4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": tmp_path}}).execute()
    assert _SAYS[name] in _texts(notebook)
