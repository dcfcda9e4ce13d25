"""Finding two classes that are exchanged in a label file: each looks like the other elsewhere."""

import numpy as np

from kseg.data.review.details import table_of_looks

_FEWEST = 12  # images that show what a class usually looks like
# Deviations that are no oddity: in brightness, two differences of channels and height, of 255
# each, and in the logarithm of the share.
_USUAL = np.array([6, 4, 4, 10, 0.3], "float32")
_WORST = 36  # squared deviations; one number alone must not decide
_CLEARER = 2.0  # times that both classes fit better when they are exchanged
_FEW = 0.05


def exchanged_classes(looks: list[dict[int, np.ndarray]]) -> dict[int, tuple[int, int]]:
    """Returns the label maps in which two classes fit clearly better when they are exchanged.

    Args:
        looks: `Details.looks` of each image.

    Returns:
        From the index of the image to its two classes; nothing where many images are odd, for then
        the classes have no looks of their own.
    """
    known, numbers = table_of_looks(looks)
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
