"""Python classes for PostgreSQL's values that no built-in class stands for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, final

from .bits import BitString
from .jsontext import JSON_NULL, Json
from .jsontext import decimal_exact as decimal_exact
from .jsontext import dumps as json_exact_dumps  # noqa: F401
from .shapes import (
    Box,
    Circle,
    Cube,
    HalfVector,
    Line,
    LineSegment,
    Path,
    Point,
    Polygon,
    SparseVector,
    Vector,
)
from .shapes import NumberArray as NumberArray
from .system import Lsn, Snapshot
from .temporal import (
    INFINITY,
    NEGATIVE_INFINITY,
    Beyond,
    Interval,
    IntervalParts,
)
from .temporal import out_of_range as out_of_range
from .textform import text_of as text_of
from .textform import text_to as text_to

__all__ = [
    "INFINITY",
    "JSON_NULL",
    "NEGATIVE_INFINITY",
    "Array",
    "Beyond",
    "BitString",
    "Box",
    "Circle",
    "Cube",
    "HalfVector",
    "Interval",
    "IntervalParts",
    "Json",
    "Line",
    "LineSegment",
    "Lsn",
    "Multirange",
    "Path",
    "Point",
    "Polygon",
    "Range",
    "Snapshot",
    "SparseVector",
    "Vector",
]


# Containers


class Array(list[Any]):
    """A list whose dimensions are not counted from 1 (PostgreSQL docs, 8.15), or that
    holds JSON documents which are lists. Sent back, it keeps `lower_bounds`: one int
    per dimension; as long as it has as many dimensions."""

    __slots__ = ("lower_bounds",)

    lower_bounds: tuple[int, ...]

    def __init__(
        self, items: Iterable[Any] = (), lower_bounds: Iterable[int] = ()
    ) -> None:
        super().__init__(items)
        self.lower_bounds = tuple(lower_bounds)

    def __repr__(self) -> str:
        return f"Array({super().__repr__()}, lower_bounds={self.lower_bounds!r})"


T = TypeVar("T")


@final
class Range(Generic[T]):
    """A range of any type (PostgreSQL docs, 8.17). A bound of None is infinite;
    `bounds` says which of the two belong to it: "[)", "[]", "(]" or "()"; ValueError
    for anything else. (A lower bound above the upper one is for the server to refuse:
    bounds may be str in any spelling.)

    Immutable, hashable and ordered as the server orders ranges. Equal are ranges with
    the same normal form, which is what the server sends: of int and date "[)", and
    what holds nothing is empty."""

    __slots__ = ("bounds", "empty", "lower", "upper")

    lower: T | None
    upper: T | None
    bounds: str
    empty: bool

    def __init__(
        self,
        lower: T | None = None,
        upper: T | None = None,
        bounds: str = "[)",
        *,
        empty: bool = False,
    ) -> None:
        if bounds not in _BOUNDS:
            raise ValueError(f"bounds are '[)', '[]', '(]' or '()', not {bounds!r}")
        if lower is not None and upper is not None and not empty:
            empty = bounds != "[]" and bool(lower == upper)
        if empty:
            lower, upper, bounds = None, None, "[)"
        elif lower is None or upper is None:
            bounds = ("(" if lower is None else bounds[0]) + (
                ")" if upper is None else bounds[1]
            )
        put = object.__setattr__
        put(self, "lower", lower)
        put(self, "upper", upper)
        put(self, "bounds", bounds)
        put(self, "empty", empty)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Range is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Range is immutable: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        if self.empty:
            return _empty_range, ()
        return Range, (self.lower, self.upper, self.bounds)

    @property
    def lower_inc(self) -> bool:
        """Whether the lower bound belongs to the range."""
        return not self.empty and self.bounds[0] == "["

    @property
    def upper_inc(self) -> bool:
        """Whether the upper bound belongs to the range."""
        return not self.empty and self.bounds[1] == "]"

    @property
    def lower_inf(self) -> bool:
        """Whether there is no lower bound."""
        return not self.empty and self.lower is None

    @property
    def upper_inf(self) -> bool:
        """Whether there is no upper bound."""
        return not self.empty and self.upper is None

    @property
    def isempty(self) -> bool:
        """Whether it holds nothing; `empty` by another name."""
        return self.empty

    def __contains__(self, value: Any) -> bool:
        if self.empty:
            return False
        if self.lower is not None and not (
            value > self.lower or (self.bounds[0] == "[" and value == self.lower)
        ):
            return False
        return self.upper is None or bool(
            value < self.upper or (self.bounds[1] == "]" and value == self.upper)
        )

    def _normal(self) -> tuple[Any, Any, str, bool]:
        """What makes ranges equal. Those of int and date start at the first value in
        them and end before the first behind."""
        lower: Any = self.lower
        upper: Any = self.upper
        bounds = self.bounds
        if lower is not None and bounds[0] == "(":
            step = _step(lower)
            if step is not None:
                lower, bounds = lower + step, "[" + bounds[1]
        if upper is not None and bounds[1] == "]":
            step = _step(upper)
            if step is not None:
                upper, bounds = upper + step, bounds[0] + ")"
        empty = self.empty or (
            lower is not None and bounds != "[]" and bool(lower == upper)
        )
        return (None, None, "[)", True) if empty else (lower, upper, bounds, False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Range):
            return NotImplemented
        return self._normal() == other._normal()

    def __hash__(self) -> int:
        return hash(self._normal())

    def _before(self, other: Range[T]) -> bool:
        lower, upper, bounds, empty = self._normal()
        lower_2, upper_2, bounds_2, empty_2 = other._normal()
        if empty or empty_2:
            return empty and not empty_2
        # An absent lower bound comes before every other one, an absent upper behind;
        # at the same place "[" comes before "(", and ")" before "]".
        if lower != lower_2:
            return lower is None or (lower_2 is not None and bool(lower < lower_2))
        if bounds[0] != bounds_2[0]:
            return bounds[0] == "["
        if upper != upper_2:
            return upper_2 is None or (upper is not None and bool(upper < upper_2))
        return bounds[1] == ")" and bounds_2[1] == "]"

    def __lt__(self, other: Range[T]) -> bool:
        return self._before(other) if isinstance(other, Range) else NotImplemented

    def __gt__(self, other: Range[T]) -> bool:
        return other._before(self) if isinstance(other, Range) else NotImplemented

    def __le__(self, other: Range[T]) -> bool:
        return not other._before(self) if isinstance(other, Range) else NotImplemented

    def __ge__(self, other: Range[T]) -> bool:
        return not self._before(other) if isinstance(other, Range) else NotImplemented

    def __str__(self) -> str:
        if self.empty:
            return "empty"
        lower = "" if self.lower is None else _quoted(self.lower)
        upper = "" if self.upper is None else _quoted(self.upper)
        return f"{self.bounds[0]}{lower},{upper}{self.bounds[1]}"

    def __repr__(self) -> str:
        if self.empty:
            return "Range(empty=True)"
        bounds = "" if self.bounds == "[)" else f", {self.bounds!r}"
        return f"Range({self.lower!r}, {self.upper!r}{bounds})"


_BOUNDS = ("()", "(]", "[)", "[]")

# For the C core: how to fill a Range without its __init__, and what to fill in.
RANGE_PARTS = (
    *(vars(Range)[name] for name in ("lower", "upper", "bounds", "empty")),
    *_BOUNDS,
    ("bounds", "empty"),
)


def _empty_range() -> Range[Any]:
    return Range(empty=True)


def _step(bound: object) -> Any:
    """From a value of a discrete type to the next; None: not one."""
    if isinstance(bound, int):
        return 1
    if isinstance(bound, dt.date) and not isinstance(bound, dt.datetime):
        return None if bound == dt.date.max else dt.timedelta(1)
    return None


def _quoted(bound: object) -> str:
    try:
        text = text_of(bound)
    except TypeError:
        text = str(bound)
    if text and not set(text) & set(' \t\n\r\f\v"\\(),[]'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Multirange(tuple[Range[T], ...]):
    """The ranges of a multirange in their order (PostgreSQL docs, 8.17): a tuple of
    Range. Any sequence of ranges may be sent; the server sorts and joins them."""

    __slots__ = ()

    def __str__(self) -> str:
        return "{" + ",".join(str(part) for part in self) + "}"

    def __repr__(self) -> str:
        return f"Multirange([{', '.join(repr(part) for part in self)}])"
