"""What a file's metadata tell whoever runs it."""

import numpy as np

from export.errors import ModelFileError
from export.tflite.instructions import read_instructions
from export.tflite.metadata import add_metadata
from export.tflite.normalization import Normalization
from export.tflite.reader import read_model
from kseg.classes import Classes

LABELS = Classes(("ground", "red", "blue"))
SCALING = (1 / 128, -127 / 128)


def test_damaged_instructions_are_a_sentence(made, tmp_path):
    """The FlatBuffer of the metadata, byte by byte."""
    plain = made(lambda x: x * 2).read_bytes()
    content = add_metadata(plain, LABELS, head="logits", scaling=SCALING)
    start = content.index(b"M001") - 4
    path = tmp_path / "damaged.tflite"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for at in rng.integers(start, start + 700, 4):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_instructions(read_model(path), 3, path)
        except ModelFileError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 20 < refused < 300


def test_instructions_come_back(made, tmp_path):
    plain = made(lambda x: x * 2).read_bytes()
    path = tmp_path / "described.tflite"
    path.write_bytes(add_metadata(plain, LABELS, head="logits", scaling=SCALING))
    told = read_instructions(read_model(path), 3, path)
    assert told == (Normalization((127.0,), (128.0,)), 2)
    path.write_bytes(add_metadata(plain, LABELS, head="softmax"))
    assert read_instructions(read_model(path), 3, path) == (Normalization((0.0,), (1.0,)), 0)
    path.write_bytes(plain)
    assert read_instructions(read_model(path), 3, path) == (None, None)
