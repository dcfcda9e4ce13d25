"""Scoring a model that tells objects apart on a split, at the images' own size."""

from kseg.data import Data, check_labels
from kseg.instances.grouping import HEIGHT
from kseg.instances.predicting import objects_in, outputs_for, things_of
from kseg.instances.scores import ObjectMatcher, PanopticScores
from kseg.progress import progress as show
from kseg.seeing import Segmenter, check_channels, check_classes, warn_of_bits


def evaluate_instances(
    model: Segmenter,
    data: Data,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    flip: bool = False,
    threshold: float = HEIGHT,
    progress: bool = False,
) -> PanopticScores:
    """Scores a model over all images of a split; which classes are things, the data say.

    Args:
        model: As for `kseg.predict_instances`.
        data: A data set with `instances`.
        split: "train", "val" or "test".
        size: As for `kseg.predict_instances`.
        flip: As for `kseg.predict_instances`.
        threshold: As for `kseg.predict_instances`.
        progress: Whether to show on standard error how far it is.

    Returns:
        The scores.

    Raises:
        TypeError: If data is not a data set.
        ValueError: If the data have no instances, or those of a class that the model does not tell
            apart, if the split is missing, a file cannot be read, or the model has another number
            of classes or channels or gives something else.
    """
    if not isinstance(data, Data):
        raise TypeError(f"data must be what kseg.load_data returns; got {type(data).__name__}.")
    if not data.things:
        raise ValueError(
            f"{data.source} has no instances, so there are no objects to find; name the classes "
            "that are things under `instances` (docs/instances.md)."
        )
    own = getattr(model, "kseg_things", None)
    if own and not {*data.things} <= {*own}:
        raise ValueError(
            f"The model tells the objects of the classes {', '.join(map(str, own))} apart, and "
            f"{data.source} those of {', '.join(map(str, data.things))}; name the same classes "
            "under `instances`."
        )
    check_channels(model, data)
    warn_of_bits(model, data)
    check_labels(data, [split])
    matcher = ObjectMatcher(data.classes.num_classes, data.things)
    things = things_of(model, data.things)
    for pair in show(data.files(split), unit="image", label="scoring", shown=progress):
        image, label_map, ids = data.read_instances(pair)
        outputs, seen, own = outputs_for(model, image, size, flip=flip)
        check_classes(outputs["semantic"].shape[-1], data)
        found = objects_in(outputs, things, seen, own, threshold)
        matcher.update(label_map, ids, found)
    return matcher.scores(data.classes.names)
