import base64
import io

import numpy as np
import pytest
from PIL import Image

from kseg.html import Markup, data_uri, figures, page, table

EVIL = '<script>alert("1")</script>&'


def test_texts_are_escaped_and_markup_is_not():
    made = page(EVIL, [table((EVIL,), [(EVIL, Markup("<b>1</b>"))], (EVIL,))])
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 5  # twice the title
    assert "<td><b>1</b></td>" in made
    assert "<script" not in figures({EVIL: np.zeros((2, 2, 3), "uint8")}, 2)


def test_page_may_load_and_run_nothing():
    made = page("a", [])
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in made


@pytest.mark.parametrize(("kind", "size"), [("PNG", (30, 10)), ("JPEG", (30, 10))])
def test_picture_is_in_its_address_and_shrunk(kind, size):
    picture = np.full((20, 60, 3), (200, 100, 50), "uint8")
    start, content = data_uri(picture, 30, kind).split(",", 1)
    assert start == f"data:image/{kind.lower()};base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == size
        assert np.abs(np.asarray(image, int) - (200, 100, 50)).max() <= 3
