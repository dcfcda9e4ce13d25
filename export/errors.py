"""Errors that are neither bad arguments nor bugs.

Their `exit_code` is what the command line ends with.
"""


class GateError(RuntimeError):
    """A model was converted but is not good enough, so no file was written."""

    exit_code = 3


class ModelFileError(RuntimeError):
    """A model file is unreadable or crashes the runtime."""

    exit_code = 4


class TrainingProcessError(RuntimeError):
    """The process of a training was killed or crashed."""

    exit_code = 5
