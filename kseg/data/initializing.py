"""Writing down how a folder of labelled images is laid out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from kseg.data.dataset import Data
from kseg.data.layouts import Layout, guess_layout, to_yaml
from kseg.data.yaml_file import NAME, load_data

_MOST_PAIRS = 20  # in the YAML file itself; more go into lists


def write_description(
    folder: Path, out: Path | None = None, *, overwrite: bool = False
) -> tuple[Path, Layout, Data]:
    """Guesses the layout of a folder, writes its YAML file and loads it.

    Args:
        folder: The folder.
        out: The file to write; FOLDER/kseg.yaml by default.
        overwrite: Whether files that are there are replaced.

    Returns:
        The file, the layout and the data set.

    Raises:
        ValueError: If no layout fits, a file is there already, or what was found cannot be loaded:
            then nothing is left.
    """
    out = out or folder / NAME
    layout = guess_layout(folder)
    content, lists = _with_lists(layout, folder)
    if out.absolute().parent != folder.absolute():
        content["path"] = str((folder / content.get("path", ".")).absolute())
    text = to_yaml(replace(layout, content=content), " ".join(folder.absolute().name.split()))
    there = [file for file in (out, *lists) if file.exists()]
    if there and not overwrite:
        raise ValueError(f"{there[0]} is there already; pass --overwrite to replace it.")
    before = {file: file.read_bytes() for file in there}
    for file, content_of in {**lists, out: text}.items():
        file.write_text(content_of, encoding="utf-8", errors="surrogateescape")
    try:
        return out, layout, load_data(out)
    except BaseException:  # Ctrl-C while images are looked at, too
        for file in (out, *lists):
            if file in before:
                file.write_bytes(before[file])
            else:
                file.unlink()
        raise


def _with_lists(layout: Layout, folder: Path) -> tuple[dict[str, Any], dict[Path, str]]:
    """Returns what the YAML file says, and the list files that long lists of pairs became."""
    content, lists = dict(layout.content), {}
    for split in ("train", "val", "test"):
        entry = content.get(split)
        if not isinstance(entry, list) or isinstance(entry[0], dict):
            continue
        if len(entry) > _MOST_PAIRS:
            name = f"kseg_{split}.txt"
            lists[folder / name] = "".join(f"{image}\t{label}\n" for image, label in entry)
            content[split] = name
    return content, lists
