"""Pushing to, and loading from, a server on this computer that stands in for the Hub."""

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import keras
import numpy as np
import pytest
import yaml

import kseg
from kseg.cli import main
from kseg.training.checkpoints import write_checkpoint
from kseg.training.pushing import gather
from kseg.training.run import Run, open_run

pytest.importorskip("huggingface_hub", reason="pip install 'kseg[hub]'")

NAME = "someone/street"
COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """One model, as the Hub's API shows it: files in a commit, all regular, as without Xet."""

    files: dict
    made: list
    protocol_version = "HTTP/1.1"

    def _answer(self, value, code=200, headers=None):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def do_POST(self):
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._body()
            return self._answer({"error": "no"}, 401)
        body = self._body()
        if self.path.endswith("/repos/create"):
            self.made.append(json.loads(body)["name"])
            return self._answer({"url": f"{self._address()}/{NAME}"})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "shouldIgnore": False, "oid": None, "uploadMode": "regular"}
                for f in asked
            ]
            return self._answer({"files": modes})
        assert "/commit/" in self.path
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del self.files[value["path"]]
        url = f"{self._address()}/{NAME}/commit/{COMMIT}"
        return self._answer({"commitUrl": url, "commitOid": COMMIT})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if NAME not in self.path or not self.made:
            return self._answer({"error": "no"}, 404, {"X-Error-Code": "RepoNotFound"})
        if "/resolve/" in self.path:
            content = self.files[self.path.split("/resolve/")[1].split("/", 1)[1]]
            tag = hashlib.sha256(content).hexdigest()
            return self._answer(content, headers={"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
        names = [{"rfilename": name} for name in self.files]
        if "/tree/" in self.path:
            names = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in self.files.items()
            ]
            return self._answer(names)
        return self._answer({"id": NAME, "sha": COMMIT, "siblings": names, "private": False})

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The files on the server; its address is where kseg looks for the Hub."""
    handler = type("OneHub", (Hub,), {"files": {}, "made": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run as `kseg.fit` writes it, of weights that nobody trained."""
    path = tmp_path_factory.mktemp("run") / "street"
    path.mkdir()
    model = kseg.build_fcn8s(3, backbone="separable", weights=None)
    weights = [np.asarray(variable) for variable in model.variables]
    row = {"epoch": 1, "step": 2, "loss": 0.5, "mean_iou": 0.4321, "pixel_accuracy": 0.5}
    row |= {"seconds": 1.0, "iou ground": 0.9, "iou red": 0.25, "iou blue": 0.125}
    facts = {"epoch": 1, "mean_iou": 0.4321, "history": [row]}
    groups = {"model": weights, "average": weights, "optimizer": weights}
    write_checkpoint(path, 2, groups, facts)
    (path / "preview.png").write_bytes(b"picture")
    classes = {"names": ["ground", "red", "blue"], "colors": [[0, 0, 0], [9, 0, 0], [0, 0, 9]]}
    record = {"format": 1, "spec": model.kseg_spec, "classes": classes, "size": [32, 32]}
    data = {"source": "data.yaml", "fingerprint": "0"}
    return Run.write(path, {**record, "data": data, "versions": {"kseg": "0.2.0"}})


def _push(run, *more):
    return main(["push", str(run.path), f"hf://{NAME}", *map(str, more)])


def test_a_run_comes_back_from_the_hub_as_it_was(hub, run, capsys, tmp_path):
    (tmp_path / "street.tflite").write_bytes(b"TFL3")
    assert _push(run, "--license", "apache-2.0", "--file", tmp_path / "street.tflite") == 0
    assert f"/{NAME}; next: kseg predict hf://{NAME} IMAGE" in capsys.readouterr().out
    expected = kseg.load(run)
    loaded = kseg.load(f"hf://{NAME}")
    for variable, other in zip(loaded.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(variable, other)
    assert loaded.kseg_size == (32, 32)
    assert open_run(f"hf://{NAME}@main").classes == run.classes
    names = [name for name in hub.files if name.endswith("weights.h5")]
    local = run.path / names[0]
    assert len(names) == 1 and len(hub.files[names[0]]) < 0.5 * local.stat().st_size
    assert hub.files["street.tflite"] == b"TFL3"


def test_a_second_push_replaces_the_checkpoint(hub, run):
    assert _push(run) == 0
    hub.files["checkpoints/00000000/weights.h5"] = b"old"
    hub.files["checkpoints/00000000/manifest.json"] = b"old"
    assert _push(run) == 0
    assert not any("00000000" in name for name in hub.files)


def test_the_card_has_the_head_that_pages_of_the_hub_read(hub, run):
    _push(run)
    text = hub.files["README.md"].decode()
    _, head, body = text.split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["pipeline_tag"] == "image-segmentation" and facts["library_name"] == "keras"
    assert facts["license"] == "other" and "kseg" in facts["tags"]
    (result,) = facts["model-index"][0]["results"]
    (metric,) = result["metrics"]
    assert (metric["type"], metric["value"]) == ("mean_iou", 0.4321)
    assert f'kseg.load("hf://{NAME}")' in body and "| red | 0.2500 |" in body
    assert "preview.png" in body and hub.files["preview.png"] == b"picture"


@pytest.mark.parametrize(
    ("shape", "takes"), [([None, None, 1], "gray"), ([None, None, 5], "5 channels"), (None, "its")]
)
def test_the_card_does_not_claim_more_than_the_run_knows(run, tmp_path, shape, takes):
    spec = {"builder": "fcn8s", "arguments": {"input_shape": shape}} if shape else None
    folder, pushed = tmp_path / "run", tmp_path / "pushed"
    shutil.copytree(run.path, folder)
    Run.write(folder, {**run.record, "spec": spec, "recipe": {"validate_images": 2}})
    pushed.mkdir()
    gather(folder, pushed, f"hf://{NAME}", licence="other")
    card = (pushed / "README.md").read_text()
    assert "mean_iou" not in card and "| mean IoU, on at most 2 images of val | 0.4321 |" in card
    assert "| class | IoU, on at most 2 images of val |" in card
    assert "RGB" not in card and f"{takes}" in card.split("| input | ")[1].splitlines()[0]


def test_files_of_one_name_and_scores_of_images_seen_are_not_passed_off(run, tmp_path):
    folder, pushed = tmp_path / "run", tmp_path / "pushed"
    shutil.copytree(run.path, folder)
    Run.write(folder, {**run.record, "saw_val": True})
    for name in ("run.json", "README.md"):
        (tmp_path / name).write_text("{}")
        shutil.rmtree(pushed, ignore_errors=True)
        pushed.mkdir()
        with pytest.raises(ValueError, match="has the name of another file that is pushed"):
            gather(folder, pushed, f"hf://{NAME}", licence="other", files=[tmp_path / name])
    shutil.rmtree(pushed)
    pushed.mkdir()
    gather(folder, pushed, f"hf://{NAME}", licence="other")
    card = (pushed / "README.md").read_text()
    assert "mean_iou" not in card and "val, on whose images it was trained | 0.4321 |" in card


def test_builders_and_trainings_start_from_an_address(hub, run):
    _push(run)
    model = kseg.build_fcn8s(3, backbone="separable", weights=f"hf://{NAME}")
    for variable, other in zip(model.variables, kseg.load(run).variables, strict=True):
        np.testing.assert_array_equal(variable, other)
    assert model.kseg_size == (32, 32)
    with pytest.raises(ValueError, match=r"is fcn8s with .*, and this is fcn8s with .*'num_clas"):
        kseg.build_fcn8s(4, backbone="separable", weights=f"hf://{NAME}")


def test_verbs_take_an_address(hub, run, capsys):
    _push(run)
    assert main(["describe", f"hf://{NAME}"]) == 0
    here = capsys.readouterr().out
    assert main(["describe", str(run.path)]) == 0
    assert here.splitlines()[-5:] == capsys.readouterr().out.splitlines()[-5:]


def test_changed_weights_are_refused(hub, run):
    _push(run)
    (name,) = [name for name in hub.files if name.endswith("weights.h5")]
    hub.files[name] = hub.files[name][:-1] + b"\x01"
    with pytest.warns(UserWarning, match="is damaged"):
        with pytest.raises(ValueError, match="sha256 is not that of its manifest"):
            kseg.load(f"hf://{NAME}")
    with pytest.raises(ValueError, match="sha256 is not that of its manifest"):
        kseg.build_fcn8s(3, backbone="separable", weights=f"hf://{NAME}")


def _refused(capsys, *arguments):
    assert main([str(a) for a in arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]  # behind the library's bar of progress


def test_what_is_wrong_is_one_sentence(hub, run, capsys, monkeypatch):
    for address in ("hf://street", "street", "hf://a/b/c", "hf://a/b@main"):
        assert "hf://" in _refused(capsys, "push", run.path, address)
    assert "there is no such model, or it is private" in _refused(capsys, "describe", "hf://no/one")
    hub.made.append(NAME)
    hub.files["README.md"] = b"something else"
    assert "holds no model that kseg pushed" in _refused(capsys, "describe", f"hf://{NAME}")
    assert "gone.tflite: there is no such file" in _refused(
        capsys, "push", run.path, f"hf://{NAME}", "--file", "gone.tflite"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "(hf auth login)" in _refused(capsys, "push", run.path, f"hf://{NAME}")


def test_without_a_network_it_is_one_sentence_or_the_copy(hub, run, capsys, monkeypatch):
    _push(run)
    kseg.load(f"hf://{NAME}")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert isinstance(kseg.load(f"hf://{NAME}"), keras.Model)
    capsys.readouterr()
    said = "the Hub cannot be reached, and no copy was fetched before."
    assert _refused(capsys, "describe", "hf://some/other").endswith(said)
    assert "the Hub cannot be reached" in _refused(capsys, "push", run.path, f"hf://{NAME}")
