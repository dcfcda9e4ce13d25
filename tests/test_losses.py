import keras
import numpy as np
import pytest
from keras import ops

from kseg import losses
from kseg.losses import (
    CrossEntropyDice,
    SoftDice,
    SparseCrossEntropy,
    balanced_class_weights,
    loss_on_label_maps,
)

# Odds of two pixels: 1/2, 1/4, 1/4 and 1/10, 1/10, 8/10.
LOGITS = np.log(np.array([[[[2, 1, 1], [1, 1, 8]]]], "float32"))
LOSSES = [
    SparseCrossEntropy(),
    SparseCrossEntropy([1, 2, 3, 4]),
    SoftDice(),
    CrossEntropyDice([1, 2, 3, 4]),
    CrossEntropyDice([1, 2, 3, 4], logit_adjustment=0.5),
]


def batch(seed=0, shape=(2, 5, 6), num_classes=4, ignored=0.3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, shape)
    labels[rng.random(shape) < ignored] = 255
    return labels, rng.normal(size=(*shape, num_classes)).astype("float32")


def softmax(logits):
    scores = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def gradient(loss, labels, logits):
    import tensorflow as tf

    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return tape.gradient(value, logits).numpy()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 2], (np.log(2) + np.log(1.25)) / 2),
        ([1, 0], (np.log(4) + np.log(10)) / 2),
        ([255, 2], np.log(1.25)),
        ([0, 255], np.log(2)),
        ([255, 255], 0),
    ],
)
def test_cross_entropy_by_hand(labels, expected):
    assert float(SparseCrossEntropy()([[labels]], LOGITS)) == pytest.approx(expected, abs=1e-6)


def test_class_weights_by_hand():
    loss = SparseCrossEntropy(class_weights=[3, 1, 0.5])
    expected = (3 * np.log(2) + 0.5 * np.log(1.25)) / 2
    assert float(loss([[[0, 2]]], LOGITS)) == pytest.approx(expected, rel=1e-6)
    assert float(loss([[[0, 255]]], LOGITS)) == pytest.approx(3 * np.log(2), rel=1e-6)


def test_cross_entropy_equals_keras_where_keras_can_do_it():
    """Keras divides by all pixels, ignored or not, unless its reduction takes the mask."""
    labels, logits = batch()
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    ours = float(SparseCrossEntropy()(labels, logits))
    assert ours == pytest.approx(float(theirs(labels, logits)), rel=1e-5)
    per_pixel = -np.log(softmax(logits))[labels < 255, labels[labels < 255]]
    assert ours == pytest.approx(per_pixel.mean(), rel=1e-5)


def test_weighted_cross_entropy_equals_numpy():
    labels, logits = batch(1)
    weights = np.array([0.2, 5, 1, 1.5])
    valid = labels < 255
    per_pixel = -np.log(softmax(logits))[valid, labels[valid]] * weights[labels[valid]]
    ours = float(SparseCrossEntropy(weights)(labels, logits))
    assert ours == pytest.approx(per_pixel.sum() / valid.sum(), rel=1e-5)


def test_adjusted_logits_by_hand():
    # The odds 2, 1, 1 become 2 * 3, 1 and 1 / 2 where all of the weights is added, 6 of 7.5.
    loss = SparseCrossEntropy([3, 1, 0.5], logit_adjustment=1)
    assert float(loss([[[0, 255]]], LOGITS)) == pytest.approx(3 * np.log(7.5 / 6), rel=1e-6)


@pytest.mark.parametrize("adjustment", [0, 0.5, 1])
def test_adjusted_logits_take_weights_out_of_what_is_learned(adjustment):
    """The least loss is at scores in proportion to likelihood times weight ** (1 - adjustment)."""
    weights, labels = np.array([0.5, 3, 1]), np.array([[[0] * 6 + [1] + [2] * 3]])
    likelihood = np.array([0.6, 0.1, 0.3])
    best = np.log(likelihood * weights ** (1 - adjustment)).astype("float32")
    loss = SparseCrossEntropy(weights, logit_adjustment=adjustment)
    slopes = gradient(loss, labels, np.tile(best, (1, 1, 10, 1)))
    np.testing.assert_allclose(slopes.sum((0, 1, 2)), 0, atol=1e-6)


def test_dice_sees_the_same_adjusted_logits():
    labels, logits = batch(4)
    weights = np.array([0.2, 5, 1, 1.5])
    loss = CrossEntropyDice(weights, 0.5, logit_adjustment=0.5)
    shifted = (logits + 0.5 * np.log(weights)).astype("float32")
    expected = CrossEntropyDice(weights, 0.5)(labels, shifted)
    assert float(loss(labels, logits)) == pytest.approx(float(expected), rel=1e-5)


def test_logits_are_not_adjusted_by_a_weight_of_0():
    with pytest.raises(ValueError, match="logit_adjustment needs class_weights above 0"):
        SparseCrossEntropy([1, 0], logit_adjustment=0.5)
    assert SparseCrossEntropy([1, 0]).class_weights == [1, 0]


def test_weights_of_one_change_nothing():
    labels, logits = batch(2)
    weighted = SparseCrossEntropy([1] * 4)(labels, logits)
    assert float(weighted) == pytest.approx(float(SparseCrossEntropy()(labels, logits)), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_pixels_count_for_nothing(loss):
    labels, logits = batch(3)
    other = np.where((labels == 255)[..., None], logits + 50 * np.arange(4), logits)
    other = other.astype("float32")
    assert float(loss(labels, logits)) == pytest.approx(float(loss(labels, other)), rel=1e-6)
    ours, theirs = gradient(loss, labels, logits), gradient(loss, labels, other)
    assert not ours[labels == 255].any() and not theirs[labels == 255].any()
    np.testing.assert_allclose(ours, theirs, atol=1e-7)
    assert np.abs(ours[labels < 255]).min() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_all_ignored_is_0_with_a_gradient_of_0(loss):
    labels, logits = batch(4)
    labels[:] = 255
    assert float(loss(labels, logits)) == 0
    assert not gradient(loss, labels, logits).any()


@pytest.mark.parametrize("kind", [SparseCrossEntropy, SoftDice, CrossEntropyDice])
def test_another_class_can_be_ignored(kind):
    labels, logits = batch(5, ignored=0)
    same = kind()(np.where(labels == 2, 255, labels), logits)
    other = kind(ignore_class=2)(labels, logits)
    assert float(other) == pytest.approx(float(same), rel=1e-6)
    assert float(other) != pytest.approx(float(kind()(labels, logits)), rel=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_labels_of_any_integer_type_are_the_same(dtype):
    labels, logits = batch(6)
    expected = float(SparseCrossEntropy()(labels, logits))
    assert float(SparseCrossEntropy()(labels.astype(dtype), logits)) == expected


def test_dice_by_hand():
    # Pixel 1 is class 0 with scores 1/2, 1/4, 1/4; pixel 2 is class 2 with 1/10, 1/10, 8/10.
    # Class 0: 2 * 0.5 / (0.6 + 1); class 2: 2 * 0.8 / (1.05 + 1); class 1 is not shown.
    expected = 1 - (1 / 1.6 + 1.6 / 2.05) / 2
    assert float(SoftDice()([[[0, 2]]], LOGITS)) == pytest.approx(expected, abs=1e-5)
    # One pixel ignored: class 0 alone, 2 * 0.5 / (0.5 + 1).
    assert float(SoftDice()([[[0, 255]]], LOGITS)) == pytest.approx(1 / 3, abs=1e-5)


def test_dice_of_a_perfect_and_of_a_wrong_prediction():
    labels = np.random.default_rng(0).integers(0, 3, (2, 4, 4))
    right = 100 * np.eye(3, dtype="float32")[labels]
    wrong = 100 * np.eye(3, dtype="float32")[(labels + 1) % 3]
    assert float(SoftDice()(labels, right)) == pytest.approx(0, abs=1e-5)
    assert float(SoftDice()(labels, wrong)) == pytest.approx(1, abs=1e-5)


def test_dice_equals_numpy():
    labels, logits = batch(7)
    valid = labels < 255
    scores, labels_1d = softmax(logits)[valid], labels[valid]
    dice = []
    for c in range(4):
        truth = labels_1d == c
        dice.append(2 * scores[truth, c].sum() / (scores[:, c].sum() + truth.sum()))
    assert float(SoftDice()(labels, logits)) == pytest.approx(1 - np.mean(dice), rel=1e-5)


def test_both_losses_are_added():
    labels, logits = batch(10)
    weights = [1, 2, 3, 4]
    cross_entropy = float(SparseCrossEntropy(weights)(labels, logits))
    dice = float(SoftDice()(labels, logits))
    for factor in (0, 0.5, 2):
        both = float(CrossEntropyDice(weights, factor)(labels, logits))
        assert both == pytest.approx(cross_entropy + factor * dice, rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        SparseCrossEntropy([0.5, 2, 1, 1], ignore_class=3, name="mine"),
        SparseCrossEntropy(),
        SoftDice(ignore_class=3),
        CrossEntropyDice([0.5, 2, 1, 1], 0.7, ignore_class=3, logit_adjustment=0.5, name="both"),
    ],
)
def test_loss_survives_its_config(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    labels, logits = batch(8)
    labels[labels == 255] = 3
    assert float(copy(labels, logits)) == float(loss(labels, logits))


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_loss_works_in_compiled_training(loss):
    labels, logits = batch(9, num_classes=4)
    model = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Activation("linear")])
    model.compile("sgd", loss, jit_compile=False)
    value = model.evaluate(logits, labels, batch_size=2, verbose=0)
    assert value == pytest.approx(float(loss(labels, ops.convert_to_tensor(logits))), rel=1e-5)


def test_balanced_weights_by_hand():
    # Shares 3/4 and 1/4; 1 / ln(1.04 + share), divided by the mean over the pixels.
    raw = 1 / np.log([1.79, 1.29])
    expected = raw / (0.75 * raw[0] + 0.25 * raw[1])
    np.testing.assert_allclose(balanced_class_weights(np.array([75, 25])), expected, rtol=1e-9)


def test_balanced_weights_have_a_mean_of_1_over_the_pixels():
    pixels = np.array([10**6, 5000, 1, 0, 40000])
    weights = np.array(balanced_class_weights(pixels))
    assert weights @ pixels / pixels.sum() == pytest.approx(1)
    assert weights.argsort().tolist() == [0, 4, 1, 2, 3]  # rarer is larger, absent the largest


def test_larger_offset_evens_weights_out():
    pixels = np.array([900, 100])
    steep, flat = (balanced_class_weights(pixels, offset) for offset in (1.02, 2.0))
    assert steep[1] / steep[0] > flat[1] / flat[0] > 1


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        keras.losses.CategoricalCrossentropy(),
    ],
)
def test_keras_cross_entropies_are_all_the_one_on_label_maps(loss):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    logits = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    expected = float(SparseCrossEntropy()(labels, logits))
    assert float(loss_on_label_maps(loss)(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [keras.losses.Dice(), keras.losses.CategoricalFocalCrossentropy(from_logits=True)]
)
def test_other_losses_of_keras_do_not_see_ignored_pixels(loss):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (1, 4, 4))
    labels[0, :2] = 255
    logits = rng.normal(size=(1, 4, 4, 3)).astype("float32")
    changed = logits.copy()
    changed[0, :2] += rng.normal(size=(2, 4, 3))
    made = loss_on_label_maps(loss)
    assert float(made(labels, logits)) == pytest.approx(float(made(labels, changed)), rel=1e-5)
    better = logits + 9 * np.eye(3)[np.where(labels == 255, 0, labels)]
    assert float(made(labels, better)) < float(made(labels, logits))


def test_a_loss_for_each_class_alone_is_of_the_softmax():
    """In TensorFlow Keras finds a softmax's logits, and would take a sigmoid's loss of them."""
    logits, labels = np.array([[[[5.0, 3, 0]]]], "float32"), np.zeros((1, 1, 1))
    shares = np.exp(logits[0, 0, 0]) / np.exp(logits).sum()
    expected = -np.mean(np.log([shares[0], 1 - shares[1], 1 - shares[2]]))
    made = loss_on_label_maps(keras.losses.BinaryCrossentropy())
    assert float(made(labels, keras.ops.convert_to_tensor(logits))) == pytest.approx(expected)


def test_every_named_loss_takes_label_maps_and_logits():
    labels = np.full((1, 2, 2), 1)
    good, bad = np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3))
    good[..., 1], bad[..., 0] = 5, 5
    for name, make in losses.LOSSES.items():
        loss = make([1.0, 1.0, 1.0], 0.5, 0.5)
        assert float(loss(labels, good)) < float(loss(labels, bad)), name


def test_an_own_loss_is_called_as_it_is():
    class Own(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.cast(y_true, "float32")

    loss = Own()
    assert loss_on_label_maps(loss) is loss
