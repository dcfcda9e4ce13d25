"""Tables that tests of jobs read and write."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq


def errors_in(path):
    """Returns (image, what was wrong with it) of a table of errors."""
    with open(path, newline="") as file:
        return [(row["image"], row["error"]) for row in csv.DictReader(file)]


def write_images(tmp_path, name="rows.parquet", group=3):
    """Writes a Parquet file of the seven images in "in"."""
    rows = [{"key": n, "image": (tmp_path / f"in/{n}.png").read_bytes()} for n in range(7)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / name, row_group_size=group)
