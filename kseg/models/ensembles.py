"""Several networks as one, for reports and as a teacher."""

from collections.abc import Sequence

import keras
from keras import ops

from kseg.models.endings import ending_of, image_shape, is_network

_SIDE = 128  # pixels of the image that they are compared on
_LEAST = 1e-7  # of a probability, so that its logarithm is finite


def ensemble(networks: Sequence[keras.Model], *, flip: bool = False) -> keras.Model:
    """Makes one network of several, by the mean of their probabilities.

    It is as large and slow as all of them together. It is a teacher for `kseg.fit`, or shows by
    `kseg.evaluate` what a teacher of these networks could give.

    Args:
        networks: Networks from images (N, H, W, C), 0..255, to logits (N, H, W, num_classes), of
            the same classes in the same order. Their weights are shared, not copied.
        flip: Whether each also looks at the mirror image.

    Returns:
        A network from images (N, H, W, C), 0..255, to logits float32 (N, H, W, num_classes): the
        logarithm of the mean of the softmaxes. It carries the working size, `kseg_size`, and the
        bits of 16-bit images, `kseg_bits`, if all networks have the same; else name the size at
        which they are to see images.

    Raises:
        ValueError: If there is no network, they differ in classes, channels, fixed sizes or
            strides, or one gives something other than logits.
    """
    if not networks:
        raise ValueError("networks must hold at least one network; got none.")
    graphs = [_graph(network, index) for index, network in enumerate(networks)]
    shapes = [(n.inputs[0].shape[-1], n.outputs[0].shape[-1]) for n in graphs]
    channels, classes = shapes[0]
    sides = [{network.inputs[0].shape[axis] for network in graphs} - {None} for axis in (1, 2)]
    if max(map(len, sides)) > 1:
        raise ValueError("The networks of an ensemble must take images of one size.")
    height, width = (next(iter(side), None) for side in sides)
    image = keras.Input((height, width, channels), name="image")
    found = []
    for network, shape in zip(graphs, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(
                "The networks of an ensemble must have the same channels and classes; got "
                f"{channels} channels and {classes} classes, and {shape[0]} and {shape[1]}."
            )
        found.append(ops.softmax(network(image)))
        if flip:
            mirrored = ops.softmax(network(ops.flip(image, axis=2)))
            found.append(ops.flip(mirrored, axis=2))
    _check_sizes(graphs, (height or _SIDE, width or _SIDE))
    mean = sum(found[1:], found[0]) / len(found)
    logits = ops.log(ops.maximum(mean, _LEAST))
    names = "_and_".join(dict.fromkeys(network.name for network in networks))
    together = keras.Model(image, logits, name=f"{names}_mirrored" if flip else names)
    _carry(networks, together)
    return together


def _graph(network: keras.Model, index: int) -> keras.Model:
    """Returns a network as a graph with a name of its own; what its `call` does is part of it.

    Two networks of one kind have one name, which a graph does not take twice.
    """
    if not is_network(network) and not network.built:
        raise ValueError(
            f"The networks of an ensemble must have weights; {network.name} never saw an image. "
            "Call it on one first."
        )
    if is_network(network):
        inputs, outputs = network.inputs, network.outputs
    else:
        inputs = keras.Input((*image_shape(network)[1:3], image_shape(network)[-1] or 3))
        outputs = keras.tree.flatten(network(inputs))
    if len(outputs) > 1:
        raise ValueError(
            "The networks of an ensemble must give logits alone; "
            f"{network.name} has {len(outputs)} outputs."
        )
    graph = keras.Model(inputs, outputs[0], name=f"{network.name}_{index}")
    if (ending := ending_of(network if hasattr(network, "kseg_spec") else graph)) is not None:
        raise ValueError(
            "The networks of an ensemble must end in logits; "
            f"{network.name} ends in {ending}. Leave that out."
        )
    return graph


def _check_sizes(graphs: Sequence[keras.Model], size: tuple[int, int]) -> None:
    found = {}
    for graph in graphs:
        given = graph.compute_output_shape((1, *size, graph.inputs[0].shape[-1]))
        found[given[1:3]] = f"{graph.name} gives {given[1]} x {given[2]}"
    if len(found) > 1:
        raise ValueError(
            "The networks of an ensemble must give logits of one size; for an image of "
            f"{size[0]} x {size[1]} {' and '.join(found.values())}. Upsample the coarser ones."
        )


def _carry(networks: Sequence[keras.Model], together: keras.Model) -> None:
    for fact in ("kseg_size", "kseg_bits"):
        values = {getattr(network, fact, None) for network in networks}
        if len(values) == 1 and None not in values:
            setattr(together, fact, values.pop())
    for network in networks:
        if seen := getattr(network, "kseg_saw_val", None):
            together.kseg_saw_val = seen
