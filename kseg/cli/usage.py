"""What is said where a command line is wrong: one sentence, and where to read more."""

import re

from cyclopts import (
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnusedCliTokensError,
    ValidationError,
)

_CHOICE = re.compile(r'Invalid value "(.*)" for (\S+)\. Choose from: (.*?)\.( Did .*)?', re.S)
_KINDS = {int: "a whole number", float: "a number", bool: "no value"}


def sentence(error: CycloptsError) -> str:
    """Returns what is wrong, with the command that tells more."""
    if isinstance(error, UnknownCommandError):
        fault = str(error).split(" Available", 1)[0].replace("Unknown command", "There is no verb")
        return f"{fault} `kseg --help` lists them."
    verb = " ".join(error.command_chain or ())
    return f"{_fault(error)} See `kseg {verb} --help`."


def _fault(error: CycloptsError) -> str:
    if isinstance(error, ValidationError):
        return error.exception_message
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} is one argument too many."
    if isinstance(error, RepeatArgumentError) and error.token:
        return f"{error.token.keyword} is given twice."
    if isinstance(error, MissingArgumentError) and error.argument:
        return _missing(error, error.argument)
    if isinstance(error, CoercionError) and error.token and error.target_type in _KINDS:
        name = error.token.keyword or (error.argument.name if error.argument else "")
        return f"{name} takes {_KINDS[error.target_type]}; got {error.token.value!r}."
    if wrong := _CHOICE.fullmatch(str(error)):
        value, name, choices, near = wrong.groups(default="")
        return f"{name} must be one of {choices.replace(chr(34), '')}; got {value!r}.{near}"
    return str(error)


def _missing(error: MissingArgumentError, argument: Argument) -> str:
    count, _ = argument.token_count()
    name, metavar = argument.name, argument.parameter.metavar
    if not argument.tokens and error.keyword is None:
        shown = f" {metavar}" if metavar and name.startswith("-") else ""
        return f"{name}{shown} is missing."
    if count > 1:
        return f"{name} takes {count} values, {metavar}; got {len(error.tokens_so_far)}."
    return f"{error.keyword or name} needs a value."
