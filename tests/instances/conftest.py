"""Made-up scenes: blobs of several classes, and predictions that are nearly right."""

import numpy as np
import pytest

import kseg
from kseg.instances import Groups, instances_of

# Classes: 0 and 1 are stuff, 2 and 3 are things.
THINGS = (2, 3)


def _truth(rng, size, count):
    labels = np.zeros(size, "uint8")
    labels[size[0] // 2 :] = 1
    ids = np.zeros(size, int)
    down, right = np.mgrid[: size[0], : size[1]]
    for number in range(1, count + 1):
        y, x = rng.integers(0, size)
        tall, wide = rng.integers(4, 14, 2)
        inside = ((down - y) / tall) ** 2 + ((right - x) / wide) ** 2 < 1
        labels[inside], ids[inside] = rng.choice(THINGS), number
    return labels, ids


def _guess(rng, labels, ids):
    """Moves objects, loses, splits, joins and invents some, and takes some for the other class."""
    found, numbers = (
        np.where(np.isin(labels, THINGS), 0, labels).astype("uint8"),
        np.zeros_like(ids),
    )
    for number in np.unique(ids)[1:].tolist():
        mask = np.roll(ids == number, rng.integers(-2, 3, 2), (0, 1))
        if (chance := rng.random()) < 0.15:
            continue
        class_id = labels[ids == number][0]
        found[mask] = 5 - class_id if chance > 0.9 else class_id
        numbers[mask] = number
        if chance < 0.3:
            numbers[mask & (np.arange(ids.shape[1]) % 7 < 2)] = 100 + number
        if chance > 0.8:
            numbers[mask] = 200
    found[2:9, 3:12], numbers[2:9, 3:12] = 2, 300
    # An object is of one class, as `group` makes it.
    kinds, flat = np.unique(numbers * 256 + np.where(numbers, found, 0), return_inverse=True)
    flat = flat.reshape(ids.shape)
    class_ids = (kinds[1:] % 256).astype("uint8")
    scores = rng.integers(1, 20, len(class_ids)).astype("float32") / 20  # ties too
    return instances_of(Groups(found, flat.astype("uint16"), class_ids, scores))


@pytest.fixture(scope="session")
def things():
    return THINGS


@pytest.fixture(scope="session")
def scenes():
    """A function that makes images: (seed, count) -> [(label map, ids, instances)]."""

    def make(seed, count=4, size=(60, 80)):
        rng = np.random.default_rng(seed)
        cases = []
        for _ in range(count):
            labels, ids = _truth(rng, size, rng.integers(3, 14))
            instances = _guess(rng, labels, ids)
            labels[:, 30:36] = 255
            ids[labels == 2] *= rng.random(ids.max() + 1)[ids[labels == 2]] > 0.2  # a crowd
            cases.append((labels, np.where(labels == 255, 0, ids), instances))
        return cases

    return make


@pytest.fixture(scope="session")
def make(enliven):
    """A function that builds a small Panoptic-DeepLab of three classes with lively weights."""

    def make(input_shape=(None, None, 3)):
        network = kseg.build_panoptic_deeplab(
            3, backbone="separable", filters=16, weights=None, input_shape=input_shape
        )
        return enliven(network, tuple(s or 64 for s in input_shape[:2]))

    return make
