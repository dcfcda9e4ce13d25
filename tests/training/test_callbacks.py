from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kseg.training.averaging import WeightAverage, read, write


def averaged(decay, values, start=0.0):
    """Returns the averages after each step of a variable that takes on values."""
    variable = keras.Variable([float(start)])
    average = WeightAverage(decay)
    average.set_model(SimpleNamespace(variables=[variable]))
    average.on_train_begin()
    found = []
    for value in values:
        variable.assign([value])
        average.on_train_batch_end(0)
        found.append(float(average.values[0][0]))
    return found


def test_average_by_hand():
    # Decays: 1/10, 2/11, 3/12, 4/13.
    expected, average = [], 8.0
    for decay, value in zip([1 / 10, 2 / 11, 1 / 4, 4 / 13], [1, 2, 3, 4], strict=True):
        average = decay * average + (1 - decay) * value
        expected.append(average)
    assert averaged(0.99, [1, 2, 3, 4], start=8) == pytest.approx(expected)


def test_decay_stops_growing_at_its_value():
    assert averaged(0.15, [0, 0, 0], start=1) == pytest.approx([0.1, 0.015, 0.00225])


def test_decay_of_0_is_the_weights():
    assert averaged(0, [1, 5, -3]) == [1, 5, -3]


def test_average_takes_in_statistics_and_copies_what_is_no_number_to_average():
    norm = keras.layers.BatchNormalization()
    norm.build((None, 2))
    counter = keras.Variable([7], dtype="int32", trainable=False)
    variables = [*norm.variables, counter]
    average = WeightAverage(0.5)
    average.set_model(SimpleNamespace(variables=variables))
    average.on_train_begin()
    for variable in variables:
        variable.assign(variable + 10)
    average.on_train_batch_end(0)
    gamma, beta, mean, variance, count = average.values
    assert gamma == pytest.approx(10) and beta == pytest.approx(9)
    assert mean == pytest.approx(9) and variance == pytest.approx(10)
    assert count.tolist() == [17]


def test_restored_average_goes_on():
    variable = keras.Variable([0.0])
    average = WeightAverage(0.9)
    average.values, average.steps = [np.array([4.0], "float32")], 9
    average.set_model(SimpleNamespace(variables=[variable]))
    average.on_train_begin()
    average.on_train_batch_end(0)
    assert average.steps == 10
    assert average.values[0] == pytest.approx(4 * 10 / 19)


def test_read_copies_and_write_sets():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable(3)]
    values = read(variables)
    variables[0].assign([9.0, 9.0])
    assert values[0].tolist() == [1, 2]
    write(variables, values)
    assert read(variables)[0].tolist() == [1, 2]
