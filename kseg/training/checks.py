"""What `kseg.fit` refuses before a run folder exists."""

import warnings
from pathlib import Path

import keras

from kseg.analysis.graph import trace
from kseg.data import Data
from kseg.data.transforms import fit_inside
from kseg.grids import extent, no_grid, sizes_around
from kseg.instances import tells_objects_apart
from kseg.models.endings import bounds_of, ending_of, is_network
from kseg.seeing import check_channels, check_classes
from kseg.training.checkpoints import has_checkpoints
from kseg.training.images import size_of
from kseg.training.outputs import num_classes_of, output_shapes

# What a training may leave in a folder before its first checkpoint.
_OWN = ("run.lock", "run.json", "checkpoints")
_Sizes = list[tuple[str, tuple[int, int]]]  # with the start of a sentence on each
_MOST_STRIDE = 32
_MOVING = tuple(
    f"Random{what}"
    for what in "Crop ElasticTransform Flip Perspective Rotation Shear Translation Zoom".split()
)


def check_folder(path: Path) -> None:
    """Refuses a folder for a new training that has a checkpoint or files of other origin.

    Raises:
        ValueError: If it has.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; run_dir must name a folder.")
    if not path.is_dir():
        return
    others = [f.name for f in path.iterdir() if f.name not in _OWN and f.suffix != ".tmp"]
    if others or has_checkpoints(path):
        raise ValueError(f"{path} is not empty; resume the run in it, or name another folder.")


def check_arguments(model: keras.Model, data: Data, teacher: keras.Model | None) -> None:
    """Refuses a model or data that `kseg.fit` cannot train with.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If the model is not one from an image to logits of the classes of the data.
    """
    if not isinstance(data, Data):
        raise TypeError(
            f"data must be what kseg.load_data returns; got {type(data).__name__}. Store images "
            "and label maps as files, and name their folders in a YAML file."
        )
    for name, network in (("model", model), ("teacher", teacher)):
        if network is not None:
            check_graph(name, network)
            check_classes(num_classes_of(network), data, who=name)
            check_channels(network, data, who=name)
    _check_labels_stay(model)
    if teacher is not None:
        check_step(model, "which need not learn from a teacher; train it without one")
    if teacher is not None and not tells_objects_apart(teacher):
        check_logits(teacher, "teacher")
    if tells_objects_apart(model):
        data.told_things()
        if teacher is not None:
            raise ValueError(
                "model tells objects apart, and only logits can be learnt from a teacher; train it "
                "without one."
            )
    elif teacher is not None and tells_objects_apart(teacher):
        raise ValueError("teacher tells objects apart; take a network that gives logits alone.")


def check_step(model: keras.Model, why: str) -> None:
    """Refuses a model with a training step of its own where another one would be taken.

    Raises:
        ValueError: If it has one.
    """
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            f"model has a train_step of its own ({type(model).__name__}), {why}, or pass "
            "keras.Model(model.inputs, model.outputs[0])."
        )


def _check_labels_stay(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if type(layer).__name__ in _MOVING and type(layer).__module__.startswith("keras."):
            raise ValueError(
                f"model has the layer {layer.name} ({type(layer).__name__}), which moves images in "
                "training and not their labels. Build the model without it; kseg varies both."
            )


def check_graph(name: str, model: keras.Model) -> None:
    """Refuses a model that is not one graph from an image (N, H, W, C) to a map of the same size.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If its inputs, outputs or precision are of another kind.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"{name} must be a keras.Model; got {type(model).__name__}.")
    if not is_network(model):
        raise ValueError(
            f"{name} must be a functional or a built Sequential model, whose inputs and output are "
            "known; write: image = keras.Input((None, None, 3)); "
            f"{name} = keras.Model(image, {name}(image))."
        )
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1 and not (what == "output" and tells_objects_apart(model)):
            names = ", ".join(t.name for t in tensors)
            raise ValueError(
                f"{name} must have one {what}; it has {len(tensors)} ({names}). Write "
                f"keras.Model with the one that is to be trained."
            )
    first = any(
        getattr(x, "data_format", None) == "channels_first" for x in model._flatten_layers()
    )
    if first or keras.config.image_data_format() == "channels_first":
        raise ValueError(
            f"{name} must be channels_last, with images (N, H, W, C); build it after "
            'keras.config.set_image_data_format("channels_last").'
        )
    _check_shapes(name, model)
    mixed = {x.compute_dtype for x in model._flatten_layers()} - {"float32", "uint8", "int32"}
    if mixed:
        raise ValueError(
            f"{name} must compute in float32; it has layers in {', '.join(sorted(mixed))}. Build "
            'it after keras.config.set_dtype_policy("float32").'
        )


def _check_shapes(name: str, model: keras.Model) -> None:
    shapes = {"images": model.input_shape, **output_shapes(model)}
    for what, shape in shapes.items():
        if len(shape) != 4 or shape[-1] is None:
            raise ValueError(f"{name} must have {what} of shape (N, H, W, C); got {shape}.")
    if not tells_objects_apart(model):
        return
    channels = shapes["center"][-1], shapes["offset"][-1]
    if channels != (1, 2):
        raise ValueError(
            f"{name} must have 1 channel in center and 2 in offset, which are (dy, dx); it has "
            f"{channels[0]} and {channels[1]}."
        )


def gives_scores(model: keras.Model) -> bool:
    """Returns whether a model gives scores from 0 to 1; their logarithms are logits too."""
    found = _last_activation(model)
    return found is not None and not found.startswith("log_")


def check_logits(model: keras.Model, name: str = "model") -> None:
    """Refuses a model that ends in scores where logits are learnt from.

    Raises:
        ValueError: If it ends in a softmax or a sigmoid.
    """
    if (found := _last_activation(model)) is not None:
        other = ", or pass a loss= that takes scores" if name == "model" else ""
        raise ValueError(
            f"{name} must end in logits, from which the loss is taken; it ends in {found}. Leave "
            f'that out (an exported file has it with head="softmax"){other}.'
        )
    if num_classes_of(model) == 1:
        raise ValueError(
            f"{name} must have a channel for each class, background included; it has one. Take two "
            "channels for two classes."
        )


def warn_of_bounds(model: keras.Model) -> None:
    """Warns of a model whose logits cannot take every value, as they end in a relu or the like."""
    output = model.output["semantic"] if tells_objects_apart(model) else None
    if (found := bounds_of(model, output)) is not None:
        warnings.warn(
            f"model ends in {found}, which keeps its logits from taking every value, so that it "
            "learns less; end it in the layer before, without an activation.",
            stacklevel=3,
        )


def _last_activation(model: keras.Model) -> str | None:
    return ending_of(model, model.output["semantic"] if tells_objects_apart(model) else None)


def check_sizes(
    model: keras.Model, data: Data, crop: tuple[int, int], size: tuple[int, int] | None
) -> None:
    """Refuses a model that does not take the crops or images, or gives a map of another size.

    Args:
        model: The model.
        data: The data set.
        crop: (height, width) of training crops.
        size: Working size.

    Raises:
        ValueError: If it does not.
    """
    sizes = [("crop is", crop)]
    if model.input_shape[1:3] != (None, None):
        sizes += _working_sizes(data, size)
    _check_taken("model", model, sizes)
    _check_given("model", model, crop)
    if not hasattr(model, "kseg_spec"):  # kseg's own take images of every size
        _check_scored(model, _working_sizes(data, size))


def check_teacher(teacher: keras.Model | None, crop: tuple[int, int]) -> None:
    """Refuses a teacher that does not take the crops, or gives logits of another size.

    Raises:
        ValueError: If it does not.
    """
    if teacher is not None:
        _check_taken("teacher", teacher, [("the crops are", crop)])
        _check_given("teacher", teacher, crop)


def _check_taken(who: str, model: keras.Model, sizes: _Sizes) -> None:
    fixed = model.input_shape[1:3]
    for what, (height, width) in sizes:
        if not all(a in (None, b) for a, b in zip(fixed, (height, width), strict=True)):
            raise ValueError(
                f"{who} takes images of {fixed[0]} x {fixed[1]} only, and {what} {height} x "
                f"{width}; build it with an input of shape (None, None, {model.input_shape[-1]}), "
                "or take images, size and crop of that size."
            )


def _check_given(who: str, model: keras.Model, crop: tuple[int, int]) -> None:
    for name, given in _given(who, model, crop).items():
        if given != tuple(crop):
            raise ValueError(
                f"{who} must give {name} of the image's size; for {crop[0]} x {crop[1]} they are "
                f"{given[0]} x {given[1]}. Upsample them, say with keras.layers.UpSampling2D."
            )


def _check_scored(model: keras.Model, sizes: _Sizes) -> None:
    """Refuses a model that `kseg.running.run` could not show the images of "val"."""
    heights, widths = set(), set()
    for what, (height, width) in sizes:
        # What a network makes of a side depends on what is left of it over its strides.
        rests = height % _MOST_STRIDE, width % _MOST_STRIDE
        if rests[0] in heights and rests[1] in widths:
            continue
        heights.add(rests[0])
        widths.add(rests[1])
        made = []
        for seen in sizes_around((height, width), model.input_shape[1:3]):
            made.append(_given("model", model, seen, f" {what} {height} x {width}."))
            if all(extent(seen, each) for each in made[-1].values()):
                break
        else:
            who = f"{what} {height} x {width}, and model"
            raise ValueError(no_grid(who, (height, width), next(iter(made[0].values()))))


def _given(
    who: str, model: keras.Model, size: tuple[int, int], why: str = ""
) -> dict[str, tuple[int, int]]:
    """Returns (height, width) of what a model gives for an image of a size, by name."""
    try:
        graph = trace(model, size)
    except ValueError as error:
        raise ValueError(
            f"{who}{str(error).removeprefix('The model')}{why} Pad images in it with "
            "kseg.layers.PadToStride and cut its output with CropLike, or take images and sizes "
            "that it halves without a rest."
        ) from None
    shapes = graph.shapes_of(graph.outputs)
    names = graph.names or ("logits",)
    return {name: (shape[1], shape[2]) for name, shape in zip(names, shapes, strict=True)}


def _working_sizes(data: Data, size: tuple[int, int] | None) -> _Sizes:
    """Returns the sizes at which images of "val" are scored, by the start of a sentence."""
    found: dict[tuple[int, int], str] = {}
    for pair in data.pairs.get("val", ()):
        sides = fit_inside(size_of(data, pair), size)
        found.setdefault(sides, f"{pair.image.name} at the working size is")
    return [(what, sides) for sides, what in found.items()]
