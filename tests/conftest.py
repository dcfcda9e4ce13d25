"""Shared by all tests: a generated data set, and where real data is found."""

import inspect
import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from PIL import Image

_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
COLORS = np.array([(90, 90, 90), (230, 40, 30), (40, 60, 220)], "uint8")


def _rectangles(seed, size=(64, 64)):
    """Returns an image of a red and a blue rectangle on grey with noise, and its label map."""
    rng = np.random.default_rng(seed)
    label_map = np.zeros(size, "uint8")
    for class_id in (1, 2):
        top, left = rng.integers(0, (size[0] // 2, size[1] // 2))
        height, width = rng.integers((size[0] // 4, size[1] // 4), (size[0] // 2, size[1] // 2))
        label_map[top : top + height, left : left + width] = class_id
    noise = rng.integers(-12, 13, (*size, 3))
    return np.clip(COLORS[label_map] + noise, 0, 255).astype("uint8"), label_map


def _write_rectangles(folder, sizes, val=3):
    folder = Path(folder)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    lines = []
    for index, size in enumerate(sizes):
        image, label_map = _rectangles(index, size)
        Image.fromarray(image).save(folder / f"images/{index}.png")
        Image.fromarray(label_map).save(folder / f"labels/{index}.png")
        lines.append(f"images/{index}.png labels/{index}.png\n")
    (folder / "train.txt").write_text("".join(lines[:-val]))
    (folder / "val.txt").write_text("".join(lines[-val:]))
    yaml = folder / "data.yaml"
    yaml.write_text("train: train.txt\nval: val.txt\nnames: [ground, red, blue]\n")
    return yaml


def _enliven(model, size=(128, 128), seed=0):
    """Gives a network weights under which every layer has something to say.

    As built, random kernels shrink an image to features of 1e-8, which are equal to anything.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one pass sets the statistics
            layer.gamma.assign(rng.uniform(0.5, 2, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.5, 1, layer.beta.shape))
        elif layer.name.startswith("score"):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    model(rng.uniform(0, 255, (2, *size, 3)).astype("float32"), training=True)
    return model


# Random weights are the same in every run: some make a network that says nearly nothing.
@pytest.fixture(autouse=True, scope="module")
def _seed_fixtures():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def _small_arguments(name):
    from kseg.models import MODELS

    takes = inspect.signature(MODELS[name]).parameters
    small = {"weights": None, "filters": 16}
    if "backbone" in takes and takes["backbone"].default:
        small["backbone"] = "separable"
    if "widths" in takes:
        small["widths"] = (8, 8, 16, 16, 16)[: len(takes["widths"].default)]
    return {key: value for key, value in small.items() if key in takes}


@pytest.fixture(scope="session")
def small_arguments():
    """A function that returns arguments with which a network of MODELS is small: (name)."""
    return _small_arguments


@pytest.fixture(scope="session")
def write_rectangles():
    """A function that writes a data set of rectangles: (folder, sizes, val) -> YAML file.

    The last `val` images are for validation.
    """
    return _write_rectangles


@pytest.fixture(scope="session")
def enliven():
    """A function that gives a network weights under which every layer has something to say."""
    return _enliven


@pytest.fixture
def rectangles_yaml(tmp_path):
    """The YAML file of 8 + 3 images of 64 x 64 pixels."""
    return _write_rectangles(tmp_path / "rectangles", ((64, 64),) * 11)


def _shared(name):
    """Returns a folder of the shared data, or skips."""
    root = os.environ.get("KSEG_TEST_DATA")
    if not root:
        pytest.skip("KSEG_TEST_DATA is not set")
    folder = Path(root).resolve() / name
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def camvid():
    """The folder of CamVid."""
    return _shared("camvid")


@pytest.fixture(scope="session")
def edgetpu_pairs():
    """The folder of models whose outcome with Google's compiler is known."""
    return _shared("edgetpu_pairs")


_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "PACK": "PackOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
}


def _schema_tensor(schema, name, made, buffer):
    """Returns a tensor, quantized if it is of bytes or a bias."""
    shape, dtype, _, signature = made
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.shapeSignature = name, list(shape), signature
    tensor.type, tensor.buffer = getattr(schema.TensorType, dtype.upper()), buffer
    if dtype == "int8" or name == "bias":
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
    return tensor


@pytest.fixture
def write_graph(tmp_path):
    """Writes a .tflite file by hand: (tensors, ops, inputs, outputs) -> path.

    `tensors` are {name: (shape, dtype, constant or None, signature or None)}, ops are (name,
    version, names of inputs, names of outputs, options as in the schema).
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def write(tensors, ops, inputs=("x",), outputs=("y",)):
        names = list(tensors)
        graph, model = schema.SubGraphT(), schema.ModelT()
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [], []
        graph.tensors, graph.operators = [], []
        for name, made in tensors.items():
            buffer = schema.BufferT()
            if made[2] is not None:
                buffer.data = np.frombuffer(made[2].tobytes(), "uint8")
            graph.tensors.append(_schema_tensor(schema, name, made, len(model.buffers)))
            model.buffers.append(buffer)
        for name, version, takes, gives, options in ops:
            code, op = schema.OperatorCodeT(), schema.OperatorT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode = min(127, code.builtinCode)
            code.version, code.customCode = version, options.get("custom")
            op.opcodeIndex = len(model.operatorCodes)
            op.inputs = [names.index(n) if n else -1 for n in takes]
            op.outputs = [names.index(n) for n in gives]
            if name in _OPTIONS:
                op.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[name])
                op.builtinOptions = getattr(schema, _OPTIONS[name] + "T")()
                for key, value in options.items():
                    assert hasattr(op.builtinOptions, key), key
                    setattr(op.builtinOptions, key, value)
            model.operatorCodes.append(code)
            graph.operators.append(op)
        graph.inputs = [names.index(n) for n in inputs]
        graph.outputs = [names.index(n) for n in outputs]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / "made.tflite"
        path.write_bytes(builder.Output())
        return path

    return write


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium with a camera that shows a moving pattern."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    from export.proof.runtimes import BROWSERS
    from export.web.browser import FLAGS

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=[*FLAGS, *_CAMERA])
        yield chromium
        chromium.close()
