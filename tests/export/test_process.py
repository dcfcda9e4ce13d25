"""The process of a file: its limits, its end, and the memory of who started it."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import ModelFileError, load_tflite
from export.tflite import need
from export.tflite.need import memory_need, seconds_need
from export.tflite.reader import read_model

IMAGES = np.zeros((1, 8, 8, 3), "float32")


def _convert(function, path):
    module = tf.Module()
    signature = [tf.TensorSpec((1, 8, 8, 3), "float32")]
    module.call = tf.function(function, input_signature=signature, autograph=False)
    concrete = [module.call.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(concrete, module)
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A file whose loop has no end."""
    path = tmp_path_factory.mktemp("endless") / "endless.tflite"

    def loop(x):
        return tf.while_loop(lambda y: tf.reduce_sum(y) > -1, lambda y: (tf.abs(y) + 1,), (x,))[0]

    return _convert(loop, path)


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """A file that doubles its input."""
    return _convert(lambda x: x * 2, tmp_path_factory.mktemp("double") / "double.tflite")


def test_an_endless_loop_is_called_what_it_is(endless, monkeypatch):
    monkeypatch.setattr(need, "_SECONDS", 1.0)
    start = time.monotonic()
    with load_tflite(endless, normalization="0..255") as file:
        sentence = "still running after 1 s, more than a file like it takes.*WHILE op may never end"
        with pytest.raises(ModelFileError, match=sentence):
            file(IMAGES)
        assert time.monotonic() - start < 60
        with pytest.raises(ModelFileError, match="was closed or stopped; load it again"):
            file(IMAGES)


_ORPHAN = """
import sys, threading, numpy as np
from export.tflite.process import Process
from export.tflite.reader import read_model
from pathlib import Path
path = Path(sys.argv[1])
def work():
    process = Process(path, read_model(path))
    print(process._process.pid, flush=True)
    process.run(np.zeros((1, 8, 8, 3), "float32"), 1, [0])
if sys.argv[2] == "thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_no_process_is_left_when_the_parent_is_killed(endless, where):
    command = [sys.executable, "-c", _ORPHAN, str(endless), where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(1)  # in the midst of the loop
        assert _is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 20
    while _is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_alive(child)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # dead, and not yet buried


def test_a_file_outlives_the_thread_that_loaded_it(double):
    with ThreadPoolExecutor(1) as pool:
        file = pool.submit(load_tflite, double, normalization="0..255").result()
    time.sleep(1.2)
    with file:
        np.testing.assert_array_equal(file(IMAGES + 3), 2 * IMAGES + 6)


def test_a_process_that_is_out_of_processor_time_is_stopped(double):
    with load_tflite(double) as file:
        os.kill(file._process._process.pid, signal.SIGXCPU)
        with pytest.raises(ModelFileError, match="still running after 120 s"):
            file.run(IMAGES)


def test_limits_fit_the_file(double, int8):
    small, large = read_model(double), read_model(int8.path)
    assert 3 * 2**30 < memory_need(small) < memory_need(large) < 4 * 2**30
    assert seconds_need(small) == 120
    assert 120 < seconds_need(large) < 200


_PEAK = """
import resource, sys, warnings
from export import ModelFileError, load_tflite
from export.devices.edgetpu.checker import check
from export.tflite.benchmark import benchmark
from kseg.cli.opening import open_model
import keras, numpy as np
warnings.simplefilter("ignore")
keras.ops.image.resize(np.zeros((1, 4, 4, 1), "float32"), (8, 8))
image = np.zeros((1, 8, 8, 3), "float32")
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for path in sys.argv[1:]:
    before = peak()
    for act in (lambda: open_model(path)[0](image), lambda: benchmark([path], runs=1),
                lambda: check(path)):
        try:
            act()
            print("ran", end=" ")
        except ModelFileError as error:
            assert "\\n" not in str(error)
            print("refused", end=" ")
    print(round(peak() - before), path, flush=True)
"""


def test_crafted_sizes_cost_the_parent_little_memory(double, write_graph, tmp_path):
    """Files of under a kilobyte that name sizes of gigabytes, and a sparse one of two."""
    most, x = 2**31 - 1, ((1, 8, 8, 3), "float32", None, None)

    def keep(path, name):
        return path.rename(tmp_path / f"{name}.tflite")

    def relu(before, after):
        return write_graph({"x": before, "y": after}, [("RELU", 1, ["x"], ["y"], {})])

    axis = ((1,), "int32", np.array([3], "int32"), None)
    files = [
        keep(relu(x, ((1, 8, 8, most), "float32", None, None)), "output"),
        keep(relu(*[((1, 16384, 16384, 3), "float32", None, None)] * 2), "input"),
        keep(
            write_graph(
                {"x": x, "a": axis, "y": ((1, 8, 8), "int32", None, None),
                 "z": ((1, 8, 8, most), "float32", None, None)},
                [("RELU", 1, ["x"], ["z"], {}), ("ARG_MAX", 1, ["z", "a"], ["y"], {})],
            ),
            "ids",
        ),
    ]  # fmt: skip
    sparse = tmp_path / "sparse.tflite"
    sparse.write_bytes(double.read_bytes())
    os.truncate(sparse, most)
    large = tmp_path / "working_size.tflite"
    large.write_bytes(double.read_bytes())
    with zipfile.ZipFile(large, "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc")
        facts = '{"colors": [[0,0,0],[1,1,1],[2,2,2]], "working_size": [30000, 30000]}'
        archive.writestr("kseg.json", facts)
    files += [sparse, large]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *map(str, files)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.endswith(".tflite")]
    assert len(lines) == len(files)
    for load, _, _, grown, path in lines:
        assert int(grown) < 500, path
        # LiteRT works the output's size out by itself, so that one runs.
        assert (load == "refused") == (Path(path).stem in ("input", "ids")), path
