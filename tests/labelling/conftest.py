import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseg

sys.path.insert(0, str(Path(__file__).parent))

CLASSES = kseg.Classes(("dark", "bright"))


class BrightOrDark:
    """Two classes by the red channel; it notes each call in a file, from whatever process."""

    pause = 0.0  # seconds that a call takes at least

    def __init__(self, log=None):
        self.log = log

    def __call__(self, images):
        if self.log:
            with open(self.log, "a") as file:
                file.write(".")
        time.sleep(self.pause)
        red = np.asarray(images)[..., 0]
        return np.stack([127.5 - red, red - 127.5], -1)


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Makes the command line open the model that goes by the red channel; returns its log."""
    log = tmp_path / "calls.txt"
    log.touch()
    found = (BrightOrDark(log), CLASSES, None)
    monkeypatch.setattr("kseg.cli.loading.find_model", lambda *_, **__: found)
    return log


def bright(image):
    return (np.asarray(image)[..., 0] > 127).astype("uint8")


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder of 7 images, of which number 3 is broken, and their label maps."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    truth = {}
    for number in range(7):
        image = rng.integers(0, 256, (20, 30 + number % 2, 3), "uint8")
        Image.fromarray(image).save(tmp_path / f"in/{number}.png")
        truth[number] = bright(image)
    (tmp_path / "in/3.png").write_bytes(b"broken")
    del truth[3]
    return truth
