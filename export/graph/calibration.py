"""Images as the converted network sees them."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from kseg.data import fit_inside
from kseg.data.transforms import mirror_out, resize


def calibration(
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    scaling: tuple[float, float],
    working_size: tuple[int, int] | None,
) -> Iterator[list[np.ndarray]]:
    """Yields images fitted, padded and scaled.

    Args:
        images: Images (H, W, channels), 0..255.
        size: (height, width) of the file's input.
        scaling: (factor, offset) of the scaling that the network lacks.
        working_size: (height, width) that images are fitted into; None leaves those that fit into
            the input as they are.

    Yields:
        A list of one array, float32 (1, height, width, channels).
    """
    for index, image in enumerate(images):
        own = fitted = image.shape[:2]
        if working_size is not None or own[0] > size[0] or own[1] > size[1]:
            fitted = fit_inside(fitted, working_size or size)
        seen = resize(np.asarray(np.rint(image), "uint8"), fitted)
        canvas = mirror_out(seen, size)[None].astype("float32")
        if index == 0:
            # The input's range is then 0..255 exactly; images alone seldom span it, and raw
            # bytes would be misread.
            canvas[0, 0, 0], canvas[0, -1, -1] = 0, 255
        yield [canvas * np.float32(scaling[0]) + np.float32(scaling[1])]


def stand_ins(size: tuple[int, int], channels: int, count: int = 4) -> list[np.ndarray]:
    """Returns smooth random images, uint8 (H, W, channels), where there is no real one.

    Args:
        size: (height, width).
        channels: How many channels each has.
        count: How many images.
    """
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, channels), "uint8")
    return [
        np.stack([_enlarged(np.ascontiguousarray(a[..., i]), size) for i in range(channels)], -1)
        for a in small
    ]


def _enlarged(band: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(band).resize(size[::-1], Image.Resampling.BICUBIC))
