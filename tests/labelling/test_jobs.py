"""`kseg predict` with Parquet files and object stores, and what is left after a kill."""

import io
import os
import random
import signal
import time

import numpy as np
import pytest
from PIL import Image

from kseg.cli import loading, main

pa = pytest.importorskip("pyarrow", reason="pip install 'kseg[ray]'")
import pyarrow.parquet as pq  # noqa: E402
from tables import errors_in, write_images  # noqa: E402

from kseg.labelling.pieces import Piece, as_columns, find_pieces  # noqa: E402
from kseg.labelling.stores import RowReader, Store, is_address, parquet_rows  # noqa: E402


def _png(path):
    return np.asarray(Image.open(path))


def test_parquet_of_bytes_becomes_parquet_of_label_maps(opened, images, tmp_path, capsys):
    write_images(tmp_path)
    command = ["predict", "m", "rows.parquet", "--save", "parquet", "--out", "out"]
    assert main([*command, "--batch-size", "2"]) == 2
    assert "1 could not be labelled; the rest is done" in capsys.readouterr().err
    rows = sorted(_parts_of(tmp_path / "out"), key=lambda row: row["key"])
    assert [row["key"] for row in rows] == list(range(7))
    for row in rows:
        if row["key"] == 3:
            assert row["labels"] is None and "cannot be read as an image" in row["error"]
            continue
        labels = np.asarray(Image.open(io.BytesIO(row["labels"])))
        np.testing.assert_array_equal(labels, images[row["key"]])
        assert (row["height"], row["width"], row["error"]) == (*labels.shape, None)
    ((name, error),) = errors_in(tmp_path / "out/errors.csv")
    assert name == f"{tmp_path}/rows.parquet#3" and error.startswith(name)
    calls = opened.read_text()
    assert main(command) == 2  # the bad one is tried again
    assert opened.read_text() == calls and "6 skipped" in capsys.readouterr().out
    assert errors_in(tmp_path / "out/errors.csv") == [(name, error)]
    assert sorted(row["key"] for row in _parts_of(tmp_path / "out")) == list(range(7))


def test_what_a_job_has_no_label_maps_for_is_refused_before_anything_is_touched(
    opened, images, tmp_path, capsys, monkeypatch
):
    """It wrote COCO JSON into n.instances.png."""
    write_images(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/part-old.parquet").write_bytes(b"old")
    job = ["predict", "m", "rows.parquet", "--out", "out", "--overwrite"]
    assert main([*job, "--save", "instances"]) == 2
    assert "m labels classes alone" in capsys.readouterr().err
    assert main([*job, "--every", "2"]) == 2
    assert "--every is for videos" in capsys.readouterr().err
    monkeypatch.setattr("kseg.instances.tells_objects_apart", lambda model: True)
    for given in (["instances"], ["csv"], [], ["palette", "--threshold", "0.2"]):
        assert main([*job, *(["--save", *given] if given else [])]) == 2
        assert "give label maps of classes alone. Take --save palette or" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part-old.parquet"]
    assert main([*job, "--save", "labels"]) == 2  # 3.png is broken
    assert "1 could not be labelled; the rest is done" in capsys.readouterr().err


def _parts_of(folder):
    return [row for file in sorted(folder.glob("part-*.parquet")) for row in _rows(file)]


def _rows(file):
    return pq.ParquetFile(file).read().to_pylist()


def test_a_lost_part_is_made_again_and_overwrite_leaves_no_old_one(opened, images, tmp_path):
    write_images(tmp_path)
    command = ["predict", "m", "rows.parquet", "--save", "parquet", "--out", "out"]
    main([*command, "--batch-size", "2"])
    sorted((tmp_path / "out").glob("part-*"))[0].unlink()
    main([*command, "--batch-size", "5"])
    assert sorted(row["key"] for row in _parts_of(tmp_path / "out")) == list(range(7))
    main([*command, "--overwrite", "--batch-size", "7"])
    assert len(list((tmp_path / "out").glob("part-*"))) == 1


def test_a_store_is_read_and_written_by_address(opened, images, tmp_path, capsys):
    (tmp_path / "in/deep").mkdir()
    os.rename(tmp_path / "in/0.png", tmp_path / "in/deep/0.png")
    address = f"file://{tmp_path}"
    command = ["predict", "m", f"{address}/in", "--out", f"{address}/out", "--save", "labels"]
    assert main(command) == 2
    for number, truth in images.items():
        name = "deep/0" if number == 0 else number
        np.testing.assert_array_equal(_png(tmp_path / f"out/{name}.ids.png"), truth)
    ((name, _),) = errors_in(tmp_path / "out/errors.csv")
    assert name == f"{address}/in/3.png"
    os.remove(tmp_path / "in/3.png")
    os.remove(tmp_path / "out/5.ids.png")
    calls = len(opened.read_text())
    assert main(command) == 0
    assert len(opened.read_text()) == calls + 1 and "5 skipped" in capsys.readouterr().out


def test_rows_become_files_under_the_name_of_their_file(opened, images, tmp_path):
    (tmp_path / "set").mkdir()
    write_images(tmp_path, "set/a.parquet", group=2)
    command = ["predict", "m", f"file://{tmp_path}/set", "--save", "labels", "csv", "--out", "out"]
    main(command)
    for number, truth in images.items():
        np.testing.assert_array_equal(_png(tmp_path / f"out/a/{number:08d}.ids.png"), truth)


def test_shards_share_rows_without_overlap(opened, images, tmp_path):
    write_images(tmp_path)
    for part in ("1/2", "2/2"):
        main(["predict", "m", "rows.parquet", "--save", "parquet", "--out", "out", "--shard", part])
    assert sorted(row["key"] for row in _parts_of(tmp_path / "out")) == list(range(7))
    assert len(opened.read_text()) == 6
    assert [name for name, _ in errors_in(tmp_path / "out/errors.2-of-2.csv")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in", "--address", "auto"], "--address and --workers are for --engine ray."),
        (["in", "--save", "parquet", "csv"], "--save parquet holds the label maps"),
        (["in", "--save", "parquet", "--batch-size", "0"], "--batch-size and --workers must be"),
        (["gone.parquet"], "gone.parquet: there is no such file"),
        (["file:///nowhere/at/all"], "file:///nowhere/at/all holds no images or Parquet files."),
        (["nostore://x/y"], "Unrecognized filesystem type in URI: nostore://x/y"),
        (["none.parquet"], "none.parquet must have one column of bytes with its images; it has no"),
        (["two.parquet"], "it has several: a, b. Call the one with the images image."),
        (["broken.parquet"], "broken.parquet cannot be used: "),
    ],
)
def test_what_is_wrong_is_one_sentence(opened, images, tmp_path, capsys, arguments, said):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [b"1"], "b": [b"1"]}), tmp_path / "two.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert main(["predict", "m", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_two_images_of_one_output_are_refused(images, tmp_path):
    write_images(tmp_path)
    (tmp_path / "other").mkdir()
    os.link(tmp_path / "rows.parquet", tmp_path / "other/rows.parquet")
    with pytest.raises(ValueError, match=r"would both be written as rows/00000000"):
        find_pieces(["rows.parquet", "other/rows.parquet"])


def test_the_column_of_hugging_face_is_known(tmp_path):
    image = pa.array([{"bytes": b"1", "path": "x"}])
    pq.write_table(pa.table({"image": image, "mask": image}), tmp_path / "x.parquet")
    assert parquet_rows(str(tmp_path / "x.parquet")) == (1, "image")


def test_rows_are_read_across_groups_and_out_of_order(tmp_path):
    pq.write_table(pa.table({"n": list(range(10))}), tmp_path / "x.parquet", row_group_size=4)
    reader, name = RowReader(), str(tmp_path / "x.parquet")
    assert [reader.row(name, n)["n"] for n in (9, 0, 3, 4, 8)] == [9, 0, 3, 4, 8]
    with pytest.raises(ValueError, match="has no row 10"):
        reader.row(name, 10)


def test_addresses_of_stores_are_told_from_those_of_the_web_and_paths():
    assert [is_address(word) for word in ("s3://b/x", "GS://b", "https://x", "in/x", "c:/x")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert Store("s3://b/x/").full("y.png") == "s3://b/x/y.png"


def test_pieces_as_columns_come_back_as_they_were():
    pieces = [Piece("a", "b", "c"), Piece("d#1", "e", "f", 1, "image")]
    columns = as_columns(pieces)
    back = [Piece(*row) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    assert back == pieces


@pytest.mark.parametrize("save", ["labels", "parquet"])
def test_a_worker_killed_at_random_loses_nothing_and_repeats_a_batch(opened, tmp_path, save):
    """SIGKILL at random moments, restart, until it comes to its end by itself."""
    rng = np.random.default_rng(1)
    count, batch = 60, 4
    (tmp_path / "in").mkdir()
    for n in range(count):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), "uint8")).save(tmp_path / f"in/{n}.png")
    out = tmp_path / "out"
    command = ["predict", "m", str(tmp_path / "in"), "--out", str(out), "--save", save]
    command += ["--shard", "1/1", "--batch-size", str(batch)]
    loading.find_model()[0].pause = 0.01  # so that a machine of any speed is killed several times
    moments, kills, code = random.Random(0), 0, None
    while code != 0:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(main(command))
        time.sleep(moments.uniform(0.0, 0.12))
        if kills < 25:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
    assert kills >= 5
    calls = len(opened.read_text())
    # Without Parquet an image is a batch of its own.
    assert count <= calls <= count + kills * (batch if save == "parquet" else 1)
    names = sorted(path.name for path in out.iterdir())
    if save == "parquet":
        rows = _parts_of(out)
        assert sorted(row["image"] for row in rows) == sorted(
            str(tmp_path / f"in/{n}.png") for n in range(count)
        )
    else:
        assert names == sorted(f"{n}.ids.png" for n in range(count))
        for n in range(count):
            truth = (_png(tmp_path / f"in/{n}.png")[..., 0] > 127).astype("uint8")
            np.testing.assert_array_equal(_png(out / f"{n}.ids.png"), truth)


NAMES = ("x#1", "x#2", "y?1", "my photo", "50%25", "größe [1]", "a=b+c")


def test_any_name_that_a_store_lists_is_read_and_written(opened, images, tmp_path, capsys):
    os.remove(tmp_path / "in/3.png")
    for name, number in zip(NAMES, (0, 1, 2, 4, 5, 6, 0), strict=True):
        content = (tmp_path / f"in/{number}.png").read_bytes()
        (tmp_path / "in" / f"{name}.png").write_bytes(content)
    address = f"file://{tmp_path}"
    command = ["predict", "m", f"{address}/in", "--out", f"{address}/out", "--save", "labels"]
    assert main(command) == 0
    for name, number in zip(NAMES, (0, 1, 2, 4, 5, 6, 0), strict=True):
        np.testing.assert_array_equal(_png(tmp_path / f"out/{name}.ids.png"), images[number])
    assert len(list((tmp_path / "out").glob("*.ids.png"))) == len(NAMES) + 6
    capsys.readouterr()
    assert main(command) == 0 and "13 skipped" in capsys.readouterr().out
