"""The PostgreSQL type that a Python value is by itself, for a parameter whose type the
server cannot tell from the statement ("could not determine data type")."""

import array
import datetime
import decimal
import ipaddress
import uuid
from collections.abc import Mapping
from typing import Any

from . import _core, types

_OIDS = {row[2]: row[0] for row in _core.codec_table()}
_ARRAYS = {row[0]: row[1] for row in _core.codec_table() if row[1]}
_RANGES = {
    _OIDS[subtype]: prefix
    for subtype, prefix in {
        "int8": "int8",
        "numeric": "num",
        "float8": "num",
        "date": "date",
        "timestamp": "ts",
        "timestamptz": "tstz",
    }.items()
}

# Tuples that are one value.
_SHAPES = {
    types.Point: "point",
    types.Line: "line",
    types.LineSegment: "lseg",
    types.Box: "box",
    types.Circle: "circle",
    types.Path: "path",
    types.Polygon: "polygon",
}
_WHOLE = (types.Multirange, types.Snapshot, *_SHAPES)

# The first that fits; bool is an int, so is an Lsn, and a BitString is a str.
_PLAIN: tuple[tuple[Any, str], ...] = (
    (bool, "bool"),
    (types.BitString, "varbit"),
    (types.Lsn, "pg_lsn"),
    (types.Snapshot, "pg_snapshot"),
    (float, "float8"),
    (str, "text"),
    (decimal.Decimal, "numeric"),
    ((bytes, bytearray, memoryview), "bytea"),
    (datetime.timedelta, "interval"),
    (uuid.UUID, "uuid"),
    ((ipaddress.IPv4Address, ipaddress.IPv6Address), "inet"),
    ((ipaddress.IPv4Network, ipaddress.IPv6Network), "cidr"),
    ((Mapping, types.Json), "jsonb"),
    *_SHAPES.items(),
)


def infer(value: Any) -> int:
    """The type's OID; 0 where a value does not say. Numbers are wide, so that the next
    value most likely fits too."""
    if value is None:
        return _OIDS["text"]
    for classes, name in _PLAIN:
        if isinstance(value, classes):
            return _OIDS[name]
    if isinstance(value, int):
        return _OIDS["int8" if -(2**63) <= value < 2**63 else "numeric"]
    if isinstance(value, datetime.datetime):
        return _OIDS["timestamp" if value.tzinfo is None else "timestamptz"]
    if isinstance(value, datetime.date):
        return _OIDS["date"]
    if isinstance(value, datetime.time):
        return _OIDS["time" if value.tzinfo is None else "timetz"]
    if isinstance(value, types.Beyond):
        return _OIDS.get(value.kind or "", 0)
    if isinstance(value, (types.Range, types.Multirange)):
        return _infer_range(value)
    if isinstance(value, (list, tuple, array.array)):
        return _ARRAYS.get(_infer_element(value), 0)
    if callable(item := getattr(value, "tolist", None)):  # numpy
        return infer(item())
    return 0


def _infer_range(value: Any) -> int:
    """By a bound; 0 without one."""
    ranges = value if isinstance(value, types.Multirange) else (value,)
    kind = "multirange" if isinstance(value, types.Multirange) else "range"
    for part in ranges:
        bound = part.upper if part.lower is None else part.lower
        prefix = None if bound is None else _RANGES.get(infer(bound))
        if prefix is not None:
            return _OIDS[prefix + kind]
    return 0


def _infer_element(values: Any) -> int:
    """Of the elements that are not NULL, the widest type; text for an empty array."""
    found = {infer(value) for value in _flat(values) if value is not None}
    for name in ("numeric", "float8", "int8"):  # numbers go together
        numbers = {_OIDS["int8"], _OIDS["float8"], _OIDS["numeric"]}
        if len(found) > 1 and found <= numbers and _OIDS[name] in found:
            return _OIDS[name]
    return found.pop() if len(found) == 1 else 0 if found else _OIDS["text"]


def _flat(values: Any) -> Any:
    for value in values:
        if isinstance(value, (list, tuple)) and not isinstance(value, _WHOLE):
            yield from _flat(value)
        else:
            yield value
