import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import Model
from flatbuffers import number_types as kinds
from flatbuffers.table import Table

from export.errors import ModelFileError
from export.tflite.metadata import add_metadata, read_metadata
from export.tflite.reader import read_model
from kseg.classes import Classes

LABELS = Classes(("ground", "röd", "blue"), ((1, 2, 3), (255, 0, 0), (0, 0, 255)))
SCALING = (1 / 128, -127 / 128)


@pytest.fixture(scope="module")
def plain():
    """A file as the converter makes it: one convolution, three classes."""
    image = keras.Input(batch_shape=(1, 8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 3)(image))
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


@pytest.fixture
def described(plain, tmp_path):
    path = tmp_path / "described.tflite"
    content = add_metadata(plain, LABELS, head="logits", scaling=SCALING, working_size=(48, 64))
    path.write_bytes(content)
    return path


def run(path, image):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_the_file_computes_what_it_computed(plain, described, tmp_path):
    before = tmp_path / "before.tflite"
    before.write_bytes(plain)
    image = np.random.default_rng(0).uniform(0, 255, (8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(run(before, image), run(described, image))
    old, new = read_model(before), read_model(described)
    assert (new.tensors, new.ops) == (old.tensors, old.ops)
    assert (new.inputs, new.outputs) == (old.inputs, old.outputs)
    signatures = [Interpreter(str(path)).get_signature_list() for path in (before, described)]
    assert signatures[0] == signatures[1] != {}


def _model(content):
    """Returns version and description, names and numbers of metadata, places of buffers."""
    model = Model.GetRootAs(content)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    buffers = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    return (
        (model.Version(), model.Description()),
        {entry.Name(): entry.Buffer() for entry in entries},
        [b.Vector(b.Offset(4)) if b.Offset(4) else None for b in buffers],
    )


def test_the_rest_of_the_model_stays_as_aligned_as_it_was(plain, described):
    says, entries, places = _model(plain)
    new_says, new_entries, new_places = _model(described.read_bytes())
    assert new_says == says
    assert new_entries == entries | {b"TFLITE_METADATA": len(places)}
    added = new_places.pop()
    assert added % 16 == 0
    assert [p and p % 16 for p in new_places] == [p and p % 16 for p in places]
    assert len(set(new_places)) == len(set(places))


class _Fields:
    """A FlatBuffers table of another hand: fields by number."""

    def __init__(self, table):
        self.table = table

    @classmethod
    def root(cls, content):
        return cls(Table(content, int.from_bytes(content[:4], "little")))

    def byte(self, field):
        at = self.table.Offset(4 + 2 * field)
        return self.table.Get(kinds.Uint8Flags, self.table.Pos + at) if at else 0

    def text(self, field):
        return self.table.String(self.table.Pos + self.table.Offset(4 + 2 * field)).decode()

    def floats(self, field):
        return self.table.GetVectorAsNumpy(kinds.Float32Flags, self.table.Offset(4 + 2 * field))

    def bytes(self, field):
        at = self.table.Offset(4 + 2 * field)
        return self.table.GetVectorAsNumpy(kinds.Uint8Flags, at).tobytes()

    def child(self, field):
        at = self.table.Pos + self.table.Offset(4 + 2 * field)
        return _Fields(Table(self.table.Bytes, self.table.Indirect(at)))

    def children(self, field):
        at = self.table.Offset(4 + 2 * field)
        start, count = (self.table.Vector(at), self.table.VectorLen(at)) if at else (0, 0)
        places = [self.table.Indirect(start + 4 * i) for i in range(count)]
        return [_Fields(Table(self.table.Bytes, place)) for place in places]


def _metadata(content):
    """Returns the metadata of the first graph, read by the schema's field numbers."""
    model = Model.GetRootAs(content)
    data = model.Buffers(model.BuffersLength() - 1).DataAsNumpy().tobytes()
    assert data[4:8] == b"M001"
    root = _Fields.root(data)
    assert root.text(7) == "1.5.0"
    (graph,) = root.children(3)
    return graph


@pytest.mark.parametrize(("head", "activation"), [("logits", 2), ("softmax", 0)])
def test_what_mediapipe_is_told(plain, head, activation):
    graph = _metadata(add_metadata(plain, LABELS, head=head, scaling=SCALING))
    (image,), (output,), (custom,) = (graph.children(field) for field in (2, 3, 9))
    assert (image.child(3).byte(0), image.child(3).child(1).byte(0)) == (2, 1)  # image, RGB
    (unit,) = image.children(4)
    assert unit.byte(0) == 1  # normalization
    assert (unit.child(1).floats(0), unit.child(1).floats(1)) == ([127], [128])
    (labels,) = output.children(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # names along the last axis
    assert custom.text(0) == "SEGMENTER_METADATA"
    options = custom.bytes(1)
    assert options[4:8] == b"V001"
    assert (_Fields.root(options).byte(0), _Fields.root(options).text(1)) == (activation, "1.0.0")


def test_a_class_map_has_labels_of_values_and_no_activation(plain):
    graph = _metadata(add_metadata(plain, LABELS, head="argmax"))
    assert graph.children(9) == []
    (labels,) = graph.children(3)[0].children(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 3)


def test_scaling_in_the_graph_is_no_normalization(plain):
    (image,) = _metadata(add_metadata(plain, LABELS, head="logits")).children(2)
    options = image.children(4)[0].child(1)
    assert (options.floats(0), options.floats(1)) == ([0], [1])


def test_names_colours_and_working_size_come_back(described, plain):
    assert read_metadata(described) == (LABELS, (48, 64))
    with zipfile.ZipFile(described) as files:
        assert files.read("labels.txt").decode() == "ground\nröd\nblue\n"
        assert {info.compress_type for info in files.infolist()} == {zipfile.ZIP_STORED}
    described.write_bytes(add_metadata(plain, LABELS, head="logits"))
    assert read_metadata(described) == (LABELS, None)


def test_equal_models_are_equal_files(plain):
    assert len({add_metadata(plain, LABELS, head="logits") for _ in range(2)}) == 1


def test_without_names_there_is_no_archive(plain, tmp_path):
    path = tmp_path / "nameless.tflite"
    path.write_bytes(add_metadata(plain, None, head="logits", scaling=SCALING))
    assert not zipfile.is_zipfile(path)
    assert read_metadata(path) is None
    assert _metadata(path.read_bytes()).children(3)[0].children(6) == []


def test_android_files_have_it(int8, data):
    assert read_metadata(int8.path) == (data.classes, None)
    assert int8.report["file"]["bytes"] == int8.path.stat().st_size


def test_refusals(plain, described):
    two = Classes(("a", "b"))
    with pytest.raises(ValueError, match="name every class of the file: 3; it names 2"):
        add_metadata(plain, two, head="logits")
    with pytest.raises(ValueError, match="has metadata already"):
        add_metadata(described.read_bytes(), LABELS, head="logits")


def test_files_of_others(plain, tmp_path):
    path = tmp_path / "other.tflite"
    assert read_metadata(path) is None
    path.write_bytes(plain)
    assert read_metadata(path) is None
    with zipfile.ZipFile(path, "a") as files:
        files.writestr("labels.txt", "cat\ndog")
    assert read_metadata(path) == (Classes(("cat", "dog")), None)
    for name in ("labels.txt", "labelmap.txt"):
        path.write_bytes(plain)
        with zipfile.ZipFile(path, "a") as files:
            files.writestr(name, "\ufeffcat\r\ndog\r\n\r\n")
        assert read_metadata(path) == (Classes(("cat", "dog")), None)


GOOD = {"colors": [[1, 2, 3], [4, 5, 6]], "working_size": None}


def _with_archive(path, plain, labels, facts, method=zipfile.ZIP_STORED):
    path.write_bytes(plain)
    with zipfile.ZipFile(path, "a", method) as files:
        files.writestr("labels.txt", labels)
        if facts is not None:
            files.writestr("kseg.json", facts)
    return path


@pytest.mark.parametrize("labels", ["one", "a\na", "a\n" * 300])
def test_names_of_others_that_kseg_cannot_use_are_none_and_that_is_said(labels, plain, tmp_path):
    path = _with_archive(tmp_path / "other.tflite", plain, labels, None)
    with pytest.warns(UserWarning, match="the names in its metadata are not used"):
        assert read_metadata(path) is None


@pytest.mark.parametrize(
    ("labels", "facts"),
    [
        ("one", GOOD),
        ("a\nb", GOOD | {"colors": 5}),
        ("a\nb", GOOD | {"colors": [[1, 2, 3]]}),
        ("a\nb", GOOD | {"colors": [[1, 2, 3], [4, 5, "6"]]}),
        ("a\nb", GOOD | {"working_size": [0, 0]}),
        ("a\nb", GOOD | {"working_size": [-5, 5]}),
        ("a\nb", GOOD | {"working_size": [10**5, 5]}),
        ("a\nb", GOOD | {"working_size": [True, 5]}),
        ("a\nb", GOOD | {"working_size": [5]}),
        ("a\nb", GOOD | {"working_size": 5}),
        ("a\n" * (1 << 20), GOOD),
        ("a\nb", [[]]),
        ("a\nb", None),
    ],
)
def test_nonsense_is_a_sentence(labels, facts, plain, tmp_path):
    path = _with_archive(tmp_path / "nonsense.tflite", plain, labels, json.dumps(facts))
    if facts is None:
        path = _with_archive(path, plain, labels, "[" * 10**5)
    with pytest.raises(ModelFileError, match=r"nonsense\.tflite has damaged metadata") as raised:
        read_metadata(path)
    assert "\n" not in str(raised.value)


def test_compressed_names_are_read_and_bombs_are_not(plain, tmp_path):
    path = tmp_path / "packed.tflite"
    for labels, good in (("a\nb", True), ("a\n" * 10**7, False)):
        _with_archive(path, plain, labels, None, zipfile.ZIP_DEFLATED)
        if good:
            assert read_metadata(path) == (Classes(("a", "b")), None)
        else:
            with pytest.raises(ModelFileError, match="larger than 1048576 bytes"):
                read_metadata(path)


def test_an_entry_past_the_end_is_a_sentence(plain, tmp_path):
    path = _with_archive(tmp_path / "past.tflite", plain, "a\nb", json.dumps(GOOD))
    content = bytearray(path.read_bytes())
    for found in (content.index(b"PK\x01\x02"), content.rindex(b"PK\x01\x02")):
        content[found + 42 : found + 46] = (2**31).to_bytes(4, "little")  # where the entry lies
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged metadata"):
        read_metadata(path)


def test_damage_is_no_crash(described):
    content = described.read_bytes()
    archive = content.index(b"PK\x03\x04")
    rng = np.random.default_rng(0)
    lost = 0
    for attempt in range(400):
        damaged = bytearray(content[archive:])
        if attempt % 2:
            del damaged[rng.integers(1, len(damaged)) :]
        else:
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        described.write_bytes(content[:archive] + damaged)
        try:
            found = read_metadata(described)
        except ModelFileError:
            found = None
        assert found is None or found[0].names == LABELS.names
        lost += found is None
    assert lost > 200
