"""Files made to crash, hang or exhaust whoever reads them."""

import contextlib
import resource
import struct
import subprocess
import sys
import time

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export import ModelFileError, check
from export.tflite.reader import read_model


def _damaged(content, rng):
    """A copy with bytes changed or cut off, or offsets set to extremes."""
    damaged = bytearray(content)
    kind = rng.integers(4)
    if kind == 0:
        del damaged[rng.integers(8, len(damaged)) :]
    elif kind == 1:
        for at in rng.integers(8, len(damaged), 16):
            damaged[at] = rng.integers(256)
    elif kind == 2:
        for at in rng.integers(8, 4096, 8):
            damaged[at] = rng.integers(256)
    else:
        extremes = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(damaged))
        for at in rng.integers(2, min(len(damaged), 8192) // 4, 4):
            struct.pack_into("<I", damaged, 4 * at, extremes[rng.integers(len(extremes))])
    return bytes(damaged)


def _fuzz(content, path, rounds, seed):
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(rounds):
        path.write_bytes(_damaged(content, rng))
        start = time.perf_counter()
        try:
            check(path)
        except ModelFileError as error:
            assert "\n" not in str(error)
            refused += 1
        assert time.perf_counter() - start < 10
    assert rounds // 4 < refused < rounds


def test_damage_ends_in_a_sentence_or_an_answer(int8, tmp_path):
    _fuzz(int8.path.read_bytes(), tmp_path / "damaged.tflite", 300, seed=0)


@pytest.mark.slow
def test_much_damage_ends_in_a_sentence_or_an_answer(int8, int8_argmax, tmp_path):
    for seed, made in enumerate((int8, int8_argmax)):
        _fuzz(made.path.read_bytes(), tmp_path / "damaged.tflite", 1500, seed=1 + seed)


def _many_tables(count):
    """A file with `count` op codes that are all one table."""
    header = struct.pack("<I", 16) + b"TFL3"
    slots = struct.pack("<HHHH", 8, 12, 4, 8)  # two fields: an unused one, the op codes
    root = struct.pack("<iII", 8, 0, 4)  # the op codes follow at once
    table = 28 + 4 + 4 * count
    offsets = b"".join(struct.pack("<I", table - (32 + 4 * place)) for place in range(count))
    end = struct.pack("<iII", table - 8, 0, 4)
    return header + slots + root + struct.pack("<I", count) + offsets + end


def test_what_is_no_regular_or_no_small_file_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="/dev/zero is no file"):
        read_model("/dev/zero")
    with pytest.raises(ModelFileError, match="is no file"):
        read_model(tmp_path)
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.truncate(2**31)  # takes no room on the disk
    with pytest.raises(ModelFileError, match="larger than 2 GB"):
        read_model(path)


def test_offsets_that_meet_in_one_place_cost_little_time_and_memory(tmp_path):
    path = tmp_path / "bomb.tflite"
    path.write_bytes(_many_tables(3_000_000))
    code = (
        "import export.tflite.reader as f\n"
        f"try: f.read_model({str(path)!r})\n"
        "except f.ModelFileError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)),
        env={"OPENBLAS_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    assert "damaged: it holds far more than a model needs" in done.stdout


def _checked_in(path):
    start = time.process_time()
    with pytest.raises(ModelFileError, match="damaged: it holds far more than a model needs"):
        check(path)
    return time.process_time() - start


def test_concatenations_of_large_constants_cost_little_time(write_graph):
    """Each op has a zero constant of its own, and all constants are the bytes of the largest."""
    side, count = 2048, 3000
    tensors = {"x": ((1, side, side, 1), "int8", None, None)}
    tensors |= {f"c{i}": ((1, side, side, 1), "int8", None, None) for i in range(count)}
    tensors |= {f"y{i}": ((1, side, side, 2), "int8", None, None) for i in range(count)}
    tensors["c0"] = (*tensors["c0"][:2], np.zeros((side, side), "int8"), None)
    ops = [("CONCATENATION", 2, ["x", f"c{i}"], [f"y{i}"], {}) for i in range(count)]
    path = write_graph(tensors, ops, outputs=tuple(f"y{i}" for i in range(count)))
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    for tensor in model.subgraphs[0].tensors[1 : 1 + count]:
        tensor.buffer = model.subgraphs[0].tensors[1].buffer
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    assert path.stat().st_size < 10e6
    assert _checked_in(path) < 10  # reading 3000 ops takes one or two


def test_ops_that_share_their_list_of_inputs_cost_little_time(write_graph):
    """A list as long as the work allows, in each op: the reader counts them all."""
    tensors = {"x": ((1, 8), "int8", None, None), "y": ((1, 8), "int8", None, None)}
    path = write_graph(tensors, [("ADD_N", 1, ["x"] * 300_000, ["y"], {})] * 8)
    start = time.process_time()
    with contextlib.suppress(ModelFileError):
        check(path)
    assert time.process_time() - start < 10


def test_a_file_of_more_ops_than_can_be_shown_is_refused(write_graph):
    tensors = {"x": ((1, 8), "int8", None, None), "y": ((1, 8), "int8", None, None)}
    path = write_graph(tensors, [("RELU", 1, ["x"], ["y"], {})] * 20_001)
    with pytest.raises(ModelFileError, match="has 20001 ops, and kseg reads up to 20000"):
        check(path)
