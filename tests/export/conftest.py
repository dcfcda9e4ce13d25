"""A small trained network and the files made from it, once for all export tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from export import ExportOptions, convert, full_integer


@pytest.fixture(scope="session")
def data(tmp_path_factory, write_rectangles):
    folder = tmp_path_factory.mktemp("rectangles")
    return kseg.load_data(write_rectangles(folder / "data", [(64, 64)] * 24, val=8))


@pytest.fixture(scope="session")
def trained(tmp_path_factory, data):
    keras.utils.set_random_seed(0)
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    recipe = kseg.Recipe(
        epochs=25, batch_size=4, learning_rate=1e-2,
        validate_every=25, backbone_rate=1, scale=(0.9, 1.1), color=0.0,
    )  # fmt: skip
    kseg.fit(model, data, recipe, run_dir=tmp_path_factory.mktemp("run") / "run")
    return model


@pytest.fixture(scope="session")
def recipe(data):
    return full_integer(data.images("train", 12))


@pytest.fixture(scope="session")
def int8(tmp_path_factory, trained, recipe, data):
    path = tmp_path_factory.mktemp("int8") / "shapes.tflite"
    return convert(trained, recipe, input_size=(64, 64), path=path, validation=data)


@pytest.fixture(scope="session")
def int8_argmax(tmp_path_factory, trained, recipe, data):
    path = tmp_path_factory.mktemp("argmax") / "shapes.tflite"
    options = ExportOptions(head="argmax")
    return convert(
        trained, recipe, target="edgetpu", input_size=(64, 64), path=path, validation=data,
        options=options,
    )  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """Converts a function of float tensors of these shapes."""

    def made(function, *shapes, dtypes=("float32",)):
        shapes = shapes or ((1, 8, 8, 3),)
        dtypes = [*dtypes, *[dtypes[-1]] * len(shapes)]
        signature = [tf.TensorSpec(s, d) for s, d in zip(shapes, dtypes, strict=False)]
        module = tf.Module()
        module.call = tf.function(function, input_signature=signature, autograph=False)
        concrete = [module.call.get_concrete_function()]
        path = tmp_path / "other.tflite"
        converter = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module)
        path.write_bytes(converter.convert())
        return path

    return made


def _calibrated(model, images):
    """Returns a network as it is before the first step of its training."""
    from export import QuantizedModel
    from export.compression.bridge import build, check_equal, read_graph
    from export.compression.qat_graph import calibrate, lower
    from export.compression.qat_state import State

    graph, (factor, offset) = lower(read_graph(model, images.shape[1:3]))
    scaled = images * np.float32(factor) + np.float32(offset)
    plain = build(graph)
    check_equal(model, lambda _: plain(scaled), images)
    weights = {node.name: node.weights for node in graph.nodes if node.weights}
    return QuantizedModel(model, State(weights, calibrate(graph, [scaled])), 0.0, [])


@pytest.fixture(scope="session")
def calibrate_network():
    """A function that makes a network as it is before quantization-aware training begins."""
    return _calibrated
