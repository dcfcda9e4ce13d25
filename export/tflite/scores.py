"""What the values of a file's output are, and the scores that they stand for."""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from export.tflite.process import MOST_BYTES, Endpoint

MOST_CLASSES = 255  # 255 itself is the ignored class
BYTE = 255.0  # what a share of 1 is in a mask of bytes
_CONTRARY = ({"logit", "probability"}, {"logit", "ids"}, {"share of 255", "ids"})
_MOST_SEEN = 48  # classes in one image; shades of gray are more


@dataclass(frozen=True)
class Meaning:
    """What the values of an output are.

    Attributes:
        kind: "scores", one channel for each class; "ids", a class map; "probability" or "logit"
            of the second of two classes; "either" of these three, as the values say.
        num_classes: None where the file does not say.
        full: What stands for a probability of 1.
    """

    kind: str
    num_classes: int | None
    full: float = 1.0


def real_values(output: np.ndarray, tensor: Endpoint) -> np.ndarray:
    """Returns what an output stands for: its numbers themselves if it is not quantized.

    Raises:
        ValueError: If a value is no number.
    """
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise ValueError("gives scores that are no numbers (nan or inf)")
    if tensor.scale and output.dtype.kind in "iu":
        return (output.astype("float32") - tensor.zero_point) * np.float32(tensor.scale)
    return output


def settled(values: np.ndarray, meaning: Meaning, tensor: Endpoint) -> Meaning:
    """Returns what values look like where the file does not say.

    Args:
        values: As `real_values` returns them.
        meaning: What is known of them.
        tensor: The output.

    Raises:
        ValueError: If they may be one thing or another.
    """
    lowest, highest = float(values.min()), float(values.max())
    whole = _are_whole(values, tensor)
    if whole and meaning.num_classes not in (None, 2):
        return replace(meaning, kind="ids")
    if lowest < 0:
        return replace(meaning, kind="ids" if _is_integer(tensor) else "logit")
    if highest <= 1 + tensor.scale / 2:
        return replace(meaning, kind="probability")
    if _are_black_and_white(values, tensor):
        return replace(meaning, kind="probability", full=BYTE)
    shades = whole and meaning.num_classes is None and np.unique(values).size > _MOST_SEEN
    if whole and not shades:
        return replace(meaning, kind="ids")
    raise ValueError(
        f"gives one number from {lowest:.4g} to {highest:.4g} for a pixel and does not say what it "
        "is, an id of a class or a score; let the file give a score for each class, or name its "
        "classes in its metadata (labels.txt)"
    )


def warn_if_contrary(before: Meaning | None, now: Meaning, path: object) -> None:
    """Warns where the only number of a pixel looks like another thing than it did.

    Args:
        before: What `settled` said of the image before.
        now: What it says of this image.
        path: For messages.
    """
    was, looks = (m and (m.kind if m.full == 1 else f"share of {m.full:g}") for m in (before, now))
    if {was, looks} in _CONTRARY:
        warnings.warn(
            f"{path} gives one number for a pixel and does not say what it is; it looks like a "
            f"{looks} now and did not in another image, so one of them is labelled wrongly. Let "
            "the file give a score for each class.",
            stacklevel=5,
        )


def to_scores(
    values: np.ndarray, size: tuple[int, int, int], meaning: Meaning, tensor: Endpoint
) -> np.ndarray:
    """Turns an output into scores.

    Args:
        values: As `real_values` returns them.
        size: (height, width, channels) of the output.
        meaning: What they mean.
        tensor: The output.

    Returns:
        Scores float32 (1, height, width, classes), the largest at the class.

    Raises:
        ValueError: If an id is no class, or a value no probability.
    """
    values = values.reshape(1, *size)
    if meaning.kind == "ids":
        ids = values[..., 0]
        return _one_hot(np.rint(ids) if tensor.scale else ids, meaning.num_classes)
    values = np.asarray(values, "float32")
    if meaning.kind == "scores":
        return values
    if meaning.num_classes not in (None, 2):
        raise ValueError(f"gives one score, which tells 2 classes apart, not {meaning.num_classes}")
    if meaning.kind == "logit":
        return np.concatenate([np.zeros_like(values), values], axis=-1)
    values = values / np.float32(meaning.full)
    if (highest := float(values.max())) > 2:
        raise ValueError(f"gives probabilities of up to {highest:.4g}, where its metadata say 1")
    return np.concatenate([1 - values, values], axis=-1)


def _is_integer(tensor: Endpoint) -> bool:
    """Says whether an output's numbers are whole, and stand for themselves."""
    return np.dtype(tensor.dtype).kind in "iu" and not tensor.scale


def _are_whole(values: np.ndarray, tensor: Endpoint) -> bool:
    """Says whether values are whole numbers, as exactly as an output can hold these."""
    if tensor.scale > 0.5:
        return has_steps_of_1(tensor)  # other wide steps lie near whole numbers by chance
    slack = tensor.scale / 2 * 1.001
    return bool((np.abs(values - np.rint(values)) <= slack).all())


def has_steps_of_1(tensor: Endpoint) -> bool:
    """Says whether an output is quantized to whole numbers, each of them."""
    return bool(np.isclose(tensor.scale, 1.0, rtol=1e-3))


def _are_black_and_white(values: np.ndarray, tensor: Endpoint) -> bool:
    """Says whether values are those of a mask of bytes, 0 and 255."""
    near = np.minimum(np.abs(values), np.abs(values - BYTE))
    return bool((near <= tensor.scale / 2).all())


def _one_hot(ids: np.ndarray, num_classes: int | None) -> np.ndarray:
    """Returns 1 for the class and 0 for the others."""
    lowest, highest = ids.min(), ids.max()
    if ids.dtype.kind == "f" and (ids != np.rint(ids)).any():
        raise ValueError("gives a class map with broken numbers")
    most = MOST_CLASSES if num_classes is None else num_classes
    if lowest < 0 or highest >= most:
        wrong = int(lowest if lowest < 0 else highest)
        known = "" if num_classes is None else f" of its {num_classes} classes"
        raise ValueError(f"gives the class {wrong}, and the ids{known} go from 0 to {most - 1}")
    count = num_classes or max(2, int(highest) + 1)
    if 4 * ids.size * count > MOST_BYTES:
        raise ValueError(
            f"gives {count} classes on {ids.shape[1]} x {ids.shape[2]} pixels, which take more "
            f"than {MOST_BYTES >> 30} GiB as scores"
        )
    return (ids[..., None] == np.arange(count, dtype=ids.dtype)).astype("float32")
