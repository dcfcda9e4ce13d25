"""The trained FCN-8s on real images: CamVid's validation split."""

import numpy as np
import pytest

import kseg
from export import convert, full_integer, load_tflite
from kseg.models import TRAINED

pytestmark = pytest.mark.data
RECORD = TRAINED["fcn8s_camvid"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, camvid):
    path = tmp_path_factory.mktemp("camvid") / "camvid.yaml"
    path.write_text(
        f"path: {camvid}\n"
        "train: train.txt\n"
        "val: val.txt\n"
        f"names: [{', '.join(RECORD.classes.names)}]\n"
        "ignore: 11\n"
    )
    return kseg.load_data(path)


@pytest.fixture(scope="module")
def model(data):
    return kseg.build_fcn8s(11, weights="camvid")


def test_float_score_is_that_of_the_record(model, data):
    scores = kseg.evaluate(model, data)
    assert scores.images == 101
    assert RECORD.mean_iou >= 0.69
    assert scores.mean_iou == pytest.approx(RECORD.final_mean_iou, abs=5e-4)


def test_padding_and_cropping_images_hardly_matters(model, data):
    score = RECORD.final_mean_iou
    padded = kseg.evaluate(model, data, pad_to=(384, 512))
    cropped = kseg.evaluate(model, data, crop_to=(352, 480))
    assert padded.mean_iou == pytest.approx(score, abs=0.01)
    assert cropped.mean_iou == pytest.approx(score, abs=0.01)


def test_every_height_sees_the_same_above_the_cut(model, data):
    equal = []
    for index, height in enumerate(range(329, 360, 3)):
        image, _ = data.read(data.files("val")[index * 9])
        whole, cut = kseg.predict(model, image), kseg.predict(model, image[:height])
        equal.append((whole[: height - 64] == cut[: height - 64]).mean())
    assert np.mean(equal) >= 0.99


def test_int8_is_within_half_a_point(model, data, tmp_path):
    result = convert(
        model,
        full_integer(data.images("train", 30)),
        target="edgetpu",
        input_size=(360, 480),
        path=tmp_path / "data.tflite",
        validation=data,
    )
    assert result.certified
    assert abs(result.mean_iou_float - result.mean_iou) <= 0.005
    assert result.mean_iou_float == pytest.approx(RECORD.final_mean_iou, abs=5e-4)
    with load_tflite(result.path) as file:
        image = data.images("val", 1)[0]
        assert (kseg.predict(file, image) == kseg.predict(model, image)).mean() > 0.96
