"""Engines of others, where they are installed: Ray, and the recipes of docs/examples."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.models import TRAINED
from kseg.models.trained import packaged

ROOT = Path(__file__).parents[2]
GOOD = 29  # images, numbered from 0; one more is broken
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(folder with `in`, `rows.parquet` and a model, names to label maps of kseg.predict)."""
    pa = pytest.importorskip("pyarrow", reason="pip install 'kseg[ray]'")
    pq = pytest.importorskip("pyarrow.parquet")
    from export import load_tflite

    folder = tmp_path_factory.mktemp("engines")
    record = TRAINED["atrous_fpn_tiny_camvid"]
    (folder / "m.tflite").write_bytes(packaged(record.int8_file, record.int8_sha256).read_bytes())
    sheet = Image.open(ROOT / "docs/street.png").convert("RGB")
    (folder / "in").mkdir()
    truth, rows = {}, []
    with load_tflite(folder / "m.tflite") as model:
        for n in range(GOOD):
            image = sheet.crop((10 * n, 5 * n, 10 * n + 96, 5 * n + 64))
            image.save(folder / f"in/{n}.png")
            truth[n] = kseg.predict(model, np.asarray(image))
            rows.append({"key": n, "image": (folder / f"in/{n}.png").read_bytes()})
    (folder / f"in/{GOOD}.png").write_bytes(b"broken")
    rows.append({"key": GOOD, "image": b"broken"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return folder, truth


def _run(*command, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def _kseg(*arguments, cwd):
    return _run("-c", "from kseg.cli import run; run()", *arguments, cwd=cwd)


def test_ray_labels_a_folder_and_a_restart_does_what_is_left(case):
    pytest.importorskip("ray", reason="pip install 'kseg[ray]'")
    folder, truth = case
    command = ["predict", "m.tflite", "in", "--engine", "ray", "--workers", "1", "--batch-size"]
    command += ["2", "--save", "labels", "--out", "out"]
    done = _kseg(*command, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "1 could not be labelled; the rest is done." in done.stderr
    for n, labels in truth.items():
        found = np.asarray(Image.open(folder / f"out/{n}.ids.png"))
        np.testing.assert_array_equal(found, labels)
    assert f"{GOOD}.png" in (folder / "out/errors.csv").read_text()
    os.remove(folder / f"in/{GOOD}.png")
    os.remove(folder / "out/2.ids.png")
    again = _kseg(*command, cwd=folder)
    assert again.returncode == 0 and f"{GOOD - 1} skipped" in again.stdout, again.stderr
    assert (folder / "out/2.ids.png").exists()
    (folder / f"in/{GOOD}.png").write_bytes(b"broken")


def test_the_recipe_of_spark_gives_what_predict_gives(case, tmp_path):
    pytest.importorskip("pyspark", reason="pip install pyspark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java: apt-get install openjdk-17-jre-headless")
    pq = pytest.importorskip("pyarrow.parquet")
    folder, truth = case
    command = [ROOT / "docs/examples/on_spark.py", "m.tflite", "rows.parquet", tmp_path / "out"]
    done = _run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [
        row for f in (tmp_path / "out").glob("*.parquet") for row in pq.read_table(f).to_pylist()
    ]
    assert sorted(row["key"] for row in rows) == list(range(GOOD + 1))
    _same(rows, truth)


def test_the_recipe_of_beam_gives_what_predict_gives(case, tmp_path):
    pytest.importorskip("apache_beam", reason="pip install apache-beam")
    folder, truth = case
    command = [ROOT / "docs/examples/on_beam.py", "m.tflite", f"{folder}/in/*.png", tmp_path / "o"]
    done = _run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for f in tmp_path.glob("o*.csv") for line in f.read_text().splitlines()[1:]]
    rows = {Path(line.split(",")[0]).stem: line.split(",", 2)[1:] for line in lines}
    assert sorted(rows) == sorted(str(n) for n in range(GOOD + 1))
    assert rows[str(GOOD)][0] == "" and "cannot be read as an image" in rows[str(GOOD)][1]
    for n, labels in truth.items():
        assert float(rows[str(n)][0]) == pytest.approx(np.mean(labels == 1), abs=1e-4)


def test_the_recipe_of_ray_gives_what_predict_gives(case, tmp_path):
    pytest.importorskip("ray", reason="pip install 'kseg[ray]'")
    pq = pytest.importorskip("pyarrow.parquet")
    folder, truth = case
    done = _run(
        ROOT / "docs/examples/on_ray.py", "m.tflite", folder / "in", tmp_path / "o", cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [row for f in (tmp_path / "o").glob("*.parquet") for row in pq.read_table(f).to_pylist()]
    _same([{**row, "key": int(Path(row["path"]).stem)} for row in rows], truth)


def _same(rows, truth):
    for row in rows:
        if row["key"] == GOOD:
            assert not row["labels"] and "cannot be read as an image" in row["error"]
            continue
        labels = np.asarray(Image.open(io.BytesIO(row["labels"])))
        assert row["error"] == ""
        np.testing.assert_array_equal(labels, truth[row["key"]])
