"""Scalars in PostgreSQL's text form, where a container around them has to be text.

Called by the C core for what it sends and reads in binary otherwise; see
csrc/codec/textform.c. PostgreSQL docs: 8, "Data Types".
"""

import datetime as dt
import ipaddress
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from . import shapes, temporal
from .bits import BitString
from .system import Lsn, Snapshot

__all__ = ["text_of", "text_to"]

DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,6})?"
    r"(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?"
)
TIME = re.compile(r"(\d\d:\d\d:\d\d)(\.\d{1,6})?")
INTERVAL = re.compile(
    r"(?:(?P<years>[+-]?\d+) years?)? ?(?:(?P<months>[+-]?\d+) mons?)? ?"
    r"(?:(?P<days>[+-]?\d+) days?)? ?"
    r"(?:(?P<sign>[+-])?(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d(?:\.\d{1,6})?))?"
)


def text_of(value: object) -> str:
    """The text form of a value, TypeError for what has none that is known here."""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        return value
    if isinstance(value, Lsn):
        return str(value)
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if type(value) is dt.timedelta:  # a subclass may have more to say
        return _interval(0, *_interval_parts(value))
    if isinstance(value, temporal.Interval):
        return _interval(*value.parts)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, _SPELT_BY_STR):
        return str(value)
    if isinstance(value, Snapshot):
        return f"{value.xmin}:{value.xmax}:{','.join(map(str, value.xip))}"
    if type(value) is tuple and len(value) == 2:  # the only one: a tid
        return f"({value[0]},{value[1]})"
    if isinstance(value, dict):
        return ",".join(map(_pair, value.items()))  # hstore
    raise TypeError(f"{type(value).__name__} has no text form that is known here")


_SPELT_BY_STR = (
    temporal.Beyond,
    Decimal,
    uuid.UUID,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    shapes.Point,
    shapes.Line,
    shapes.LineSegment,
    shapes.Box,
    shapes.Circle,
    shapes.Path,
    shapes.Polygon,
    shapes.Cube,
    shapes.Vector,
    shapes.SparseVector,
)


def _digits(number: int) -> str:
    """Without the interpreter's limit on the digits of an int."""
    return f"{Decimal(number):f}" if abs(number) >> 2000 else int.__repr__(number)


def _interval(months: int, days: int, microseconds: int) -> str:
    """Each with a sign, whatever the session's IntervalStyle is."""
    return f"{months:+d} months {days:+d} days {microseconds:+d} microseconds"


def _interval_parts(delta: dt.timedelta) -> tuple[int, int]:
    """Days and microseconds of the same sign, as a timedelta is sent."""
    days, microseconds = delta.days, delta.seconds * 1_000_000 + delta.microseconds
    if days < 0 and microseconds > 0:
        return days + 1, microseconds - 86_400_000_000
    return days, microseconds


def _pair(item: tuple[object, object]) -> str:
    key, value = item
    return f"{_quoted(key)}=>{'NULL' if value is None else _quoted(value)}"


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def text_to(kind: str, text: str, zone: dt.tzinfo | None) -> Any:
    """The value that `text` stands for, by the kind of its type; the text itself where
    Python's types or the ISO format do not cover it. `zone` is where a timestamptz
    goes, None: UTC."""
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(text)
    if kind == "timestamptz":
        value = _timestamp(text)
        if isinstance(value, str) or value.tzinfo is None:
            return text
        return value.astimezone(zone or dt.timezone.utc)
    return text


def _date(text: str) -> Any:
    return dt.date.fromisoformat(text) if DATE.fullmatch(text) else text


def _time(text: str) -> Any:
    found = TIME.fullmatch(text)
    if found is None or text.startswith("24"):
        return text
    return dt.time.fromisoformat(found[1]).replace(microsecond=_micros(found[2]))


def _timestamp(text: str) -> Any:
    found = TIMESTAMP.fullmatch(text)
    if found is None or found[1].startswith("0000"):
        return text
    value = dt.datetime.fromisoformat(f"{found[1]}T{found[2]}")
    value = value.replace(microsecond=_micros(found[3]))
    if found[4] is None:
        return value
    offset = dt.timedelta(
        hours=int(found[5]), minutes=int(found[6] or 0), seconds=int(found[7] or 0)
    )
    return value.replace(tzinfo=dt.timezone(-offset if found[4] == "-" else offset))


def _micros(fraction: str | None) -> int:
    return int(fraction[1:].ljust(6, "0")) if fraction else 0


def _timedelta(text: str) -> Any:
    found = INTERVAL.fullmatch(text)
    if not text or found is None:
        return text
    time = Decimal(0)
    if found["h"] is not None:
        time = Decimal(found["s"]) + 60 * int(found["m"]) + 3600 * int(found["h"])
    microseconds = int(time * 1_000_000) * (-1 if found["sign"] == "-" else 1)
    months = int(found["years"] or 0) * 12 + int(found["months"] or 0)
    days = int(found["days"] or 0)
    try:
        value = temporal.Interval(months, days, microseconds)
    except OverflowError:
        return text
    plain = dt.timedelta(value.days, value.seconds, value.microseconds)
    return plain if (days, microseconds) == _interval_parts(plain) else value


def _tid(text: str) -> Any:
    block, offset = text[1:-1].split(",")
    return int(block), int(offset)


def _snapshot(text: str) -> Any:
    xmin, xmax, xip = text.split(":")
    running = tuple(int(xid) for xid in xip.split(",")) if xip else ()
    return Snapshot(int(xmin), int(xmax), running)


def _inet(text: str) -> Any:
    if "/" in text:
        return ipaddress.ip_interface(text)
    return ipaddress.ip_address(text)


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text == "t",
    "int": int,
    "float": float,
    "numeric": Decimal,
    "bytea": lambda text: bytes.fromhex(text[2:]) if text[:2] == "\\x" else text,
    "uuid": uuid.UUID,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "interval": _timedelta,
    "inet": _inet,
    "cidr": ipaddress.ip_network,
    "bits": BitString,
    "tid": _tid,
    "lsn": Lsn.parse,
    "snapshot": _snapshot,
}
