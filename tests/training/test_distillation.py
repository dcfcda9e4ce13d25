import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.training.distillation import taught


def _network(filters=4, classes=3, seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(
        layers.Rescaling(1 / 255)(image)
    )
    return keras.Model(image, layers.Conv2D(classes, 1)(x))


def _recipe(epochs=2, **changed):
    fixed = {"batch_size": 4, "scale": (1, 1), "color": 0.0, "backbone_rate": 1}
    return kseg.Recipe(epochs=epochs, **fixed, **changed)


def test_the_loss_is_the_own_one_and_the_distance_to_the_teacher(rectangles_yaml):
    student, teacher = _network(), _network(seed=1)
    student.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 255, (2, 4, 5, 3)), rng.integers(0, 3, (2, 4, 5))
    x, y = images.astype("float32"), labels.astype("int32")
    logits = student(x)
    plain = float(student.compute_loss(x, y, logits))
    with taught(student, teacher, 0.5, 2.0):
        together = float(student.compute_loss(x, y, logits))
    assert float(student.compute_loss(x, y, logits)) == pytest.approx(plain)

    def softened(values):
        powers = np.exp(np.asarray(values, "float64") / 2)  # temperature 2
        return powers / powers.sum(-1, keepdims=True)

    p, q = softened(teacher(x)), softened(logits)
    distance = 2**2 * np.mean(np.sum(p * np.log(p / q), -1))
    assert distance > 1e-3
    assert together == pytest.approx(plain + 0.5 * distance, rel=1e-4)


def test_a_student_comes_near_its_teacher_and_resumes(rectangles_yaml, tmp_path):
    data = kseg.load_data(rectangles_yaml)
    student, teacher = _network(), _network(seed=1)
    before = [np.asarray(w).copy() for w in teacher.weights]
    images = np.stack(data.images("val", 3)).astype("float32")

    def distance():
        q, p = (keras.ops.convert_to_numpy(keras.ops.log_softmax(m(images))) for m in networks)
        return float(np.mean(np.sum(np.exp(p) * (p - q), -1)))

    networks = (student, teacher)
    start = distance()
    # Labels hardly count beside a teacher of this weight.
    recipe = _recipe(epochs=10, distillation=100.0, learning_rate=3e-3, validate_every=10)
    run = kseg.fit(student, data, recipe, run_dir=tmp_path / "taught", teacher=teacher)
    assert distance() < 0.5 * start
    assert "compute_loss" not in vars(student)
    for old, new in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))
    assert run.record["teacher"] == teacher.name

    kseg.fit(student, data, recipe, run_dir=run.path, resume=True, teacher=teacher)
    with pytest.raises(ValueError, match="begun with another teacher"):
        kseg.fit(student, data, recipe, run_dir=run.path, resume=True)


def test_a_teacher_of_other_classes_is_refused(rectangles_yaml, tmp_path):
    data = kseg.load_data(rectangles_yaml)
    with pytest.raises(ValueError, match="The teacher has 5 classes"):
        kseg.fit(_network(), data, _recipe(), run_dir=tmp_path / "x", teacher=_network(classes=5))


def test_callbacks_are_called_before_the_average(rectangles_yaml, tmp_path):
    class Zero(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.layers[-1].kernel
            kernel.assign(keras.ops.zeros_like(kernel))

    data, model = kseg.load_data(rectangles_yaml), _network()
    kseg.fit(model, data, _recipe(), run_dir=tmp_path / "run", callbacks=[Zero()])
    # What a callback set to 0 is 0 in the average, too, at once.
    assert not np.asarray(model.layers[-1].kernel).any()


def test_a_teacher_that_does_not_fit_the_crops_is_refused(rectangles_yaml, tmp_path):
    data = kseg.load_data(rectangles_yaml)
    fixed = keras.Input((32, 32, 3))
    small = keras.Model(fixed, layers.Conv2D(3, 1)(fixed))
    image = keras.Input((None, None, 3))
    coarse = keras.Model(image, layers.Conv2D(3, 1)(layers.AveragePooling2D(2)(image)))
    one = layers.Conv2D(3, 1)(layers.GlobalAveragePooling2D(keepdims=True)(image))
    for teacher, said in (
        (small, "teacher takes images of 32 x 32 only, and the crops are 64 x 64"),
        (coarse, "teacher must give logits of the image's size; for 64 x 64 they are 32 x 32"),
        (keras.Model(image, one), "for 64 x 64 they are 1 x 1"),
    ):
        with pytest.raises(ValueError, match=said):
            kseg.fit(_network(), data, _recipe(), run_dir=tmp_path / "x", teacher=teacher)
        assert not (tmp_path / "x").exists()


def test_a_student_of_a_teacher_that_saw_the_validation_images_has_seen_them(
    rectangles_yaml, tmp_path
):
    data = kseg.load_data(rectangles_yaml)
    teachers = [_network(seed=1), _network(seed=2)]
    teachers[1].kseg_saw_val = data.classes.names
    student = _network()
    run = kseg.fit(
        student, data, _recipe(1), run_dir=tmp_path / "x", teacher=kseg.models.ensemble(teachers)
    )
    assert run.record["saw_val"] and student.kseg_saw_val == data.classes.names
    run = kseg.fit(_network(), data, _recipe(1), run_dir=tmp_path / "y", teacher=teachers[0])
    assert not run.record["saw_val"]
