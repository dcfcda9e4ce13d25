"""Training by minutes, on a clock of the tests' own."""

import keras
import numpy as np
import pytest

from kseg import Recipe
from kseg.training import pace
from kseg.training.callbacks import out_of_patience
from kseg.training.pace import Pace, Speed, first_pace


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def simulate(clock, step_of, *, minutes=10.0, validation=6.0, stop=None, before=None):
    """Goes through a training whose step `n` takes step_of(n) seconds; returns rates and Pace."""
    recipe = Recipe(minutes=minutes, warmup=0.0)
    divided = first_pace(recipe, Speed(step_of(0), validation / 10), (10, 10), 20)
    running = Pace(
        recipe,
        divided["steps"],
        divided["validate_every"],
        divided["parts"],
        clock.now,
        divided["final"],
        validation,
    )
    if before:
        running.restore(before)
    optimizer = keras.optimizers.SGD(0.1)
    running.leads(optimizer)
    running.on_train_begin()
    rates, done = [], running.parts - running.left // running.steps if before else 0
    while done < running.parts:
        for _ in range(running.steps):
            running.on_train_batch_begin(0)
            rates.append(float(optimizer.learning_rate))
            clock.now += step_of(len(rates))
            running.on_train_batch_end(0)
        done += 1
        running.part_ended(done)
        if done % running.validate_every == 0 or done == running.parts:
            clock.now += validation
            running.validated(validation)
        if done == stop:
            break
    return np.array(rates), running


@pytest.mark.parametrize(
    "step_of",
    [
        lambda n: 0.5,
        lambda n: 0.5 if n < 300 else 1.5,  # the machine slows down to a third
        lambda n: 1.0 if n < 100 else 0.4,  # it was busy with other things at first
        lambda n: 20.0 if n == 1 else 0.5,  # the first step compiles
        lambda n: 0.5 + 0.3 * (n % 2),
    ],
)
def test_training_ends_in_time_with_its_schedule_complete(clock, step_of):
    begun = clock.now
    rates, running = simulate(clock, step_of)
    final = pace.REPORT * 6.0 + pace._PICTURES  # the report that follows
    assert clock.now - begun + final == pytest.approx(600, rel=0.05)
    assert running.left == 0 and running.progress == pytest.approx(1, abs=0.02)
    assert rates[0] == pytest.approx(0.1, rel=1e-3) and rates[-1] < 1e-4
    assert (np.diff(rates) <= 1e-9).all()
    assert np.abs(np.diff(rates)).max() < 0.01  # no leaps


def test_a_stopped_training_goes_on_with_the_time_that_is_left(clock):
    begun = clock.now
    first, stopped = simulate(clock, lambda n: 0.5, stop=15)
    used, facts = clock.now - begun, stopped.facts()
    assert facts["elapsed"] == pytest.approx(used)
    clock.now += 86_400  # until somebody resumes it
    begun = clock.now
    second, _ = simulate(clock, lambda n: 0.7, before=facts)
    assert used + clock.now - begun == pytest.approx(600, rel=0.05)
    assert second[0] <= first[-1] and second[-1] < 1e-4


def test_evaluations_take_an_eighth_of_the_time_at_most():
    recipe = Recipe(minutes=10)
    # 40 evaluations of 10 s would take 400 of 600 s; 72 s are allowed: every sixth part.
    divided = first_pace(recipe, Speed(0.5, 0.1), (100, 100), 20)
    assert divided == {"steps": 28, "parts": 36, "validate_every": 6, "final": 17.0}
    assert divided["parts"] * (28 * 0.5 + 10 / 6) == pytest.approx(600 - 35, rel=0.02)


def test_the_report_is_expected_to_be_as_slow_as_the_evaluations_were():
    running = Pace(Recipe(minutes=3), 10, 5, 40, 0.0, 20.0, 10.0)
    running.validated(15.0)
    assert (running.validation, running.final) == (15.0, 30.0)
    running.validated(80.0)
    assert running.final == 60.0  # three times at most
    running.validated(5.0)
    assert running.final == 20.0


def test_a_time_that_is_over_leaves_one_part_of_one_step():
    divided = first_pace(Recipe(minutes=0.1), Speed(0.5, 0.1), (10, 10), 20, used=30.0)
    assert (divided["steps"], divided["parts"]) == (1, 1)


def test_the_rate_falls_even_where_the_time_is_gone_after_the_first_part(clock):
    rates, running = simulate(clock, lambda n: 0.1 if n == 0 else 9.0, minutes=1.0)
    assert running.parts == 2 and running.progress == pytest.approx(1, abs=0.02)
    assert rates[-1] < 0.1 * rates[0]


@pytest.mark.parametrize(
    "scores, patience, over",
    [
        ([0.1, 0.3, 0.2, 0.3], 2, True),
        ([0.1, 0.3, 0.2, 0.31], 2, False),
        ([0.1, 0.3, None, 0.2, None], 2, False),
        ([0.3, 0.2], 2, False),
        ([0.3, 0.2, 0.1], None, False),
    ],
)
def test_patience_counts_evaluations_without_a_gain(scores, patience, over):
    history = [{"mean_iou": score} for score in scores]
    assert out_of_patience(history, patience) is over


def test_a_part_without_a_timed_step_is_counted_as_before(clock):
    """As where a training was stopped while it was scored, at the end of a part."""
    _, stopped = simulate(clock, lambda n: 0.5, stop=15)
    running = Pace(stopped.recipe, stopped.steps, 1, stopped.parts, clock.now, 1.0)
    running.restore(stopped.facts())
    before = running.parts, running.left
    assert running.part_ended(15) == stopped.parts
    assert (running.parts, running.left) == before
