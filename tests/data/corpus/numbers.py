"""What the numbers and colours in label files mean."""

import numpy as np

from corpus.base import (
    COLORED,
    COLORS,
    IDS,
    NAMES,
    PAIR,
    RGB,
    TWO,
    Case,
    palette,
    save,
    wide_png,
)


def numbers():
    """What the numbers mean."""
    yield Case(
        "0 and 255, two names",
        save(TWO * 255),
        PAIR,
        expect=TWO,
        said="hold 0 and 255, so 255 is 'red' (`names: {0: ground, 255: red}`)",
    )
    yield Case(
        "0 and 255 in all channels, two names",
        save(np.dstack([TWO * 255] * 3)),
        PAIR,
        expect=TWO,
        said="so 255 is 'red'",
    )
    yield Case(
        "0 and 255 in a GIF, two names",
        save(TWO * 255, "GIF"),
        PAIR,
        label_name="0.gif",
        expect=TWO,
        said="so 255 is 'red'",
    )
    yield Case(
        "0 and 255 with `names: {0: ground, 255: red}`",
        save(TWO * 255),
        "names: {0: ground, 255: red}\n",
        expect=TWO,
    )
    yield Case(
        "0 and 255, two names, `ignore: 255`",
        save(TWO * 255),
        PAIR + "ignore: 255\n",
        refused="'ground' is the only class that occurs, and 255 is ignored",
    )
    yield Case(
        "0 and 255, three names",
        save(TWO * 255),
        refused="'ground' is the only class that occurs, and 255 is ignored; if it is a class",
    )
    yield Case(
        "0, 128 and 255, three names",
        save(np.array([0, 128, 255], "uint8")[IDS]),
        refused="write `names: {0: ground, 128: red, 255: blue}`",
    )
    yield Case(
        "0, 128 and 255, two names",
        save(np.array([0, 128, 255], "uint8")[IDS]),
        PAIR,
        refused="write `names: {0: ground, 128: red}` and `ignore: 255`",
    )
    yield Case(
        "0 and 128, two names",
        save(TWO * 128),
        PAIR,
        refused="write `names: {0: ground, 128: red}`",
    )
    yield Case(
        "ids that begin with 1",
        save(IDS + 1),
        refused="write `names: {1: ground, 2: red, 3: blue}`",
    )
    yield Case("an id without a name", save(four(9)), refused="write `ignore: [9]`")
    yield Case(
        "ids 0 to 3 with 0 for nothing, three names",
        save(four(3)),
        refused="write `names: {1: ground, 2: red, 3: blue}` and `ignore: 0`",
    )
    yield Case(
        "gray values of gray `colors`",
        save(np.array([0, 128, 255], "uint8")[IDS]),
        NAMES + "colors: [[0, 0, 0], [128, 128, 128], [255, 255, 255]]\n",
        expect=IDS,
        said="hold the gray values of colors",
    )
    yield Case(
        "black and white of `colors`",
        save(TWO * 255),
        PAIR + "colors: [[0, 0, 0], [255, 255, 255]]\n",
        expect=TWO,
        said="gray values of colors",
    )
    yield Case(
        "ids with gaps",
        save(np.array([3, 7, 9], "uint8")[IDS]),
        "names: {9: blue, 3: ground, 7: red}\n",
        expect=IDS,
    )
    yield Case(
        "ids above 255, named",
        save(np.array([0, 1000, 2000], "uint16")[IDS]),
        "names: {0: ground, 1000: red, 2000: blue}\n",
        expect=IDS,
    )
    yield Case(
        "ids above 255, not named",
        save(np.array([0, 1, 2000], "uint16")[IDS]),
        refused="2000 (7 pixels)",
    )
    yield Case(
        "numbers of objects as one class, `1-65535: red`",
        save((np.arange(24).reshape(4, 6) * 20).astype("uint16")),
        "names: {0: ground, 1-65535: red}\n",
        expect=np.minimum(np.arange(24).reshape(4, 6), 1),
    )
    yield Case(
        "numbers of objects",
        save(np.arange(0, 240, 10, dtype="uint8").reshape(4, 6)),
        refused="as if it numbers objects, or was resized smoothly",
    )
    yield Case(
        "several ignored ids",
        save(np.array([0, 1, 9], "uint8")[IDS]),
        PAIR + "ignore: [9, 11]\n",
        expect=np.array([0, 1, 255])[IDS],
    )
    yield Case(
        "`merge: {thing: [red, blue]}`",
        save(IDS),
        NAMES + "merge: {thing: [red, blue]}\n",
        expect=TWO,
    )
    yield Case(
        "a class that does not occur", save(TWO), expect=TWO, said="in train, 'blue' does not occur"
    )
    yield Case(
        "a class under 0.1 %",
        save(rare()),
        PAIR,
        image=save(np.zeros((40, 60), "uint8")),
        expect=rare(),
        said="under 0.1 % of the pixels are 'red' (0.042 %)",
    )
    yield Case(
        "more than half the pixels ignored",
        save(mostly_ignored()),
        PAIR,
        expect=mostly_ignored(),
        said="92 % of the pixels are ignored",
    )
    yield Case(
        "all pixels ignored",
        save(np.full((4, 6), 255, "uint8")),
        PAIR,
        refused="all pixels of the split 'train' are ignored",
    )
    yield Case(
        "one class alone", save(IDS * 0), PAIR, refused="'ground' is the only class that occurs"
    )


def four(more):
    ids = IDS.copy()
    ids[0, 0] = more
    return ids


def rare():
    ids = np.zeros((40, 60), "uint8")
    ids[3, 4] = 1
    return ids


def mostly_ignored():
    ids = np.full((4, 6), 255, "uint8")
    ids[0, :2] = 0, 1
    return ids


def colors():
    """Label files of colours that are not plain."""
    black = np.where((IDS == 2)[..., None], 0, RGB).astype("uint8")
    few = RGB.copy()
    few[0, 0] = 0
    two = PAIR + "colors: [[10, 20, 30], [200, 0, 0]]\n"
    wild = RGB.copy()
    wild[0, 0] = 1, 2, 3
    smooth = np.random.default_rng(1).integers(1, 256, (8, 8, 3)).astype("uint8")
    order = palette(np.array([1, 0, 2], "uint8")[IDS], [COLORS[1], COLORS[0], (7, 7, 7)])
    yield Case(
        "black is much and not among `colors`",
        save(black),
        two,
        refused="black, which is not among colors; add [0, 0, 0] to colors",
    )
    yield Case(
        "black is little and not among `colors`",
        save(few),
        COLORED,
        expect=np.where(few.any(-1), IDS, 255),
        said="4.2 % of the pixels are black",
    )
    yield Case(
        "black in `ignore: [[0, 0, 0]]`",
        save(black),
        two + "ignore: [[0, 0, 0]]\n",
        expect=np.where(IDS == 2, 255, IDS),
    )
    yield Case("a colour without a name", save(wild), COLORED, refused="does not list: (1, 2, 3)")
    yield Case(
        "colours smoothed by resizing or JPEG",
        save(smooth),
        COLORED,
        image=save(smooth),
        refused="it was resized smoothly or stored as JPEG",
    )
    yield Case(
        "RGB without `colors`", save(RGB), refused="the data file has no colors; write `colors: ["
    )
    yield Case(
        "a palette of another order with a colour without a name",
        save(order),
        COLORED,
        refused="not (7, 7, 7) of index 2",
    )
    yield Case(
        "transparent label pixels",
        save(np.dstack([RGB, IDS * 100])),
        COLORED,
        refused="it has transparent pixels",
    )
    yield Case(
        "RGB PNG of 16 bits as label file",
        wide_png(RGB, 1),
        COLORED,
        refused="its colours have 16 bits",
    )
