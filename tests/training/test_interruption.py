"""Ctrl-C and SIGTERM end a training after its step, and it goes on exactly."""

import os
import signal
import threading
from dataclasses import replace
from unittest import mock

import keras
import numpy as np
import pytest

import kseg
from kseg.cli import main
from kseg.training import fitting
from kseg.training.callbacks import Keeper
from kseg.training.checkpoints import read_checkpoint
from kseg.training.interruption import interruptible
from kseg.training.pace import Pace

RECIPE = kseg.Recipe(
    epochs=3, batch_size=4, learning_rate=0.02, deterministic=True, average=0.5, validate_every=2
)
STEPS = 2  # of an epoch: 8 images


def network():
    """A small network with dropout, whose random state must come back too."""
    keras.utils.set_random_seed(7)
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(image)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 1)(x))
    x = keras.layers.Dropout(0.3)(keras.layers.ReLU()(x))
    return keras.Model(image, keras.layers.Conv2D(3, 1)(x))


class Signal(keras.callbacks.Callback):
    """Sends this process a signal within some step, counted from 1."""

    def __init__(self, step, number=signal.SIGINT, times=1):
        super().__init__()
        self.step, self.number, self.times, self.seen = step, number, times, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.fixture(autouse=True)
def _ctrl_c():
    """A shell lets its background processes ignore Ctrl-C; here it is what it is on a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, training_data):
    """(weights of an uninterrupted run, its folder)."""
    path, model = tmp_path_factory.mktemp("whole") / "run", network()
    kseg.fit(model, training_data, RECIPE, run_dir=path)
    return model.get_weights(), path


def assert_same(model, path, whole):
    for weight, expected in zip(model.get_weights(), whole[0], strict=True):
        np.testing.assert_array_equal(weight, expected)
    (_, mine, arrays), (_, other, others) = read_checkpoint(path), read_checkpoint(whole[1])
    for row, other_row in zip(mine["history"], other["history"], strict=True):
        assert {**row, "seconds": 0} == {**other_row, "seconds": 0}
    for name in ("model", "average", "optimizer"):
        for array, other_array in zip(arrays[name], others[name], strict=True):
            np.testing.assert_array_equal(array, other_array, err_msg=name)


@pytest.mark.parametrize(("step", "number"), [(2, signal.SIGINT), (3, signal.SIGTERM)])
def test_it_goes_on_from_the_step_exactly(tmp_path, training_data, whole, step, number):
    with pytest.raises(KeyboardInterrupt):
        kseg.fit(
            network(), training_data, RECIPE, run_dir=tmp_path, callbacks=[Signal(step, number)]
        )
    saved, manifest, _ = read_checkpoint(tmp_path)
    assert saved == step
    assert (manifest["epoch"], manifest["batch"]) == ((step - 1) // STEPS, (step - 1) % STEPS + 1)
    model = network()
    keras.utils.set_random_seed(99)  # its own state must not matter
    kseg.fit(model, training_data, RECIPE, run_dir=tmp_path, resume=True)
    assert_same(model, tmp_path, whole)


def test_it_may_be_stopped_again_and_again(tmp_path, training_data, whole):
    for saved in range(1, 4):
        with pytest.raises(KeyboardInterrupt):
            kseg.fit(
                network(), training_data, RECIPE, run_dir=tmp_path, resume=True,
                callbacks=[Signal(1)],
            )  # fmt: skip
        assert read_checkpoint(tmp_path)[0] == saved
    model = network()
    kseg.fit(model, training_data, RECIPE, run_dir=tmp_path, resume=True)
    assert_same(model, tmp_path, whole)


def test_scoring_is_not_waited_for_and_done_again(tmp_path, training_data, whole, monkeypatch):
    score_columns = fitting.score_columns

    def stopped(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return score_columns(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "score_columns", stopped)
        with pytest.raises(KeyboardInterrupt):
            kseg.fit(network(), training_data, RECIPE, run_dir=tmp_path)
    saved, manifest, _ = read_checkpoint(tmp_path)
    assert saved == 2 * STEPS and (manifest["epoch"], manifest["batch"]) == (1, STEPS)
    model = network()
    kseg.fit(model, training_data, RECIPE, run_dir=tmp_path, resume=True)
    assert_same(model, tmp_path, whole)


def test_a_second_signal_ends_at_once(tmp_path, training_data):
    with pytest.raises(KeyboardInterrupt):
        kseg.fit(network(), training_data, RECIPE, run_dir=tmp_path, callbacks=[Signal(1, times=2)])
    assert not (tmp_path / "checkpoints").exists()
    kseg.fit(network(), training_data, RECIPE, run_dir=tmp_path)  # such a folder is free again


def test_signals_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible() as taken, pytest.raises(KeyboardInterrupt):
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is taken
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_ignored_signals_stay_ignored_and_other_threads_take_none():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere():
        with interruptible() as taken:
            seen.append(signal.getsignal(signal.SIGTERM) is taken)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False]


def test_the_command_line_ends_with_130_and_resumes(tmp_path, rectangles_yaml, monkeypatch):
    original = Keeper.on_train_batch_end

    def stop(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGTERM)
        original(self, batch, logs)

    options = [
        str(rectangles_yaml), "--model", "fcn32s", "--backbone", "separable", "--weights", "none",
        "--epochs", "1", "--batch-size", "8", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", stop)
        assert main(["train", *options]) == 130
    assert read_checkpoint(tmp_path / "run")[0] == 1
    assert main(["train", *options, "--resume"]) == 0


def test_minutes_go_on_at_the_rate_at_which_they_were_stopped(tmp_path, training_data):
    peaks = []
    leads = Pace.leads

    def noted(pace, optimizer):
        leads(pace, optimizer)
        peaks.append(list(pace.peaks))

    recipe = replace(RECIPE, epochs=kseg.Recipe().epochs, minutes=0.3)
    with mock.patch.object(Pace, "leads", noted):
        for resume in (False, True):
            with pytest.raises(KeyboardInterrupt):
                where = {"run_dir": tmp_path / "run", "resume": resume}
                kseg.fit(network(), training_data, recipe, callbacks=[Signal(4)], **where)
    assert peaks == [[pytest.approx(recipe.learning_rate)]] * 2
