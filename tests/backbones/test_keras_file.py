"""Keras's weight files, from a server on this machine that hands out files of the same layout."""

import dataclasses
import hashlib
import http.server
import socket
import threading
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from kseg.backbones import BACKBONES, download, load_imagenet_weights
from kseg.backbones.catalogue import IMAGENET_WEIGHTS
from kseg.backbones.keras_file import keras_arrays, rescaled_from_caffe

V2, V3 = "mobilenet_v2_035", "mobilenet_v3_small_minimalistic"


def published_name(name):
    """Returns the name that a layer has in the files that Keras publishes."""
    if name.startswith("block_"):  # block_1_expand, block_1_expand_BN
        _, block, role = name.split("_", 2)
        norm, conv = f"bn{block}_conv_{block}_bn_{role[:-3]}", f"mobl{block}_conv_{block}_{role}"
        return norm if role.endswith("BN") else conv
    if name.startswith("conv") or name.startswith("expanded_conv_"):  # MobileNetV3's
        return name.removesuffix("_bn").capitalize() + "/BatchNorm" * name.endswith("_bn")
    return name


def write_keras_file(path, layers, rename=lambda name: name):
    """Writes weights as Keras 1 and 2 did: {layer name: arrays}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(rename(name).encode() for name in layers)]
        file.create_group("input_1").attrs["weight_names"] = []
        for name, arrays in layers.items():
            group = file.require_group(rename(name))
            weights = [f"{rename(name)}/weight_{index}:0" for index in range(len(arrays))]
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in zip(weights, arrays, strict=True):
                group[weight] = array
    return path


def random_layers(backbone, seed=0):
    """Returns what the published file of a backbone holds, in its order, but random."""
    record = IMAGENET_WEIGHTS[backbone]
    build = getattr(keras.applications, record.application)
    network = build(include_top=record.include_top, weights=None, **record.options)
    rng = np.random.default_rng(seed)
    return {
        layer.name: [rng.random(w.shape, "float32") for w in layer.weights]
        for layer in network.layers
        if layer.weights
    }


@pytest.fixture(scope="module")
def layers():
    return {backbone: random_layers(backbone) for backbone in (V2, V3)}


@pytest.fixture
def record():
    return IMAGENET_WEIGHTS[V2]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if not self.server.cut:
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror of Keras's folder: tmp_path / "mirror"; Keras's home is empty."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: _Handler(*args, directory=mirror)
    )
    server.requests, server.cut, server.mirror = [], False, mirror
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("KSEG_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("backbone", [V2, V3])
def test_published_file_is_fetched_once_and_every_layer_gets_its_weights(
    backbone, server, layers, tmp_path, monkeypatch, capsys
):
    record = IMAGENET_WEIGHTS[backbone]
    path = write_keras_file(server.mirror / record.file, layers[backbone], published_name)
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(IMAGENET_WEIGHTS, backbone, dataclasses.replace(record, md5=digest))
    image = keras.Input((32, 32, 3))
    for _ in range(2):
        model = keras.Model(image, BACKBONES[backbone](image).c5)
        load_imagenet_weights(model, backbone)
        weighted = [layer for layer in model.layers if layer.weights]
        assert {layer.name for layer in weighted} == set(layers[backbone])
        for layer in weighted:
            for value, weight in zip(layers[backbone][layer.name], layer.weights, strict=True):
                np.testing.assert_array_equal(value, weight)
    assert server.requests == [f"/{record.file}"]
    assert (tmp_path / "home/models" / Path(record.file).name).is_file()
    assert capsys.readouterr().out == ""  # where the command line puts its JSON


def test_published_names_are_not_those_of_the_layers():
    names = [
        "Conv1",
        "block_1_expand",
        "block_12_depthwise_BN",
        "conv_1_bn",
        "expanded_conv_3_project",
    ]
    assert [published_name(name) for name in names] == [
        "Conv1",
        "mobl1_conv_1_expand",
        "bn12_conv_12_bn_depthwise",
        "Conv_1/BatchNorm",
        "Expanded_conv_3_project",
    ]


def test_file_put_into_place_by_hand_is_taken(server, layers, record, tmp_path):
    write_keras_file(tmp_path / "home/models" / Path(record.file).name, layers[V2])
    arrays = keras_arrays(record)
    np.testing.assert_array_equal(arrays["Conv_1"][0], layers[V2]["Conv_1"][0])
    assert server.requests == []


def test_file_of_another_hash_is_refused(server, layers):
    record = IMAGENET_WEIGHTS[V3]
    write_keras_file(server.mirror / record.file, layers[V3])
    with pytest.raises(
        OSError, match=rf"could not be fetched .*hash does not match .*{record.md5}"
    ):
        keras_arrays(record)


def test_missing_file_says_what_to_do(server, record, tmp_path):
    match = (
        r"weights of MobileNetV2 could not be fetched from http://127\.0\.0\.1:\d+/mobilenet_v2/"
        rf".*404.*; put that file into {tmp_path}/home/models, name a mirror of Keras's folder in "
        r"KSEG_WEIGHTS_URL, or pass weights=None\.$"
    )
    with pytest.raises(OSError, match=match):
        keras_arrays(record)


def test_no_network_says_the_same(server, record, monkeypatch):
    monkeypatch.setenv("KSEG_WEIGHTS_URL", "http://127.0.0.1:1")
    with pytest.raises(OSError, match=r"could not be fetched from .*refused.*pass weights=None\.$"):
        keras_arrays(record)


def test_broken_download_leaves_nothing_behind(server, layers, record, tmp_path):
    write_keras_file(server.mirror / record.file, layers[V2])
    server.cut = True
    with pytest.raises(OSError, match=r"could not be fetched .*retrieval incomplete"):
        keras_arrays(record)
    assert list((tmp_path / "home/models").iterdir()) == []
    server.cut = False
    assert len(keras_arrays(record)) == len(layers[V2])


def test_what_has_another_hash_is_not_kept(server, layers, tmp_path):
    record = IMAGENET_WEIGHTS[V3]
    write_keras_file(server.mirror / record.file, layers[V3])
    kept = tmp_path / "home/models" / Path(record.file).name
    for _ in range(2):
        with pytest.raises(OSError, match="hash does not match"):
            keras_arrays(record)
        assert list(kept.parent.iterdir()) == []
        kept.write_bytes(b"an old file of another hash")
    assert len(server.requests) == 2


def test_a_file_without_a_published_hash_is_said_to_be_so(server, layers, record, capsys):
    path = write_keras_file(server.mirror / record.file, layers[V2])
    keras_arrays(record)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"no hash of it is published. Its sha256 is {digest}" in capsys.readouterr().err


def test_a_file_over_the_limit_is_not_fetched(server, record, monkeypatch, tmp_path):
    path = server.mirror / record.file
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(OSError, match="it has 10,000,000,000 bytes, over the limit of 600,000,000"):
        keras_arrays(record)
    assert list((tmp_path / "home/models").iterdir()) == []


def test_a_silent_server_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(OSError, match="timed out"):
            download.fetch(url, tmp_path / "file", md5=None, limit=10)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_leads_elsewhere_is_not_followed(server, layers, record, tmp_path):
    path = write_keras_file(tmp_path / "home/models" / Path(record.file).name, layers[V2])
    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File(path, "r+") as file:
        name = file["Conv1"].attrs["weight_names"][0]
        name = name.decode() if isinstance(name, bytes) else name
        shape = file["Conv1"][name].shape
        del file["Conv1"][name]
        outside = [(str(tmp_path / "secret"), 0, h5py.h5s.UNLIMITED)]
        file["Conv1"].create_dataset(name, shape, "uint8", external=outside)
    with pytest.raises(ValueError, match=r"does not hold the weights .* lies in another file"):
        keras_arrays(record)


def damaged(layers, change):
    layers = {name: list(arrays) for name, arrays in layers.items()}
    change(layers)
    return layers


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda layers: layers.pop("Conv_1_bn"), "expected 104 layers, found 103"),
        (lambda layers: layers.update(more=[np.ones(3)]), "expected 104 layers, found 105"),
        (lambda layers: layers["Conv1"].append(np.ones(16)), "Weight count mismatch"),
        (lambda layers: layers["Conv1"].__setitem__(0, np.ones((3, 3, 3, 32))), "hape"),
    ],
)
def test_weights_of_another_network_are_refused(server, layers, record, change, match):
    write_keras_file(server.mirror / record.file, damaged(layers[V2], change))
    with pytest.raises(ValueError, match=f"does not hold the weights of MobileNetV2: .*{match}"):
        keras_arrays(record)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_truncated_file_is_refused(server, layers, record, share):
    path = write_keras_file(server.mirror / record.file, layers[V2])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    match = r"\.h5 does not hold the weights of MobileNetV2: .*\. Delete it, so that it is fetched"
    with pytest.raises(ValueError, match=match):
        keras_arrays(record)


def test_first_convolution_is_rewritten_for_the_one_scaling():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 5)).astype("float32")
    bias = rng.normal(size=5).astype("float32")
    picture = rng.uniform(0, 255, (1, 6, 7, 3)).astype("float32")
    theirs = keras.applications.resnet.preprocess_input(picture.copy())
    expected = keras.ops.conv(theirs, kernel, padding="valid") + bias
    kernel, bias = rescaled_from_caffe(kernel, bias)
    result = keras.ops.conv((picture - 127) / 128, kernel, padding="valid") + bias
    assert np.ptp(expected) > 100
    np.testing.assert_allclose(result, expected, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "first", "pad"), [("resnet50", "conv1_conv", 3), ("vgg16", "block1_conv1", 1)]
)
def test_weights_for_caffe_images_give_the_features_of_raw_ones(
    backbone, first, pad, server, monkeypatch
):
    record = dataclasses.replace(IMAGENET_WEIGHTS[backbone], md5=None)
    monkeypatch.setitem(IMAGENET_WEIGHTS, backbone, record)
    path = write_keras_file(server.mirror / record.file, random_layers(backbone))
    image = keras.Input((224, 224, 3))
    model = keras.Model(image, BACKBONES[backbone](image).c5)
    load_imagenet_weights(model, backbone)
    weighted = [layer for layer in model.layers if layer.weights]
    with h5py.File(path) as file:
        for layer in weighted:
            stored = [file[layer.name][name] for name in file[layer.name].attrs["weight_names"]]
            if layer.name == first:
                kernel, bias = (value[:] for value in stored)
                continue
            for value, weight in zip(stored, layer.weights, strict=True):
                np.testing.assert_array_equal(value[:].reshape(weight.shape), weight)
        unused = set(file) - {layer.name for layer in weighted} - {"input_1"}
    assert unused == ({"predictions"} if record.include_top else set())
    picture = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    caffe = keras.applications.vgg16.preprocess_input(picture.copy())
    caffe = np.pad(caffe, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    layer = model.get_layer(first)
    expected = layer.activation(keras.ops.conv(caffe, kernel, layer.strides, "valid") + bias)
    result = keras.Model(image, layer.output)(picture)
    # The border differs: it is padded with another colour.
    inside = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-4 * np.ptp(expected))
    assert np.abs(result - expected)[:, 0].max() > 1e-2 * np.ptp(expected)
