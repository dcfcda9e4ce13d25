import numpy as np
import pytest

from export import GateError, Verification
from export.proof.verification import check_gate, shared_size, verify
from kseg.metrics import ConfusionMatrix


class _File:
    """Stands in for a file: logits that name a given label map."""

    def __init__(self, labels):
        self.labels = labels

    def __call__(self, images):
        return np.eye(3, dtype="float32")[self.labels][None]

    def saturated(self):
        return None


def test_agreement_is_the_share_of_equal_labels():
    first = np.array([[0, 1], [2, 2]])
    second = np.array([[0, 1], [2, 0]])
    pictures = [np.zeros((2, 2, 3), "uint8")] * 3
    result = verify(_File(second), _File(first), pictures)
    assert (result.images, result.agreement, result.max_difference) == (3, 0.75, 1)
    assert result.scores is None


def test_model_and_file_see_an_image_at_the_size_that_the_file_carries():
    """A label map says how many rows were seen."""

    class Rows(_File):
        def __init__(self, size=None):
            self.kseg_size = size

        def __call__(self, images):
            return np.eye(65, dtype="float32")[np.full(images.shape[1:3], images.shape[1])][None]

    pictures = [np.zeros((8, 8, 3), "uint8")]
    for file, model, size in ((32, 16, None), (None, 16, None), (32, None, None), (32, 16, (4, 4))):
        sizes = [side and (side, side) for side in (file, model)]
        assert verify(Rows(sizes[0]), Rows(sizes[1]), pictures, size=size).agreement == 1
    small = Rows()
    small.input_size = (12, 12)  # the model's size is too large for it
    assert verify(small, Rows((16, 16)), pictures).agreement == 1
    assert shared_size(small, Rows((16, 16))) == (12, 12)


def test_the_pictures_that_differ_most_are_kept():
    """Picture k, one grey level k everywhere, differs in k of its 8 pixels."""

    class Differing(_File):
        def __call__(self, images):
            labels = np.zeros((2, 4), int)
            labels.flat[: int(images.max())] = 1
            return np.eye(3, dtype="float32")[labels][None]

    pictures = [np.full((2, 4, 3), level, "uint8") for level in (3, 0, 5, 1, 8, 2, 5)]
    result = verify(Differing(None), _File(np.zeros((2, 4), int)), pictures)
    assert [example.agreement for example in result.worst] == [0, 3 / 8, 3 / 8]
    assert [int(example.image.max()) for example in result.worst] == [8, 5, 5]
    assert result.worst[0].labels.sum() == 8
    assert result.worst[0].labels_float.sum() == 0
    assert result.images == 7


def test_scores_are_taken_on_labelled_pictures(data):
    pair = data.files("val")[0]
    truth = data.read(pair)[1]
    wrong = np.where(truth == 1, 0, truth)

    class Oracle(_File):
        """Names each picture's own label map, found by the picture."""

        def __init__(self, change):
            self.change = change

        def __call__(self, images):
            for picture, label_map in map(data.read, data.files("val")):
                if np.array_equal(picture, images[0]):
                    return np.eye(3, dtype="float32")[self.change(label_map)][None]
            raise AssertionError

    result = verify(Oracle(lambda t: np.where(t == 1, 0, t)), Oracle(lambda t: t), data)
    assert result.images == 8
    assert result.scores_float.mean_iou == 1
    assert result.scores.iou_per_class["red"] == 0
    assert result.scores.iou_per_class["blue"] == 1
    assert (wrong != truth).any()


def _verification(before, after):
    """Scores with given confusion matrices."""
    scores = []
    for counts in (before, after):
        matrix = ConfusionMatrix(2)
        matrix.counts, matrix.images = np.array(counts), 1
        scores.append(matrix.scores(("a", "b")))
    return Verification(1, 1.0, 0.0, None, *scores)


def test_gate_holds_ratio_and_drop():
    good = [[90, 10], [10, 90]]  # IoU 90 / 110 each
    check_gate(_verification(good, good), min_ratio=0.97, max_drop=0.015)
    worse = [[85, 15], [15, 85]]  # IoU 85 / 115
    with pytest.raises(GateError, match=r"falls from 0\.8182 to 0\.7391"):
        check_gate(_verification(good, worse), min_ratio=0.97, max_drop=0.015)
    with pytest.raises(GateError, match=r"drop of 0\.015"):
        check_gate(_verification(good, worse), min_ratio=0.5, max_drop=0.015)
    check_gate(_verification(good, worse), min_ratio=0.5, max_drop=0.1)


def test_a_model_of_one_class_certifies_nothing():
    one_class = [[150, 0], [50, 0]]  # IoU 0.75 and 0: mean 0.375, as naming class a everywhere
    with pytest.raises(GateError, match="hardly more than naming one class"):
        check_gate(_verification(one_class, one_class), min_ratio=0.97, max_drop=0.015)


def test_gate_needs_scores():
    with pytest.raises(ValueError, match="needs a comparison with label maps"):
        check_gate(Verification(1, 1.0, 0.0, None), min_ratio=0.97, max_drop=0.015)
