"""What a job leaves alone, tries again and replaces; and bad entries among good ones."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from kseg.cli import loading, main

pa = pytest.importorskip("pyarrow", reason="pip install 'kseg[ray]'")
import pyarrow.parquet as pq  # noqa: E402
from tables import errors_in, write_images  # noqa: E402

from kseg.labelling import Labeller  # noqa: E402
from kseg.labelling.jobs import Work  # noqa: E402
from kseg.labelling.pieces import Piece, as_columns  # noqa: E402
from kseg.labelling.ray_engine import Worker  # noqa: E402
from kseg.labelling.stores import Store  # noqa: E402


def _parts_of(folder):
    return [row for file in sorted(folder.glob("part-*.parquet")) for row in _rows(file)]


def _rows(file):
    return pq.ParquetFile(file).read().to_pylist()


def test_a_row_with_an_error_is_tried_again_and_replaced(opened, images, tmp_path):
    """It counted as done: a restart removed the table and ended with 0."""
    command = ["predict", "m", "in", "--save", "parquet", "--out", "out", "--batch-size"]
    assert main([*command, "3"]) == 2
    assert main([*command, "1"]) == 2  # it is a batch of its own now
    assert main([*command, "1"]) == 2  # and its part is made anew
    (bad,) = (row for row in _parts_of(tmp_path / "out") if row["error"])
    assert bad["image"] == f"{tmp_path}/in/3.png" and len(_parts_of(tmp_path / "out")) == 7
    os.replace(tmp_path / "in/0.png", tmp_path / "in/3.png")
    calls = len(opened.read_text())
    assert main([*command, "1"]) == 0
    assert len(opened.read_text()) == calls + 1
    rows = {row["image"]: row for row in _parts_of(tmp_path / "out")}
    assert len(_parts_of(tmp_path / "out")) == len(rows) == 7
    mended = Image.open(io.BytesIO(rows[f"{tmp_path}/in/3.png"]["labels"]))
    np.testing.assert_array_equal(np.asarray(mended), images[0])
    assert not any(row["error"] for row in rows.values())
    assert not (tmp_path / "out/errors.csv").exists()


def test_a_row_with_an_error_that_a_kill_left_beside_the_good_one_goes(opened, images, tmp_path):
    command = ["predict", "m", "in", "--save", "parquet", "--out", "out", "--batch-size", "3"]
    main(command)
    (old,) = (p for p in (tmp_path / "out").glob("part-*") if any(r["error"] for r in _rows(p)))
    before = old.read_bytes()
    os.replace(tmp_path / "in/0.png", tmp_path / "in/3.png")
    assert main(command) == 0
    old.write_bytes(before)  # as if it had been killed before this was settled
    calls = opened.read_text()
    assert main(command) == 0 and opened.read_text() == calls
    names = [row["image"] for row in _parts_of(tmp_path / "out") if row["error"]]
    assert not names
    assert {row["image"] for row in _parts_of(tmp_path / "out")} == {
        f"{tmp_path}/in/{n}.png" for n in range(7)
    }


def test_overwrite_replaces_rows_of_its_own_images_alone(opened, images, tmp_path):
    """It removed the rows of other shards, and whatever else was named part-X.parquet."""
    command = ["predict", "m", "in", "--save", "parquet", "--out", "out"]
    main(command)  # one part with the images of all shards
    spark = tmp_path / "out/part-00000-spark.parquet"
    pq.write_table(pa.table({"id": [1]}), spark)
    theirs = spark.read_bytes()
    for shard in ("1/3", "2/3", "3/3"):
        for _ in range(2):
            main([*command, "--overwrite", "--shard", shard, "--batch-size", "2"])
            rows = [
                row for file in (tmp_path / "out").glob("part-*[!k].parquet") for row in _rows(file)
            ]
            assert sorted(row["image"] for row in rows) == [
                f"{tmp_path}/in/{n}.png" for n in range(7)
            ]
    assert len(list((tmp_path / "out").glob("part-*[!k].parquet"))) == 4  # 3, 2 and 2 images
    assert spark.read_bytes() == theirs


def test_overwrite_that_ends_early_leaves_the_old_rows(opened, images, tmp_path, monkeypatch):
    command = ["predict", "m", "in", "--save", "parquet", "--out", "out"]
    main(command)

    def full(*_, **__):
        raise OSError(28, "No space left on device", "out")

    with monkeypatch.context() as patch:
        patch.setattr("kseg.labelling.parquet_parts._write", full)
        assert main([*command, "--overwrite", "--batch-size", "2"]) != 0
    assert len(_parts_of(tmp_path / "out")) == 7


@pytest.mark.parametrize("extra", [[], ["--overwrite"]])
def test_a_part_by_others_is_refused_in_a_sentence(opened, images, tmp_path, capsys, extra):
    """It was a traceback."""
    (tmp_path / "out").mkdir()
    other = tmp_path / f"out/part-{'0' * 20}.parquet"
    pq.write_table(pa.table({"image": ["x"], "id": [1]}), other)
    before = other.read_bytes()
    assert main(["predict", "m", "in", "--save", "parquet", "--out", "out", *extra]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{other} is no file of label maps by kseg, it has no column error; move it" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == [other.name]
    assert other.read_bytes() == before


@pytest.mark.parametrize("out", ["set.parquet", "file://{}/set.parquet"])
def test_a_folder_of_what_is_to_be_labelled_takes_no_parquet(opened, images, tmp_path, capsys, out):
    """With --overwrite the images themselves were removed."""
    (tmp_path / "set.parquet").mkdir()
    write_images(tmp_path, "set.parquet/part-0.parquet")
    command = ["predict", "m", "set.parquet", "--save", "parquet", "--overwrite"]
    assert main([*command, "--out", out.format(tmp_path)]) == 2
    assert "part-0.parquet is to be labelled and lies in" in capsys.readouterr().err
    assert len(_rows(tmp_path / "set.parquet/part-0.parquet")) == 7
    main([*command, "--out", "set.parquet/labels"])
    main([*command, "--out", "set.parquet/labels"])  # which is not searched for images
    assert len(_parts_of(tmp_path / "set.parquet/labels")) == 7


@pytest.mark.parametrize("word", ["set.parquet", "file://{}/set.parquet", "file://{}/set"])
def test_a_bad_parquet_file_leaves_the_others(opened, images, tmp_path, capsys, word):
    """The files after it were dropped, and it was said that the rest is done."""
    folder = tmp_path / word.rpartition("/")[2]
    folder.mkdir()
    os.remove(tmp_path / "in/3.png")
    (tmp_path / "in/3.png").write_bytes((tmp_path / "in/1.png").read_bytes())
    for name in ("a", "c"):
        write_images(tmp_path, folder / f"{name}.parquet")
    (folder / "b.parquet").write_bytes(b"PAR1")
    command = ["predict", "m", word.format(tmp_path), "--save", "labels", "--out", "out"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "b.parquet cannot be used: " in said and "1 could not be labelled; the rest" in said
    for name in ("a", "c"):
        assert len(list((tmp_path / f"out/{name}").iterdir())) == 7


def test_a_table_of_errors_in_a_store_goes_when_all_is_labelled(opened, images, tmp_path):
    command = ["predict", "m", "in", "--save", "labels", "--out", f"file://{tmp_path}/out"]
    assert main(command) == 2
    assert [name for name, _ in errors_in(tmp_path / "out/errors.csv")] == [f"{tmp_path}/in/3.png"]
    os.replace(tmp_path / "in/0.png", tmp_path / "in/3.png")
    assert main(command) == 0
    assert not (tmp_path / "out/errors.csv").exists()


@pytest.mark.parametrize("out", ["out", "file://{}/out"])
def test_a_table_by_others_is_refused_and_stays(opened, images, tmp_path, capsys, out):
    """A file of the name errors.csv was removed without a word."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/errors.csv").write_text("image,error,who\nx,y,z\n")
    command = ["predict", "m", "in", "--save", "parquet", "--out", out.format(tmp_path)]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out/errors.csv would be replaced by a table of kseg's" in line and "move it" in line
    assert (tmp_path / "out/errors.csv").read_text() == "image,error,who\nx,y,z\n"
    assert len(list((tmp_path / "out").iterdir())) == 1 and not opened.read_text()
    (tmp_path / "out/errors.csv").write_bytes(b"")  # as a kill may leave it
    assert main(command) == 2
    assert len(errors_in(tmp_path / "out/errors.csv")) == 1


def test_a_worker_of_an_engine_says_which_file_the_rows_are_in(opened, images, tmp_path):
    (tmp_path / "out").mkdir()
    work = Work(Labeller(loading.find_model()[0]), Store(str(tmp_path / "out")), ("parquet",))
    files = [str(tmp_path / f"in/{n}.png") for n in (2, 3)]
    batch = as_columns([Piece(file, str(n), file) for n, file in enumerate(files)])
    done = Worker(work)(batch)
    (part,) = (path.name for path in (tmp_path / "out").iterdir())
    assert done["name"].tolist() == files and done["part"].tolist() == [part, part]
    assert done["error"][0] == "" and "cannot be read as an image" in done["error"][1]
    assert not done["skipped"].any()
    assert not Worker(work)(batch)["skipped"].any()  # a batch that is repeated keeps its errors
    good = as_columns([Piece(files[0], "0", files[0])])
    assert [Worker(work)(good)["skipped"].tolist() for _ in range(2)] == [[False], [True]]


def test_columns_of_the_source_are_kept_whatever_their_names(opened, images, tmp_path):
    rows = [
        {"image": (tmp_path / f"in/{n}.png").read_bytes(), "id": n, "labels": n + 10, "error": "x"}
        for n in (0, 1)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    # Named twice, it is labelled once.
    assert main(["predict", "m", *["rows.parquet"] * 2, "--save", "parquet", "--out", "out"]) == 0
    found = sorted(_parts_of(tmp_path / "out"), key=lambda row: row["id"])
    assert [row["source_labels"] for row in found] == [10, 11]
    assert [row["source_error"] for row in found] == ["x", "x"]
    assert [row["error"] for row in found] == [None, None]
    sizes = [Image.open(io.BytesIO(png)).size for png in (found[0]["labels"], rows[0]["image"])]
    assert sizes[0] == sizes[1]


def test_columns_of_two_sources_with_two_types_become_text(opened, images, tmp_path):
    (tmp_path / "set").mkdir()
    for number, key in ((0, 7), (1, "seven")):
        row = {"image": (tmp_path / f"in/{number}.png").read_bytes(), "id": key}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"set/{number}.parquet")
    words = ["predict", "m", f"file://{tmp_path}/set", "--save", "parquet", "--out", "out"]
    assert main(words) == 0
    assert sorted(row["id"] for row in _parts_of(tmp_path / "out")) == ["7", "seven"]


def _typed(count):
    """Returns columns whose types a guess from their values would change or refuse."""
    time = pa.array([1_700_000_000_123_456_789 + n for n in range(count)], pa.int64())
    return {
        "share": pa.array([n / 3 for n in range(count)], pa.float32()),
        "hash": pa.array([2**64 - 1 - n for n in range(count)], pa.uint64()),
        "small": pa.array(range(count), pa.int8()),
        "time": time.cast(pa.timestamp("ns", "Europe/Berlin")),
        "kind": pa.array(["a", "b"] * count, pa.string())[:count].dictionary_encode(),
        "box": pa.array([[1.0, n] for n in range(count)], pa.list_(pa.float32())),
        "empty": pa.nulls(count, pa.float16()),
    }


def test_columns_of_a_source_keep_their_types_and_values(opened, images, tmp_path):
    """float32 became double, and large uint64 and nanoseconds ended the job."""
    write_images(tmp_path)
    table = pq.read_table(tmp_path / "rows.parquet")
    for name, column in _typed(len(table)).items():
        table = table.append_column(name, column)
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=3)
    command = ["predict", "m", "rows.parquet", "--save", "parquet", "--out", "out"]
    assert main([*command, "--batch-size", "5"]) == 2  # for the image that is none
    parts = [pq.ParquetFile(f).read() for f in sorted((tmp_path / "out").glob("part-*"))]
    found = pa.concat_tables(parts).sort_by("key")
    source = pq.ParquetFile(tmp_path / "rows.parquet").read()
    assert len(found) == 7 and found["labels"].null_count == 1
    for name in ("key", *_typed(1)):
        assert found[name].type == source[name].type, name
        assert found[name].combine_chunks().equals(source[name].combine_chunks()), name


def test_a_column_of_several_types_has_one_that_holds_all(opened, images, tmp_path):
    for name, column in (("a", pa.array([2**64 - 1] * 7, pa.uint64())), ("b", ["x", None] * 3)):
        write_images(tmp_path, f"{name}.parquet")
        table = pq.read_table(tmp_path / f"{name}.parquet").slice(0, len(column))
        pq.write_table(table.append_column("id", pa.array(column)), tmp_path / f"{name}.parquet")
    command = ["predict", "m", "a.parquet", "b.parquet", "--save", "parquet", "--out", "out"]
    assert main([*command, "--batch-size", "20"]) == 2
    ids = [row["id"] for row in _parts_of(tmp_path / "out")]
    assert ids.count(str(2**64 - 1)) == 7 and ids.count("x") == 3 and ids.count(None) == 3
