"""With a stand-in for Google's compiler that prints what the real one does."""

import os
import shlex
import time
from pathlib import Path

import pytest

from export.devices.edgetpu.checker import CheckResult, OpPlacement
from export.devices.edgetpu.compiler import compile_file, differences, parse
from export.devices.edgetpu.limits import LIMIT
from export.devices.edgetpu.rules import MAPPED, SUBGRAPH

DTYPE = "Operation is working on an unsupported data type"
TABLE = f"""
Operator                       Count      Status

ADD                            10         {MAPPED}
CUSTOM                         1          {DTYPE}
CONCATENATION                  2          {MAPPED}
CONCATENATION                  1          {SUBGRAPH}
"""
HEAD = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
"""
BODY = """
Model compiled successfully in 577 ms.

Input model: made.tflite
Input size: 2.88MiB
Output model: made_edgetpu.tflite
Output size: 3.31MiB
On-chip memory used for caching model parameters: 3.86MiB
On-chip memory remaining for caching model parameters: 3.83MiB
Off-chip memory used for streaming uncached model parameters: 66.00KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 14
Operation log: made_edgetpu.log
"""
PARTIAL = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 12
Number of operations that will run on CPU: 2
"""  # noqa: E501
TAIL = "Compilation child process completed within timeout period.\nCompilation succeeded! \n"
FAILED = """ERROR: Restored original execution plan after delegate application failure.
Compilation failed: Compilation failed due to large activation tensors in model.
Compilation child process completed within timeout period.
Compilation failed! 
"""
LOG = "Edge TPU Compiler version 16.0.384591198\nInput: made.tflite\nOutput: made_edgetpu.tflite\n"
OLD = """Edge TPU Compiler version 2.0.291256449

Model compiled successfully in 161 ms.

Input model: made.tflite
Input size: 478.66KiB
Output model: made_edgetpu.tflite
Output size: 537.74KiB
On-chip memory available for caching model parameters: 7.69MiB
On-chip memory used for caching model parameters: 729.50KiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 14
Operation log: made_edgetpu.log
See the operation log file for individual operation details.
"""
OPS = {("ADD", MAPPED): 10, ("CUSTOM", DTYPE): 1, ("CONCATENATION", MAPPED): 2}
OPS |= {("CONCATENATION", SUBGRAPH): 1}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a compiler on PATH that prints `output`, writes `log` and goes on as `then` says."""

    def stand_in(output, log=None, then="true"):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = f"#!/bin/sh\nprintf '%s' {shlex.quote(output)}\n"
        if log is not None:  # called as: edgetpu_compiler -s -o DIR FILE
            script += (
                f'printf "%s" {shlex.quote(log)} > "$3/$(basename "$4" .tflite)_edgetpu.log"\n'
            )
        program = folder / "edgetpu_compiler"
        program.write_text(f"{script}{then}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return stand_in


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made.tflite"
    path.write_bytes(b"what is in it does not matter to the stand-in")
    return path


def _predicted(*rows, compiles=True):
    ops = [
        OpPlacement(0, name, placement, reason, None)
        for name, placement, reason, count in rows
        for _ in range(count)
    ]
    return CheckResult(compiles, None if compiles else "too new", tuple(ops), 1.0, 0, 1)


ROWS = [
    ("ADD", "tpu", MAPPED, 10),
    ("CONCATENATION", "tpu", MAPPED, 2),
    ("CONCATENATION", "cpu", SUBGRAPH, 1),
    ("CUSTOM", "cpu", DTYPE, 1),
]


def test_success_is_read_from_output_and_log(stand_in, file):
    stand_in(HEAD + BODY + PARTIAL + TAIL, LOG + TABLE)
    compiled = compile_file(file)
    assert compiled.succeeded and compiled.failure is None
    assert compiled.version == "16.0.384591198"
    assert compiled.ops == OPS
    assert compiled.subgraphs == 1
    assert compiled.on_chip_bytes == round(3.86 * 2**20)
    assert compiled.streamed_bytes == 66 * 2**10
    assert differences(_predicted(*ROWS), compiled) == []
    rows = compiled.to_json()["ops"]
    assert {"name": "ADD", "status": MAPPED, "count": 10} in rows and len(rows) == 4


def test_without_a_log_the_table_of_the_output_is_read(stand_in, file):
    stand_in(HEAD + BODY + PARTIAL + TABLE + TAIL)
    assert compile_file(file).ops == OPS


def test_refusals_say_why(stand_in, file):
    stand_in(HEAD + FAILED, then="exit 1")
    compiled = compile_file(file)
    assert not compiled.succeeded
    assert compiled.failure == "Compilation failed due to large activation tensors in model."
    assert differences(_predicted(*ROWS), compiled) == [
        "predicted that it compiles, but: Compilation failed due to large activation tensors in "
        "model."
    ]
    assert differences(_predicted(compiles=False), compiled) == []


@pytest.mark.parametrize(
    ("output", "failure"),
    [
        (
            "ERROR: Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'\n"
            "ERROR: Registration failed.\n\nInvalid model: made.tflite\n"
            "Model could not be parsed\n",
            "Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'",
        ),
        (
            "ERROR: Attempting to use a delegate that only supports static-sized tensors with a "
            "graph that has dynamic-sized tensors.\nCompilation failed: Model failed in Tflite "
            "interpreter. Please ensure model can be loaded/run in Tflite interpreter.\n",
            "Model failed in Tflite interpreter. Please ensure model can be loaded/run in Tflite "
            "interpreter.",
        ),
        ("Internal compiler error. Aborting! \n", "Internal compiler error"),
        ("Invalid model: made.tflite\nModel could not be parsed\n", "Invalid model: made.tflite"),
        ("", "it did not say why"),
    ],
)
def test_other_refusals(output, failure):
    compiled = parse(HEAD + output)
    assert not compiled.succeeded
    assert compiled.failure == failure


def test_old_compilers_print_another_order():
    compiled = parse(OLD, LOG + TABLE)
    assert compiled.version == "2.0.291256449"
    assert compiled.on_chip_bytes == round(729.5 * 2**10)
    assert compiled.streamed_bytes == 0
    assert compiled.ops == OPS


def test_only_the_last_attempt_of_a_search_counts():
    search = HEAD + "Searching for valid delegate with step 1\nTry to compile segment with 15 ops\n"
    again = "Try to compile segment with 14 ops\nIntermediate tensors: a,b\n"
    compiled = parse(search + FAILED + again + BODY + TABLE + TAIL)
    assert compiled.succeeded
    assert compiled.ops == OPS


def test_a_compiler_that_does_not_end_is_killed_with_its_children(stand_in, file, tmp_path):
    pid = tmp_path / "pid"
    stand_in(HEAD, then=f"sleep 60 & echo $! > {shlex.quote(str(pid))}; wait")
    start = time.perf_counter()
    compiled = compile_file(file, seconds=1.0)
    assert time.perf_counter() - start < 20
    assert compiled.failure == "it took longer than 1 s"
    stat = Path(f"/proc/{int(pid.read_text())}/stat")
    deadline = time.perf_counter() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":  # a zombie waits for its reaper
        assert time.perf_counter() < deadline
        time.sleep(0.05)


def test_without_the_compiler_the_sentence_says_where_it_is(file, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="edgetpu_compiler is not on PATH; it exists for"):
        compile_file(file)


def test_differences_are_named_by_op_and_status():
    compiled = parse(HEAD + BODY + TAIL, LOG + TABLE)
    rows = [("ADD", "tpu", MAPPED, 9), ("ADD", "cpu", SUBGRAPH, 1), *ROWS[1:]]
    assert differences(_predicted(*rows), compiled) == [
        "ADD: predicted 9 on the Edge TPU, the compiler mapped 10"
    ]
    rows = [*ROWS[:3], ("CUSTOM", "cpu", LIMIT, 1)]
    (difference,) = differences(_predicted(*rows), compiled)
    assert difference == f"CUSTOM: predicted 1 x '{LIMIT}', the compiler says 1 x '{DTYPE}'"
    (difference,) = differences(_predicted(*ROWS[1:], ("ADD", "tpu", MAPPED, 7)), compiled)
    assert difference == "ADD: the file has 7, the compiler counts 10"
    refused = differences(_predicted(compiles=False), compiled)
    assert refused == ["predicted a refusal (too new), but it compiled"]


def test_what_was_uncertain_may_go_either_way():
    compiled = parse(HEAD + BODY + TAIL, LOG + TABLE)
    rows = [("ADD", "tpu", MAPPED, 4), ("ADD", "uncertain", LIMIT, 6), *ROWS[1:]]
    assert differences(_predicted(*rows), compiled) == []
    rows = [("ADD", "tpu", MAPPED, 4), ("ADD", "uncertain", LIMIT, 5), ("ADD", "cpu", LIMIT, 1)]
    assert differences(_predicted(*rows, *ROWS[1:]), compiled) == [
        "ADD: predicted 4 to 9 on the Edge TPU, the compiler mapped 10"
    ]
