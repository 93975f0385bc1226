"""Dates, times and intervals that the datetime module has no object for."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple, final

_EPOCH = dt.date(2000, 1, 1)
_EPOCH_TIME = dt.datetime(2000, 1, 1)
_DAY = 86_400_000_000  # microseconds
_CYCLE_DAYS = 146_097  # days in 400 years
_MICROSECOND = dt.timedelta(microseconds=1)
_SECOND = dt.timedelta(seconds=1)
_EPOCHS: dict[str | None, dt.date] = {
    "date": _EPOCH,
    "timestamp": _EPOCH_TIME,
    "timestamptz": _EPOCH_TIME.replace(tzinfo=dt.timezone.utc),
}


class IntervalParts(NamedTuple):
    """What PostgreSQL keeps of an interval."""

    months: int
    days: int
    microseconds: int


@final
class Interval(dt.timedelta):
    """An interval whose months, days and microseconds are kept apart, as PostgreSQL
    keeps them ("Date/Time Types", 8.5.4): a month has no fixed length, and a day not
    always 24 hours.

    As a timedelta it counts 365 days for a year, 30 for a month, and compares and
    calculates like one; the result of arithmetic is a plain timedelta.
    Raises OverflowError where a timedelta would.
    """

    __slots__ = ("_parts",)
    _parts: IntervalParts

    def __new__(cls, months: int = 0, days: int = 0, microseconds: int = 0) -> Interval:
        years, rest = divmod(abs(months), 12)
        month_days = (years * 365 + rest * 30) * (-1 if months < 0 else 1)
        self = super().__new__(cls, days=month_days + days, microseconds=microseconds)
        self._parts = IntervalParts(months, days, microseconds)
        return self

    @property
    def parts(self) -> IntervalParts:
        """(months, days, microseconds), each with its own sign."""
        return self._parts

    @property
    def months(self) -> int:
        """The months; a year is twelve."""
        return self._parts.months

    def __neg__(self) -> Interval:
        return Interval(*(-part for part in self._parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return Interval, tuple(self._parts)

    def __repr__(self) -> str:
        months, days, microseconds = self._parts
        return f"Interval(months={months}, days={days}, microseconds={microseconds})"

    def __str__(self) -> str:
        return _interval_text(*self._parts)


@final
class Beyond:
    """A value outside of what Python's class for its type can hold: infinity, a year
    before 1 or after 9999, 24:00:00. Made with connect(out_of_range="sentinel").

    It is sent back unchanged, and compares with others and with the objects of the
    datetime module in the order of its type. `kind` is "date", "time", "timetz",
    "timestamp", "timestamptz" or "interval"; None for INFINITY and NEGATIVE_INFINITY,
    which may be sent for each of these but the times.

    A timestamptz that only the session's zone takes over the edge equals the datetime
    of that moment; others equal nothing but another Beyond.
    """

    __slots__ = ("kind", "wire")

    kind: str | None
    wire: bytes  # the binary form; b"+" or b"-" for the infinities of no kind

    def __init__(self, kind: str | None, wire: bytes) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "wire", wire)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Beyond is not changed: {name}")

    @property
    def infinite(self) -> bool:
        """Whether it is infinity or -infinity."""
        return self._sign() != 0

    @property
    def text(self) -> str:
        """PostgreSQL's text for it (ISO; a timestamptz in UTC)."""
        sign = self._sign()
        if sign:
            return "infinity" if sign > 0 else "-infinity"
        number = self._number()
        if self.kind == "date":
            return _date_text(number)
        if self.kind in ("timestamp", "timestamptz"):
            days, rest = divmod(number, _DAY)
            zone = "+00" if self.kind == "timestamptz" else ""
            return _date_text(days, f" {_clock(rest)}{zone}")
        if self.kind == "interval":
            return _interval_text(*self._parts())
        zone = "" if self.kind == "time" else _offset_text(-_int(self.wire[8:]))
        return _clock(_int(self.wire[:8])) + zone

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        kind = "" if self.kind is None else f"{self.kind} "
        return f"<Beyond {kind}{self.text}>"

    def __eq__(self, other: object) -> bool:
        order = self._compare(other)
        return NotImplemented if order is None else order == 0

    def __lt__(self, other: object) -> bool:
        order = self._compare(other)
        return NotImplemented if order is None else order < 0

    def __le__(self, other: object) -> bool:
        order = self._compare(other)
        return NotImplemented if order is None else order <= 0

    def __gt__(self, other: object) -> bool:
        order = self._compare(other)
        return NotImplemented if order is None else order > 0

    def __ge__(self, other: object) -> bool:
        order = self._compare(other)
        return NotImplemented if order is None else order >= 0

    def __hash__(self) -> int:
        if self._sign():
            return hash(self._sign())
        same = self._same()
        return hash((self.kind, self._key()) if same is None else same)

    def __reduce__(self) -> tuple[Any, ...]:
        return Beyond, (self.kind, self.wire)

    # ------------------------------------------------------------------ inside

    def _sign(self) -> int:
        if self.kind is None:
            return 1 if self.wire == b"+" else -1
        if self.kind in ("time", "timetz"):
            return 0
        return {_largest(self.wire): 1, _smallest(self.wire): -1}.get(self.wire, 0)

    def _parts(self) -> tuple[int, int, int]:
        """Of an interval: months, days, microseconds."""
        wire = self.wire
        return _int(wire[12:]), _int(wire[8:12]), _int(wire[:8])

    def _key(self) -> tuple[int, ...]:
        """What finite values are ordered by."""
        if self.kind == "timetz":  # the later of two zones at one moment is larger
            return self._number(), _int(self.wire[8:])
        return (self._number(),)

    def _same(self) -> object:
        """The datetime or date that says the same, if there is one; for __hash__."""
        epoch = _EPOCHS.get(self.kind)
        if epoch is None:
            return None
        unit = dt.timedelta(days=1) if self.kind == "date" else _MICROSECOND
        try:
            return epoch + self._number() * unit
        except OverflowError:
            return None

    def _number(self) -> int:
        """Days of a date, microseconds of the others; finite values only."""
        if self.kind == "interval":
            months, days, microseconds = self._parts()
            return (months * 30 + days) * _DAY + microseconds
        if self.kind == "timetz":
            return _int(self.wire[:8]) + _int(self.wire[8:]) * 1_000_000
        return _int(self.wire)

    def _compare(self, other: object) -> int | None:
        """Below, at or above zero, None for what it cannot be compared with."""
        sign = self._sign()
        if isinstance(other, Beyond):
            other_sign = other._sign()
            if self.kind != other.kind and None not in (self.kind, other.kind):
                return None
            if sign or other_sign:
                return sign - other_sign
            return _order(self._key(), other._key())
        key = _key_of(self.kind, other)
        if key is None:
            return None
        order = sign or _order(self._key(), key)
        if order == 0 and self.kind not in _EPOCHS:
            # Months count 30 days here: as long as that timedelta, but not the same.
            return 1 if self._key() > (0,) else -1
        return order


INFINITY = Beyond(None, b"+")
NEGATIVE_INFINITY = Beyond(None, b"-")


def out_of_range(kind: str, wire: bytes, clamp: bool, zone: dt.tzinfo | None) -> Any:
    """What a value becomes under out_of_range="clamp" or "sentinel"."""
    value = Beyond(kind, wire)
    if not clamp:
        return value
    if kind in ("time", "timetz"):
        west = _int(wire[8:]) if kind == "timetz" else 0
        offset = dt.timezone(dt.timedelta(seconds=-west))
        return dt.time.max.replace(tzinfo=offset if kind == "timetz" else None)
    above = value._sign() > 0 or (not value.infinite and value._number() > 0)
    if kind == "date":
        return dt.date.max if above else dt.date.min
    if kind == "interval":
        return dt.timedelta.max if above else dt.timedelta.min
    moment = dt.datetime.max if above else dt.datetime.min
    if kind == "timestamp":
        return moment
    return moment.replace(tzinfo=zone if zone is not None else dt.timezone.utc)


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _largest(wire: bytes) -> bytes:
    """Infinity in so many bytes: an interval's consists of three largest integers."""
    sizes = (8, 4, 4) if len(wire) == 16 else (len(wire),)
    return b"".join(b"\x7f" + b"\xff" * (size - 1) for size in sizes)


def _smallest(wire: bytes) -> bytes:
    sizes = (8, 4, 4) if len(wire) == 16 else (len(wire),)
    return b"".join(b"\x80" + b"\0" * (size - 1) for size in sizes)


def _order(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return (one > other) - (one < other)


def _key_of(kind: str | None, value: object) -> tuple[int, ...] | None:
    """As Beyond._key() of a Python object of that kind; None of another."""
    number = _number_of(kind, value)
    if number is None:
        return None
    if kind == "timetz" and isinstance(value, dt.time):
        return number, -((value.utcoffset() or dt.timedelta()) // _SECOND)
    return (number,)


def _number_of(kind: str | None, value: object) -> int | None:
    """As Beyond._number() of a Python object of that kind; None of another."""
    if isinstance(value, dt.datetime):
        aware = value.utcoffset() is not None
        if kind not in (None, "timestamptz" if aware else "timestamp"):
            return None
        if aware:
            epoch = _EPOCH_TIME.replace(tzinfo=dt.timezone.utc)
            return (value - epoch) // _MICROSECOND
        return (value - _EPOCH_TIME) // _MICROSECOND
    if isinstance(value, dt.date):
        return (value - _EPOCH).days if kind in (None, "date") else None
    if isinstance(value, dt.timedelta):
        if kind not in (None, "interval"):
            return None
        if isinstance(value, Interval):
            months, days, microseconds = value.parts
            return (months * 30 + days) * _DAY + microseconds
        return value // _MICROSECOND
    if isinstance(value, dt.time):
        offset = value.utcoffset()
        if kind != ("time" if offset is None else "timetz"):
            return None
        clock = (value.hour * 60 + value.minute) * 60 + value.second
        number = clock * 1_000_000 + value.microsecond
        return number if offset is None else number - offset // _MICROSECOND
    return None


def _date_text(days: int, rest: str = "") -> str:
    """`days` from 2000-01-01, in any year."""
    cycles, days = divmod(days, _CYCLE_DAYS)
    date = _EPOCH + dt.timedelta(days=days)
    year = date.year + 400 * cycles
    era = ""
    if year < 1:
        year, era = 1 - year, " BC"
    return f"{year:04d}-{date.month:02d}-{date.day:02d}{rest}{era}"


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02d}:{minute:02d}:{second:02d}"
    return text + f".{fraction:06d}".rstrip("0") if fraction else text


def _offset_text(seconds: int) -> str:
    """East of Greenwich: +05:30, -08, +00:19:32."""
    minutes, second = divmod(abs(seconds), 60)
    hour, minute = divmod(minutes, 60)
    text = f"{'-' if seconds < 0 else '+'}{hour:02d}"
    if minute or second:
        text += f":{minute:02d}"
    return text + f":{second:02d}" if second else text


def _interval_text(months: int, days: int, microseconds: int) -> str:
    """As IntervalStyle postgres prints it."""
    years, months = divmod(abs(months), 12) if months >= 0 else _negative(months)
    words, negative = [], False
    for number, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if number:
            sign = "+" if negative and number > 0 else ""
            plural = "" if number == 1 else "s"
            words.append(f"{sign}{number} {unit}{plural}")
            negative = number < 0
    if microseconds or not words:
        sign = "-" if microseconds < 0 else "+" if negative else ""
        words.append(sign + _clock(abs(microseconds)))
    return " ".join(words)


def _negative(months: int) -> tuple[int, int]:
    years, rest = divmod(-months, 12)
    return -years, -rest
