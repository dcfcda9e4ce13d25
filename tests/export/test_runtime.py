import json
import os
import shutil
import subprocess
import zipfile
from importlib.metadata import version

import numpy as np
import pytest

import kseg
from export import ExportOptions, ModelFileError, convert, float16, load_tflite
from export.tflite.benchmark import benchmark, host_facts
from export.tflite.process import Endpoint, Process
from export.tflite.runtime import TFLiteModel


def test_small_images_go_on_as_their_mirror_image(int8, trained, data):
    image = data.images("val", 1)[0][:41, :57]
    with load_tflite(int8.path) as file:
        labels = kseg.predict(file, image)
    assert labels.shape == (41, 57)
    mirrored = np.pad(image, ((0, 23), (0, 7), (0, 0)), mode="symmetric")
    assert (labels == kseg.predict(trained, mirrored)[:41, :57]).mean() > 0.98


def test_large_images_are_fitted_in_by_predict_and_refused_by_the_file(int8, data):
    image = np.repeat(np.repeat(data.images("val", 1)[0], 2, 0), 2, 1)
    with load_tflite(int8.path) as file:
        assert kseg.predict(file, image).shape == (128, 128)
        with pytest.raises(ValueError, match="takes images up to 64 x 64; got 128 x 128"):
            file(np.float32(image[None]))


def _sized(path, folder, size):
    """Copies a file, with a working size in its metadata and no report beside it."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as files:
        names, facts = files.read("labels.txt"), json.loads(files.read("kseg.json"))
        length = min(info.header_offset for info in files.infolist())
    copy = folder / "sized.tflite"
    copy.write_bytes(content[:length])
    with zipfile.ZipFile(copy, "a") as files:
        files.writestr("labels.txt", names)
        files.writestr("kseg.json", json.dumps(facts | {"working_size": size}))
    return copy


def test_a_file_carries_the_size_that_images_are_fitted_into(int8, data, tmp_path):
    image = data.images("val", 1)[0][:32, :32]
    with (
        load_tflite(int8.path) as plain,
        load_tflite(_sized(int8.path, tmp_path, [64, 64])) as file,
    ):
        assert plain.kseg_size is None
        assert file.kseg_size == (64, 64)
        enlarged = kseg.predict(plain, image, size=(64, 64))
        assert (kseg.predict(file, image) == enlarged).all()
        assert (kseg.predict(plain, image) != enlarged).any()  # it was padded in place of that
        scores = kseg.evaluate(file, data, size=(48, 48)).mean_iou  # another size still wins
        assert scores == kseg.evaluate(plain, data, size=(48, 48)).mean_iou


def test_a_size_that_a_file_is_too_small_for_is_warned_of(int8, tmp_path):
    with pytest.warns(UserWarning, match="its metadata has a working size of 64 x 65; that is not"):
        load_tflite(_sized(int8.path, tmp_path, [64, 65])).close()


def test_a_size_is_read_where_no_class_has_a_name(int8, trained, tmp_path):
    """A Keras model carries no names, and an archive of others none of kseg's facts."""
    options = ExportOptions(working_size=(64, 64))
    path = tmp_path / "nameless.tflite"
    convert(trained, float16(), input_size=(64, 64), path=path, options=options)
    alone = shutil.copy(path, tmp_path / "alone.tflite")
    with load_tflite(alone) as file:
        assert file.kseg_size == (64, 64)
    with zipfile.ZipFile(alone, "a") as files:
        files.writestr("labels.txt", "Straße".encode("latin-1"))
    with load_tflite(alone) as file:
        assert file.kseg_size == (64, 64)


def test_damaged_metadata_are_refused(int8, tmp_path):
    with pytest.raises(ModelFileError, match="working_size must be two sizes"):
        load_tflite(_sized(int8.path, tmp_path, [64]))


def test_argmax_file_labels_like_the_logits_file(int8, int8_argmax, data):
    image = data.images("val", 1)[0]
    with load_tflite(int8.path) as logits, load_tflite(int8_argmax.path) as labels:
        assert labels.num_classes == logits.num_classes == 3
        assert labels.output.dtype == "int32"
        assert (kseg.predict(logits, image) == kseg.predict(labels, image)).mean() > 0.999


def test_kernels_agree_within_five_steps(int8, data):
    image = data.images("val", 1)[0][None]
    outputs = []
    for kernels in ("default", "plain", "reference"):
        with load_tflite(int8.path, kernels=kernels) as file:
            outputs.append(file.run(file.quantize(image))[0].astype(int))
    assert max(np.abs(outputs[0] - other).max() for other in outputs[1:]) <= 5


def test_bytes_go_in_as_they_are(int8, data):
    image = data.images("val", 1)[0][None]
    with load_tflite(int8.path) as file:
        np.testing.assert_array_equal(file.quantize(image), image)
        assert file.quantize(image).dtype == np.uint8


def test_a_runtime_that_dies_is_a_sentence(int8):
    with load_tflite(int8.path) as file:
        file._process._process.kill()
        with pytest.raises(ModelFileError, match=r"crashed the LiteRT runtime \(signal 9\)"):
            file(np.zeros((1, 64, 64, 3), "float32"))


def test_what_litert_refuses_is_a_sentence(int8, tmp_path):
    # The op codes are the first table behind the root; a code nobody knows stays readable.
    content = int8.path.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match=r"cut\.tflite is damaged"):
        load_tflite(path)


def test_benchmark_times_files_in_turn(int8, int8_argmax):
    results = benchmark([int8.path, int8_argmax.path], runs=10)
    assert [r["file"] for r in results] == [str(int8.path), str(int8_argmax.path)]
    assert results[0]["ratio"] == 1
    for result in results:
        assert 0 < result["min_ms"] <= result["median_ms"] <= result["p90_ms"]
        assert result["ratio"] == pytest.approx(result["median_ms"] / results[0]["median_ms"])
        assert result["bytes"] > 10_000
        assert result["peak_mib"] > 5


def test_benchmark_refuses_no_runs(int8):
    with pytest.raises(ValueError, match="runs and threads must be at least 1; got 0 and 1"):
        benchmark([int8.path], runs=0)


def test_a_coarse_file_predicts_at_the_images_size(int8, trained, recipe, data, tmp_path):
    path = tmp_path / "coarse.tflite"
    options = ExportOptions(stride=8)
    result = convert(
        trained, recipe, input_size=(50, 61), path=path, validation=data, options=options
    )
    assert result.report["output"]["shape"] == (1, 7, 8, 3)
    assert result.report["stride"] == 8
    assert result.agreement > 0.97  # against the whole model's labels, at the images' size
    with load_tflite(path) as file:
        assert file.stride == 8
        assert file(np.float32(data.images("val", 1)[0][None, :30, :40])).shape == (1, 30, 40, 3)
        assert result.mean_iou == pytest.approx(kseg.evaluate(file, data).mean_iou, abs=1e-12)


@pytest.mark.parametrize(
    ("size", "coarse", "stride"),
    [
        ((360, 480), (45, 60), 8),
        ((513, 513), (65, 65), 8),
        ((9, 9), (2, 2), 8),
        ((30, 30), (3, 3), 10),
    ],
)
def test_stride_is_read_off_the_shapes(size, coarse, stride):
    file = TFLiteModel.__new__(TFLiteModel)
    file.path, file.input_size = "x.tflite", size
    file.output = Endpoint("y", (1, *coarse, 3), "uint8", 1.0, 0)
    assert file.stride == stride
    file.output = Endpoint("y", (1, 1001), "uint8", 1.0, 0)
    with pytest.raises(ModelFileError, match=r"of shape \(1, 1001\): that is no map of the image"):
        _ = file.stride


_DELEGATE = """
#include <stdint.h>
#include <stdio.h>
typedef struct Delegate {
  void* data; int (*prepare)(void*, struct Delegate*);
  void *from, *to, *free; int64_t flags; void* builder;
} Delegate;
static int prepare(void* context, Delegate* self) {
  FILE* mark = fopen("MARK", "w"); fclose(mark); return 0;
}
static Delegate delegate = {0, prepare, 0, 0, 0, 0, 0};
Delegate* tflite_plugin_create_delegate(char** k, char** v, size_t n, void (*e)(const char*)) {
  return &delegate;
}
void tflite_plugin_destroy_delegate(Delegate* d) {}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_delegate_is_given_the_graph(int8, data, tmp_path):
    """One that takes no op, and leaves a mark."""
    source, library, mark = (tmp_path / name for name in ("d.c", "libdelegate.so", "mark"))
    source.write_text(_DELEGATE.replace("MARK", str(mark)))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    image = data.images("val", 1)[0]
    with load_tflite(int8.path) as plain, load_tflite(int8.path, delegate=str(library)) as other:
        assert (kseg.predict(plain, image) == kseg.predict(other, image)).mean() > 0.99
    assert mark.exists()


def test_a_missing_delegate_is_a_sentence(int8):
    with pytest.raises(ValueError, match=r"libedgetpu\.so\.1 cannot be loaded: .*libedgetpu1-std"):
        load_tflite(int8.path, delegate="libedgetpu.so.1")


def test_benchmark_runs_as_often_as_it_is_told(int8, monkeypatch):
    asked = []
    time = Process.time
    monkeypatch.setattr(Process, "time", lambda self, runs: asked.append(runs) or time(self, runs))
    benchmark([int8.path, int8.path], runs=12)
    # A turn of warm-up, then A B A B.
    assert asked == [5, 5, 5, 5, 5, 5, 2, 2]


def test_host_facts_say_what_latency_depends_on():
    facts = host_facts()
    assert facts["cores"] == os.cpu_count()
    assert facts["processor"]
    assert facts["litert"] == version("ai-edge-litert")
