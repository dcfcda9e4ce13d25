"""The frame around the verbs: help, usage errors, what reaches the terminal, signals."""

import ast
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import kseg
import kseg.cli
from export.options import HEADS
from export.targets import TARGETS
from kseg.cli import main
from kseg.cli.app import VERBS, join_pairs
from kseg.cli.output import clean, print_table, say, say_aside

_RUN = "from kseg.cli import run; run()"


def _help(capsys, *arguments):
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def _refused(capsys, *arguments):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("kseg: ")
    return line.removeprefix("kseg: ")


def test_every_verb_is_a_row_and_a_file(capsys):
    files = {path.stem for path in Path(kseg.cli.__file__).parent.glob("*.py")}
    text = _help(capsys)
    for name, verb in VERBS.items():
        assert name in files
        assert re.search(rf"^ +{name} +{re.escape(verb.help)} *$", text, re.M)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_in_a_pipe_is_plain_text_within_80_columns(verb, capsys):
    text = _help(capsys, *filter(None, [verb]))
    assert text.isascii() and "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert text.startswith(f"Usage: kseg {verb or 'VERB'}")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_heavy(verb):
    code = (
        "import sys\nfrom kseg.cli import main\n"
        f"assert main({[verb, '--help'] if verb else ['--help']}) == 0\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'h5py', 'PIL', 'tabulate'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_version_is_told_by_both_ways_in(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kseg {kseg.__version__}\n"
    command = [sys.executable, "-m", "kseg", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"kseg {kseg.__version__}\n"


def test_choices_are_those_of_the_tables(capsys):
    text = " ".join(_help(capsys, "export").split())
    assert f"[choices: {', '.join(TARGETS)}]" in text
    assert f"[choices: {', '.join(HEADS)}]" in text


def test_a_terminal_gets_frames_and_colors():
    output = _on_a_terminal("--help")
    assert "╭─ From images to a model" in output and "\x1b[" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a verb; `kseg --help` lists them."),
        (["trian"], 'There is no verb "trian". Did you mean "train"? `kseg --help` lists them.'),
        (["train", "--out", "x"], "DATA is missing. See `kseg train --help`."),
        (["train", "x"], "--out RUN is missing. See `kseg train --help`."),
        (["train", "x", "--out"], "--out needs a value. See `kseg train --help`."),
        (
            ["train", "x", "--out", "y", "--epochs", "2", "--minutes", "3"],
            "--epochs and --minutes exclude each other; give one of them. See `kseg train --help`.",
        ),
        (
            ["evaluate", "x", "y", "--pad-to", "1", "1", "--crop-to", "2", "2"],
            "--pad-to and --crop-to exclude each other; give one of them. "
            "See `kseg evaluate --help`.",
        ),
        (
            ["evaluate", "x", "y", "--size", "3"],
            "--size takes 2 values, H W; got 1. See `kseg evaluate --help`.",
        ),
        (
            ["evaluate", "x", "y", "--size", "3", "a"],
            "--size takes a whole number; got 'a'. See `kseg evaluate --help`.",
        ),
        (
            ["evaluate", "x", "y", "--crop-to", "0", "3"],
            "sizes must be above 0; got 0 3. See `kseg evaluate --help`.",
        ),
        (["evaluate", "x", "y", "z"], "'z' is one argument too many. See `kseg evaluate --help`."),
        (["models", "--json=3"], "--json takes no value; got '3'. See `kseg models --help`."),
        (
            ["benchmark", "x", "--runs", "1", "--runs", "2"],
            "--runs is given twice. See `kseg benchmark --help`.",
        ),
        (
            ["check", "x", "--jsn"],
            "Unknown option: --jsn. Did you mean --json? See `kseg check --help`.",
        ),
    ],
)
def test_a_wrong_command_line_is_one_sentence(capsys, arguments, said):
    assert _refused(capsys, *arguments) == said


def test_a_wrong_choice_lists_the_right_ones(capsys):
    said = _refused(capsys, "export", "x", "--out", "y", "--target", "edgetpo")
    assert said == (
        f"--target must be one of {', '.join(TARGETS)}; got 'edgetpo'. Did you mean \"edgetpu\"? "
        "See `kseg export --help`."
    )
    said = _refused(capsys, "evaluate", "x", "y", "--split", "vall")
    assert said.startswith("--split must be one of train, val, test; got 'vall'. Did you mean")


def test_two_numbers_are_one_normalization():
    for range_, joined in (
        (["127.5", "128"], ["127.5 128"]),
        (["0.5,0.4,0.3", "1e-2"], ["0.5,0.4,0.3 1e-2"]),
        (["-1..1", "1.png"], ["-1..1", "1.png"]),
        (["imagenet", "7"], ["imagenet", "7"]),
        (["0..1"], ["0..1"]),
    ):
        assert join_pairs(["x", "--normalization", *range_]) == ["x", "--normalization", *joined]


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_how_a_file_is_run_is_passed_on(verb, monkeypatch):
    got = {}

    def open_model(name, num_classes, **given):
        assert num_classes == (5 if verb == "evaluate" else None)  # for class maps that say none
        got.update(given)
        raise ValueError("stop")

    data = SimpleNamespace(classes=SimpleNamespace(num_classes=5))
    monkeypatch.setattr("kseg.cli.loading.open_model", open_model)
    monkeypatch.setattr("kseg.load_data", lambda path: data, raising=False)
    monkeypatch.setattr("kseg.cli.predict._planned", lambda *_: ["image"])
    options = ["--normalization", "-1..1", "--output", "scores", "--kernels", "plain"]
    assert main([verb, "a.tflite", "data", *options]) == 2
    assert got == {"normalization": ("-1..1",), "output": "scores", "kernels": "plain"}
    got.clear()
    assert main([verb, "a.tflite", "data", "--normalization", "127.5", "128"]) == 2
    assert got == {"normalization": ("127.5", "128")}
    got.clear()
    assert main([verb, "a.tflite", "data"]) == 2 and got == {}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\rb\x07\x7f\x9b", r"a\x0db\x07\x7f\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("stra\xdfe \u4e2d \U0001f600", "stra\xdfe \u4e2d \U0001f600"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
    ],
)
def test_control_characters_are_printed_as_escapes(name, shown, capsys):
    assert clean(name) == shown
    say(f"{name}: done")
    say_aside(f"warning: {name}")
    print_table([[name + "\n", 1.0]], ["class", "IoU"])
    output = capsys.readouterr()
    assert output.err == f"kseg: warning: {shown}\n"
    assert output.out.startswith(f"{shown}: done\nclass") and f"\n{shown}\\n " in output.out


def test_errors_and_json_escape_names_too(capsys):
    assert main(["check", "a\x1b]0;title\x07"]) == 2
    assert capsys.readouterr().err == "kseg: there is no file a\\x1b]0;title\\x07.\n"
    said = _refused(capsys, "check", "x", "--\x1b[31m")
    assert "\\x1b[31m" in said


def test_only_one_file_prints():
    """Whatever is printed goes through `kseg.cli.output`, which escapes it."""
    for path in Path(kseg.cli.__file__).parent.glob("*.py"):
        calls = [
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert path.stem == "output" or "print" not in calls, path


def test_a_file_name_that_is_not_utf8_is_no_traceback(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tflite")
    Path(name).write_bytes(b"no model")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = _process("check", name, env=environment)
    assert done.returncode == 4 and b"Traceback" not in done.stderr
    assert rb"caf\xe9.tflite" in done.stderr


def test_what_must_be_utf8_is_refused_in_a_sentence(capsys, monkeypatch):
    name = os.fsdecode(b"caf\xe9")
    said = _refused(capsys, "export", "x", "--quantization", "none", "--out", f"{name}.tflite")
    assert said.startswith(r"--out caf\xe9.tflite: this name is not UTF-8")
    monkeypatch.setattr("kseg.cli.models.say", lambda text: name.encode())
    assert _refused(capsys, "models") == (
        "a file name is not UTF-8, and it must be here; rename the file"
    )


def _process(*arguments, **options):
    command = [sys.executable, "-c", _RUN, *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


def _on_a_terminal(*arguments):
    main_end, its_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-c", _RUN, *arguments]
    with subprocess.Popen(command, stdout=its_end, stderr=its_end, env=environment) as process:
        os.close(its_end)
        output = b""
        while True:
            try:
                part = os.read(main_end, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            output += part
        process.wait()
    os.close(main_end)
    return output.decode()


_SLOW_VERB = """
import sys, time
from kseg.cli import run

def slow():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep({cleaning})

sys.modules["kseg.cli.models"] = type(sys)("kseg.cli.models")
sys.modules["kseg.cli.models"].models = slow
sys.argv[1:] = ["models"]
run()
"""


@pytest.mark.parametrize("times", [1, 2])
def test_interrupts_end_without_a_traceback(times):
    code = _SLOW_VERB.format(cleaning=0 if times == 1 else 60)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in (b"ready\n", b"cleaning\n"):
            assert process.stdout.readline() == line
            if line == b"ready\n" or times == 2:
                process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and time.monotonic() - begun < 30
    assert said == (b"kseg: interrupted\n" if times == 1 else b"")


def test_json_is_ascii_and_alone(capsys):
    from kseg.cli.output import print_json

    print_json({"name": "stra\xdfe\x1b"})
    out = capsys.readouterr().out
    assert out.isascii() and "\x1b" not in out
    assert json.loads(out) == {"name": "stra\xdfe\x1b"}
