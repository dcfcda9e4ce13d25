from dataclasses import replace

import numpy as np
import pytest

import kseg
from kseg.seeing import check_classes
from kseg.training.evaluation import Look, judge
from kseg.training.report import examine

CENTRES = np.array([(90, 90, 90), (230, 40, 30), (40, 60, 220)], "float32")


def perfect(images):
    """Logits of the class whose colour is nearest, as the images were painted."""
    return -((images[..., None, :] - CENTRES) ** 2).sum(-1)


@pytest.fixture
def data(tmp_path, write_rectangles):
    sizes = [(32, 48)] * 5 + [(40, 56), (48, 32), (64, 64)]
    return kseg.load_data(write_rectangles(tmp_path / "data", sizes))


def test_a_perfect_model_scores_1(data):
    scores = kseg.evaluate(perfect, data)
    assert scores.mean_iou == scores.pixel_accuracy == 1
    assert scores.images == 3
    assert kseg.evaluate(perfect, data, split="train").images == 5


def test_a_constant_model_scores_the_share_of_its_class(data):
    def ground(images):
        return np.broadcast_to([1.0, 0.0, 0.0], images.shape)

    labels = [data.read(pair)[1] for pair in data.files("val")]
    share = sum((m == 0).sum() for m in labels) / sum(m.size for m in labels)
    scores = kseg.evaluate(ground, data)
    assert scores.pixel_accuracy == pytest.approx(share)
    assert scores.iou_per_class == pytest.approx({"ground": share, "red": 0, "blue": 0})
    assert scores.mean_iou == pytest.approx(share / 3)


def test_score_is_taken_at_the_images_own_size(data):
    sizes = []

    def model(images):
        sizes.append(images.shape[1:3])
        return perfect(images)

    scores = kseg.evaluate(model, data, size=(24, 24))
    assert sizes == [(17, 24), (24, 16), (24, 24)]
    assert scores.confusion.sum() == 40 * 56 + 48 * 32 + 64 * 64
    assert 0.7 < scores.mean_iou < 1


def test_the_working_size_that_a_model_carries_is_used(data):
    sizes = []

    def model(images):
        sizes.append(images.shape[1:3])
        return perfect(images)

    model.kseg_size = (24, 24)
    carried = kseg.evaluate(model, data)
    assert sizes == [(17, 24), (24, 16), (24, 24)]
    assert carried.mean_iou == kseg.evaluate(perfect, data, size=(24, 24)).mean_iou
    kseg.evaluate(model, data, size=(64, 64))
    assert sizes[3:] == [(46, 64), (64, 43), (64, 64)]


def test_images_go_on_as_their_mirror_image_which_is_not_scored(data):
    seen = []

    def model(images):
        seen.append(images[0])
        return perfect(images)

    scores = kseg.evaluate(model, data, pad_to=(64, 80))
    assert [image.shape for image in seen] == [(64, 80, 3)] * 3
    np.testing.assert_array_equal(seen[0][40:], seen[0][16:40][::-1])
    np.testing.assert_array_equal(seen[0][:, 56:], seen[0][:, 32:56][:, ::-1])
    np.testing.assert_array_equal(seen[0][:40, :56], data.read(data.files("val")[0])[0])
    assert scores.mean_iou == 1 and scores.confusion.sum() == 40 * 56 + 48 * 32 + 64 * 64


def test_images_and_labels_can_be_cut(data):
    sizes = []

    def model(images):
        sizes.append(images.shape[1:3])
        return perfect(images)

    scores = kseg.evaluate(model, data, crop_to=(40, 40))
    assert sizes == [(40, 40), (40, 32), (40, 40)]
    assert scores.mean_iou == 1 and scores.confusion.sum() == 40 * (40 + 32 + 40)


def test_padding_to_less_than_a_image_is_refused(data):
    match = r"pad_to must be at least the images' size; got 40 x 56 and an image of 48 x 32"
    with pytest.raises(ValueError, match=match):
        kseg.evaluate(perfect, data, pad_to=(40, 56))


def test_missing_split_is_refused(data):
    with pytest.raises(ValueError, match="has no split 'test'; it has train, val"):
        kseg.evaluate(perfect, data, split="test")


def test_model_of_other_classes_is_refused(data):
    def four(images):
        return np.zeros((*images.shape[:3], 4))

    match = r"The model has 4 classes and .*data\.yaml has 3 names; .*num_classes=3"
    with pytest.raises(ValueError, match=match):
        kseg.evaluate(four, data)
    with pytest.raises(ValueError, match=match):
        check_classes(4, data)


def test_progress_is_shown_only_when_asked(data, capfd):
    kseg.evaluate(perfect, data)
    assert capfd.readouterr() == ("", "")
    kseg.evaluate(perfect, data, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "image" in err


def test_images_of_one_name_are_told_apart(tmp_path, data):
    pairs = data.pairs["val"]
    for pair, folder in zip(pairs, "abc", strict=True):
        (tmp_path / folder).mkdir()
        pair.image.rename(tmp_path / folder / "x.png")
    moved = tuple(
        pair._replace(image=tmp_path / folder / "x.png")
        for pair, folder in zip(pairs, "abc", strict=True)
    )
    judged = judge(perfect, replace(data, pairs={**data.pairs, "val": moved}), Look())
    report = examine(judged, data.classes).to_json()
    assert report["worst"].keys() | report["best"].keys() == {"a/x.png", "b/x.png", "c/x.png"}
