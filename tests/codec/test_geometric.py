"""point, line, lseg, box, circle, path and polygon: tuples of floats."""

from __future__ import annotations

import copy
import math
import pickle
import struct
from collections import deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from codec.checks import (
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_same,
    assert_sent_as,
    decode,
    encode,
    names,
)
from pgasync.errors import DataError
from pgasync.types import Box, Circle, Line, LineSegment, Path, Point, Polygon

INF = float("inf")
NAN = float("nan")
TINY = 5e-324
HUGE = 1.7976931348623157e308
TRIANGLE = [Point(0.0, 0.0), Point(1.0, 0.0), Point(0.5, 2.0)]


class OtherPath(list[Any]):
    """A path as asyncpg has it."""

    def __init__(self, points: Any, is_closed: bool) -> None:
        super().__init__(points)
        self.is_closed = is_closed


CASES: list[Case] = [
    ("point", Point(1.5, -2.25), "'(1.5,-2.25)'"),
    ("point", Point(-0.0, 0.0), "'(-0,0)'"),
    ("point", Point(INF, -INF), "'(Infinity,-Infinity)'"),
    ("point", Point(HUGE, TINY), "'(1.7976931348623157e308,5e-324)'"),
    ("line", Line(1.0, -1.0, 0.0), "'{1,-1,0}'"),
    ("line", Line(-0.0, 3.5, HUGE), "'{-0,3.5,1.7976931348623157e308}'"),
    ("line", Line(INF, 1.0, -INF), "'{Infinity,1,-Infinity}'"),
    ("lseg", LineSegment(Point(0.0, 1.0), Point(2.0, 3.0)), "'[(0,1),(2,3)]'"),
    ("lseg", LineSegment(Point(5.0, 5.0), Point(-0.0, 5.0)), "'[(5,5),(-0,5)]'"),
    ("lseg", LineSegment(Point(-INF, 0.1), Point(INF, 0.2)), "'-inf,0.1,inf,0.2'"),
    ("box", Box(Point(2.0, 3.0), Point(0.0, 1.0)), "'(2,3),(0,1)'"),
    ("box", Box(Point(1.0, 1.0), Point(1.0, 1.0)), "'(1,1),(1,1)'"),
    ("box", Box(Point(INF, HUGE), Point(-INF, -HUGE)), f"'inf,{HUGE},-inf,{-HUGE}'"),
    ("circle", Circle(Point(1.0, -1.0), 2.5), "'<(1,-1),2.5>'"),
    ("circle", Circle(Point(-0.0, 0.0), 0.0), "'<(-0,0),0>'"),
    ("circle", Circle(Point(HUGE, TINY), INF), f"'<({HUGE},5e-324),inf>'"),
    ("path", Path([(1.0, 2.0)]), "'[(1,2)]'"),
    ("path", Path([(1.0, 2.0)], closed=True), "'((1,2))'"),
    ("path", Path(TRIANGLE), "'[(0,0),(1,0),(0.5,2)]'"),
    ("path", Path(TRIANGLE, closed=True), "'((0,0),(1,0),(0.5,2))'"),
    ("path", Path([(INF, -INF)] * 300, True), f"'({','.join(['(inf,-inf)'] * 300)})'"),
    ("polygon", Polygon([(1.0, 2.0)]), "'((1,2))'"),
    ("polygon", Polygon(TRIANGLE), "'((0,0),(1,0),(0.5,2))'"),
    ("polygon", Polygon([(-0.0, 1.0)] * 300), f"'({','.join(['(-0,1)'] * 300)})'"),
]  # fmt: skip


class Pair:
    """A sequence of its own, without a base class."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> float:
        return (3.5, 4.5)[index]


SENT: list[Case] = [
    ("point", (1, 2), "'(1,2)'"),
    ("point", [1, 2.5], "'(1,2.5)'"),
    ("point", (Decimal("0.1"), Fraction(1, 4)), "'(0.1,0.25)'"),
    ("point", Pair(), "'(3.5,4.5)'"),
    ("point", deque([1, 2]), "'(1,2)'"),
    ("point", range(2), "'(0,1)'"),
    ("point", "(1,2)", "'(1,2)'"),
    ("point", " ( 1 , 2 ) ", "'(1,2)'"),
    ("line", (1, 2, 3), "'{1,2,3}'"),
    ("line", "{1,2,3}", "'{1,2,3}'"),
    ("lseg", ((0, 1), (2, 3)), "'[(0,1),(2,3)]'"),
    ("lseg", [[0, 1], Point(2, 3)], "'[(0,1),(2,3)]'"),
    ("lseg", "[(0,1),(2,3)]", "'[(0,1),(2,3)]'"),
    # Corners in any order: the server makes them the upper right and the lower left.
    ("box", Box(Point(0, 3), Point(2, 1)), "'(2,3),(0,1)'"),
    ("box", ((0, 1), (2, 3)), "'(2,3),(0,1)'"),
    ("box", "0,1,2,3", "'(2,3),(0,1)'"),
    ("circle", ((1, 2), 3), "'<(1,2),3>'"),
    ("circle", "<(1,2),3>", "'<(1,2),3>'"),
    ("path", [(1, 2), (3, 4)], "'[(1,2),(3,4)]'"),
    ("path", ((1, 2), (3, 4)), "'[(1,2),(3,4)]'"),
    ("path", Polygon([(1, 2), (3, 4)]), "'[(1,2),(3,4)]'"),
    ("path", OtherPath([(1, 2), (3, 4)], True), "'((1,2),(3,4))'"),
    ("path", OtherPath([(1, 2), (3, 4)], False), "'[(1,2),(3,4)]'"),
    ("path", "((1,2),(3,4))", "'((1,2),(3,4))'"),
    ("polygon", [(1, 2), [3, 4]], "'((1,2),(3,4))'"),
    ("polygon", Path([(1, 2), (3, 4)]), "'((1,2),(3,4))'"),
    ("polygon", "((1,2),(3,4))", "'((1,2),(3,4))'"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_arrays(conn: Any, case: Case) -> None:
    pg_type, value, literal = case
    element = f"{literal}::{pg_type}"
    for sent, array in [
        ([value, None], f"array[{element}, null]"),
        ([[[value]], [[None]]], f"array[array[array[{element}]],array[array[null]]]"),
    ]:
        await assert_both_ways(conn, (f"{pg_type}[]", sent, array))
    # At the top a tuple is an array as well; below it is an element.
    await assert_sent_as(
        conn, (f"{pg_type}[]", (value, value), f"array[{element},{element}]")
    )


async def test_arrays_of_boxes_as_text(conn: Any) -> None:
    text = "{(2,3),(0,1);(1,1),(0,0)}"
    boxes = [
        Box(Point(2.0, 3.0), Point(0.0, 1.0)),
        Box(Point(1.0, 1.0), Point(0.0, 0.0)),
    ]
    assert await conn.fetchval("select $1::box[]", [text]) == boxes
    assert await conn.fetchval("select $1::box[]::text", [boxes]) == text


async def test_arrays_of_open_and_closed_paths(conn: Any) -> None:
    paths = [Path(TRIANGLE), Path(TRIANGLE, closed=True), Path([(1.0, 2.0)])]
    got = await conn.fetchval("select $1::path[]", [paths])
    assert got == paths
    assert [path.closed for path in got] == [False, True, False]


@pytest.mark.parametrize(
    ("pg_type", "value", "words"),
    [
        ("point", 5, "give a Point, or a tuple (x, y) of numbers"),
        ("point", (1,), "give a Point"),
        ("point", (1, 2, 3), "give a Point"),
        ("point", (1, "2"), "give a Point"),
        ("point", (1, None), "give a Point"),
        ("point", (True, False), "give a Point"),
        ("point", (10**400, 1), "give a Point"),
        ("point", {1: 2, 3: 4}, "give a Point"),
        ("point", {1, 2}, "give a Point"),
        ("point", b"ab", "give a Point"),
        ("point", bytearray(b"ab"), "give a Point"),
        ("point", Circle(Point(1, 2), 3), "give a Point"),
        ("line", (1, 2), "give a Line"),
        ("lseg", (0, 1, 2, 3), "give a LineSegment"),
        ("lseg", ((0, 1), (2, 3, 4)), "give a LineSegment"),
        ("box", ((0, 1),), "give a Box"),
        ("circle", (1, 2, 3), "give a Circle"),
        ("circle", ((1, 2), (3, 4)), "give a Circle"),
        ("path", (), "give a Path"),
        ("path", (1, 2), "give a Path"),
        ("path", [(1, 2), (3,)], "give a Path"),
        ("polygon", [], "give a Polygon"),
        ("polygon", 7, "give a Polygon"),
        ("polygon", [(1, 2), "(3,4)"], "give a Polygon"),
    ],
)
def test_refused(pg_type: str, value: object, words: str) -> None:
    assert_refused(pg_type, value, words)


def test_what_failed_is_the_cause() -> None:
    class Broken:
        def __repr__(self) -> str:
            return "Broken()"

        def __float__(self) -> float:
            raise ZeroDivisionError("no")

    error = assert_refused("circle", ((1, Broken()), 3), "give a Circle")
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_a_list_of_numbers_is_no_element() -> None:
    with pytest.raises(Exception, match="give a Point"):
        encode("point[]", [[1, 2], [3, 4]])
    with pytest.raises(Exception, match="same length and depth"):
        encode("point[]", [[(1, 2)], (3, 4)])


def points(*numbers: float) -> bytes:
    return struct.pack(f"!{len(numbers)}d", *numbers)


@pytest.mark.parametrize(
    ("pg_type", "data", "words"),
    [
        ("point", b"", "a value of 0 bytes, not 16"),
        ("line", points(1, 2), "a value of 16 bytes, not 24"),
        ("lseg", points(1, 2, 3), "a value of 24 bytes, not 32"),
        ("box", points(1, 2, 3, 4, 5), "a value of 40 bytes, not 32"),
        ("circle", points(1, 2, 3)[1:], "a value of 23 bytes, not 24"),
        ("path", b"", "number of points"),
        ("path", b"\2\0\0\0\1" + points(1, 2), "byte 2 tells neither"),
        ("path", b"\1\0\0\0\2" + points(1, 2), "number of points"),
        ("path", b"\1\0\0\0\1" + points(1, 2, 3), "number of points"),
        ("path", b"\1\x7f\xff\xff\xff", "number of points"),
        ("polygon", b"\0\0\0", "number of points"),
        ("polygon", b"\xff\xff\xff\xff", "number of points"),
        ("polygon", b"\x10\0\0\1" + points(1, 2), "number of points"),
        ("polygon", b"\0\0\0\1" + points(1, 2) + b"\0", "number of points"),
    ],
)
def test_malformed(pg_type: str, data: bytes, words: str) -> None:
    assert_not_decoded(pg_type, data, words)


def test_nan() -> None:
    for pg_type, value in [("point", (NAN, 1.0)), ("line", (1.0, NAN, 0.0))]:
        got = decode(pg_type, encode(pg_type, value)[1])
        assert [math.isnan(number) for number in got] == [n is NAN for n in value]


async def test_nan_on_the_server(conn: Any) -> None:
    row = await conn.fetchrow("select $1::point, $1::point::text", [(NAN, -0.0)])
    assert row[1] == "(NaN,-0)"
    assert math.isnan(row[0].x) and math.copysign(1, row[0].y) == -1


@pytest.mark.parametrize(
    ("pg_type", "value"), [("circle", ((0, 0), -1)), ("line", (0, 0, 1))]
)
async def test_refused_by_the_server(conn: Any, pg_type: str, value: object) -> None:
    with pytest.raises(Exception) as caught:
        await conn.fetchval(f"select $1::{pg_type}", [value])
    assert caught.value.sqlstate in ("22P02", "22P03", "22023")  # type: ignore[attr-defined]
    assert await conn.fetchval("select 1") == 1


# The classes


VALUES = [case[1] for case in CASES]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_decoded_values_are_whole(value: Any) -> None:
    pg_type = {LineSegment: "lseg"}.get(type(value), type(value).__name__.lower())
    got = decode(pg_type, encode(pg_type, value)[1])
    assert_same(got, value)
    assert hash(got) == hash(value)
    assert repr(got) == repr(value)
    for twin in (copy.copy(got), copy.deepcopy(got), pickle.loads(pickle.dumps(got))):
        assert_same(twin, got)
        assert getattr(twin, "closed", None) == getattr(got, "closed", None)
    point = got
    while not isinstance(point, (Point, Line)):
        point = point[0]
    assert all(type(number) is float for number in point)


def test_points_in_shapes_are_points() -> None:
    assert decode("circle", points(1, 2, 3)).center.y == 2
    assert decode("box", points(3, 4, 1, 2)).low.x == 1
    assert decode("lseg", points(1, 2, 3, 4)).end.y == 4
    assert decode("polygon", b"\0\0\0\1" + points(1, 2))[0].y == 2
    assert Polygon([(1, 2)])[0].x == 1


def test_path() -> None:
    is_open, closed = Path(TRIANGLE), Path(TRIANGLE, closed=True)
    assert not is_open.closed and closed.closed
    assert is_open != closed and closed != is_open
    assert is_open == tuple(TRIANGLE) and tuple(TRIANGLE) == is_open
    assert closed != tuple(TRIANGLE) and tuple(TRIANGLE) != closed
    assert (is_open == 5) is False and is_open != 5
    assert hash(is_open) == hash(tuple(TRIANGLE))
    assert repr(Path([(1, 2)], True)) == "Path([Point(x=1, y=2)], closed=True)"
    assert repr(Polygon([(1, 2)])) == "Polygon([Point(x=1, y=2)])"
    with pytest.raises(AttributeError):
        is_open.closed = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        Path([1, 2])  # type: ignore[list-item]


def test_a_path_whose_closed_fails() -> None:
    class Odd(Path):
        @property
        def closed(self) -> bool:
            raise RuntimeError("closed")

    assert_refused("path", Odd(TRIANGLE), "give a Path")


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_str_is_the_text_form(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, (case[0], str(case[1]), case[2]))


async def test_beside_what_travels_as_text(conn: Any) -> None:
    await conn.execute(
        "create type pg_temp.placed as (at point, area polygon, who aclitem)"
    )
    who = "postgres=r/postgres"
    sql = "select $1::pg_temp.placed::text"
    got = await conn.fetchval(sql, [((1, 2.5), TRIANGLE, who)])
    literal = f"row('(1,2.5)'::point, '{Polygon(TRIANGLE)}'::polygon, '{who}'::aclitem)"
    assert got == await conn.fetchval(f"select {literal}::pg_temp.placed::text")


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_where_the_server_cannot_tell_the_type(conn: Any, case: Case) -> None:
    pg_type, value, _ = case
    assert await conn.fetchval("select pg_typeof($1)::text", [value]) == pg_type
    array = await conn.fetchval("select pg_typeof($1)::text", [[value, None]])
    assert array == f"{pg_type}[]"


async def test_a_wrong_value_leaves_the_connection_in_order(conn: Any) -> None:
    for pg_type in ("point", "line", "lseg", "box", "circle", "path", "polygon"):
        with pytest.raises(DataError, match=f"as {pg_type}: give a"):
            await conn.fetchval(f"select $1::{pg_type}", [object()])
        assert await conn.fetchval("select 1") == 1
