"""Smaller downloads: weights that are 0 (pruning) and weights that share values (clustering).

Both work on the Keras 3 model itself, in `kseg.fit`: a callback sets weights after each step, so
loss, data, resuming and weight averaging are those of every training. tensorflow-model-optimization
would need a copy in tf_keras, a training loop of its own, and a way back.

A file does not shrink by it but its archive does, and apps are downloaded as archives
(`gzip_bytes`). No CPU kernel of LiteRT and no Edge TPU skips zeros, so nothing runs faster.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import keras
import numpy as np

from export.compression.bridge import CHANNEL_AXES
from kseg.data import Data
from kseg.seeing import working_size
from kseg.training import Recipe, Run, fit
from kseg.training.averaging import synchronize

_FULL_AT = 0.6  # share of the steps after which the sparsity is reached; then the rest heals
_PRUNINGS = 100  # at most
_FEWEST_CLUSTERS, _MOST_CLUSTERS = 4, 256
_NEVER = 100_000  # epochs; no recipe has more
_ROUNDS = 30  # of k-means
# Of normalized weights: folding a batch norm and averaging move them by less.
_DECIMALS = 3


def prune(
    model: keras.Model,
    data: Data,
    recipe: Recipe,
    *,
    run_dir: str | Path,
    sparsity: float = 0.5,
    exclude: Sequence[str] = (),
) -> Run:
    """Trains a trained network on while its smallest weights are set to 0 for good.

    The sparsity rises by a cubic polynomial over the first 60 % of the steps. Depthwise kernels
    stay whole: they are few and every one counts. The network is scored after the last epoch
    only, because earlier ones are not as sparse.

    Args:
        model: A trained network; it is left pruned.
        data: A data set with the splits "train" and "val".
        recipe: How to train, as `kseg.fit` takes it; a size of None is that which the model
            carries, `model.kseg_size`.
        run_dir: The run folder to write; `kseg.load` gives the pruned network from it.
        sparsity: Share of the weights of each kernel that end as 0.
        exclude: Names of layers that are left whole; "score_*" stands for all that begin so.

    Returns:
        The run.

    Raises:
        ValueError: If sparsity is not within 0..1, exclude matches no layer, or `kseg.fit`
            refuses an argument.

    Source: Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878.
    """
    pruning = Pruning(sparsity, exclude)
    list(_kernels(model, exclude))  # refuses a pattern that matches nothing before training
    recipe = replace(recipe, validate_every=_NEVER, size=recipe.size or working_size(model))
    return fit(model, data, recipe, run_dir=run_dir, callbacks=[pruning])


class Pruning(keras.callbacks.Callback):
    """Sets the smallest weights to 0, more and more of them; for `prune`.

    It has no state beside the weights: those that are 0 stay 0, also in a resumed training.
    """

    def __init__(self, sparsity: float, exclude: Sequence[str] = ()):
        """Sets the goal, as `prune` was given it."""
        super().__init__()
        if not 0 < sparsity < 1:
            raise ValueError(f"sparsity must be above 0 and below 1; got {sparsity}.")
        self.sparsity, self.exclude = sparsity, exclude

    def on_train_begin(self, logs=None):
        """Notes what is 0 already."""
        self.masks = [values != 0 for _, values in self._prunable()]

    def on_train_batch_end(self, batch, logs=None):
        """Raises the sparsity where it is time, and keeps what is 0 at 0."""
        synchronize(self.model)
        total = self.params["epochs"] * self.params["steps"]
        step = int(np.asarray(self.model.optimizer.iterations))
        share = self.sparsity * (1 - (1 - min(1.0, step / (_FULL_AT * total))) ** 3)
        every = max(1, round(_FULL_AT * total / _PRUNINGS))
        due = step % every == 0 or step >= total
        for index, (variable, values) in enumerate(self._prunable()):
            if due:
                values = np.where(self.masks[index], values, 0)
                self.masks[index] = np.abs(values) > _threshold(values, share)
            variable.assign(np.where(self.masks[index], values, 0))

    def _prunable(self):
        for _, variable, kind in _kernels(self.model, self.exclude):
            if kind != "DepthwiseConv2D" and variable.trainable:  # what is frozen cannot heal
                yield variable, np.asarray(variable).copy()


def _threshold(values: np.ndarray, share: float) -> float:
    """Returns the magnitude up to which weights are dropped; -1 to drop none."""
    count = round(share * values.size)
    return float(np.partition(np.abs(values).ravel(), count - 1)[count - 1]) if count else -1.0


def cluster(model: keras.Model, clusters: int = 16, exclude: Sequence[str] = ()) -> None:
    """Gives the weights of each kernel a few shared values.

    Weights are first divided by the largest of their output channel, as int8 does, so the values
    are shared in the integer file, across channels. -1, 0 and 1 are always among them; zeros of a
    pruned network stay. Train on with `kseg.fit(..., callbacks=[KeepClusters()])` to heal, with
    the size at which the network was trained, `Recipe(size=model.kseg_size)`.

    Args:
        model: A trained network; its kernels are changed.
        clusters: Values of a kernel, 4..256.
        exclude: Names of layers that are left whole, as `prune` takes them.

    Raises:
        ValueError: If clusters is out of range, or exclude matches no layer.
    """
    if not _FEWEST_CLUSTERS <= clusters <= _MOST_CLUSTERS:
        raise ValueError(
            f"clusters must be from {_FEWEST_CLUSTERS} to {_MOST_CLUSTERS}; got {clusters}."
        )
    for _, variable, kind in _kernels(model, exclude):
        kernel = np.asarray(variable)
        scale = _channel_scale(kernel, kind)
        centres, nearest = _k_means((kernel / scale).ravel(), clusters)
        variable.assign(centres[nearest].reshape(kernel.shape) * scale)


class KeepClusters(keras.callbacks.Callback):
    """Keeps the shared values of a clustered network shared while it is trained.

    After each step every weight becomes the mean of those it shares its value with.
    """

    def __init__(self, exclude: Sequence[str] = ()):
        """Sets which layers `cluster` left out."""
        super().__init__()
        self.exclude = exclude

    def on_train_begin(self, logs=None):
        """Notes which weights belong together."""
        self.keepers = [
            (variable, keeper(np.asarray(variable), kind, "clusters"))
            for _, variable, kind in _kernels(self.model, self.exclude)
        ]

    def on_train_batch_end(self, batch, logs=None):
        """Brings the weights together."""
        synchronize(self.model)
        for variable, project in self.keepers:
            variable.assign(project(np.asarray(variable)))


def keeper(kernel: np.ndarray, kind: str, keep: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that undoes what a step of training did to zeros or shared values.

    Args:
        kernel: The kernel after pruning or clustering.
        kind: The class of its layer.
        keep: "sparsity" or "clusters".

    Raises:
        ValueError: If the kernel is not clustered.
    """
    if keep == "sparsity":
        mask = kernel != 0
        return lambda values: np.where(mask, values, 0)
    normal = np.round(kernel / _channel_scale(kernel, kind), _DECIMALS)
    centres, members = np.unique(normal, return_inverse=True)
    if len(centres) > _MOST_CLUSTERS:
        raise ValueError(
            f"A kernel of shape {kernel.shape} has {len(centres)} different values in it; cluster "
            "the network first (export.cluster), or do not ask to keep clusters."
        )
    members = members.ravel()
    fixed = np.isin(centres, (-1, 0, 1))
    others, ends = _other_axes(kernel, kind), np.abs(normal) == 1

    def project(values: np.ndarray) -> np.ndarray:
        total = np.where(ends, np.abs(values), 0).sum(others, keepdims=True)
        scale = total / np.maximum(1, ends.sum(others, keepdims=True))
        scale = np.where(scale == 0, 1, scale)
        sums = np.bincount(members, (values / scale).ravel(), len(centres))
        means = sums / np.bincount(members, minlength=len(centres))
        means = np.where(fixed, centres, np.clip(means, -1, 1))
        return (means[members].reshape(values.shape) * scale).astype(values.dtype)

    return project


def sparsity_report(model: keras.Model) -> dict[str, float]:
    """Returns the share of zeros in the kernels of each layer, and of all under "total"."""
    zeros: dict[str, list[int]] = {}
    for layer, variable, _ in _kernels(model, ()):
        values = np.asarray(variable)
        for name in (layer.name, "total"):
            counts = zeros.setdefault(name, [0, 0])
            counts[0] += int((values == 0).sum())
            counts[1] += values.size
    total = zeros.pop("total", [0, 1])
    return {name: zero / size for name, (zero, size) in (*zeros.items(), ("total", total))}


def gzip_bytes(path: str | Path) -> int:
    """Returns the size of a file as an archive holds it."""
    return len(gzip.compress(Path(path).read_bytes(), 9, mtime=0))


def _kernels(
    model: keras.Model, exclude: Sequence[str]
) -> Iterator[tuple[keras.layers.Layer, keras.Variable, str]]:
    """Yields layers, their kernels, and the class of layer that the kernel has the form of."""
    layers = [layer for layer in model._flatten_layers() if _kernels_of(layer)]
    for pattern in exclude:
        if not any(fnmatch(layer.name, pattern) for layer in layers):
            raise ValueError(
                f"exclude names {pattern!r}, which no layer with a kernel matches; the layers are "
                f"{', '.join(layer.name for layer in layers)}."
            )
    for layer in layers:
        if not any(fnmatch(layer.name, pattern) for pattern in exclude):
            for variable, kind in _kernels_of(layer):
                yield layer, variable, kind


def _kernels_of(layer) -> list[tuple[keras.Variable, str]]:
    if isinstance(layer, keras.layers.SeparableConv2D):
        return [(layer.depthwise_kernel, "DepthwiseConv2D"), (layer.pointwise_kernel, "Conv2D")]
    kinds = ("Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D")
    return [(layer.kernel, kind) for kind in kinds if type(layer) is getattr(keras.layers, kind)]


def _other_axes(kernel: np.ndarray, kind: str) -> tuple[int, ...]:
    channels = {axis % kernel.ndim for axis in CHANNEL_AXES.get(kind, (-1,))}
    return tuple(set(range(kernel.ndim)) - channels)


def _channel_scale(kernel: np.ndarray, kind: str) -> np.ndarray:
    """Returns the largest magnitude of each output channel, 1 where all is 0."""
    largest = np.abs(kernel).max(_other_axes(kernel, kind), keepdims=True)
    return np.where(largest == 0, 1, largest)


def _k_means(values: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns sorted centres, -1, 0 and 1 among them, and the index of each value's nearest."""
    fixed = np.array([-1.0, 0.0, 1.0])
    # Spread evenly: large weights are few and count most. None of them at 0, which is taken.
    free = np.linspace(-1, 1, clusters - 1)[1:-1]
    free = np.where(np.abs(free) < 1e-6, 0.5 / clusters, free)
    for _ in range(_ROUNDS):
        centres = np.concatenate([fixed, free])
        order = np.argsort(centres)
        centres = centres[order]
        nearest = np.digitize(values, (centres[1:] + centres[:-1]) / 2)
        nearest[values == 0] = np.flatnonzero(centres == 0)[0]
        counts = np.bincount(nearest, minlength=clusters)
        means = np.bincount(nearest, values, clusters) / np.maximum(1, counts)
        moved = np.empty(clusters)
        moved[order] = np.where(counts > 0, means, centres)
        free = moved[3:]
    return centres, nearest
