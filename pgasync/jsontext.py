"""JSON text of Python objects, with every Decimal as its own digits."""

import json
from collections.abc import Iterator, Mapping
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
from typing import Any

# Decimal(text), whatever the thread's context says, and a shorter way to it.
decimal_exact = Context(
    prec=MAX_PREC,
    Emax=MAX_EMAX,
    Emin=MIN_EMIN,
    traps=[InvalidOperation, Overflow, Inexact],
).create_decimal


def dumps(value: Any) -> str:
    """As json.dumps, and Decimal too: `Decimal("1.10")` is written 1.10. Raises
    TypeError and ValueError as json.dumps does, ValueError for NaN and infinities."""
    return "".join(_parts(value))


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"JSON has no {value}")
        yield str(value)
    elif isinstance(value, Mapping):
        mark = "{"
        for key, item in value.items():
            yield f"{mark}{_key(key)}: "
            yield from _parts(item)
            mark = ", "
        yield "{}" if mark == "{" else "}"
    elif isinstance(value, (list, tuple)):
        mark = "["
        for item in value:
            yield mark
            yield from _parts(item)
            mark = ", "
        yield "[]" if mark == "[" else "]"
    else:
        yield json.dumps(value, allow_nan=False)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return json.dumps(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(json.dumps(key))
    raise TypeError(f"keys of JSON objects are str, not {type(key).__name__}")
