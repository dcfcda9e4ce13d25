"""Reading YAML that anybody may have handed in, within limits, by the rules of YAML 1.2.

Aliases and tags are refused: with them a few lines stand for a terabyte or run code. Words such as
`no` and `on` stay words, and a key that comes twice is an error.
"""

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from kseg.safe_files import read_bytes

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 20
_MAX_ITEMS = 100_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster
_QUOTES = ("'", '"', "|", ">")
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,2})?")


def read_yaml(path: str | Path, *, as_written: tuple[str, ...] = ()) -> Any:
    """Reads a YAML file.

    Args:
        path: The file, of at most 1 MiB.
        as_written: Keys of the outermost level whose values are texts, exactly as written: under
            them `no` is "no" and `1.0` is "1.0".

    Returns:
        Dicts, lists, texts, numbers, booleans and None.

    Raises:
        ValueError: If the file cannot be read, is not YAML, uses aliases or tags, has a key twice,
            or is nested deeper than 20 levels.
    """
    content = read_bytes(path, limit=_MAX_BYTES)
    try:
        text = decoded(content)
        _check_limits(text)
        node = yaml.compose(text, Loader=_LOADER)
        return _value(node, as_written)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None


def decoded(content: bytes, errors: str = "strict") -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        content: The bytes of the file.
        errors: As for `bytes.decode`; "surrogateescape" keeps names that are not UTF-8.

    Raises:
        ValueError: If the bytes are no text.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("it is no text; save it as a text in UTF-8")
    try:
        return content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as a text in UTF-8") from None


def _check_limits(text: str) -> None:
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {line} has an alias (*); write out what it stands for")
        if getattr(event, "tag", None) not in (None, "!"):
            raise ValueError(f"line {line} has a tag (!); leave it out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"line {line} is nested deeper than {_MAX_DEPTH} levels")
        if number > _MAX_ITEMS:
            raise ValueError(f"it has over {_MAX_ITEMS:,} entries")


def _value(node: yaml.Node | None, as_written: tuple[str, ...] | None) -> Any:
    """Returns what a node stands for; with as_written=None, all its scalars as texts."""
    if node is None:
        return None
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node) if as_written is not None else node.value
    if isinstance(node, yaml.SequenceNode):
        inner = None if as_written is None else ()
        return [_value(child, inner) for child in node.value]
    found: dict[Any, Any] = {}
    for key_node, child in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ValueError(f"line {_line(key_node)} has a key that is no word")
        key = _scalar(key_node)
        if key in found:
            line = _line(key_node)
            raise ValueError(f"line {line} has the key {key_node.value[:80]!r} a second time")
        written = as_written is None or (isinstance(key, str) and key in as_written)
        found[key] = _value(child, None if written else ())
    return found


def _line(item: yaml.Node | yaml.Event) -> int:
    return item.start_mark.line + 1 if item.start_mark else 0


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style in _QUOTES:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
