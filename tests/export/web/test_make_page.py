"""Filling the folder, without a browser: what is written, what is refused, and the verb."""

import dataclasses
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import urllib.request

import pytest

from export import ModelFileError, load_tflite
from export.tflite.reader import read_model
from export.web import runtimes
from export.web.facts import WebModel, head, read_facts, zoo
from export.web.page import make_page, make_server
from export.web.runtimes import RUNTIMES, fetch_package, open_runtime
from kseg.classes import Classes
from kseg.cli import main

TINY = "atrous_fpn_tiny_camvid"


@pytest.fixture(scope="session")
def tiny():
    return next(model for model in zoo() if model.title == TINY)


@pytest.fixture
def package(tmp_path):
    """A folder that looks like LiteRT's npm package."""
    folder = tmp_path / "package"
    for file in RUNTIMES["litert"].files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    (folder / "package.json").write_text('{"name": "@litertjs/core", "version": "9.1.2"}')
    return folder


def test_the_zoo_has_a_licence_for_every_file():
    models = zoo()
    assert {model.title for model in models} >= {TINY, "fcn8s_camvid", "segnet_camvid"}
    assert all(model.licence and model.path.is_file() for model in models)


def test_what_the_page_reads(tiny, tmp_path):
    folder = make_page([tiny], tmp_path / "page")
    record = json.loads((folder / "models.json").read_text())
    assert record["runtime"] == {
        "name": "litert",
        "title": "LiteRT.js 2.5.3",
        "base": "https://cdn.jsdelivr.net/npm/@litertjs/core@2.5.3/",
    }
    (facts,) = record["models"]
    with load_tflite(tiny.path) as file:
        assert facts["outputScale"] == file.output.scale
        assert facts["outputZeroPoint"] == file.output.zero_point
    assert facts["classes"][0] == {"name": "sky", "color": [255, 89, 89]}
    assert len(facts["classes"]) == 11
    for key, value in {
        "title": TINY, "file": f"{TINY}.tflite", "licence": tiny.licence, "head": "logits",
        "stride": 1, "inputSize": [480, 640], "inputType": "uint8", "workingSize": [480, 640],
        "outputSize": [480, 640],
    }.items():  # fmt: skip
        assert facts[key] == value, key
    unsaid = dataclasses.replace(tiny, working_size=None)  # the file says it, too
    assert read_facts(unsaid, "litert")["workingSize"] == [480, 640]
    assert (folder / facts["file"]).read_bytes() == tiny.path.read_bytes()
    assert {p.name for p in folder.iterdir()} == {
        "app.js", "index.html", "models.json", "objects.js", "pixels.js", "png.js", "style.css",
        "view.js", "worker.js", facts["file"],
    }  # fmt: skip


def test_heads(int8, int8_argmax, data):
    assert head(read_model(int8.path)) == "logits"
    assert head(read_model(int8_argmax.path)) == "argmax"
    facts = read_facts(WebModel(int8_argmax.path, data.classes), "litert")
    assert (facts["head"], facts["outputSize"], facts["outputScale"]) == ("argmax", [64, 64], 0)
    with pytest.raises(ValueError, match="ends in argmax; MediaPipe takes scores only"):
        read_facts(WebModel(int8_argmax.path, data.classes), "mediapipe")


def test_a_package_is_copied_and_a_page_replaced(tiny, package, tmp_path):
    folder = make_page([tiny], tmp_path / "page", runtime=package)
    record = json.loads((folder / "models.json").read_text())
    assert record["runtime"]["base"] == "runtime/"
    assert record["runtime"]["title"] == "LiteRT.js 9.1.2"
    assert (folder / "runtime/wasm/litert_wasm_internal.wasm").is_file()
    with pytest.raises(ValueError, match="is the page's own copy of the runtime"):
        make_page([tiny], folder, runtime=folder / "runtime")
    assert (folder / "runtime/wasm/litert_wasm_internal.wasm").is_file()
    other = tmp_path / "other.tflite"
    other.write_bytes(tiny.path.read_bytes())
    make_page([WebModel(other, tiny.classes)], folder)
    assert (folder / "other.tflite").is_file()
    assert not (folder / f"{TINY}.tflite").exists()
    assert not (folder / "runtime").exists()


def test_a_file_that_lies_in_the_page_already_stays(tiny, tmp_path):
    folder = make_page([tiny], tmp_path / "page")
    content = tiny.path.read_bytes()
    make_page([WebModel(folder / tiny.path.name, tiny.classes)], folder, runtime="mediapipe")
    assert (folder / tiny.path.name).read_bytes() == content


def test_what_is_refused(tiny, package, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other files; name a new folder"):
        make_page([tiny], tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    with pytest.raises(ValueError, match=r"letter.txt is a file; name a folder"):
        make_page([tiny], tmp_path / "mine/letter.txt")
    with pytest.raises(ValueError, match="runtime must be litert or mediapipe, or the folder"):
        open_runtime(tmp_path / "mine")
    (package / "wasm/litert_wasm_internal.wasm").unlink()
    with pytest.raises(ValueError, match=r"lacks wasm/litert_wasm_internal.wasm; unpack what `npm"):
        open_runtime(package)
    with pytest.raises(ValueError, match="models must be files of different names"):
        make_page([tiny, tiny], tmp_path / "page")
    few = WebModel(tiny.path, Classes(("a", "b")))
    with pytest.raises(ValueError, match=r"classes must name every class of .*: 11; there are 2"):
        make_page([few], tmp_path / "page")
    large = dataclasses.replace(tiny, working_size=(720, 960))
    with pytest.raises(ValueError, match=r"within the input of .*, 480 x 640; got 720 x 960"):
        make_page([large], tmp_path / "page")
    assert not (tmp_path / "page").exists()
    broken = tmp_path / "broken.tflite"
    broken.write_text("no model")
    with pytest.raises(ModelFileError, match=r"broken\.tflite is no .tflite file"):
        make_page([WebModel(broken, tiny.classes)], tmp_path / "page")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": ((1, 8, 8, 3), "int8", None, None), "y": ((1, 8, 8, 3), "int8", None, None)},
         "takes int8 and gives int8; runtimes in browsers take uint8 or float32"),
        ({"x": ((1, 8, 8, 3), "float32", None, None), "y": ((1, 8, 8, 3), "float32", None, None)},
         "gives logits, and no TFLite Metadata say so; MediaPipe would take them"),
        ({"x": ((1, 8, 8, 3), "uint8", None, None), "y": ((1, 8, 8, 3), "uint8", None, None)},
         "gives logits, and no TFLite Metadata say so; MediaPipe would take them"),
    ],
)  # fmt: skip
def test_files_that_a_browser_would_refuse(tensors, message, write_graph):
    path = write_graph(tensors, [("RELU", 1, ["x"], ["y"], {})])
    with pytest.raises(ValueError, match=message):
        read_facts(WebModel(path, Classes(("a", "b", "c"))), "mediapipe")


def test_the_server_names_types(tiny, tmp_path):
    with make_server(make_page([tiny], tmp_path / "page")) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        (tmp_path / "page/a.wasm").touch()
        for file, kind in {
            "worker.js": "text/javascript", "a.wasm": "application/wasm", "": "text/html",
            f"{TINY}.tflite": "application/octet-stream", "models.json": "application/json",
        }.items():  # fmt: skip
            address = f"http://127.0.0.1:{server.server_port}/{file}"
            with urllib.request.urlopen(address) as answer:
                assert answer.headers.get_content_type() == kind
        with pytest.raises(ValueError, match=r"cannot be had .*name another"):
            make_server(tmp_path / "page", server.server_port)
        server.shutdown()
        thread.join()


def test_the_verb(tiny, data, tmp_path, capsys):
    assert main(["web", TINY, str(tiny.path), "--out", str(tmp_path / "page")]) == 2
    assert "different names" in capsys.readouterr().err
    assert main(["web", TINY, "--out", str(tmp_path / "page")]) == 0
    assert "python -m http.server --directory" in capsys.readouterr().out
    (facts,) = json.loads((tmp_path / "page/models.json").read_text())["models"]
    assert "research only" in facts["licence"]
    for option in (["--size", "64", "64"], ["--data", str(data.source)]):
        assert main(["web", TINY, *option, "--out", str(tmp_path / "page")]) == 2
        assert f"{option[0]} is for run folders" in capsys.readouterr().err
    assert main(["web", TINY]) == 2
    assert "--out FOLDER, or pass --serve" in capsys.readouterr().err
    # Before a run would be exported.
    assert main(["web", "no/run", "--out", str(tmp_path / "page"), "--runtime", "nope"]) == 2
    assert "runtime must be litert or mediapipe" in capsys.readouterr().err
    assert main(["web", "no/run", "--out", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert main(["web", "nothing.tflite", "--out", str(tmp_path / "other")]) == 4
    assert "nothing.tflite cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_the_verb_serves(tmp_path):
    code = "from kseg.cli import run; run()"
    command = [sys.executable, "-c", code, "web", TINY, "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
            with urllib.request.urlopen(f"{address}models.json") as answer:
                assert json.load(answer)["models"][0]["title"] == TINY
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@pytest.mark.slow
def test_the_verb_exports_a_run(trained, data, tmp_path, capsys):
    import kseg

    recipe = kseg.Recipe(epochs=1, batch_size=8, validate_every=1, size=(64, 64), crop=(64, 64))
    kseg.fit(kseg.build_fcn8s(3, backbone="separable", weights=None), data, recipe,
             run_dir=tmp_path / "street")  # fmt: skip
    assert main(["web", str(tmp_path / "street"), "--out", str(tmp_path / "page")]) == 0
    (facts,) = json.loads((tmp_path / "page/models.json").read_text())["models"]
    assert (facts["file"], facts["inputType"]) == ("street.tflite", "float32")
    assert [c["name"] for c in facts["classes"]] == list(data.classes.names)
    assert facts["workingSize"] == [64, 64]


def test_an_npm_package_is_unpacked_without_what_lies_outside(tmp_path, monkeypatch):
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in ("package/dist/a.js", "../../outside.js", "package/../../../beside.js"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    def pack(command, **options):
        shutil.copy(packed, command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(runtimes.shutil, "which", lambda name: name)
    monkeypatch.setattr(runtimes.subprocess, "run", pack)
    folder = fetch_package("@some/thing@1.0", tmp_path / "a/b/cache")
    assert (folder / "dist/a.js").read_bytes() == b"abc"
    assert [path.name for path in folder.rglob("*")] == ["dist", "a.js"]
    assert not list(tmp_path.rglob("outside.js")) + list(tmp_path.rglob("beside.js"))
