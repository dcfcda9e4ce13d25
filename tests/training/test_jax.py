"""Training where TensorFlow is not installed, in one process: JAX takes a minute to compile."""

import os
import subprocess
import sys

import numpy as np
import pytest

import kseg
from kseg.inference import predict_logits
from kseg.training.run import open_run

CODE = """
import sys


class NoTensorFlow:
    # Not sys.modules["tensorflow"] = None: Keras takes an entry there for the module.
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "ai_edge_litert", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NoTensorFlow())

import keras
import numpy as np
import kseg
from kseg.data import Split

numbers, read = [], Split.__getitem__
Split.__getitem__ = lambda split, index: numbers.append(index) or read(split, index)



class Averages(keras.callbacks.Callback):
    # What the running average of two epochs must be; `self.model` would move the weights.
    steps, values, ends = 0, None, []

    def on_train_batch_end(self, batch, logs=None):
        model = self._model
        state = {
            variable.path: np.array(value, "float64")
            for kind in ("trainable_variables", "non_trainable_variables")
            for variable, value in zip(getattr(model, kind), model._jax_state[kind])
        }
        self.steps += 1
        decay = min(0.5, self.steps / (9 + self.steps))
        old = self.values or start
        self.values = {p: decay * old[p] + (1 - decay) * new for p, new in state.items()}

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.values)


folder, run_dir = sys.argv[1:]
data = kseg.load_data(folder + "/data.yaml")
keras.utils.set_random_seed(0)
model = kseg.build_fcn8s(3, backbone="separable", weights=None)
recipe = kseg.Recipe(epochs=2, batch_size=4, learning_rate=0.01, average=0.5)
start = {variable.path: variable.numpy().astype("float64") for variable in model.variables}
averages = Averages()
run = kseg.fit(model, data, recipe, run_dir=run_dir, callbacks=[averages])
kept = {variable.path: variable.numpy() for variable in model.variables}
assert len(averages.ends) == 2 and any(
    all(np.allclose(kept[path], end[path], rtol=1e-4, atol=1e-5) for path in kept)
    for end in averages.ends
)
image = data.read(data.files("val")[0])[0][:33, :47]
np.savez(
    folder + "/jax.npz",
    image=image,
    logits=kseg.inference.predict_logits(model, image),
    labels=kseg.predict(model, image),
    mean_iou=kseg.evaluate(model, data).mean_iou,
    numbers=numbers,
    **{variable.path.replace("/", "|"): variable.numpy() for variable in model.variables},
)
assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, write_rectangles):
    folder = tmp_path_factory.mktemp("jax")
    write_rectangles(folder / "data", [(64, 64)] * 11)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder / "data"), str(folder / "run")],
        capture_output=True,
        text=True,
        timeout=500,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "data/jax.npz") as arrays:
        return folder / "run", dict(arrays)


def test_run_of_jax_is_a_run_like_any_other(run):
    record = open_run(run[0]).record
    assert record["backend"] == "jax" and "jax" in record["versions"]
    assert {"history.csv", "curves.png", "preview.png"} <= {path.name for path in run[0].iterdir()}


def test_batches_run_on_over_the_epochs(run):
    assert sorted(set(run[1]["numbers"].tolist()))[:4] == [0, 1, 2, 3]


def test_tensorflow_loads_the_run_and_gives_equal_logits(run):
    path, arrays = run
    model = kseg.load(path)
    for variable in model.variables:
        np.testing.assert_array_equal(variable, arrays[variable.path.replace("/", "|")])
    logits = predict_logits(model, arrays["image"])
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(logits, arrays["logits"], atol=1e-4)
    labels = kseg.predict(model, arrays["image"])
    top = np.sort(logits, -1)
    sure = top[..., -1] - top[..., -2] > 1e-3
    np.testing.assert_array_equal(labels[sure], arrays["labels"][sure])


def test_jax_and_tensorflow_score_alike(run):
    data = kseg.load_data(run[0].parent / "data/data.yaml")
    scores = kseg.evaluate(kseg.load(run[0]), data)
    assert scores.mean_iou == pytest.approx(float(run[1]["mean_iou"]), abs=1e-3)
