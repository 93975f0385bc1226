"""The text form of an array ("Array Input and Output Syntax"), for arrays of types
that the core has no codec for: enums, domains and whatever extensions bring."""

import re
from typing import Any

_TOKEN = re.compile(r'([{}])|"((?:[^"\\]|\\.)*)"|([^{},"\s]+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r'(["\\])')


def to_text(value: Any) -> str:
    """A list or tuple, nested where the array has dimensions; None is NULL."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return "{" + ",".join(map(to_text, value)) + "}"
    return '"' + _SPECIAL.sub(r"\\\1", str(value)) + '"'


def from_text(text: str) -> list[Any]:
    """The elements as str or None, in nested lists. Raises ValueError where `text`
    is no array."""
    if text.startswith("["):  # the bounds, where they do not start at 1
        text = text.partition("=")[2]
    open_lists: list[list[Any]] = []
    for brace, quoted, bare in _TOKEN.findall(text):
        if brace == "{":
            inner: list[Any] = []
            if open_lists:
                open_lists[-1].append(inner)
            open_lists.append(inner)
            continue
        if not open_lists:
            break
        if brace:
            closed = open_lists.pop()
            if not open_lists:
                return closed
        elif bare:
            open_lists[-1].append(None if bare == "NULL" else bare)
        else:
            open_lists[-1].append(_ESCAPED.sub(r"\1", quoted))
    raise ValueError(f"not the text form of an array: {text!r}")
