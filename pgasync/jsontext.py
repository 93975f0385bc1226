"""JSON documents: what stands for one, and text with every Decimal as its digits."""

import json
from collections.abc import Callable, Mapping
from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
)
from typing import Any, final

# Decimal(text), whatever the thread's context says, and a shorter way to it.
decimal_exact = Context(
    prec=MAX_PREC,
    Emax=MAX_EMAX,
    Emin=MIN_EMIN,
    traps=[InvalidOperation, Overflow, Inexact],
).create_decimal


@final
class Json:
    """A JSON document for a json or jsonb parameter, whatever `value` is: `Json(None)`
    is JSON's null (None itself is SQL's NULL), `Json("x")` the string "x" (a bare
    str is taken for the text of a document)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "JSON_NULL" if self is JSON_NULL else f"Json({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return self.value == other.value if isinstance(other, Json) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a dict has none

    def __bool__(self) -> bool:
        return bool(self.value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return "JSON_NULL" if self is JSON_NULL else (Json, (self.value,))


JSON_NULL = Json(None)


_plain = json.JSONEncoder(allow_nan=False).encode


def dumps(value: Any) -> str:
    """As json.dumps, and Decimal and Json too: `Decimal("1.10")` is written 1.10, and a
    Json as the document that it holds. Raises TypeError and ValueError as json.dumps
    does, ValueError for NaN and infinities, RecursionError for a list in itself."""
    try:
        return _plain(value)
    except TypeError:  # something that json does not know
        parts: list[str] = []
        _put(value, parts.append)
        return "".join(parts)


def _put(value: Any, put: Callable[[str], None]) -> None:
    if isinstance(value, Json):
        _put(value.value, put)
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"JSON has no {value}")
        put(Decimal.__str__(value))
    elif isinstance(value, Mapping):
        mark = "{"
        for key, item in value.items():
            put(f"{mark}{_key(key)}: ")
            _put(item, put)
            mark = ", "
        put("{}" if mark == "{" else "}")
    elif isinstance(value, (list, tuple)):
        mark = "["
        for item in value:
            put(mark)
            _put(item, put)
            mark = ", "
        put("[]" if mark == "[" else "]")
    else:
        put(_plain(value))


def _key(key: Any) -> str:
    if isinstance(key, str):
        return json.dumps(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(json.dumps(key))
    raise TypeError(f"keys of JSON objects are str, not {type(key).__name__}")
