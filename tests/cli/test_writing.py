"""Outputs of large images need little memory beside the image and its labels."""

import tracemalloc

import numpy as np
import pytest

from kseg.classes import Classes
from kseg.cli.writing import content_of


@pytest.mark.parametrize("kind", ["csv", "overlay"])
def test_counting_makes_no_wide_copy_of_the_labels(kind):
    labels = np.kron(np.arange(16, dtype="uint8").reshape(4, 4) % 3, np.ones((1000, 1000), "uint8"))
    image = np.zeros((*labels.shape, 3), "uint8")
    classes = Classes(("ground", "red", "blue"))
    tracemalloc.start()
    try:
        content = content_of(kind, image, labels, classes, "large.png")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As 64-bit numbers, which np.bincount makes of them, they would be 128 MB.
    assert labels.nbytes == 16_000_000 and peak < 64_000_000
    if kind == "csv":
        assert b"large.png,2,blue,5000000,0.312500" in content
