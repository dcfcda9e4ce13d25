"""What a page must know of a .tflite file, so that its script need not read the file itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ModelFileError
from export.tflite.instructions import SOFTMAX, read_instructions
from export.tflite.maps import CHANNELS, SEMANTIC
from export.tflite.normalization import follows, settle
from export.tflite.reader import ModelFile, read_model
from export.tflite.runtime import Normalizing, TFLiteModel, load_tflite
from kseg.classes import Classes
from kseg.instances import tells_objects_apart
from kseg.models import TRAINED
from kseg.models.trained import packaged

_INPUTS = ("uint8", "float32")  # of those that LiteRT has, what both runtimes take
_OUTPUTS = ("uint8", "float32", "int32")


@dataclass(frozen=True)
class WebModel:
    """A .tflite file for a page.

    Attributes:
        path: The file.
        classes: Names and colours.
        working_size: (height, width) that images are fitted into; None takes what the file carries.
            Where that is none either, images that fit into the file's input stay as they are.
        title: What the page calls it; the file's name without ending where it is empty.
        licence: How the weights may be used; empty where nothing is said.
        normalization: The numbers that the network was trained on, as for `export.load_tflite`.
        output: The output to read, likewise.
    """

    path: Path
    classes: Classes
    working_size: tuple[int, int] | None = None
    title: str = ""
    licence: str = ""
    normalization: Normalizing | None = None
    output: str | int | None = None


def zoo() -> list[WebModel]:
    """Returns the int8 files of the trained networks, the best of each data set first."""
    records = [(name, r) for name, r in TRAINED.items() if r.int8_file is not None]
    records.sort(key=lambda entry: (entry[1].data, -(entry[1].int8_mean_iou or 0)))
    return [
        WebModel(
            path=Path(str(packaged(str(record.int8_file), str(record.int8_sha256)))),
            classes=record.classes,
            working_size=record.working_size,
            title=name,
            licence=record.licence,
        )
        for name, record in records
    ]


def read_facts(model: WebModel, runtime: str) -> dict[str, Any]:
    """Returns what the page's script reads of a file, as models.json has it.

    It warns where nothing says what numbers the file wants, which then are 0..255.

    Args:
        model: The file.
        runtime: "litert" or "mediapipe".

    Raises:
        ModelFileError: If LiteRT cannot run the file.
        ValueError: If the runtime cannot, or the classes are not the file's.
    """
    graph = read_model(model.path)
    asked: dict[str, Any] = {"normalization": model.normalization, "output": model.output}
    with load_tflite(model.path, **asked) as file:
        normalization = file.normalization
        size = model.working_size or file.kseg_size
        facts = {
            "title": model.title or model.path.stem,
            "file": model.path.name,
            "bytes": graph.size_bytes,
            "licence": model.licence,
            "classes": [
                {"name": name, "color": list(color)}
                for name, color in zip(model.classes.names, model.classes.colors, strict=True)
            ],
            "head": head(graph, next(iter(file.output_numbers.values()))),
            "stride": file.stride,
            "inputSize": list(file.input_size),
            "inputType": file.input.dtype,
            # A float32 input takes (x - mean) / std of pixels x, 0..255, channel by channel.
            "mean": _of_each_channel(normalization.mean if normalization else (0.0,)),
            "std": _of_each_channel(normalization.std if normalization else (1.0,)),
            "workingSize": size and list(size),
            "outputSize": list(file.output.shape[1:3]),
            "outputScale": file.output.scale,
            "outputZeroPoint": file.output.zero_point,
        }
        if tells_objects_apart(file):
            facts |= _told_apart(model, graph, file)
        elif len(graph.outputs) > 1:
            facts["output"] = next(iter(file.output_numbers.values()))
        _check(model, graph, file)
        if follows(file.input, normalization):
            facts["byteValues"] = _bytes_of_each_channel(file)
    if runtime == "mediapipe":
        _check_mediapipe(model, facts)
    settle(file.input, normalization, model.path)
    return facts


def _told_apart(model: WebModel, graph: ModelFile, file: TFLiteModel) -> dict[str, Any]:
    """Returns which output is which, and the classes whose objects are told apart."""
    if not file.kseg_things:
        raise ValueError(
            f"{model.path} does not say which classes are things; keep the report (.json) of its "
            "export beside it."
        )
    if len({tensor.shape[1:3] for tensor in file.outputs.values()}) > 1:
        raise ValueError(f"{model.path} gives maps of several sizes; a page takes one.")
    numbers = file.output_numbers
    return {
        "output": numbers[SEMANTIC],
        "things": list(file.kseg_things),
        "maps": {
            name: {
                "output": numbers[name],
                "outputScale": file.outputs[name].scale,
                "outputZeroPoint": file.outputs[name].zero_point,
            }
            for name in CHANNELS
        },
    }


def _bytes_of_each_channel(file: TFLiteModel) -> list[list[int]]:
    """Returns what stands for each of 256 bytes in an input that is quantized otherwise."""
    shades = np.repeat(np.arange(256.0)[:, None], file.channels, axis=1)
    return file.quantize(shades).T.tolist()


def _of_each_channel(values: tuple[float, ...]) -> list[float]:
    return list(values * 3 if len(values) == 1 else values)


def head(graph: ModelFile, number: int = 0) -> str:
    """Returns what an output of a file ends in: "argmax", "softmax" or "logits"."""
    makers = {tensor: op for op in graph.ops for tensor in op.outputs}
    op = makers.get(graph.outputs[number])
    while op is not None and op.name in ("QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE"):
        op = makers.get(op.inputs[0])
    return {"ARG_MAX": "argmax", "SOFTMAX": "softmax"}.get(op.name if op else "", "logits")


def _check(model: WebModel, graph: ModelFile, file: TFLiteModel) -> None:
    if file.channels != 3:
        raise ValueError(
            f"{model.path} takes images of {file.channels} channel(s); pictures in a page have 3."
        )
    size = model.working_size
    if size is not None and (size[0] > file.input_size[0] or size[1] > file.input_size[1]):
        raise ValueError(
            f"working_size must be within the input of {model.path}, {file.input_size[0]} x "
            f"{file.input_size[1]}; got {size[0]} x {size[1]}."
        )
    if file.input.dtype not in _INPUTS or file.output.dtype not in _OUTPUTS:
        raise ValueError(
            f"{model.path} takes {file.input.dtype} and gives {file.output.dtype}; runtimes in "
            f"browsers take {' or '.join(_INPUTS)} and give {', '.join(_OUTPUTS)}. Export with "
            "--target android, which makes such files."
        )
    dimensions = len(file.output.shape)
    ends_in = head(graph, next(iter(file.output_numbers.values())))
    if dimensions != (3 if ends_in == "argmax" else 4):
        raise ModelFileError(
            f"{model.path} gives {file.output.dtype} of shape {file.output.shape}; a page takes "
            "scores (1, H, W, classes) or the class map (1, H, W) of an ARG_MAX."
        )
    if dimensions == 4 and file.output.shape[3] != model.classes.num_classes:
        raise ValueError(
            f"classes must name every class of {model.path}: {file.output.shape[3]}; there are "
            f"{model.classes.num_classes} names."
        )


def _check_mediapipe(model: WebModel, facts: dict[str, Any]) -> None:
    """Refuses what MediaPipe would misread or refuse with a word that helps nobody."""
    advice = "Take the runtime litert, or export with --target android --head logits."
    if "maps" in facts:
        raise ValueError(
            f"{model.path} tells objects apart by three outputs, and MediaPipe takes files of one. "
            "Take the runtime litert."
        )
    if "output" in facts:
        raise ValueError(
            f"{model.path} has several outputs, and MediaPipe takes files of one. {advice}"
        )
    if model.normalization is not None:
        raise ValueError(
            f"MediaPipe takes the normalization that the metadata of {model.path} say, and no "
            "other (--normalization). Take the runtime litert."
        )
    if facts["head"] == "argmax":
        raise ValueError(f"{model.path} ends in argmax; MediaPipe takes scores only. {advice}")
    if facts["stride"] > 1:
        raise ValueError(
            f"{model.path} has stride {facts['stride']}; MediaPipe enlarges probabilities in its "
            f"own way, so that labels would differ from kseg's. {advice}"
        )
    told = read_instructions(read_model(model.path), 3, model.path)
    if facts["head"] == "logits" and told.activation != SOFTMAX:
        raise ValueError(
            f"{model.path} gives logits, and no TFLite Metadata say so; MediaPipe would take them "
            f"for probabilities, and labels would be wrong. {advice}"
        )
    if facts["inputType"] == "float32" and b"TFLITE_METADATA" not in model.path.read_bytes():
        raise ValueError(
            f"{model.path} takes float32 and has no TFLite Metadata; MediaPipe refuses that. "
            f"{advice}"
        )
