import keras
import numpy as np
import pytest

from kseg.training.schedule import WarmupDecay, learning_rate


def rates(schedule, warmup_steps=10, steps=110):
    arguments = {"peak": 0.4, "steps": steps, "warmup_steps": warmup_steps, "schedule": schedule}
    return np.array([float(learning_rate(step, **arguments)) for step in range(steps + 5)])


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_warm_up_is_a_straight_rise_to_the_peak(schedule):
    expected = 0.4 * np.arange(1, 11) / 10
    np.testing.assert_allclose(rates(schedule)[:10], expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_fall_begins_at_the_peak_and_ends_at_0(schedule):
    values = rates(schedule)
    assert values[10] == pytest.approx(0.4)
    assert (np.diff(values[10:111]) < 0).all()
    assert values[110:] == pytest.approx(0, abs=1e-9)


def test_cosine_by_hand():
    values = rates("cosine")
    assert values[60] == pytest.approx(0.2)  # half-way, half of the peak
    assert values[35] == pytest.approx(0.4 * (1 + np.sqrt(0.5)) / 2)  # a quarter


def test_poly_by_hand():
    values = rates("poly")
    assert values[60] == pytest.approx(0.4 * 0.5**0.9)
    assert values[85] == pytest.approx(0.4 * 0.25**0.9)


def test_without_warm_up_the_first_step_has_the_peak():
    assert rates("cosine", warmup_steps=0)[0] == pytest.approx(0.4)


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_keras_schedule_is_the_function_and_survives_its_config(schedule):
    made = WarmupDecay(0.4, 110, 10, schedule)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(made))
    assert copy.get_config() == made.get_config()
    np.testing.assert_allclose([float(copy(step)) for step in range(115)], rates(schedule))


def test_optimizer_follows_it():
    variable = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(WarmupDecay(0.4, 4, 2, "cosine"))
    moved = []
    for _ in range(4):
        before = float(variable[0])
        optimizer.apply([keras.ops.ones(1)], [variable])
        moved.append(before - float(variable[0]))
    np.testing.assert_allclose(moved, [0.2, 0.4, 0.4, 0.2], rtol=1e-5)
