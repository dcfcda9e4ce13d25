import subprocess
import sys

import keras
import numpy as np
import pytest

from export import (
    ExportOptions,
    convert,
    dynamic_range,
    float16,
    float32,
    full_integer,
    int16x8,
)


def test_recipes_are_data():
    assert [r().name for r in (float32, float16, dynamic_range)] == [
        "float32",
        "float16",
        "dynamic_range",
    ]


def test_full_integer_wants_real_images():
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (8, 16, 16, 3), "uint8"))
    assert len(full_integer(images).images) == 8
    with pytest.raises(ValueError, match=r"at least 8 images .* got 7"):
        full_integer(images[:7])
    with pytest.raises(ValueError, match=r"values 0\.\.255 .* within 0\.\.1"):
        full_integer([image / 255 for image in images])
    with pytest.raises(ValueError, match=r"at least one are within 0\.\.1"):
        full_integer([*images, images[0] / 255])
    with pytest.raises(ValueError, match=r"of 9, 7 are neither of one colour nor equal"):
        full_integer([*images[:7], images[0], np.zeros((16, 16, 3), "uint8")])
    assert len(full_integer([*images, np.zeros((16, 16, 3), "uint8")]).images) == 9
    assert int16x8(images).name == "int16x8"
    with pytest.raises(ValueError, match="int16x8 needs at least 8 images"):
        int16x8(images[:7])
    with pytest.raises(ValueError, match=r"must have values 0\.\.255"):
        full_integer([image / 127.5 - 1 for image in images])
    with pytest.raises(ValueError, match="of one colour"):
        full_integer([np.full((16, 16, 3), shade, "uint8") for shade in range(10, 18)])
    with pytest.raises(ValueError, match=r"images of one number of channels; .* \(\) and \(3,\)"):
        full_integer([*images, images[0][..., 0]])
    with pytest.raises(ValueError, match=r"got shape \(16,\)"):
        full_integer([image[0, :, 0] for image in images])
    assert full_integer([image[..., 0] for image in images]).images[0].shape == (16, 16, 1)


def test_the_words_of_the_command_line_load_no_library():
    code = "import sys, export.recipes; sys.exit('keras' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_that_float16_cannot_hold_are_warned_of(tmp_path):
    image = keras.Input((8, 8, 3))
    score = keras.layers.Conv2D(3, 1, name="score")
    model = keras.Model(image, score(image))
    kernel, bias = score.get_weights()
    score.set_weights([np.where(kernel == kernel.max(), np.float32(1e5), kernel), bias])
    options = ExportOptions(overwrite=True)
    with pytest.warns(UserWarning, match="Weights of score are beyond 65,504, the largest number"):
        convert(model, float16(), input_size=(8, 8), path=tmp_path / "a.tflite", options=options)
    convert(model, float32(), input_size=(8, 8), path=tmp_path / "b.tflite", options=options)
