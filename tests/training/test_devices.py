"""Training on several devices, which are parts of the CPU here, in processes of their own."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import kseg
from kseg.training.devices import Spread, on_devices
from kseg.training.images import Stream, training_split

# Each job trains a model from the same start: {devices, run, epochs, ...}.
CODE = """
import json, os, signal, sys
data, jobs = sys.argv[1], json.loads(sys.argv[2])
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * 4
    tf.config.set_logical_device_configuration(cpu, parts)
import keras
import kseg


class Watch(keras.callbacks.Callback):
    def __init__(self, stop):
        super().__init__()
        self.stop, self.losses = stop, []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))
        if len(self.losses) == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)


def tiny():
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -1)(image)
    for strides in (2, 1):
        x = keras.layers.Conv2D(8, 3, strides, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(image, keras.layers.Conv2DTranspose(3, 4, 2, "same")(x))


data = kseg.load_data(data)
for job in jobs:
    keras.utils.set_random_seed(0)
    with kseg.on_devices(job["devices"]):
        model = tiny() if job.get("tiny", True) else kseg.build_fcn8s(
            3, backbone="separable", weights=None
        )
    recipe = kseg.Recipe(
        batch_size=4, crop=(32, 32), average=0.5, clip_norm=job.get("clip", 0.1),
        epochs=job["epochs"], validate_every=job["epochs"], **job.get("recipe", {}),
    )
    watch = Watch(job.get("stop"))
    try:
        kseg.fit(
            model, data, recipe, run_dir=job["run"], resume=job.get("resume", False),
            callbacks=[watch],
        )
    except KeyboardInterrupt:
        pass
    labels = kseg.predict(model, data.images("val", 1)[0])
    scores = kseg.evaluate(model, data)
    print("DONE", json.dumps([watch.losses, scores.mean_iou, labels.ravel().tolist()]))
"""
SGD = {"optimizer": "sgd", "learning_rate": 0.01}


def _start(backend, data, jobs, **variables):
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    count = variables.pop("XLA_DEVICES", 4)
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(data), json.dumps(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **variables},
    )


def _finish(process):
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err[-3000:]
    lines = [line.removeprefix("DONE ") for line in out.splitlines() if line.startswith("DONE ")]
    return [json.loads(line) for line in lines]


def _run(*arguments, **variables):
    return _finish(_start(*arguments, **variables))


def _last_checkpoint(run):
    return max(path.name for path in (run / "checkpoints").iterdir())  # others come by the clock


@pytest.fixture
def data(tmp_path, write_rectangles):
    return write_rectangles(tmp_path / "data", ((64, 64),) * 11)


def _same(first, second):
    np.testing.assert_allclose(first[0], second[0], rtol=0, atol=1e-5)
    assert first[1] == pytest.approx(second[1], abs=1e-3)
    assert np.mean(np.array(first[2]) == np.array(second[2])) > 0.99


def test_tensorflow_on_2_devices_takes_the_steps_of_one(data, tmp_path):
    """Batch norms, losses of unequal halves and clipped gradients included."""
    jobs = [
        {"devices": count, "run": str(tmp_path / f"run{count}"), "epochs": 2, "recipe": SGD}
        for count in (1, 2)
    ]
    one, two = _run("tensorflow", data, jobs)
    assert len(one[0]) == 4 and np.ptp(one[0]) > 1e-3
    _same(one, two)
    assert _last_checkpoint(tmp_path / "run1") == _last_checkpoint(tmp_path / "run2")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_4_devices_take_the_steps_of_one_and_2_go_on_with_them(backend, data, tmp_path):
    one = {"devices": 1, "run": str(tmp_path / "one"), "epochs": 10, "recipe": SGD}
    four = {**one, "devices": "all", "run": str(tmp_path / "four")}
    stopped = {**four, "run": str(tmp_path / "stopped"), "stop": 7}
    resumed = {**stopped, "devices": 2, "resume": True, "stop": None}
    alone, spread = _run(backend, data, [one, four])
    (first,), (rest,) = _run(backend, data, [stopped]), _run(backend, data, [resumed])
    assert len(alone[0]) == 20
    _same(alone, spread)
    assert len(first[0]) == 7
    _same(alone, [first[0] + rest[0], *rest[1:]])
    assert _last_checkpoint(tmp_path / "four") == "00000020"
    assert _last_checkpoint(tmp_path / "stopped") == "00000020"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_process_that_was_interrupted_goes_on_with_other_devices(backend, data, tmp_path):
    """TensorFlow aborted here and hung: its second strategy had the keys of the first one."""
    whole = {"devices": 4, "run": str(tmp_path / "whole"), "epochs": 4, "recipe": SGD}
    stopped = {**whole, "run": str(tmp_path / "stopped"), "stop": 3}
    resumed = {**stopped, "devices": 2, "resume": True, "stop": None}
    alone, first, rest = _run(backend, data, [whole, stopped, resumed])
    assert [len(part[0]) for part in (alone, first, rest)] == [8, 3, 5]
    _same(alone, [first[0] + rest[0], *rest[1:]])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_network_of_kseg_with_two_rates_learns_alike(backend, data, tmp_path):
    """AdamW divides by the size of gradients that are nearly nothing: rounding shows sooner."""
    jobs = [
        {"devices": n, "run": str(tmp_path / f"run{n}"), "epochs": 2, "tiny": False} for n in (1, 2)
    ]
    one, two = _run(backend, data, jobs)
    np.testing.assert_allclose(one[0], two[0], atol=1e-4)


@pytest.mark.slow
def test_two_hosts_take_the_steps_of_one_and_write_one_run(data, tmp_path):
    one = {"devices": 1, "run": str(tmp_path / "one"), "epochs": 10, "recipe": SGD}
    (alone,) = _run("jax", data, [one])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "XLA_DEVICES": 2,
    }
    run = {**one, "devices": "all", "run": str(tmp_path / "two")}
    processes = [
        _start("jax", data, [run], KERAS_DISTRIBUTION_PROCESS_ID=str(number), **hosts)
        for number in (0, 1)
    ]
    (chief,), (other,) = map(_finish, processes)
    _same(alone, chief)
    assert other == chief
    assert _last_checkpoint(tmp_path / "two") == _last_checkpoint(tmp_path / "one") == "00000020"


def test_hosts_prepare_parts_of_a_batch_that_are_the_whole_together(data):
    recipe = kseg.Recipe(batch_size=4, crop=(32, 32))
    split = training_split(kseg.load_data(data), recipe)
    hosts = [Spread(replicas=4, processes=2, process=k) for k in (0, 1)]
    for step in range(3):
        whole = Stream(split, 5, 1)[step]
        parts = [Stream(split, 5, 1, host.part(4))[step] for host in hosts]
        for k in (0, 1):
            np.testing.assert_array_equal(np.concatenate([p[k] for p in parts]), whole[k])
    assert Spread().part(4) == slice(None)


def test_a_host_beside_the_first_works_in_a_folder_of_its_own(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints/00000002").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "run.lock").write_text("1")
    assert Spread(2, 2, 0).folder(run, True) == run
    own = Spread(2, 2, 1).folder(run, True)
    assert own != run and (own / "run.json").exists() and (own / "checkpoints/00000002").exists()
    assert not (own / "run.lock").exists()
    assert list(Spread(2, 2, 1).folder(run, False).iterdir()) == []


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (0, "devices must be all or a number from 1; got 0."),
        ("two", "devices must be all or a number from 1; got 'two'."),
        (64, "devices must be at most 1, as many as there are; got 64."),
    ],
)
def test_devices_that_are_not_there_are_refused(devices, said):
    with pytest.raises(ValueError, match=said), on_devices(devices):
        pass


@pytest.mark.parametrize(
    "variables",
    [
        {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"},
        {"SLURM_NTASKS": "4"},
        {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {}})},
    ],
)
def test_tensorflow_on_several_hosts_is_refused_in_favour_of_jax(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"keras#20585\); on several hosts train with JAX"):
        with on_devices("all"):
            pass


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match=r"multiple of the 4 devices.*got 6\. Take 8"):
        Spread(replicas=4).check(kseg.Recipe(batch_size=6))
    with pytest.raises(ValueError, match="minutes is for one host"):
        Spread(4, 2).check(kseg.Recipe(batch_size=8, minutes=3))


def test_one_device_changes_nothing(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with on_devices(1):
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)])
    assert Spread.of(model) == Spread()
    assert Spread.of("no model") == Spread()
