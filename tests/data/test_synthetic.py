import filecmp

import numpy as np
import pytest

from kseg.data import check_data, load_data
from kseg.data.synthetic import SHAPES, draw_shapes, write_shapes


def test_it_is_a_data_set_of_the_asked_size(tmp_path):
    data = load_data(write_shapes(tmp_path / "shapes", train=12, val=4, size=48))
    assert (len(data.files("train")), len(data.files("val"))) == (12, 4)
    assert data.classes == SHAPES
    image, label_map = data.read(data.files("val")[0])
    assert image.shape == (48, 48, 3) and label_map.shape == (48, 48)
    report = check_data(data)
    assert (report.pixels["train"] > 0).all()
    assert report.ignored == {"train": 0, "val": 0}
    assert 0.5 < report.pixels["train"][0] / report.pixels["train"].sum() < 0.95


def test_equal_seeds_make_equal_files(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shapes(tmp_path / name, train=2, val=1, size=32, seed=seed)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 7
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    assert len(filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)[1]) >= 6


def test_color_says_nothing_about_the_class():
    """The mean colour of each class over many images is the same, within chance."""
    rng = np.random.default_rng(0)
    sums, counts = np.zeros((5, 3)), np.zeros(5)
    for _ in range(150):
        image, label_map = (np.asarray(x) for x in draw_shapes(rng, 40))
        for class_id in np.unique(label_map):
            sums[class_id] += image[label_map == class_id].mean(0)
            counts[class_id] += 1
    means = sums / counts[:, None]
    # One image's mean has a deviation of about 60, and each class was seen 70 times or more.
    assert counts.min() >= 70
    assert np.abs(means - 127.5).max() == pytest.approx(0, abs=30)
