"""MediaPipe's own ImageSegmenter as the judge of the files for Android."""

import importlib.util
import inspect

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from export import ExportOptions, convert, float32, full_integer, load_tflite
from kseg.models import MODELS, TRAINED

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="MediaPipe is not installed: pip install mediapipe",
)


@pytest.fixture
def segment():
    """Opens a file in MediaPipe: path -> (names, picture -> (class map, scores))."""
    from mediapipe import Image as MediaPipeImage
    from mediapipe import ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import ImageSegmenter, ImageSegmenterOptions

    opened = []

    def open_file(path):
        options = ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            output_category_mask=True,
            output_confidence_masks=True,
        )
        segmenter = ImageSegmenter.create_from_options(options)
        opened.append(segmenter)

        def label(picture):
            image = MediaPipeImage(
                image_format=ImageFormat.SRGB, data=np.ascontiguousarray(picture)
            )
            result = segmenter.segment(image)
            # MediaPipe uses its memory again, hence the copies.
            labels = result.category_mask.numpy_view().copy()
            scores = [mask.numpy_view().copy() for mask in result.confidence_masks]
            return labels.reshape(picture.shape[:2]), np.concatenate(scores, axis=-1)

        return segmenter.labels, label

    yield open_file
    for segmenter in opened:
        segmenter.close()


def agreement(path, label, pictures):
    """Returns the share of pixels that MediaPipe and LiteRT name alike."""
    with load_tflite(path) as file:
        pairs = [
            (label(picture)[0], file(np.float32(picture[None]))[0].argmax(-1))
            for picture in pictures
        ]
    return np.mean([labels == expected for labels, expected in pairs])


def test_int8_file(int8, data, segment):
    names, label = segment(int8.path)
    assert names == list(data.classes.names)
    pictures = data.images("val", 8)
    assert agreement(int8.path, label, pictures) >= 0.995
    labels, scores = label(pictures[0])
    assert len(np.unique(labels)) == 3
    with load_tflite(int8.path) as file:
        expected = keras.ops.softmax(file(np.float32(pictures[0][None])))[0]
    np.testing.assert_allclose(scores, expected, atol=1e-3)


@pytest.mark.parametrize("head", ["softmax", "logits"])
def test_scores_and_float_files_without_names(head, trained, recipe, data, segment, tmp_path):
    path = tmp_path / "file.tflite"
    made = recipe if head == "softmax" else float32()
    convert(trained, made, input_size=(64, 64), path=path, options=ExportOptions(head=head))
    names, label = segment(path)
    assert names == []
    pictures = data.images("val", 8)
    assert agreement(path, label, pictures) >= 0.995
    np.testing.assert_allclose(label(pictures[0])[1].sum(-1), 1, atol=0.02)


def test_metadata_as_mediapipe_reads_it(int8):
    from ai_edge_litert.schema_py_generated import Model
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    model = Model.GetRootAs(int8.path.read_bytes())
    data = model.Buffers(model.BuffersLength() - 1).DataAsNumpy().tobytes()
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(data, 0)
    graph = schema.ModelMetadataT.InitFromObj(
        schema.ModelMetadata.GetRootAs(data)
    ).subgraphMetadata[0]
    (image,), (output,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert image.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
    (unit,) = image.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    assert (list(unit.options.mean), list(unit.options.std)) == ([127], [128])
    (labels,) = output.associatedFiles
    assert labels.type == schema.AssociatedFileType.TENSOR_AXIS_LABELS
    assert labels.name == b"labels.txt"
    assert [custom.name for custom in graph.customMetadata] == [b"SEGMENTER_METADATA"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_network(name, enliven, data, segment, tmp_path):
    small = {"backbone": "separable", "weights": None, "widths": (8, 8, 16, 16, 16)}
    taken = inspect.signature(MODELS[name]).parameters
    model = MODELS[name](3, **{key: value for key, value in small.items() if key in taken})
    enliven(model, (64, 64))
    path = tmp_path / f"{name}.tflite"
    recipe = full_integer(data.images("train", 8))
    options = ExportOptions(classes=data.classes)
    convert(model, recipe, input_size=(64, 64), path=path, options=options)
    names, label = segment(path)
    assert names == list(data.classes.names)
    assert agreement(path, label, data.images("val", 8)) >= 0.995


@pytest.mark.data
@pytest.mark.slow
def test_street_scenes(camvid, segment, tmp_path):
    def pictures(split, count):
        lines = (camvid / f"{split}.txt").read_text().splitlines()
        step = len(lines) // count
        return [np.asarray(Image.open(camvid / line.split()[0])) for line in lines[::step][:count]]

    path = tmp_path / "camvid.tflite"
    convert(
        kseg.load("fcn8s_camvid"),
        full_integer(pictures("train", 16)),
        input_size=(360, 480),
        path=path,
        options=ExportOptions(classes=TRAINED["fcn8s_camvid"].classes),
    )
    _, label = segment(path)
    assert agreement(path, label, pictures("val", 4)) >= 0.995
