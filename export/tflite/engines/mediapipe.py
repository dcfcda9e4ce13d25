"""MediaPipe's ImageSegmenter, which scales images itself: its input is pixels, 0..255."""

import numpy as np

_SMALLEST = 1e-38


def load(path, inputs, outputs):
    """Returns what runs the file; see `export.tflite.engines`.

    Raises:
        ValueError: If MediaPipe would misread the output.
    """
    import mediapipe
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import ImageSegmenter, ImageSegmenterOptions

    output = outputs[0]
    _check(inputs[0]["shape"], output["shape"])
    options = ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=path),
        output_category_mask=False,
        output_confidence_masks=True,
    )
    segmenter = ImageSegmenter.create_from_options(options)

    def run(values):
        pixels = np.ascontiguousarray(values[0][0], "uint8")
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        masks = segmenter.segment(image).confidence_masks
        shares = np.stack([mask.numpy_view().reshape(pixels.shape[:2]) for mask in masks], -1)
        return [_scores(shares, output)]

    return run


def _check(image, output):
    if len(output) != 4:
        raise ValueError(f"it takes scores (1, H, W, classes), not {tuple(map(int, output))}")
    if tuple(output[1:3]) != tuple(image[1:3]):
        raise ValueError(
            "it enlarges probabilities, not logits, so a coarse output is not compared"
        )


def _scores(shares, output):
    """Returns the file's output, but for a number that is the same for all classes of a pixel.

    MediaPipe gives probabilities, and their logarithms are such scores. Those of an integer file
    are whole steps apart, which undoes the rounding on the way.
    """
    below = np.log(np.maximum(shares / shares.max(-1, keepdims=True), _SMALLEST))
    step = output["quantization"][0]
    if step:
        info = np.iinfo(output["dtype"])
        below = np.maximum(info.max + np.rint(below / step), info.min)
    return below[None]
