import pytest

from kseg.cli.error_table import ErrorTable


def test_a_table_begins_anew_and_is_none_without_rows(tmp_path):
    ErrorTable(tmp_path, "2/3").add("a.png", "it is\x07 bad, so")
    table = tmp_path / "errors.2-of-3.csv"
    assert table.read_text() == 'image,error\na.png,"it is\\x07 bad, so"\n'
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))  # as an editor may leave it
    ErrorTable(tmp_path, "1/3")
    assert table.exists()
    ErrorTable(tmp_path, "2/3").close()
    assert not table.exists()


@pytest.mark.parametrize("content", [b"\n", b"image,error,who\n", b"\xff\xfe", b"image;error\n"])
def test_a_file_that_is_no_such_table_stays(tmp_path, content):
    """It was removed without a word."""
    path = tmp_path / "errors.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"errors\.csv would be replaced .*; move it, or take"):
        ErrorTable(tmp_path)
    assert path.read_bytes() == content


def test_a_folder_or_a_link_to_nowhere_in_its_place_stays(tmp_path):
    (tmp_path / "a/errors.csv").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/errors.csv").symlink_to("gone")
    for folder in ("a", "b"):
        with pytest.raises(ValueError, match=r"errors\.csv would be replaced"):
            ErrorTable(tmp_path / folder)
    assert (tmp_path / "b/errors.csv").is_symlink()
