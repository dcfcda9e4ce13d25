"""Draws docs/street.png, the picture at the top of README: an image, its labels, the class names.

The image is tests/fixtures/e1.jpg of the source package panoramax_cli 1.4.1 (MIT):

    pip download --no-deps --no-binary :all: panoramax_cli==1.4.1
    kseg predict atrous_fpn_camvid e1.jpg --out labelled
    python scripts/street.py e1.jpg labelled/e1.labels.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import kseg
from kseg.models import TRAINED

_WIDTH, _GAP, _LEGEND, _BOX = 560, 8, 40, 16
_SMALL = 0.0005  # classes with a smaller share of the image are not in the legend


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("labels", type=Path, help="the label file that `kseg predict` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/street.png")
    arguments = parser.parse_args()

    classes = TRAINED["atrous_fpn_camvid"].classes
    image = np.asarray(Image.open(arguments.image).convert("RGB"))
    labels = np.asarray(Image.open(arguments.labels))
    height = round(_WIDTH * image.shape[0] / image.shape[1])
    sheet = Image.new("RGB", (2 * _WIDTH + _GAP, height + _LEGEND), "white")
    for index, picture in enumerate((image, kseg.overlay(image, labels, classes))):
        resized = Image.fromarray(picture).resize((_WIDTH, height), Image.Resampling.LANCZOS)
        sheet.paste(resized, (index * (_WIDTH + _GAP), 0))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    shares = np.bincount(labels.ravel(), minlength=256) / labels.size
    x, middle = _GAP, height + _LEGEND // 2
    for index, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)):
        if shares[index] < _SMALL:
            continue
        draw.rectangle((x, middle - _BOX // 2, x + _BOX, middle + _BOX // 2), fill=color)
        draw.text((x + _BOX + _GAP, middle), name, fill="black", font=font, anchor="lm")
        x += _BOX + 4 * _GAP + round(draw.textlength(name, font=font))
    sheet.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
