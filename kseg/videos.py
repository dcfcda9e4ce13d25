"""Frames of video files and cameras, through OpenCV."""

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kseg.safe_files import read_bytes

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".ogv")
# What such files begin with. FFmpeg would take a playlist of that name, which names other files.
_BEGINNINGS = (
    *(b"RIFF", b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"OggS"),
    b"G",  # of an MPEG transport stream; its packets have 188 bytes
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_LARGEST = 1 << 50
_NEARLY = 0.9  # of the frames; what a file says of their number is often an estimate


def check_opencv(name: str) -> None:
    """Refuses a video where OpenCV is not installed.

    Raises:
        ImportError: If it is not.
    """
    if importlib.util.find_spec("cv2") is None:
        raise ImportError(
            f"{name}: videos and cameras need OpenCV: pip install 'kseg[video]', or "
            "pip install opencv-python-headless."
        )


def video_frames(name: str, channels: int, every: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the frames of a video or a camera.

    Args:
        name: A video file, or `camera:N`, N from 0.
        channels: 3 for RGB, 1 for gray.
        every: Each which frame is taken, from the first on.

    Yields:
        The frame's number from 0 and the frame, uint8 (H, W, channels).

    Raises:
        ImportError: If OpenCV is not installed.
        ValueError: If the video cannot be read, or has no such channels.
    """
    check_opencv(name)
    import cv2

    if channels not in (1, 3):
        raise ValueError(f"{name}: the model takes {channels} channels, and a video has 3.")
    is_camera = name.startswith("camera:") and not Path(name).exists()
    if is_camera:
        capture: Any = cv2.VideoCapture(int(name.removeprefix("camera:")))
    else:
        _check_file(Path(name))
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                whole, frame = capture.retrieve()
                if not whole:
                    raise ValueError(f"{name}: its frame {number} cannot be read.")
                picture = Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))
                pixels = np.asarray(picture.convert("L") if channels == 1 else picture)
                yield number, pixels.reshape(*pixels.shape[:2], channels)
            number += 1
        expected = 0 if is_camera else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if 0 < number < _NEARLY * expected - 1:
        warnings.warn(
            f"{name}: {number} frames can be read, and the file says that it has about {expected}; "
            "it may be cut off.",
            stacklevel=2,
        )
    if number == 0:
        what = "there is no such camera, or it is in use" if is_camera else "no frame can be read"
        raise ValueError(f"{name}: {what}.")


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(377)
    except OSError:
        start = read_bytes(path, limit=_LARGEST)[:1]  # which says what is wrong
    stream = start[:1] == b"G" and start[188:189] == b"G" and start[376:377] == b"G"
    if not (stream or start[4:8] in _BOXES or start.startswith(_BEGINNINGS[:-1])):
        raise ValueError(f"{path}: it does not begin like a video of any format that is read.")
