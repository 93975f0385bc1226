"""Arrays of every type, and headers that lie."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from decimal import Decimal
from typing import Any

import pytest

from codec.checks import (
    OIDS,
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_same,
    assert_sent_as,
    encode,
    names,
    round_trip,
)
from pgasync.errors import DataError
from pgasync.types import Box, Circle, Line, LineSegment, Path, Point, Polygon

UTC = dt.timezone.utc
ONE = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
ORIGIN = Point(0.0, 0.0)
CUBE = [[[[[[1, None]]]]], [[[[[3, 4]]]]]]

CASES: list[Case] = [
    ("int4[]", [], "'{}'"),
    ("int4[]", [1, 2, 3], "'{1,2,3}'"),
    ("int4[]", [None], "'{NULL}'"),
    ("int4[]", [1, None, 3], "'{1,NULL,3}'"),
    ("int4[]", [[1, 2], [3, None]], "'{{1,2},{3,NULL}}'"),
    ("int4[]", CUBE, "'{{{{{{1,NULL}}}}},{{{{{3,4}}}}}}'"),
    ("int4[]", list(range(5000)), "array(select generate_series(0, 4999))"),
    ("bool[]", [True, False, None], "'{t,f,NULL}'"),
    ("int2[]", [-1, 32767], "'{-1,32767}'"),
    ("int8[]", [-1, 2**62], f"'{{-1,{2**62}}}'"),
    ("oid[]", [0, 4294967295], "'{0,4294967295}'"),
    ("float4[]", [1.5, float("inf")], "'{1.5,inf}'"),
    ("float8[]", [0.1, float("nan")], "'{0.1,NaN}'"),
    ("numeric[]", [Decimal("1.10"), Decimal("NaN")], "'{1.10,NaN}'"),
    (
        "text[]",
        ["", "a,b", 'q"q', "NULL", "é", None],
        '\'{"","a,b","q\\"q","NULL",é,NULL}\'',
    ),
    ("varchar[]", ["a", ""], "'{a,\"\"}'"),
    ("bpchar[]", ["a "], "'{\"a \"}'"),
    ("name[]", ["pg_class"], "'{pg_class}'"),
    ('"char"[]', ["a", "\\377"], "'{a,\"\\\\377\"}'"),
    ("bytea[]", [b"", b"\0\xff"], '\'{"","\\\\x00ff"}\''),
    ("uuid[]", [ONE, None], f"'{{{ONE},NULL}}'"),
    ("date[]", [dt.date(2024, 2, 29)], "'{2024-02-29}'"),
    ("time[]", [dt.time(1, 2)], "'{01:02}'"),
    ("timestamp[]", [dt.datetime(2024, 2, 29, 1)], "'{2024-02-29 01:00}'"),
    (
        "timestamptz[]",
        [dt.datetime(2024, 2, 29, tzinfo=UTC)],
        "'{2024-02-29 00:00+00}'",
    ),
    ("interval[]", [dt.timedelta(1)], "'{1 day}'"),
    ("json[]", [{"a": 1}, None], "array['{\"a\": 1}', null]"),
    ("jsonb[]", [{"a": [1]}, None, 5], "array['{\"a\": [1]}', null, '5']"),
    ("point[]", [ORIGIN, None], "'{\"(0,0)\",NULL}'"),
    ("line[]", [[Line(1.0, 2.0, 3.0)], [None]], "'{{\"{1,2,3}\"},{NULL}}'"),
    ("lseg[]", [LineSegment(ORIGIN, ORIGIN)], "'{\"[(0,0),(0,0)]\"}'"),
    ("box[]", [Box(ORIGIN, ORIGIN), None], "'{(0,0),(0,0);NULL}'"),
    ("circle[]", [Circle(ORIGIN, 1.0)], "'{\"<(0,0),1>\"}'"),
    ("path[]", [Path([ORIGIN]), Path([ORIGIN], True)], '\'{"[(0,0)]","((0,0))"}\''),
    ("polygon[]", [Polygon([ORIGIN])], "'{\"((0,0))\"}'"),
]

SENT: list[Case] = [
    ("int4[]", (1, 2), "'{1,2}'"),
    ("int4[]", [(1, 2), [3, 4]], "'{{1,2},{3,4}}'"),
    ("int4[]", [[], []], "'{}'"),
    ("int4[]", "{1,2}", "'{1,2}'"),
    ("int4[]", "[0:1]={1,2}", "'[0:1]={1,2}'"),
    ("int4[]", [True, 2.0, Decimal(3)], "'{1,2,3}'"),
    ("numeric[]", [1, 2.5], "'{1,2.5}'"),
    ("text[]", [1, "b"], "'{1,b}'"),
    ("uuid[]", [str(ONE), ONE.bytes], f"'{{{ONE},{ONE}}}'"),
    ("jsonb[]", [['{"a": 1}'], ["[2]"]], "array[['{\"a\": 1}'::jsonb], ['[2]']]"),
    ("timestamp[]", [dt.date(2024, 2, 29)], "'{2024-02-29}'"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", CASES, ids=names)
def test_round_trip(case: Case) -> None:
    assert_same(round_trip(case[0], case[1]), case[1])


def test_every_array_type_is_covered() -> None:
    assert {name for name in OIDS if name.endswith("[]")} == {case[0] for case in CASES}


async def test_lower_bounds_are_not_seen(conn: Any) -> None:
    assert await conn.fetchval("select '[5:6]={1,2}'::int[]") == [1, 2]


async def test_any(conn: Any) -> None:
    sql = "select count(*) from generate_series(1, 10) i where i = any($1)"
    assert await conn.fetchval(sql, [[1, 5, 99]]) == 2
    assert await conn.fetchval(sql, [[]]) == 0


SHAPE = "same length and depth"


@pytest.mark.parametrize(
    ("pg_type", "value", "culprit", "words"),
    [
        ("int4[]", {1, 2}, "{1, 2}", "list(value)"),
        ("int4[]", 5, "5", "list or tuple"),
        ("int4[]", b"12", "b'12'", "list or tuple"),
        ("int4[]", [1, [2]], "[2]", SHAPE),
        ("int4[]", [[1], 2], "2", SHAPE),
        ("int4[]", [[1], None], "None", SHAPE),
        ("int4[]", [[1], [2, 3]], "[2, 3]", SHAPE),
        ("int4[]", [[1], []], "[]", SHAPE),
        ("int4[]", [[], [1]], "[1]", SHAPE),
        ("int4[]", [[[1]], [[1, 2]]], "[1, 2]", SHAPE),
        ("int4[]", [[[[[[[1]]]]]]], "[[[[[[[1]]]]]]]", "6 dimensions"),
        ("int4[]", ["1"], "'1'", "give elements as int4, or the whole array as a str"),
        ("date[]", ["infinity"], "'infinity'", "give elements as date"),
        ("text[]", ["a\0"], "'a\\x00'", "NUL"),
    ],
)
def test_refused(pg_type: str, value: object, culprit: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        encode(pg_type, value)
    assert str(caught.value).startswith(f"$1: cannot send {culprit} (")
    assert words in str(caught.value)


def test_an_elements_own_error() -> None:
    with pytest.raises(
        DataError, match=r"^\$1: cannot send 2147483648 \(int\) as int4"
    ):
        encode("int4[]", [1, 2**31])


def test_a_list_that_holds_itself() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert_refused("int4[]", circle, "6 dimensions")


def test_a_list_that_changes_while_it_is_sent() -> None:
    class Clear:
        def __init__(self, target: list[Any]) -> None:
            self.target = target

        def __index__(self) -> int:
            self.target.clear()
            return 7

    flat: list[Any] = [1]
    flat += [Clear(flat), 2, 3]
    assert round_trip("int4[]", flat) == [1, 7, 2, 3]
    assert flat == []
    nested: list[Any] = [[1, 2], [3, 4]]
    nested[0][0] = Clear(nested)
    assert round_trip("int4[]", nested) == [[7, 2], [3, 4]]
    inner: list[Any] = [[1, 2], [3, 4]]
    inner[0][0] = Clear(inner[1])
    with pytest.raises(DataError, match=SHAPE):
        encode("int4[]", inner)


def header(dims: int, flags: int, elem: int, *pairs: int) -> bytes:
    return struct.pack(f"!iiI{len(pairs)}i", dims, flags, elem, *pairs)


INT4 = OIDS["int4"]
HUGE = 2**31 - 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\1",
        header(0, 0, INT4)[:-1],
        header(0, 0, INT4) + b"\0",
        header(-1, 0, INT4),
        header(7, 0, INT4, *[1, 1] * 7) + b"\xff" * 4,
        header(-(2**31), 0, INT4),
        header(HUGE, 0, INT4),
        header(0, 2, INT4),
        header(1, -1, INT4, 1, 1) + b"\xff" * 4,
        header(0, 0, INT4 + 1),
        header(1, 0, OIDS["text"], 1, 1) + b"\xff" * 4,
        header(1, 0, INT4),
        header(1, 0, INT4, 1),
        header(1, 0, INT4, 1, 1),
        header(1, 0, INT4, -1, 1),
        header(1, 0, INT4, HUGE, 1) + b"\xff" * 400,
        header(2, 0, INT4, 65536, 1, 65536, 1) + b"\xff" * 400,
        header(6, 0, INT4, *[HUGE, 1] * 6) + b"\xff" * 400,
        header(2, 0, INT4, HUGE, 1, 0, 1),
        header(1, 0, INT4, 0, 1) + b"\xff" * 4,
        header(1, 0, INT4, 1, 1) + b"\xff" * 8,
        header(1, 0, INT4, 2, 1) + b"\xff" * 7,
        header(1, 0, INT4, 1, 1) + struct.pack("!i", -2),
        header(1, 0, INT4, 1, 1) + struct.pack("!i", HUGE),
        header(1, 0, INT4, 1, 1) + struct.pack("!ii", 5, 0),
        header(1, 0, INT4, 1, 1) + struct.pack("!ih", 2, 0),
        header(1, 0, INT4, 1, 1) + struct.pack("!i", 4),
    ],
    ids=lambda data: data.hex()[:60],
)
def test_lying_headers(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot decode int4"):
        from codec.checks import decode

        decode("int4[]", data)


def test_elements_are_named_when_they_do_not_decode() -> None:
    bad = struct.pack("!iB", 1, 2)
    lying = header(1, 0, OIDS["bool"], 1, 1) + bad
    with pytest.raises(DataError, match="cannot decode bool: byte 2"):
        from codec.checks import decode

        decode("bool[]", lying)
    assert_not_decoded("int4[]", b"", "header")
