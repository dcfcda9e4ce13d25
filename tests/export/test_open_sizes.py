"""Files that take images of any size: they are timed at the size that is named, and no other."""

import json

import pytest
import tensorflow as tf

from export import ModelFileError, load_tflite
from export.tflite.benchmark import benchmark
from kseg.cli import main


def _pooled(x):
    return tf.nn.avg_pool2d(x, 2, 2, "SAME")


@pytest.mark.parametrize(
    ("shape", "timed"),
    [
        ((1, None, None, 3), [1, 48, 64, 3]),
        ((None, None, None, 3), [1, 48, 64, 3]),
        ((1, 3, None, None), [1, 3, 48, 64]),
        ((1, None, 32, 3), [1, 48, 32, 3]),
        ((1, 32, None, 3), [1, 32, 64, 3]),
    ],
)
def test_a_file_of_any_size_is_timed_at_the_size_that_is_named(made, shape, timed):
    path = made(lambda x: x * 2 + 1, shape)
    with pytest.raises(ValueError, match=r"takes images of any size, .*\(--size H W\)"):
        benchmark([path], runs=1)
    assert benchmark([path], runs=1, size=(48, 64))[0]["inputs"] == [timed]


def test_a_size_that_is_larger_takes_longer_and_more_memory(made):
    path = made(_pooled, (1, None, None, 3))
    small = benchmark([path], runs=3, size=(8, 8))[0]
    large = benchmark([path], runs=3, size=(2048, 2048))[0]
    assert large["median_ms"] > 10 * small["median_ms"]
    assert large["peak_mib"] > small["peak_mib"] + 40


def test_a_size_is_refused_where_none_is_open(made):
    path = made(_pooled)
    with pytest.raises(ValueError, match="size is for files that take images of any size"):
        benchmark([path], runs=1, size=(8, 8))
    with pytest.raises(ValueError, match="size must be above 0; got 0 x 8"):
        benchmark([path], runs=1, size=(0, 8))
    path = made(_pooled, (1, None, None, 3))
    with pytest.raises(
        ModelFileError, match=r"shape \(1, 65536, 65536, 3\), more than kseg's limit"
    ):
        benchmark([path], runs=1, size=(1 << 16, 1 << 16))


def test_open_sizes_of_no_image_are_said(made):
    path = made(lambda x: x * 2, (1, None))
    with pytest.warns(UserWarning, match=r"shape \(1, -1\); its open sizes are timed as 1"):
        assert benchmark([path], runs=1)[0]["inputs"] == [[1, 1]]


def test_one_pixel_stands_for_an_open_size(made):
    path = made(lambda x: x * 2, (1, 1, 1, 3))
    with pytest.raises(ModelFileError, match="where 1 x 1 stands for an open size"):
        load_tflite(path)
    assert benchmark([path], runs=1, size=(4, 6))[0]["inputs"] == [[1, 4, 6, 3]]


def test_the_command_says_the_size(made, capsys):
    path = str(made(_pooled, (1, None, None, 3)))
    assert main(["benchmark", path, "--runs", "1"]) == 2
    assert "name the size to be timed (--size H W)" in capsys.readouterr().err
    assert main(["benchmark", path, "--runs", "1", "--size", "24", "32"]) == 0
    assert "images of open size are 24 x 32" in capsys.readouterr().out
    assert main(["benchmark", path, "--runs", "1", "--size", "24", "32", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["inputs"] == [[1, 24, 32, 3]]
