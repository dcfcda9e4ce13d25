import numpy as np
import pytest

from export import dynamic_range, float16, float32, full_integer, int16x8


def test_recipes_are_data():
    assert [r().name for r in (float32, float16, dynamic_range)] == [
        "float32",
        "float16",
        "dynamic_range",
    ]


def test_full_integer_wants_real_photos():
    rng = np.random.default_rng(0)
    photos = list(rng.integers(0, 256, (8, 16, 16, 3), "uint8"))
    assert len(full_integer(photos).images) == 8
    with pytest.raises(ValueError, match=r"at least 8 photos .* got 7"):
        full_integer(photos[:7])
    with pytest.raises(ValueError, match=r"values 0\.\.255 .* within 0\.\.1"):
        full_integer([photo / 255 for photo in photos])
    with pytest.raises(ValueError, match=r"at least one are within 0\.\.1"):
        full_integer([*photos, photos[0] / 255])
    with pytest.raises(ValueError, match=r"of 9, 7 are neither of one colour nor equal"):
        full_integer([*photos[:7], photos[0], np.zeros((16, 16, 3), "uint8")])
    assert len(full_integer([*photos, np.zeros((16, 16, 3), "uint8")]).images) == 9
    assert int16x8(photos).name == "int16x8"
    with pytest.raises(ValueError, match="int16x8 needs at least 8 photos"):
        int16x8(photos[:7])
    with pytest.raises(ValueError, match=r"must have values 0\.\.255"):
        full_integer([photo / 127.5 - 1 for photo in photos])
    with pytest.raises(ValueError, match="of one colour"):
        full_integer([np.full((16, 16, 3), shade, "uint8") for shade in range(10, 18)])
    with pytest.raises(ValueError, match=r"shape \(H, W, 3\); got shape \(16, 16\)"):
        full_integer([photo[..., 0] for photo in photos])
