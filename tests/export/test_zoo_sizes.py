"""Every network, with its default backbone, at the sizes that devices take."""

import numpy as np
import pytest

from export import check, convert, full_integer
from export.tflite.reader import read_model
from kseg.models import MODELS, build

SIZES = [(128, 128), (360, 480), (513, 513)]
NEVER = {"DEQUANTIZE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SHAPE", "PACK"}
# Full-width U-Net and SegNet take minutes and gigabytes; narrow ones have the same graph.
NARROW = {
    "segnet": (8, 16, 32, 32, 32),
    "unet": (8, 16, 32, 32, 32),
    "encoder_decoder": (8, 16, 32),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_a_device_size_is_integer_and_compiles(name, size, tmp_path):
    arguments = {"num_classes": 4, "weights": None}
    if name in NARROW:
        arguments["widths"] = NARROW[name]
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), "uint8") for _ in range(8)]
    path = tmp_path / "file.tflite"
    result = convert(
        build(name, arguments),
        full_integer(images),
        target="edgetpu",
        input_size=size,
        path=path,
    )
    assert result.report["output"]["shape"] == (1, *size, 4)
    graph = read_model(path)
    assert not NEVER & {op.name for op in graph.ops}
    assert not any(tensor.dtype.startswith("float") for tensor in graph.tensors)
    assert all(len(tensor.shape) <= 4 for tensor in graph.tensors)
    assert check(path).compiles
