"""Geometric values, cubes and vectors; pgasync.types has them all. The str() of each is
PostgreSQL's text form."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, TypeVar


def _listed(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


# Geometric types (PostgreSQL docs, 8.8). Coordinates are floats without a unit; they
# arrive as float, and whatever float() takes may be sent.


class Point(NamedTuple):
    """A point. Any sequence of two numbers is taken for one."""

    x: float
    y: float

    def __str__(self) -> str:
        return f"({_listed(self)})"


class Line(NamedTuple):
    """The infinite line ax + by + c = 0; a and b are not both zero. Any sequence of
    three numbers is taken for one."""

    a: float
    b: float
    c: float

    def __str__(self) -> str:
        return f"{{{_listed(self)}}}"


class LineSegment(NamedTuple):
    """A line segment (lseg). Any sequence of two points is taken for one."""

    start: Point
    end: Point

    def __str__(self) -> str:
        return f"[{_listed(self)}]"


class Box(NamedTuple):
    """A rectangle by two opposite corners, in whatever order they are given: the
    server makes them the upper right and the lower left one. Any sequence of two
    points is taken for one."""

    high: Point
    low: Point

    def __str__(self) -> str:
        return _listed(self)


class Circle(NamedTuple):
    """A circle; the server refuses a negative radius. Any sequence of a point and a
    number is taken for one."""

    center: Point
    radius: float

    def __str__(self) -> str:
        return f"<{_listed(self)}>"


class Path(tuple[Point, ...]):
    """Points connected in order, at least one; `closed` says whether the last one is
    connected to the first. A plain sequence of points is sent as an open path, and
    equal to one."""

    _closed: bool

    def __new__(
        cls, points: Iterable[tuple[float, float]], closed: bool = False
    ) -> Path:
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

    def __str__(self) -> str:
        return f"({_listed(self)})" if self._closed else f"[{_listed(self)}]"


class Polygon(tuple[Point, ...]):
    """The corners of an area, at least one. Any sequence of points is taken for one."""

    __slots__ = ()

    def __new__(cls, points: Iterable[tuple[float, float]]) -> Polygon:
        return super().__new__(cls, [Point(*point) for point in points])

    def __repr__(self) -> str:
        return f"Polygon({list(self)!r})"

    def __str__(self) -> str:
        return f"({_listed(self)})"


class Cube(NamedTuple):
    """A value of the extension cube: two opposite corners of a box in as many
    dimensions as they have coordinates; one point when they are the same. A plain
    sequence of numbers is sent as a point."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __str__(self) -> str:
        return ",".join(f"({_listed(corner)})" for corner in self)


# pgvector's types. array.array is no generic class at run time before Python 3.12.

if TYPE_CHECKING:
    NumberArray = array[float]
else:
    NumberArray = array

_Floats = TypeVar("_Floats", bound="Vector")


class Vector(NumberArray):
    """A vector: an array.array of C floats, so memoryview() and numpy.asarray() see
    its memory without a copy. Any sequence or one-dimensional buffer of numbers is
    taken for one; the server takes 1 to 16000 finite numbers."""

    __slots__ = ()

    def __new__(cls: type[_Floats], values: Iterable[float] = ()) -> _Floats:
        return super().__new__(cls, "f", list(values))  # type: ignore[return-value]

    @property
    def dim(self) -> int:
        return len(self)

    def to_list(self) -> list[float]:
        return self.tolist()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tolist()!r})"

    def __copy__(self: _Floats) -> _Floats:
        return type(self)(self)

    def __deepcopy__(self: _Floats, memo: object) -> _Floats:
        return type(self)(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return type(self), (self.tolist(),)

    def __str__(self) -> str:
        return f"[{_listed(self)}]"


class HalfVector(Vector):
    """A halfvec: an array of C floats like Vector, each rounded to the nearest IEEE
    binary16 when it is sent; one beyond 65504 raises DataError."""

    __slots__ = ()


class SparseVector:
    """A sparsevec: `dim` dimensions, of which those at `indices` (ascending, from 0)
    have `values` other than zero; both are array.array, of C ints and floats. In text
    the server counts from 1."""

    __slots__ = ("dim", "indices", "values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, dim: int, indices: Iterable[int], values: Iterable[float]
    ) -> None:
        self.dim = dim
        self.indices = array("i", indices)
        self.values = array("f", values)
        if len(self.indices) != len(self.values):
            raise ValueError("a SparseVector has as many indices as values")

    @classmethod
    def from_dict(cls, dim: int, values: Mapping[int, float]) -> SparseVector:
        """From values by index, in any order; zeros are left out."""
        indices = sorted(index for index, value in values.items() if value != 0)
        return cls(dim, indices, [values[index] for index in indices])

    def to_dict(self) -> dict[int, float]:
        return dict(zip(self.indices, self.values, strict=True))

    def to_list(self) -> list[float]:
        """All `dim` numbers, the zeros included."""
        numbers = [0.0] * self.dim
        for index, value in zip(self.indices, self.values, strict=True):
            numbers[index] = value
        return numbers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseVector):
            return NotImplemented
        return (self.dim, self.indices, self.values) == (
            other.dim,
            other.indices,
            other.values,
        )

    def __repr__(self) -> str:
        return f"SparseVector.from_dict({self.dim}, {self.to_dict()!r})"

    def __str__(self) -> str:
        pairs = zip(self.indices, self.values, strict=True)
        listed = _listed(f"{index + 1}:{value}" for index, value in pairs)
        return f"{{{listed}}}/{self.dim}"
