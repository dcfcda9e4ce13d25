"""TensorFlow's converter: a fixed model, a recipe and a head to the content of a file."""

import contextlib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export.errors import GateError
from export.recipes import QuantizationRecipe
from export.tflite.maps import SEMANTIC, as_maps, logits_of

Calibration = Callable[[], Iterator[list[np.ndarray]]]
SIGNATURE = "serving_default"


def serving(fixed: Any, head: str) -> Any:
    """Returns a tf.function from the model's image to what the head makes of its logits.

    Args:
        fixed: The model, with a batch of 1 and a fixed size.
        head: One of `export.targets.HEADS`, or "scores" for what is a softmax already. Of three
            maps it is that of the classes; the other two stay what they are.
    """

    @tf.function(input_signature=[tf.TensorSpec(fixed.inputs[0].shape, tf.float32, name="image")])
    def serve(image):
        maps = as_maps(fixed(image, training=False))
        name, found = _headed(logits_of(maps), head)
        return {**maps, SEMANTIC: found} if isinstance(maps, dict) else {name: found}

    return serve


def _headed(logits: tf.Tensor, head: str) -> tuple[str, tf.Tensor]:
    """Returns what a head makes of logits, and what a file calls it."""
    if head == "argmax":  # keras.ops.argmax becomes ops that LiteRT lacks
        return "labels", tf.argmax(logits, -1, output_type=tf.int32)
    if head == "softmax":
        return "scores", tf.nn.softmax(logits)
    return head, logits


def to_tflite(
    fixed: keras.Model, recipe: QuantizationRecipe, head: str, calibration: Calibration
) -> bytes:
    """Converts a model; the file has a signature with readable names.

    Args:
        fixed: The model, with a batch of 1 and a fixed size.
        recipe: What to compute with.
        head: One of `export.targets.HEADS`.
        calibration: Gives the images to take ranges from.

    Returns:
        The content of the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        with telling_of_ops():
            return named_converter(fixed, recipe, head, calibration, folder).convert()


@contextlib.contextmanager
def telling_of_ops() -> Iterator[None]:
    """Says in a sentence what TensorFlow's converter says in pages.

    Raises:
        GateError: If the converter cannot convert a model.
    """
    try:
        yield
    except ConverterError as error:
        ops = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.MULTILINE)
        which = f"its ops {', '.join(ops)}" if ops else str(error).strip().splitlines()[0]
        raise GateError(f"TensorFlow's converter cannot convert the model: {which}.") from None


def named_converter(
    fixed: keras.Model,
    recipe: QuantizationRecipe,
    head: str,
    calibration: Calibration,
    folder: str,
) -> tf.lite.TFLiteConverter:
    """Returns a converter whose files have a signature; it needs the folder, an empty one.

    It takes the arguments of `to_tflite`.
    """
    save_frozen(serving(fixed, head), folder)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
    set_up(converter, recipe, calibration)
    return converter


def save_frozen(serve: Any, folder: str) -> None:
    """Saves a function of `serving` with constants in place of its variables.

    Keras's own archive takes seconds more, and no variable with a name such as "größe 2/kernel".

    Args:
        serve: The function.
        folder: An empty one.
    """
    concrete = serve.get_concrete_function()
    names = sorted(concrete.structured_outputs)  # as TensorFlow has them in a row
    frozen = convert_variables_to_constants_v2(concrete)

    @tf.function(input_signature=serve.input_signature)
    def named(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, frozen(image), strict=True))

    # SiLU has a gradient of its own, which refers to what is a constant now; a file needs none.
    without = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(tf.Module(), folder, signatures={SIGNATURE: named}, options=without)


def draft(
    fixed: keras.Model, recipe: QuantizationRecipe, head: str, calibration: Calibration
) -> bytes:
    """Returns a file to time, not to hand over: it lacks names. See `to_tflite`."""
    frozen = convert_variables_to_constants_v2(serving(fixed, head).get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    set_up(converter, recipe, calibration)
    with warnings.catch_warnings(), telling_of_ops():
        # "Statistics for quantized inputs were expected": a word about another way to quantize.
        warnings.simplefilter("ignore", UserWarning)
        return converter.convert()


def set_up(
    converter: tf.lite.TFLiteConverter, recipe: QuantizationRecipe, calibration: Calibration
) -> None:
    """Tells a TFLiteConverter what a recipe means."""
    if recipe.weights == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # TensorFlow has no public name for it.
    converter._experimental_disable_per_channel = not recipe.per_channel
    if recipe.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.is_integer:
        sets = tf.lite.OpsSet
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [
            sets.TFLITE_BUILTINS_INT8
            if recipe.activations == "int8"
            else sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(recipe.ends)
