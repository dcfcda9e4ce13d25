"""Where the output of a network lies on its image."""

# Pixels, to whose multiples an image is mirrored out where a network makes no whole grid of it.
_MULTIPLES = (32, 128)


def sizes_around(
    own: tuple[int, int], fixed: tuple[int | None, int | None] = (None, None)
) -> list[tuple[int, int]]:
    """Returns the sizes at which a network may see an image: its own, and larger ones.

    Args:
        own: (height, width) of the image.
        fixed: Sides that the network's images must have.
    """
    found = [own]
    for multiple in _MULTIPLES:
        height, width = (side + -side % multiple for side in own)
        found.append((fixed[0] or height, fixed[1] or width))
    return list(dict.fromkeys(found))


def extent(size: tuple[int, int], given: tuple[int, int]) -> tuple[int, int] | None:
    """Returns the size at which an output lies on an image.

    Args:
        size: (height, width) of the image.
        given: (height, width) of the output.

    Returns:
        That of the image, or at a whole stride maybe a few pixels more; None where the output is
        no whole grid of the image, so that nothing tells which part of it it covers.
    """
    stride = whole_stride(size, given)
    if stride is not None:
        return given[0] * stride, given[1] * stride
    height, width = (_side(side, cells) for side, cells in zip(size, given, strict=True))
    return None if height is None or width is None else (height, width)


def _side(side: int, cells: int) -> int | None:
    if cells > side:  # a network that enlarges, or one that pads: that changes no multiple
        return None if cells % side or side % _MULTIPLES[0] else side
    stride = whole_stride((side, side), (cells, cells))
    return None if stride is None else cells * stride


def whole_stride(size: tuple[int, int], coarse: tuple[int, int]) -> int | None:
    """Returns the stride at which a network makes an output of a coarse size.

    Args:
        size: (height, width) of the image.
        coarse: (height, width) of the output.

    Returns:
        The stride s with coarse = ceil(size / s), a power of two where several fit; None where
        none does.
    """
    fit = [
        s for s in range(1, max(size) + 1) if (-(-size[0] // s), -(-size[1] // s)) == tuple(coarse)
    ]
    # Small outputs fit several strides; networks have powers of two.
    return next((s for s in fit if s & (s - 1) == 0), fit[0] if fit else None)


def no_grid(who: str, size: tuple[int, int], given: tuple[int, int]) -> str:
    """Returns what is said of a network that makes no whole grid of an image.

    Args:
        who: Begins the sentence.
        size: (height, width) of the image.
        given: (height, width) of what it makes.
    """
    return (
        f"{who} makes {given[0]} x {given[1]} scores of an image of {size[0]} x {size[1]}, which "
        f"are no whole grid of it, nor are those of the image mirrored out to a multiple of "
        f'{_MULTIPLES[0]}; pad its convolutions and poolings with padding="same", or resize what '
        "it returns to the size of the image."
    )
