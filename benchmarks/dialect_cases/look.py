"""Values and errors as text that shows all that a program can tell of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import Row

PLAIN = (type(None), bool, int, float, str, bytes)
STANDARD = ("builtins", "datetime", "decimal", "uuid", "ipaddress", "enum", "_decimal")
USER_OIDS = 16384  # from here on they differ from database to database
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
FIELDS = (
    "detail",
    "hint",
    "schema_name",
    "table_name",
    "column_name",
    "data_type_name",
    "constraint_name",
)
OF_PSYCOPG = {
    "detail": "message_detail",
    "hint": "message_hint",
    "data_type_name": "datatype_name",
}


def show(value: Any) -> str:
    """A repr that tells classes apart which look alike."""
    kind = type(value)
    if kind in PLAIN:
        return repr(value)
    if isinstance(value, Row):
        return "Row" + show(tuple(value))
    if kind in (list, tuple, set, frozenset):
        items = (
            sorted(map(show, value)) if kind in (set, frozenset) else map(show, value)
        )
        name = "" if kind in (list, tuple) else kind.__name__
        inner = ", ".join(items)
        return f"{name}[{inner}]" if kind is list else f"{name}({inner})"
    if kind is dict:
        return "{" + ", ".join(f"{show(k)}: {show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, BaseException):
        return show_error(value)
    return f"{class_name(kind)} {ADDRESS.sub('', text_of(value))}"


def text_of(value: Any) -> str:
    """Its repr, or for one that says too little, what is in it."""
    if isinstance(value, Mapping):
        return show(dict(value))
    return repr(value)


def class_name(kind: type) -> str:
    """With the package that it comes from, unless that is Python."""
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package in STANDARD else f"{package}.{kind.__name__}"


def codes(description: Any) -> Any:
    """Names and type codes of a cursor's description."""
    if description is None:
        return None
    return [
        (c[0], c[1] if c[1] < USER_OIDS else "of the database") for c in description
    ]


def show_error(error: BaseException) -> str:
    """SQLAlchemy's class, the server's fields, and what SQLAlchemy made of it."""
    if not isinstance(error, exc.DBAPIError):
        return f"{class_name(type(error))}"
    parts = [f"sqlalchemy {type(error).__name__}"]
    orig: Any = error.orig
    for name in ("sqlstate", "pgcode"):
        parts.append(f"{name} {getattr(orig, name, 'missing')}")
    if error.connection_invalidated:
        parts.append("disconnected")
    source = orig
    if getattr(orig, "constraint_name", None) is None and orig.__cause__ is not None:
        source = orig.__cause__
    for name in FIELDS:
        value = getattr(source, name, None)
        if value is None and hasattr(orig, "diag"):
            value = getattr(orig.diag, OF_PSYCOPG.get(name, name), None)
        if value:
            parts.append(f"{name} {value!r}")
    return ", ".join(parts)
