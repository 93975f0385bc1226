"""Python classes for PostgreSQL's values that no built-in class stands for."""

from collections.abc import Iterable
from typing import Any, NamedTuple, final

__all__ = [
    "JSON_NULL",
    "Box",
    "Circle",
    "Json",
    "Line",
    "LineSegment",
    "Path",
    "Point",
    "Polygon",
]


@final
class Json:
    """A JSON document for a json or jsonb parameter, whatever `value` is: `Json(None)`
    is JSON's null (None itself is SQL's NULL), `Json("x")` the string "x" (a bare
    str is taken for the text of a document)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Json({self.value!r})"


JSON_NULL = Json(None)


# Geometric types (PostgreSQL docs, 8.8). Coordinates are floats without a unit; they
# arrive as float, and whatever float() takes may be sent.


class Point(NamedTuple):
    """A point. Any sequence of two numbers is taken for one."""

    x: float
    y: float


class Line(NamedTuple):
    """The infinite line ax + by + c = 0; a and b are not both zero. Any sequence of
    three numbers is taken for one."""

    a: float
    b: float
    c: float


class LineSegment(NamedTuple):
    """A line segment (lseg). Any sequence of two points is taken for one."""

    start: Point
    end: Point


class Box(NamedTuple):
    """A rectangle by two opposite corners, in whatever order they are given: the
    server makes them the upper right and the lower left one. Any sequence of two
    points is taken for one."""

    high: Point
    low: Point


class Circle(NamedTuple):
    """A circle; the server refuses a negative radius. Any sequence of a point and a
    number is taken for one."""

    center: Point
    radius: float


class Path(tuple[Point, ...]):
    """Points connected in order, at least one; `closed` says whether the last one is
    connected to the first. A plain sequence of points is sent as an open path, and
    equal to one."""

    _closed: bool

    def __new__(
        cls, points: Iterable[tuple[float, float]], closed: bool = False
    ) -> "Path":
        self = super().__new__(cls, [Point(*point) for point in points])
        self._closed = bool(closed)
        return self

    @property
    def closed(self) -> bool:
        return self._closed

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple):
            closed = isinstance(other, Path) and other._closed
            return self._closed is closed and super().__eq__(other)
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        return f"Path({list(self)!r}, closed={self._closed})"


class Polygon(tuple[Point, ...]):
    """The corners of an area, at least one. Any sequence of points is taken for one."""

    __slots__ = ()

    def __new__(cls, points: Iterable[tuple[float, float]]) -> "Polygon":
        return super().__new__(cls, [Point(*point) for point in points])

    def __repr__(self) -> str:
        return f"Polygon({list(self)!r})"
