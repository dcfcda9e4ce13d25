"""What README and docs say can be followed: links lead somewhere, commands are CI's, code runs."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseg
from export import load_tflite
from kseg.models import TRAINED
from kseg.models.trained import packaged

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ko.md")


def _blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [code for kind, code in blocks if kind == language]


def test_readme_is_a_first_page():
    assert 120 <= len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", READMES)
def test_links_of_readme_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    assert len(links) > 15
    assert [x for x in links if not x.startswith("http") and not (ROOT / x).exists()] == []


def test_both_readmes_show_the_same_commands_and_figures():
    def shown(page):
        text = (ROOT / page).read_text(encoding="utf-8")
        commands = re.sub(r" *#.*", "", "".join(_blocks(page, "") + _blocks(page, "python")))
        return commands, re.findall(r"^\| \[`.*$", text, re.MULTILINE)

    assert shown("README.md") == shown("README.ko.md")


def test_recipes_for_engines_stand_in_the_docs_as_they_are_tested():
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    recipes = sorted(path.name for path in (ROOT / "docs/examples").glob("*.py"))
    assert recipes == ["on_beam.py", "on_ray.py", "on_spark.py"]
    for name in recipes:  # the site puts the file there; a formatter may make code of the line
        assert f"```python\n--8<--\ndocs/examples/{name}\n--8<--\n```\n" in page


def test_ci_runs_the_test_command_of_readme():
    (command,) = [block.strip() for block in _blocks("README.md", "") if "make test" in block]
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_trained_networks_stand_in_readme_with_their_scores():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    streets = {name: record for name, record in TRAINED.items() if record.data == "camvid"}
    for name, record in streets.items():
        (row,) = [line for line in lines if line.startswith(f"| [`{name}`]")]
        assert f"| {record.int8_mean_iou:.3f} " in row
        assert record.test is None or f"| {record.test['mean_iou']:.3f} " in row


def test_code_for_a_coral_board_labels_as_kseg_does(tmp_path, monkeypatch):
    """The board's code, without its delegate, on a file that ends at full size."""
    (code,) = _blocks("docs/coral.md", "python")
    delegate = re.compile(r"experimental_delegates=\[.*?\]")
    code, removed = delegate.subn("", code)
    assert removed == 1
    record = TRAINED["atrous_fpn_tiny_camvid"]
    path = Path(str(packaged(record.int8_file, record.int8_sha256)))
    (tmp_path / "street_edgetpu.tflite").symlink_to(path)
    sheet = Image.open(ROOT / "docs/street.png").convert("RGB")
    image = sheet.crop((0, 0, 560, 315))
    image.save(tmp_path / "image.jpg", quality=100, subsampling=0)
    (tmp_path / "street.json").write_text('{"stride": 1}')
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "docs/coral.md", "exec"), names)

    with load_tflite(path) as file:
        labels = kseg.predict(file, np.asarray(Image.open("image.jpg")), size=record.size)
    mine = np.asarray(Image.fromarray(names["labels"].astype("uint8")).resize((560, 315), 0))
    assert len(np.unique(labels)) > 4
    assert np.mean(mine == labels) > 0.98
