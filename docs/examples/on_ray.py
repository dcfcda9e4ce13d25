"""Labels images with Ray Data in a pipeline of one's own.

python docs/examples/on_ray.py MODEL images labels
"""

import sys

import ray

import kseg


def label(model: str, source: str, target: str) -> None:
    """Reads a folder, labels it with one model in each of two workers, and writes Parquet."""
    images = ray.data.read_binary_files(source, include_paths=True)
    labelled = images.map_batches(
        kseg.Labeller(model, column="bytes", png=True), batch_size=32, batch_format="numpy"
    )
    labelled.drop_columns(["bytes"]).write_parquet(target)


if __name__ == "__main__":
    label(*sys.argv[1:])
