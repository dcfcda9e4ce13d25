import json
import resource
import shlex
import subprocess
import sys

import pytest

from kseg.cli import main


@pytest.fixture
def file(write_graph):
    """A file of RELU, which the Edge TPU can do, LEAKY_RELU, which it cannot, and RELU."""
    tensors = dict.fromkeys("xaby", ((1, 8), "int8", None, None))
    ops = [
        (name, 1, [takes], [gives], {})
        for name, (takes, gives) in zip(
            ("RELU", "LEAKY_RELU", "RELU"), ("xa", "ab", "by"), strict=True
        )
    ]
    return write_graph(tensors, ops)


def test_json_says_where_each_op_runs(file, capsys):
    assert main(["check", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == [
        "compiles", "refusal", "ops", "macs_on_tpu", "parameter_bytes", "subgraphs",
    ]  # fmt: skip
    assert [op["placement"] for op in report["ops"]] == ["tpu", "cpu", "cpu"]
    assert list(report["ops"][0]) == ["index", "name", "placement", "reason", "advice"]
    assert report["compiles"] is True


def test_text_has_a_table_a_summary_and_each_mend_once(file, capsys):
    assert main(["check", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.split() == ["1", "LEAKY_RELU", "CPU", "Operation", "not", "supported"]
        for line in lines
    )
    assert "ops                            1 Edge TPU, 2 CPU" in lines
    assert "multiply-adds on the Edge TPU  none in the file" in lines
    assert "parameters on the Edge TPU     0.00 MiB, fit in its 7.8 MiB cache" in lines
    assert lines[-1] == "advice (op 1): use ReLU, ReLU6, PReLU or SiLU"


def test_bad_files_end_in_a_sentence_and_their_code(file, tmp_path, capsys):
    assert main(["check", str(tmp_path / "missing.tflite")]) == 2
    assert "there is no file" in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:100])
    assert main(["check", str(file)]) == 4
    output = capsys.readouterr()
    assert "is damaged" in output.err and output.out == ""
    assert main(["check", str(file), "--compile"]) == 4


def test_compile_compares_with_the_compiler(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["check", str(file), "--compile"]) == 2
    assert "edgetpu_compiler is not on PATH" in capsys.readouterr().err
    said = (
        "Edge TPU Compiler version 16.0.384591198\n\nModel compiled successfully in 5 ms.\n"
        "Number of Edge TPU subgraphs: 1\n\n"
        "Operator                       Count      Status\n\n"
        "RELU                           2          Mapped to Edge TPU\n"
        "LEAKY_RELU                     1          Operation not supported\n"
    )
    program = tmp_path / "edgetpu_compiler"
    program.write_text(f"#!/bin/sh\nprintf '%s' {shlex.quote(said)}\n")
    program.chmod(0o755)
    assert main(["check", str(file), "--compile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "edgetpu_compiler 16.0.384591198 compiled it",
        "  RELU: predicted 1 on the Edge TPU, the compiler mapped 2",
    ]
    assert main(["check", str(file), "--compile", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["compiler"]["succeeded"]
    assert len(report["compiler"]["differences"]) == 1


def test_answers_at_once_and_without_tensorflow(file):
    code = (
        "import sys\nfrom kseg.cli import main\n"
        f"assert main(['check', {str(file)!r}]) == 0\n"
        "heavy = {'tensorflow', 'keras', 'jax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
