"""What is to be labelled: files, folders, globs, lists, addresses, videos and cameras.

Each source has a name for its outputs that no other one has: its own, without the ending. Where
names repeat, as much of the folders stays before them as it takes.
"""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from kseg.data.files import read_image
from kseg.data.opening import ENDINGS
from kseg.safe_files import read_text, walk
from kseg.videos import VIDEO_ENDINGS, video_frames
from kseg.web_images import read_from_web

OUTPUT_ENDINGS = (".labels.png", ".ids.png", ".instances.png", ".overlay.png")
_MAX_LIST = 1 << 28
_WEB = re.compile(r"https?://", re.IGNORECASE)
_CAMERA = re.compile(r"camera:(\d{1,2})")


@dataclass(frozen=True)
class Source:
    """An image, or a video, that is to be labelled.

    Attributes:
        name: The file, the address, or `camera:N`.
        output: The path of its outputs within their folder, without an ending.
        is_video: Whether it has several frames.
    """

    name: str
    output: Path
    is_video: bool = False

    def frames(
        self, channels: int, every: int, bits: int | None = None
    ) -> Iterator[tuple[Path, np.ndarray]]:
        """Yields (path of outputs, image uint8 (H, W, channels)); an image is one frame.

        Args:
            channels: How many the network takes.
            every: Every how many frames of a video one is taken, from the first on.
            bits: Of a 16-bit image, as for `kseg.data.files.read_image`.

        Raises:
            ValueError: If it cannot be read.
        """
        if self.is_video:
            for number, frame in video_frames(self.name, channels, every):
                yield self.output / f"{number:06d}", frame
        elif _WEB.match(self.name):
            yield self.output, read_from_web(self.name, channels, bits)
        else:
            yield self.output, np.asarray(read_image(self.name, channels, bits))


@dataclass(frozen=True)
class Found:
    """What the words of a command line name.

    Attributes:
        sources: In order, each once.
        problems: A sentence for each word that names nothing, and each bad line of a list.
    """

    sources: tuple[Source, ...]
    problems: tuple[str, ...]


def find_sources(
    words: Sequence[str], *, recursive: bool = False, leave_out: Path | None = None
) -> Found:
    """Finds images and videos.

    Args:
        words: Files, folders, globs, lists (.txt: a path or address on each line), addresses
            (https://...), or cameras (camera:0).
        recursive: Whether the folders within a folder are searched too.
        leave_out: A folder that is not searched: that of the outputs.

    Returns:
        What is there.
    """
    named: dict[str, Path] = {}
    problems: list[str] = []
    for word in words:
        try:
            for name, output in _of_word(word, recursive, leave_out, problems):
                named.setdefault(name, output)
        except ValueError as error:
            problems.append(str(error))
    outputs = _beside_videos(_apart(named))
    sources = (Source(name, outputs[name], _is_video(name)) for name in named)
    return Found(tuple(sources), tuple(problems))


def _of_word(
    word: str, recursive: bool, leave_out: Path | None, problems: list[str] | None
) -> Iterator[tuple[str, Path]]:
    """Yields (name, path of outputs) of what a word names.

    What is wrong with lines of a list is added to `problems`; None is for such a line, which names
    no other list.
    """
    path = Path(word)
    if _WEB.match(word):
        yield word, Path(_name_of_address(word))
    elif match := _CAMERA.fullmatch(word):
        yield word, Path(f"camera_{match[1]}")
    elif path.is_dir():
        yield from _in_folder(path, recursive, leave_out)
    elif problems is not None and path.suffix.lower() == ".txt" and path.exists():
        yield from _in_list(path, problems)
    elif any(mark in word for mark in "*?[") and not path.exists():
        yield from _in_glob(word, leave_out)
    elif problems is None or path.exists():
        yield str(path), Path(path.stem)
    else:
        raise ValueError(f"{word}: there is no such file.")


def _in_folder(folder: Path, recursive: bool, leave_out: Path | None) -> Iterator[tuple[str, Path]]:
    count = 0
    for here, within, files in walk(folder):
        within[:] = [
            name
            for name in within
            if recursive and not name.startswith(".") and not _same(here / name, leave_out)
        ]
        for name in sorted(files):
            if _is_taken(name):
                count += 1
                yield str(here / name), (here / name).relative_to(folder).with_suffix("")
    if not count:
        more = "" if recursive else " (--recursive searches the folders within it too)"
        raise ValueError(f"{folder} holds no images or videos{more}.")


def _in_glob(word: str, leave_out: Path | None) -> Iterator[tuple[str, Path]]:
    import glob

    count = 0
    parts = Path(word).parts
    fixed = itertools.takewhile(lambda part: not any(mark in part for mark in "*?["), parts)
    start = Path(*fixed)
    begins = {start, *start.parents}
    for name in sorted(glob.glob(word, recursive=True)):
        path = Path(name)
        # What lies where the pattern begins is meant, even if the outputs go there too.
        inside = any(_same(folder, leave_out) for folder in path.parents if folder not in begins)
        if path.is_file() and not inside and _is_taken(path.name):
            count += 1
            yield str(path), Path(path.stem)
    if not count:
        raise ValueError(f"{word} matches no images or videos.")


def _in_list(path: Path, problems: list[str]) -> Iterator[tuple[str, Path]]:
    """Yields what the lines of a list name; relative paths begin at the list's folder.

    A message names the line and does not show it: the list may be any file.
    """
    count = 0
    for number, line in enumerate(read_text(path, limit=_MAX_LIST).splitlines(), start=1):
        line = line.strip().strip("\"'")
        if not line or line.startswith("#"):
            continue
        count += 1
        known = _WEB.match(line) or line.lower().endswith((*ENDINGS, *VIDEO_ENDINGS))
        if not known or "\0" in line:
            problems.append(
                f"{path}, line {number} must be the path or the https address of one image or "
                "video; images of other formats are converted first."
            )
            continue
        word = line if _WEB.match(line) else str(path.parent / line)
        try:
            yield from _of_word(word, False, None, None)
        except ValueError as error:
            problems.append(str(error))
    if not count:
        raise ValueError(f"{path} is a list without lines.")


def _apart(named: dict[str, Path]) -> dict[str, Path]:
    """Returns the paths of outputs, made longer where several sources share one."""
    outputs = dict(named)
    for way in (_below_common_folder, _with_ending, _numbered):
        sharing = defaultdict(list)
        for name, output in outputs.items():
            sharing[os.path.normcase(output)].append(name)
        for names in sharing.values():
            if len(names) > 1:
                outputs |= way(names, outputs)
    return outputs


def _beside_videos(outputs: dict[str, Path]) -> dict[str, Path]:
    """Moves the folder of a video's frames where images would be written into it."""
    folders = {os.path.normcase(folder) for path in outputs.values() for folder in path.parents}
    taken = folders | {os.path.normcase(path) for path in outputs.values()}
    apart = dict(outputs)
    for name, output in outputs.items():
        if _is_video(name) and os.path.normcase(output) in folders:
            while os.path.normcase(output) in taken:
                output = output.with_name(f"{output.name}_video")
            apart[name] = output
            taken.add(os.path.normcase(output))
    return apart


def _below_common_folder(names: Sequence[str], outputs: dict[str, Path]) -> dict[str, Path]:
    files = [name for name in names if not _WEB.match(name) and not _CAMERA.fullmatch(name)]
    folders = {name: os.path.dirname(os.path.abspath(name)) for name in files}
    try:
        common = os.path.commonpath(folders.values())
    except ValueError:  # none, or on different drives
        return {}
    return {
        name: Path(os.path.relpath(folder, common)) / Path(name).stem
        for name, folder in folders.items()
    }


def _with_ending(names: Sequence[str], outputs: dict[str, Path]) -> dict[str, Path]:
    return {name: outputs[name].with_name(Path(name).name) for name in names if _is_file(name)}


def _numbered(names: Sequence[str], outputs: dict[str, Path]) -> dict[str, Path]:
    return {
        name: outputs[name].with_name(f"{outputs[name].name}_{number}")
        for number, name in enumerate(names, start=1)
    }


def _is_file(name: str) -> bool:
    return not _WEB.match(name) and not _CAMERA.fullmatch(name)


def _is_video(name: str) -> bool:
    if _WEB.match(name):
        return False
    return bool(_CAMERA.fullmatch(name)) or name.lower().endswith(VIDEO_ENDINGS)


def _is_taken(name: str) -> bool:
    low = name.lower()
    ours = low.endswith(OUTPUT_ENDINGS) or low.startswith(".")
    return low.endswith((*ENDINGS, *VIDEO_ENDINGS)) and not ours


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)


def _name_of_address(address: str) -> str:
    last = unquote(urlsplit(address).path).rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^\w-]+", "_", Path(last).stem).strip("_")[:100] or "image"
