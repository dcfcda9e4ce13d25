"""SIGKILL at random moments while checkpoints are written, one after the other."""

import subprocess
import sys

import pytest

# The children are forked from a process of its own, so that each need not import Keras anew.
_KILLS = """
import os, random, signal, sys, time, warnings
from pathlib import Path
import numpy as np
from kseg.training.checkpoints import read_checkpoint, write_checkpoint

def write(path, step):
    groups = {"model": [np.full((50, 1000), step, "float32")], "average": [np.ones(1)]}
    write_checkpoint(path, step, groups, {"epoch": step, "mean_iou": None, "average": True})

path, kills = Path(sys.argv[1]), int(sys.argv[2])
warnings.simplefilter("error")
rng, last, rests = random.Random(0), 1, 0
write(path, last)
for _ in range(kills):
    child = os.fork()
    if child == 0:
        for step in range(last + 1, last + 10**6):
            write(path, step)
    time.sleep(rng.uniform(0.0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    rests += any(entry.name.startswith(".") for entry in (path / "checkpoints").iterdir())
    step, _, groups = read_checkpoint(path)
    assert step >= last and (groups["model"][0] == step).all(), (step, last)
    last = step
write(path, last + 1)
left = sorted(entry.name for entry in (path / "checkpoints").iterdir())
print(kills, "kills,", rests, "within a save,", last, "checkpoints,", len(left), "left")
assert len(left) <= 3 and not any(name.startswith(".") for name in left), left
"""


@pytest.mark.slow
def test_80_kills_lose_no_checkpoint(tmp_path):
    command = [sys.executable, "-c", _KILLS, str(tmp_path), "80"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
    assert ended.stdout.startswith("80 kills")
