"""Finding two classes that are exchanged in a label file: each looks like the other elsewhere."""

import numpy as np

from kseg.classes import IGNORE_CLASS

_FEWEST = 12  # images that show what a class usually looks like
_LEAST = 0.003  # share of an image in which a class can be told by its looks
# Deviations that are no oddity: in brightness, two differences of channels and height, of 255
# each, and in the logarithm of the share.
_USUAL = np.array([6, 4, 4, 10, 0.3], "float32")
_WORST = 36  # squared deviations; one number alone must not decide
_CLEARER = 2.0  # times that both classes fit better when they are exchanged
_FEW = 0.05


def class_looks(pixels: np.ndarray, classes: np.ndarray) -> dict[int, np.ndarray]:
    """Returns five numbers by which each class of an image may be told from others.

    Args:
        pixels: An image, (H, W, channels), 0..255.
        classes: Its label map, uint8 (H, W).

    Returns:
        From each class that is not too rare to how much brighter it is than the image, how its
        channels differ likewise, how much lower it lies, and the logarithm of its share.
    """
    pixels = pixels[..., :3].astype("float32")
    if pixels.shape[-1] < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    height = np.linspace(0, 255, len(classes))[:, None] + np.zeros_like(red)
    values = np.stack([(red + green + blue) / 3, red - blue, green - (red + blue) / 2, height], -1)
    used = classes != IGNORE_CLASS
    usual = values[used].mean(0) if used.any() else 0
    found = {}
    for index, count in enumerate(np.bincount(classes[used], minlength=1)):
        if count >= max(1, _LEAST * classes.size):
            share = np.log(count / classes.size)
            found[index] = np.append(values[classes == index].mean(0) - usual, share)
    return found


def exchanged_classes(looks: list[dict[int, np.ndarray]]) -> dict[int, tuple[int, int]]:
    """Returns the label maps in which two classes fit clearly better when they are exchanged.

    Args:
        looks: Of each image, as `class_looks` returns them.

    Returns:
        From the index of the image to its two classes; nothing where many images are odd, for then
        the classes have no looks of their own.
    """
    known = sorted({index for each in looks for index in each})
    numbers = np.full((len(looks), len(known), len(_USUAL)), np.nan, "float32")
    for row, each in enumerate(looks):
        for index, own in each.items():
            numbers[row, known.index(index)] = own
    present = ~np.isnan(numbers[..., 0])
    often = np.flatnonzero(present.sum(0) >= _FEWEST)
    if len(often) < 2:
        return {}
    numbers, present = numbers[:, often], present[:, often]
    usual = np.nanmedian(numbers, 0)
    apart = np.maximum(_USUAL, 1.5 * np.nanmedian(np.abs(numbers - usual), 0))
    found = {}
    for row in range(len(numbers)):
        here = np.flatnonzero(present[row])
        if len(here) < 2:
            continue
        # How far class i of this image is from what class j usually is.
        far = (numbers[row, here, None] - usual[here]) / apart[here]
        far = np.minimum(_WORST, far**2).mean(-1)
        own = np.minimum(far.diagonal()[:, None], far.diagonal())
        clearer = np.triu(own / (np.maximum(far, far.T) + 1), 1)
        i, j = np.unravel_index(clearer.argmax(), clearer.shape)
        if clearer[i, j] > _CLEARER:
            found[row] = (known[often[here[i]]], known[often[here[j]]])
    return found if len(found) <= max(1, _FEW * len(looks)) else {}
