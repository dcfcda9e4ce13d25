import io
import json
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.models.own import UnsafeFileError, load_keras_file


def _network(last=None):
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="swish")(image / 255.0)
    x = layers.BatchNormalization()(layers.Activation(keras.activations.gelu)(x))
    return keras.Model(image, (last or layers.Conv2D(3, 1))(keras.ops.relu(x)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.keras"
    model = _network()
    model.compile("adam", "mse")
    model.save(path)
    return path, model


@pytest.fixture
def changed(saved, tmp_path):
    """A function that writes the file with other members: ({name: content}) -> path."""

    def write(members, compression=zipfile.ZIP_STORED):
        path = tmp_path / "changed.keras"
        with zipfile.ZipFile(saved[0]) as archive:
            members = {name: archive.read(name) for name in archive.namelist()} | members
        with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    return write


def _config(saved):
    with zipfile.ZipFile(saved[0]) as archive:
        return json.loads(archive.read("config.json"))


def _refused(path, match):
    with pytest.raises(UnsafeFileError, match=match) as raised:
        load_keras_file(path)
    assert raised.value.exit_code == 4
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_what_was_saved_is_loaded(saved):
    path, model = saved
    image = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    loaded = load_keras_file(path)
    np.testing.assert_allclose(loaded(image), model(image), atol=1e-6)
    assert not loaded.compiled


@pytest.mark.parametrize("builder", ["lraspp", "segnet", "atrous_fpn"])
def test_networks_of_kseg_are_loaded(builder, tmp_path):
    model = kseg.MODELS[builder](
        3, **({} if builder == "segnet" else {"backbone": "separable"}), weights=None
    )
    model.save(tmp_path / "kseg.keras")
    assert load_keras_file(tmp_path / "kseg.keras").count_params() == model.count_params()


def test_nested_and_sequential_models_are_loaded(tmp_path):
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 1), layers.ReLU()])
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, inner(layers.Conv2D(4, 1, kernel_regularizer="l2")(image)))
    outer.save(tmp_path / "nested.keras")
    loaded = load_keras_file(tmp_path / "nested.keras")
    assert loaded.count_params() == outer.count_params() == 16 + 20


def test_casts_are_loaded(tmp_path):
    image = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(keras.ops.cast(image, "float32") / 255))
    model.save(tmp_path / "cast.keras")
    loaded = load_keras_file(tmp_path / "cast.keras")
    pixels = np.full((1, 8, 8, 3), 200, "uint8")
    np.testing.assert_array_equal(np.asarray(loaded(pixels)), np.asarray(model(pixels)))


def test_code_in_a_file_is_refused(tmp_path):
    _network(layers.Lambda(lambda x: x + 1)).save(tmp_path / "lambda.keras")
    _refused(tmp_path / "lambda.keras", "names 'keras.layers.Lambda', which is not a layer")


def test_layers_that_read_other_files_are_refused(saved, changed):
    config = _config(saved)
    for name in ("TFSMLayer", "TorchModuleWrapper", "StringLookup"):
        config["config"]["layers"][1] |= {"class_name": name, "module": "keras.layers"}
        _refused(changed({"config.json": json.dumps(config)}), f"names 'keras.layers.{name}'")


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"class_name": "system", "module": "os", "registered_name": None}, "os.system"),
        ({"class_name": "Mine", "module": "mine", "registered_name": "mine>Mine"}, "mine.Mine"),
        ({"class_name": "Mine", "module": None, "registered_name": "kseg>Mine"}, "Mine"),
        (
            {"class_name": "Resize", "module": "x", "registered_name": "kseg>PadToStride"},
            "x.Resize",
        ),
        ({"class_name": "get_file", "module": "keras.utils"}, "keras.utils.get_file"),
        ({"class_name": "Cond", "module": "keras.src.ops.core"}, "keras.src.ops.core.Cond"),
        ({"class_name": "load_model", "module": "keras.models"}, "keras.models.load_model"),
        ({"class_name": "__lambda__", "config": {"value": "x"}}, "__lambda__"),
        ({"class_name": "__typespec__", "module": "tensorflow"}, "tensorflow.__typespec__"),
        ({"class_name": "function", "module": "builtins", "config": "eval"}, "builtins.function"),
        ({"class_name": ["Conv2D"], "module": "keras.layers"}, "keras.layers"),
    ],
)
def test_foreign_names_are_refused_wherever_they_stand(saved, changed, entry, shown):
    top, deep = _config(saved), _config(saved)
    top["config"]["layers"][1] |= {"config": {}, **entry}
    deep["config"]["layers"][2]["config"]["activation"] = {"config": {}, **entry}
    for config in (top, deep):
        _refused(changed({"config.json": json.dumps(config)}), f"names .*{shown}")


def test_a_foreign_loss_does_not_matter(saved, changed):
    config = _config(saved)
    config["compile_config"] = {"loss": {"class_name": "Mine", "module": "mine", "config": {}}}
    assert load_keras_file(changed({"config.json": json.dumps(config)})).count_params() > 0


def test_damaged_files_are_refused(saved, tmp_path):
    path, content = tmp_path / "damaged.keras", saved[0].read_bytes()
    for part in (content[:0], content[:100], content[: len(content) // 2], content[:-10]):
        path.write_bytes(part)
        _refused(path, "is not a whole .keras file")
    path.write_text("This is text.")
    _refused(path, "is not a whole .keras file")
    middle = bytearray(content)
    middle[len(content) // 2] ^= 0xFF
    path.write_bytes(middle)
    _refused(path, "is not a whole .keras file: Bad CRC")
    with pytest.raises(ValueError, match=r"none.keras: there is no such file"):
        load_keras_file(tmp_path / "none.keras")
    with pytest.raises(ValueError, match="there is no such file"):
        load_keras_file(tmp_path)


def test_members_are_those_of_keras(changed):
    _refused(changed({"../config.json": b"{}"}), r"holds '\.\./config.json'")
    _refused(changed({"assets/vocabulary.txt": b"a"}), "holds 'assets/vocabulary.txt'")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(changed):
    bomb = changed({"model.weights.h5": bytes(1 << 28)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    _refused(bomb, "model.weights.h5 unpacks to 268435456 bytes; at most")
    big = changed({"config.json": b" " * (17 << 20)})
    _refused(big, "config.json unpacks to 17825792 bytes; at most 16777216")


def test_configurations_have_limits(saved, changed):
    deep = b"[" * 500_000 + b"]" * 500_000
    _refused(changed({"config.json": deep}), "config.json cannot be read")
    nested = json.loads("[" * 200 + "]" * 200)
    _refused(changed({"config.json": json.dumps({"a": nested})}), "more than 100 deep")
    _refused(changed({"config.json": b"\xff\xfe"}), "config.json cannot be read")
    _refused(changed({"config.json": b"[]"}), "describes no model")
    config = _config(saved)
    config["config"]["layers"][2]["config"]["filters"] = 10**9
    _refused(changed({"config.json": json.dumps(config)}), "filters is 1000000000")
    del config["config"]["layers"][2]
    _refused(changed({"config.json": json.dumps(config)}), "cannot be loaded by Keras")


def _weights(fill):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    return content.getvalue()


def test_weights_stay_within_their_file(changed, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4096))

    def external(file):
        file.create_dataset("w", (4,), "f4", external=[(str(secret), 0, 16)])

    def virtual(file):
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
        file.create_virtual_dataset("w", layout)

    cases = [
        (external, "lies in another file"),
        (virtual, "is a virtual dataset"),
        (lambda file: file.update({"w": h5py.ExternalLink(str(secret), "/x")}), "holds a link"),
        (lambda file: file.update({"w": h5py.SoftLink("/")}), "holds a link"),
        (lambda file: file.create_group("a").update({"b": file["/"]}), "nested more than 100 deep"),
        (
            lambda file: file.create_dataset("w", (1 << 40,), "f4", chunks=(1024,)),
            r"claims [0-9,]+ bytes and has",
        ),
    ]
    for fill, match in cases:
        _refused(changed({"model.weights.h5": _weights(fill)}), match)
    _refused(changed({"model.weights.h5": b"text"}), "weights cannot be read")
    _refused(changed({"model.weights.h5": _weights(lambda f: None)}), "cannot be loaded by Keras")


def test_weights_that_are_not_finite_are_refused(saved, tmp_path):
    model = _network()
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    model.save(tmp_path / "nan.keras")
    _refused(tmp_path / "nan.keras", "weight conv2d.*kernel is not finite")
