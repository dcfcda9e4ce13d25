"""`kseg predict` around a stand-in for the model: sources, outputs, what is there already."""

import csv
import json
import os
import warnings

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.cli import main

CLASSES = kseg.Classes(("dark", "bright, or so", "never"))
RNG = np.random.default_rng(0)


class Model:
    """Two classes by the red channel, and how often it was called."""

    calls = 0

    def __call__(self, images):
        self.calls += 1
        red = images[..., 0]
        return np.stack([127.5 - red, red - 127.5, np.full_like(red, -999)], -1)


@pytest.fixture
def model(monkeypatch):
    found = Model()
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (found, CLASSES, None))
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/1.png", "in/2.png", "in/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), "uint8")).save(tmp_path / name)
    return tmp_path


def _labels(folder, number):
    return (np.asarray(Image.open(folder / f"in/{number}.png"))[..., 0] > 127).astype("uint8")


def _names(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_broken_image_is_said_at_the_end_and_the_rest_is_done(model, folder, capsys):
    (folder / "in/1.png").write_bytes(b"broken")
    assert main(["predict", "m", "in", "gone.png", "x/*.png"]) == 2
    output = capsys.readouterr()
    assert [line.split(":")[0] for line in output.out.splitlines()] == ["in/2.png", "in/3.png"]
    said = output.err.splitlines()
    assert len(said) == 4 and said[-1] == "kseg: 3 could not be labelled; the rest is done."
    assert any("in/1.png" in line for line in said) and any("gone.png" in line for line in said)
    ends = ("labels.png", "overlay.png")
    assert _names(folder / "predictions") == [f"{n}.{end}" for n in (2, 3) for end in ends]


def test_nothing_to_label_is_one_sentence_before_the_model_is_loaded(folder, capsys):
    assert main(["predict", "no-such-model", "x/*.png"]) == 2
    assert capsys.readouterr().err == "kseg: x/*.png matches no images or videos.\n"


def test_save_chooses_what_is_written(model, folder):
    kinds = ["labels", "palette", "overlay", "geojson", "coco", "csv"]
    assert main(["predict", "m", "in/1.png", "--save", *kinds]) == 0
    expected, out = _labels(folder, 1), folder / "predictions"
    for name, mode in (("1.labels.png", "P"), ("1.ids.png", "L")):
        with Image.open(out / name) as picture:
            assert picture.mode == mode
            np.testing.assert_array_equal(np.asarray(picture), expected)
    with Image.open(out / "1.labels.png") as picture:
        assert picture.getpalette()[:9] == CLASSES.palette()[:9]
    rows = list(csv.DictReader((out / "1.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == list(CLASSES.names)
    assert [int(row["pixels"]) for row in rows] == np.bincount(
        expected.ravel(), minlength=3
    ).tolist()
    features = json.loads((out / "1.geojson").read_text())["features"]
    assert sum(f["properties"]["pixels"] for f in features) == expected.size
    record = json.loads((out / "1.coco.json").read_text())
    assert record["images"][0]["file_name"] == "1.png"
    assert len(record["annotations"]) == len(features)
    assert len(_names(out)) == 6


def test_overlay_has_a_legend_of_the_classes_that_occur(model, folder):
    Image.new("RGB", (300, 40), (9, 0, 0)).save("in/1.png")
    assert main(["predict", "m", "in/1.png", "in/2.png", "--save", "overlay"]) == 0
    image = np.asarray(Image.open("in/1.png"))
    drawn = np.asarray(Image.open("predictions/1.overlay.png"))
    expected = kseg.overlay(image, np.zeros((40, 300), "uint8"), CLASSES)
    np.testing.assert_array_equal(drawn[:40], expected)
    legend = {tuple(color) for color in drawn[40:].reshape(-1, 3).tolist()}
    assert CLASSES.colors[0] in legend and CLASSES.colors[1] not in legend
    both = np.asarray(Image.open("predictions/2.overlay.png"))[20:]
    assert {CLASSES.colors[0], CLASSES.colors[1]} <= {
        tuple(c) for c in both.reshape(-1, 3).tolist()
    }


def test_nothing_is_overwritten_and_the_model_is_not_even_loaded(folder, monkeypatch, capsys):
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: pytest.fail("loaded"))
    (folder / "predictions").mkdir()
    os.symlink(folder / "nowhere", folder / "predictions/2.overlay.png")
    assert main(["predict", "m", "in"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kseg: there is predictions/2.overlay.png already; --overwrite ")
    assert _names(folder / "predictions") == []


def test_overwrite_replaces_links_and_does_not_follow_them(model, folder):
    (folder / "predictions").mkdir()
    (folder / "precious").write_text("mine")
    os.symlink(folder / "precious", folder / "predictions/1.labels.png")
    assert main(["predict", "m", "in/1.png", "--overwrite"]) == 0
    assert (folder / "precious").read_text() == "mine"
    assert not (folder / "predictions/1.labels.png").is_symlink()
    np.testing.assert_array_equal(
        np.asarray(Image.open("predictions/1.labels.png")), _labels(folder, 1)
    )


def test_a_folder_below_that_is_a_link_is_not_entered(model, folder, capsys):
    (folder / "in/deep").mkdir()
    os.rename("in/1.png", "in/deep/1.png")
    (folder / "predictions").mkdir()
    (folder / "elsewhere").mkdir()
    os.symlink(folder / "elsewhere", folder / "predictions/deep")
    assert main(["predict", "m", "in", "--recursive"]) == 2
    assert "predictions/deep is a symbolic link" in capsys.readouterr().err
    assert _names(folder / "elsewhere") == [] and len(_names(folder / "predictions")) == 4


def test_a_file_that_comes_meanwhile_is_left(folder, monkeypatch, capsys):
    class Slow(Model):
        def __call__(self, images):
            (folder / "predictions").mkdir(exist_ok=True)
            (folder / "predictions/1.labels.png").write_text("another's")
            return super().__call__(images)

    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (Slow(), CLASSES, None))
    assert main(["predict", "m", "in/1.png"]) == 2
    assert "predictions/1.labels.png: it has come while" in capsys.readouterr().err
    assert _names(folder / "predictions") == ["1.labels.png"]
    assert (folder / "predictions/1.labels.png").read_text() == "another's"


def test_resume_makes_what_is_missing_and_shards_share_the_images(model, folder, capsys):
    assert main(["predict", "m", "in", "--shard", "1/2"]) == 0
    ends = ("labels.png", "overlay.png")
    assert _names(folder / "predictions") == [f"{n}.{end}" for n in (1, 3) for end in ends]
    whole = (folder / "predictions/1.overlay.png").read_bytes()
    (folder / "predictions/1.overlay.png").unlink()  # as if killed between the two
    (folder / "predictions/1.labels.png").write_text("kept")
    assert main(["predict", "m", "in", "--shard", "1/2"]) == 0
    assert (folder / "predictions/1.labels.png").read_text() == "kept"
    assert (folder / "predictions/1.overlay.png").read_bytes() == whole
    assert model.calls == 3
    assert main(["predict", "m", "in", "--resume"]) == 0
    assert model.calls == 4 and len(_names(folder / "predictions")) == 6
    assert "2 skipped: their outputs are in predictions" in capsys.readouterr().out
    assert main(["predict", "m", "in", "--shard", "2/2", "--overwrite"]) == 0 and model.calls == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shard", "3/2"], "--shard must be I/N with I from 1 to N, such as 2/8; got 3/2."),
        (["--every", "0"], "--every must be at least 1; got 0."),
        (["--overwrite", "--resume"], "--overwrite and --resume exclude each other"),
        (["--native", "--size", "2", "2"], "exclude each other"),
        (
            ["--out", "https://x/y"],
            "https://x/y: nothing can be written there",
        ),
        (["--scales", "1", "9"], "scales must be from 0.25 to 4; got 9."),
    ],
)
def test_options_that_cannot_be_are_refused(options, said, model, folder, capsys):
    assert main(["predict", "m", "in/1.png", *options]) == 2
    assert said in capsys.readouterr().err


def test_json_is_one_object(model, folder, capsys):
    (folder / "in/3.png").write_bytes(b"")
    assert main(["predict", "m", "in", "--json", "--save", "csv"]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert (
        printed.keys() == {"images", "labelled", "skipped", "problems"}
        and len(printed["problems"]) == 1
    )
    first = printed["images"][0]
    assert first["outputs"] == {"csv": "predictions/1.csv"}
    share = float(_labels(folder, 1).mean())
    assert first["shares"] == {
        "dark": round(1 - share, 6),
        "bright, or so": round(share, 6),
        "never": 0.0,
    }


def test_native_flip_and_scales_reach_the_model(model, folder):
    seen = []
    call = Model.__call__

    class Spy(Model):
        input_size = (16, 16)

        def __call__(self, images):
            seen.append(images.shape[1:3])
            return call(self, images)

    model.__class__ = Spy
    assert main(["predict", "m", "in/1.png", "--native", "--save", "labels"]) == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open("predictions/1.ids.png")), _labels(folder, 1)
    )
    assert max(seen) == (16, 16)
    seen.clear()
    scales = ["--flip", "--scales", "0.5", "1"]
    assert main(["predict", "m", "in/2.png", "--size", "8", "12", *scales]) == 0
    assert seen == [(4, 6), (4, 6), (8, 12), (8, 12)]


def test_an_image_that_is_shrunk_a_lot_is_said_once(model, folder, capsys):
    assert main(["predict", "m", "in", "--size", "4", "4"]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("kseg: in/1.png has 20 x 30 pixels and is seen at 3 x 4, as are others")


def test_a_large_image_for_a_model_without_a_size_is_shrunk(model, folder, monkeypatch):
    monkeypatch.setattr("kseg.labelling.labeller.MOST_PIXELS", 150)
    seen = []
    monkeypatch.setattr(
        "kseg.predict", lambda m, i, *, size, **_: seen.append(size) or np.zeros((20, 30), "uint8")
    )
    assert main(["predict", "m", "in/1.png"]) == 0
    assert seen == [(10, 15)]


def test_a_write_that_fails_leaves_nothing(model, folder, monkeypatch, capsys):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["predict", "m", "in"]) == 5
    monkeypatch.setattr("kseg.cli.writing._write_unnamed", lambda *_: False)
    assert main(["predict", "m", "in"]) == 5
    assert os.listdir("predictions") == [] and "1.labels.png" in capsys.readouterr().err


def test_whoever_stops_reading_is_no_fault_of_the_images(model, folder, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("kseg.cli.output.print", closed, raising=False)
    monkeypatch.setattr("os.dup2", lambda *_: None)  # or nobody reads the tests either
    assert main(["predict", "m", "in"]) == 0
    assert model.calls == 3  # the files are what was asked for


def test_resume_looks_for_what_the_network_would_write(folder, monkeypatch, capsys):
    network = kseg.build_panoptic_deeplab(3, backbone="separable", weights=None)
    network.kseg_things = (1,)
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (Model(), CLASSES, None))
    assert main(["predict", "m", "in/1.png"]) == 0
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: (network, CLASSES, None))
    assert main(["predict", "m", "in/1.png", "--resume"]) == 0
    assert "predictions/1.instances.png" in map(str, _relative(folder))


def _relative(folder):
    return [path.relative_to(folder) for path in folder.rglob("*")]


def _video(count):
    cv2 = pytest.importorskip("cv2", reason="videos need opencv-python-headless")
    writer = cv2.VideoWriter("v.avi", cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(count):
        writer.write(RNG.integers(0, 256, (48, 64, 3), "uint8"))
    writer.release()


def test_a_video_that_is_cut_off_is_said(model, folder, capsys):
    _video(20)
    content = (folder / "v.avi").read_bytes()
    (folder / "v.avi").write_bytes(content[: len(content) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["predict", "m", "v.avi", "--save", "labels"]) == 0
    said = capsys.readouterr().err
    assert "frames can be read, and the file says that it has about 20" in said


def test_frames_of_a_video_are_outputs_of_their_own(model, folder):
    _video(4)
    assert main(["predict", "m", "v.avi", "--every", "2", "--save", "labels"]) == 0
    assert _names(folder / "predictions") == ["v/000000.ids.png", "v/000002.ids.png"]
    assert main(["predict", "m", "v.avi", "--save", "labels"]) == 2
    assert main(["predict", "m", "v.avi", "--save", "labels", "--resume"]) == 0
    assert len(_names(folder / "predictions")) == 4 and model.calls == 4


def test_an_image_that_is_to_be_labelled_is_not_written_over(model, folder, capsys):
    before = (folder / "in/2.png").read_bytes()
    (folder / "in/2.png").rename(folder / "in/1.ids.png")
    words = ["predict", "m", "in/1.png", "in/1.ids.png", "--out", "in", "--save", "labels"]
    assert main([*words, "--overwrite"]) == 2
    assert "labels of in/1.png would be written over in/1.ids.png" in capsys.readouterr().err
    assert (folder / "in/1.ids.png").read_bytes() == before and model.calls == 0


def test_json_is_one_object_even_if_the_only_image_is_broken(model, folder, capsys):
    (folder / "in/1.png").write_bytes(b"")
    assert main(["predict", "m", "in/1.png", "--json"]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert printed["labelled"] == 0 and len(printed["problems"]) == 1
