from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseg.sources import find_sources
from kseg.videos import video_frames

RNG = np.random.default_rng(0)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a/1.png", "a/2.jpg", "a/deep/3.png", "b/1.png", "a/out/1.labels.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (6, 8, 3), "uint8")).save(path)
    (tmp_path / "a/notes.md").write_text("no image")
    (tmp_path / "a/.hidden.png").write_bytes(b"")
    (tmp_path / "a/1.overlay.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _found(*words, **options):
    found = find_sources(words, **options)
    return {source.name: str(source.output) for source in found.sources}, found.problems


def test_a_folder_gives_its_images_and_with_recursive_those_below(tree):
    assert _found("a") == ({"a/1.png": "1", "a/2.jpg": "2"}, ())
    below = {"a/1.png": "1", "a/2.jpg": "2", "a/deep/3.png": "deep/3"}
    (tree / "a/out/4.png").write_bytes((tree / "a/1.png").read_bytes())
    assert _found("a", recursive=True)[0] == {**below, "a/out/4.png": "out/4"}
    assert _found("a", recursive=True, leave_out=Path("a/out"))[0] == below


def test_names_that_repeat_keep_as_much_of_their_folders_as_it_takes(tree):
    (tree / "a/1.jpg").write_bytes(b"")
    assert _found("a/2.jpg", "b/1.png")[0] == {"a/2.jpg": "2", "b/1.png": "1"}
    assert _found("a/1.png", "b/1.png", "a/1.png")[0] == {"a/1.png": "a/1", "b/1.png": "b/1"}
    names, _ = _found("a", "b", "https://x.org/1.png?b=2", "https://x.org/deep/1.png")
    assert len({*names.values()}) == len(names) == 6
    assert names["a/1.png"] == "a/1.png" and names["a/1.jpg"] == "a/1.jpg"


def test_globs_and_what_matches_nothing(tree):
    assert _found("*/1.png")[0] == {"a/1.png": "a/1", "b/1.png": "b/1"}
    assert list(_found("**/*.png", leave_out=Path("a/out"))[0]) == [
        "a/1.png",
        "a/deep/3.png",
        "b/1.png",
    ]
    (tree / "b/x[1].png").write_bytes(b"")
    assert _found("b/x[1].png")[0] == {"b/x[1].png": "x[1]"}
    assert _found("c/*.png") == ({}, ("c/*.png matches no images or videos.",))
    (tree / "empty").mkdir()
    (sentence,) = _found("empty")[1]
    assert sentence.startswith("empty holds no images or videos (--recursive")


def test_a_list_gives_its_lines_relative_to_its_folder(tree):
    (tree / "a/list.txt").write_text("# two\n1.png\n\n../b/1.png\nhttps://x.org/y%20z.png\n")
    assert _found("a/list.txt") == (
        {"a/1.png": "a/1", "a/../b/1.png": "b/1", "https://x.org/y%20z.png": "y_z"},
        (),
    )
    (tree / "empty.txt").write_text("\n#\n")
    assert _found("empty.txt")[1] == ("empty.txt is a list without lines.",)


def test_a_file_that_is_no_list_is_not_shown(tree):
    (tree / "secret.txt").write_text("root:x:0:0\n")
    names, (sentence,) = _found("secret.txt")
    assert not names and "secret.txt, line 1 must be the path" in sentence
    assert "root" not in sentence


def test_a_bad_line_of_a_list_leaves_the_others(tree):
    """The lines after it were dropped, and it was said that the rest is done."""
    (tree / "a/empty.png").mkdir()
    (tree / "list.txt").write_text("a/1.png\nnotes.md\na/empty.png\na/x\0.png\nb/1.png\n")
    names, (second, third, fourth) = _found("list.txt", "a/2.jpg")
    assert list(names) == ["a/1.png", "b/1.png", "a/2.jpg"]
    assert second.startswith("list.txt, line 2 must be the path")
    assert third.startswith("a/empty.png holds no images")
    assert fourth.startswith("list.txt, line 4 must be the path")


def test_frames_of_a_video(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="videos need opencv-python-headless")
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for number in range(7):
        writer.write(np.full((48, 64, 3), (0, 0, 30 * number), "uint8"))  # red, as BGR
    writer.release()
    (source,) = find_sources([str(path)]).sources
    assert source.is_video
    frames = dict(source.frames(3, 3))
    assert [str(output) for output in frames] == ["v/000000", "v/000003", "v/000006"]
    for output, image in frames.items():
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        assert np.abs(image.mean((0, 1)) - [30 * int(output.name), 0, 0]).max() < 6
    assert next(iter(source.frames(1, 1)))[1].shape == (48, 64, 1)
    with pytest.raises(ValueError, match="the model takes 5 channels, and a video has 3"):
        next(source.frames(5, 1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#EXTM3U\n/etc/passwd\n", "it does not begin like a video"),
        (b"", "it does not begin like a video"),
        (b"\0\0\0\x18ftypmp42" + bytes(200), "no frame can be read"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_video_is_a_sentence(content, said, tmp_path):
    pytest.importorskip("cv2", reason="videos need opencv-python-headless")
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"v\.mp4.*{said}"):
        list(video_frames(str(path), 3, 1))


def test_without_opencv_a_video_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"camera:0: videos and cameras need OpenCV: pip install"):
        list(find_sources(["camera:0"]).sources[0].frames(3, 1))


def test_a_glob_beside_its_outputs_finds_what_lies_where_it_begins(tree):
    assert list(_found("a/*.png", leave_out=Path("a"))[0]) == ["a/1.png"]
    (tree / "here.png").write_bytes(b"")
    assert list(_found("*.png", leave_out=Path("."))[0]) == ["here.png"]
    assert "a/out/1.png" not in _found("a/**/*.png", leave_out=Path("a/out"))[0]


def test_frames_of_a_video_have_a_folder_without_other_outputs(tree):
    for name in ("a/deep.avi", "a/deep_video.png"):
        (tree / name).write_bytes(b"")
    names, _ = _found("a", recursive=True)
    assert names["a/deep/3.png"] == "deep/3" and names["a/deep_video.png"] == "deep_video"
    assert names["a/deep.avi"] == "deep_video_video"
