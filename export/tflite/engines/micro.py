"""TensorFlow Lite for Microcontrollers, with its portable kernels."""

import os

_FIRST = 1 << 20  # bytes of the arena, which nothing tells beforehand
_MOST = 1 << 31


def load(path, inputs, outputs):
    """Returns what runs the file; see `export.tflite.engines`."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from tflite_micro import runtime

    arena = max(_FIRST, 2 * sum(_nbytes(detail) for detail in (*inputs, *outputs)))
    while True:
        try:
            interpreter = runtime.Interpreter.from_file(path, arena_size=arena)
            break
        except RuntimeError:
            if arena >= _MOST:
                raise
            arena *= 4

    def run(values):
        for index, value in enumerate(values):
            interpreter.set_input(value, index)
        interpreter.invoke()
        return [interpreter.get_output(index) for index in range(len(outputs))]

    return run


def _nbytes(detail):
    return int(detail["shape"].prod()) * detail["dtype"]().itemsize
