"""What every network promises to devices: trained for seconds, it agrees with its int8 file."""

import numpy as np

from export import convert, full_integer
from kseg.metrics import ConfusionMatrix

# At stride 32 a photo of 64 x 64 has 2 x 2 scores: too few for its rectangles.
COARSE = {"fcn32s": 0.3}


def test_fit_takes_images_of_mixed_sizes(trained):
    """What they teach is tested below."""
    assert np.isfinite(trained.history.history["loss"]).all()


def test_int8_file_has_builtin_ops_only_and_labels_alike(network, trained, rectangles, tmp_path):
    photos, labels = rectangles
    confusion = ConfusionMatrix(3)
    confusion.update(labels, trained.predict(np.float32(photos), verbose=0).argmax(-1))
    scores = confusion.scores(("ground", "red", "blue"))
    # Any file agrees with a network that names one class everywhere: a mean IoU of 0.26 here.
    assert scores.mean_iou > COARSE.get(network, 0.5)
    path = tmp_path / "network.tflite"
    # `convert` refuses floats, custom ops, sizes known at run time, and ops of versions
    # that old compilers cannot parse; android takes all that edgetpu takes.
    result = convert(
        trained, full_integer(photos[:12]), target="edgetpu", input_size=(64, 64), path=path
    )
    print(f"@@{network} {scores.mean_iou:.3f} {result.agreement:.4f}")
    assert result.agreement >= 0.95
    assert result.report["output"]["shape"] == (1, 64, 64, 3)
