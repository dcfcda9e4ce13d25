"""What every network promises to devices: trained for seconds, it agrees with its int8 file."""

import keras
import numpy as np
import pytest

from export import convert, full_integer, load_tflite
from kseg.layers import Resize
from kseg.metrics import ConfusionMatrix

# At stride 32 an image of 64 x 64 has 2 x 2 scores: too few for its rectangles.
COARSE = {"fcn32s": 0.3}


def cells(x):
    """Turns (2 * H, 2 * W, C) into (H, W, 4, C), the four pixels of each cell."""
    height, width, channels = x.shape
    x = x.reshape(height // 2, 2, width // 2, 2, channels).swapaxes(1, 2)
    return x.reshape(height // 2, width // 2, 4, channels)


def test_fit_takes_images_of_mixed_sizes(trained):
    """What they teach is tested below."""
    assert np.isfinite(trained.history.history["loss"]).all()


def test_int8_file_has_builtin_ops_only_and_labels_alike(network, trained, rectangles, tmp_path):
    images, labels = rectangles
    confusion = ConfusionMatrix(3)
    confusion.update(labels, trained.predict(np.float32(images), verbose=0).argmax(-1))
    scores = confusion.scores(("ground", "red", "blue"))
    # Any file agrees with a network that names one class everywhere: a mean IoU of 0.26 here.
    assert scores.mean_iou > COARSE.get(network, 0.5)
    path = tmp_path / "network.tflite"
    # `convert` refuses floats, custom ops, sizes known at run time, and ops of versions
    # that old compilers cannot parse; android takes all that edgetpu takes.
    result = convert(
        trained, full_integer(images[:8]), target="edgetpu", input_size=(64, 64), path=path
    )
    assert result.agreement >= 0.95
    assert result.report["output"]["shape"] == (1, 64, 64, 3)


@pytest.mark.slow
def test_switches_of_a_trained_segnet_move_to_what_rounds_alike(train, rectangles, tmp_path):
    images, _ = rectangles
    model = train("segnet")
    for stage in range(1, 6):
        source, scale = model.get_layer(f"pool{stage}").input, 2 ** (stage - 1)
        whole = keras.Model(model.input, Resize(scale, "nearest")(source))  # a file's own size
        path = tmp_path / f"{stage}.tflite"
        convert(whole, full_integer(images[:12]), input_size=(64, 64), path=path)
        moved, short = [], []
        with load_tflite(path) as file:
            for image in images:
                integers = cells(file.run(image[None])[0][0, ::scale, ::scale])
                floats = cells(whole(np.float32(image[None])).numpy()[0, ::scale, ::scale])
                at = integers.argmax(2)[:, :, None]
                moved.append(at != floats.argmax(2)[:, :, None])
                lower = floats.max(2, keepdims=True) - np.take_along_axis(floats, at, 2)
                short.append(lower[moved[-1]])
            step = file.output.scale
        # How many are nearly equal depends on the training.
        assert 0 < np.mean(moved) < 0.4
        assert np.concatenate(short).mean() < 2 * step
