"""A small trained network and the files made from it, once for all export tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from export import ExportOptions, convert, full_integer
from kseg.layers import CropLike, PadToStride, Resize


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


@pytest.fixture
def quantized(tmp_path):
    """A function that converts a function of an image to a file of int8 or uint8 alone."""

    def make(function, dtype=tf.int8, shape=(1, 8, 8, 3)):
        module = tf.Module()
        module.call = tf.function(
            function, input_signature=[tf.TensorSpec(shape, "float32")], autograph=False
        )
        concrete = [module.call.get_concrete_function()]
        converter = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        seen = np.random.default_rng(0).uniform(0, 255, (8, *shape)).astype("float32")
        seen[0], seen[1] = 0, 255
        converter.representative_dataset = lambda: ([image] for image in seen)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype
        path = tmp_path / "quantized.tflite"
        path.write_bytes(converter.convert())
        return path

    return make


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


def _discs(seed, size=(64, 64)):
    """Returns an image that says in its colours where its discs are, their label map and ids.

    Red is the height of a heatmap over 100, green and blue are 127 and twice the way to the
    centre, down and right. Some discs touch, and the last lies over the others.
    """
    rng = np.random.default_rng(seed)
    ids = np.zeros(size, "int32")
    y, x = np.mgrid[: size[0], : size[1]]
    first = rng.uniform(16, np.array(size) - 28)
    centers = [first, first + np.array((0, 17)), rng.uniform(10, np.array(size) - 10)]
    for number, (down, right) in enumerate(centers, start=1):
        ids[(y - down) ** 2 + (x - right) ** 2 < 81] = number
    ids = np.unique(ids, return_inverse=True)[1].reshape(size).astype("int32")
    image = np.tile(np.array((20, 127, 127), "float32"), (*size, 1))
    for number in range(1, ids.max() + 1):
        here = ids == number
        way = np.stack([y[here].mean() - y[here], x[here].mean() - x[here]], -1)
        heat = np.exp(-np.square(way).sum(-1) / (2 * 5.0**2))
        image[here, 0] = 100 + 155 * heat
        image[here, 1:] = 127 + 2 * way
    noise = rng.integers(-2, 3, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype("uint8"), (ids > 0).astype("uint8"), ids


@pytest.fixture(scope="session")
def discs(tmp_path_factory):
    """A data set of discs of one class, touching ones among them."""
    folder = tmp_path_factory.mktemp("discs")
    for split, seeds in (("train", range(12)), ("val", range(20, 26))):
        for kind in ("images", "labels", "ids"):
            (folder / split / kind).mkdir(parents=True)
        for seed in seeds:
            image, label_map, ids = _discs(seed)
            for kind, array in (("images", image), ("labels", label_map), ("ids", ids)):
                if kind == "ids":
                    array = array.astype("uint16")
                Image.fromarray(array).save(folder / split / kind / f"{seed}.png")
    splits = "".join(
        f"{s}: {{images: {s}/images, labels: {s}/labels, instances: {s}/ids}}\n"
        for s in ("train", "val")
    )
    (folder / "discs.yaml").write_text(f"{splits}names: [ground, disc]\ninstances: [disc]\n")
    return kseg.load_data(folder / "discs.yaml")


def _disc_reader(stride=2):
    """Returns a network of three outputs that reads the colours of discs; its weights are written.

    Like networks of kseg it works at a stride, enlarges and crops.
    """
    layers = keras.layers
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 128, -127 / 128, name="scale")(image)
    x = PadToStride(stride, name="pad")(x)
    x = layers.AveragePooling2D(stride, name="pool")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="parts")(x)  # each colour, up and down
    outputs = {}
    for name, channels in (("semantic", 2), ("center", 1), ("offset", 2)):
        score = layers.Conv2D(channels, 1, name=f"score_{name}")(x)
        score = Resize(stride, name=f"upsample_{name}")(score)
        outputs[name] = CropLike(name=name)([score, image])
    model = keras.Model(image, outputs, name="discs")
    both = np.concatenate([np.eye(3), -np.eye(3)], 1).astype("float32")
    model.get_layer("parts").set_weights([both.reshape(1, 1, 3, 6), np.zeros(6, "float32")])
    red, green, blue = (both[i] for i in range(3))
    gray = (60 - 127) / 128  # red between the ground and discs
    writes = {
        "semantic": ([0 * red, 10 * red], [0, -10 * gray]),
        "center": ([128 / 155 * red], [(127 - 100) / 155]),
        "offset": ([64 * green, 64 * blue], [0, 0]),
    }
    for name, (kernel, bias) in writes.items():
        kernel = np.stack(kernel, -1).astype("float32")[None, None]
        model.get_layer(f"score_{name}").set_weights([kernel, np.array(bias, "float32")])
    return model


@pytest.fixture(scope="session")
def disc_reader():
    """A network that finds the discs of `discs`."""
    model = _disc_reader()
    model.kseg_things = (1,)
    return model


@pytest.fixture(scope="session")
def int8_discs(tmp_path_factory, disc_reader, discs):
    path = tmp_path_factory.mktemp("discs_int8") / "discs.tflite"
    recipe = full_integer(discs.images("train", 12))
    return convert(disc_reader, recipe, input_size=(64, 64), path=path, validation=discs)
