"""The networks by name: the one place where a network is registered.

Neither this table nor `import kseg.models` loads Keras: a file is imported when its network is
asked for.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


class Builders(Mapping[str, "Callable[..., keras.Model]"]):
    """Network names to their builders, each imported when it is first asked for."""

    def __init__(self, files: dict[str, str]):
        """Makes the table.

        Args:
            files: Name of a network to the file in `kseg/models` that has `build_<name>`.
        """
        self.files = files

    def __getitem__(self, name: str) -> "Callable[..., keras.Model]":
        module = importlib.import_module(f"kseg.models.{self.files[name]}")
        return getattr(module, f"build_{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


MODELS = Builders(
    {
        "fcn32s": "fcn",
        "fcn16s": "fcn",
        "fcn8s": "fcn",
        "dilated_fcn": "dilated_fcn",
        "segnet": "segnet",
        "unet": "unet",
        "linknet": "linknet",
        "deeplab_v3": "deeplab",
        "deeplab_v3_plus": "deeplab",
        "lraspp": "lraspp",
        "fast_scnn": "fast_scnn",
        "atrous_fpn": "atrous_fpn",
        "panoptic_deeplab": "panoptic_deeplab",
        "encoder_decoder": "encoder_decoder",
    }
)


def build(builder: str, arguments: dict) -> "keras.Model":
    """Builds a network by name.

    Args:
        builder: A name of `MODELS`.
        arguments: Arguments of its builder. `weights` may be None where the builder has no such
            argument.

    Returns:
        The network.

    Raises:
        ValueError: If there is no such network, or its builder refuses the arguments.
    """
    from kseg.models.frame import check_choice

    check_choice("model", builder, MODELS)
    takes = inspect.signature(MODELS[builder]).parameters
    if "weights" not in takes and (weights := arguments.get("weights")) is not None:
        raise ValueError(f"There are no weights {weights!r} for {builder}; pass weights=None.")
    if "weights" not in takes:
        arguments = {name: value for name, value in arguments.items() if name != "weights"}
    return MODELS[builder](**arguments)
