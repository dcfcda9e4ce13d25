import json
import os
import socket
import time

import pytest

from kseg.safe_files import files_in, read_bytes, read_json, read_text


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_regular_file_is_read_whole(written):
    assert read_bytes(written(b"\x00\xff"), limit=2) == b"\x00\xff"
    assert read_text(written("\ufeffweiß"), limit=100) == "weiß"
    record = {"a": [1, 2.5, ']]]{{{\\"[', None, True], "b": {}}
    assert read_json(written(json.dumps(record)), limit=1000) == record


def test_a_link_to_a_file_is_followed(written, tmp_path):
    (tmp_path / "link").symlink_to(written(b"x"))
    assert read_bytes(tmp_path / "link", limit=1) == b"x"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "endless").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        started = time.monotonic()
        for name, said in {
            "pipe": "it is a pipe, where a file is expected",
            "loop": "its symbolic links lead in a circle",
            "endless": "it is a device",
            "socket": "it is a socket",
            ".": "it is a folder",
            "none": "No such file or directory",
            "nu\0ll": "null byte",
        }.items():
            with pytest.raises(ValueError, match=f"cannot be read: .*{said}"):
                read_bytes(tmp_path / name, limit=1000)
    assert time.monotonic() - started < 30


def test_size_is_compared_before_reading(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(ValueError, match=r"it has 1,000,000,000,000 bytes, over the limit of 10 "):
        read_bytes(tmp_path / "sparse", limit=10)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_a_file_that_hides_its_size_is_read_to_the_limit():
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_bytes("/proc/self/maps", limit=100)


def test_text_is_utf_8(written):
    with pytest.raises(ValueError, match="not a text in UTF-8: byte 1 is 0xff"):
        read_text(written(b"a\xff"), limit=10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested deeper than 50 levels"),
        ('{"a":' * 51 + "1" + "}" * 51, "nested deeper than 50 levels"),
        ("[NaN]", "NaN is not a number of JSON"),
        ("[-Infinity]", "-Infinity is not a number of JSON"),
        ("1e999", "the number 1e999 is too large"),
        ("9" * 5000, "not JSON: .*digits"),
        ('{"a": 1, "a": 2}', "the key 'a' comes twice"),
        ('{"a', "not JSON: Unterminated string"),
        ("", "not JSON: Expecting value"),
    ],
)
def test_json_that_is_refused(written, text, said):
    with pytest.raises(ValueError, match=said):
        read_json(written(text), limit=10**6)


def test_json_as_deep_as_allowed(written):
    assert read_json(written("[" * 50 + "]" * 50), limit=1000)
    with pytest.raises(ValueError, match="deeper than 2"):
        read_json(written("[[[]]]"), limit=1000, depth=2)


def test_linked_folders_are_gone_through_once(tmp_path):
    for name in ("elsewhere/far.txt", "here/a/near.txt", "here/b/next.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "here/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here/again").symlink_to(tmp_path / "here/b")
    (tmp_path / "here/a/next").symlink_to(tmp_path / "here/b")
    (tmp_path / "here/b/round").symlink_to(tmp_path / "here")
    found = [file.relative_to(tmp_path / "here").as_posix() for file in files_in(tmp_path / "here")]
    assert found == ["a/near.txt", "b/next.txt", "linked/far.txt"]
