"""Arrays of every type, and headers that lie."""

from __future__ import annotations

import array
import collections
import copy
import datetime as dt
import pickle
import struct
import uuid
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network
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
    decode,
    encode,
    names,
    round_trip,
)
from pgasync import _core
from pgasync.errors import DataError
from pgasync.types import (
    Array,
    BitString,
    Box,
    Circle,
    Line,
    LineSegment,
    Lsn,
    Multirange,
    Path,
    Point,
    Polygon,
    Range,
    Snapshot,
)

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
    ("timetz[]", [dt.time(1, tzinfo=UTC), None], "array['01:00+00', null]"),
    ("tid[]", [(1, 2), None], "array['(1,2)'::tid, null]"),
    ("xid[]", [5, None], "array['5'::xid, null]"),
    ("cid[]", [5, None], "array['5'::cid, null]"),
    ("xid8[]", [2**63, None], "array['9223372036854775808'::xid8, null]"),
    ("pg_lsn[]", [Lsn(5), None], "array['0/5'::pg_lsn, null]"),
    ("pg_snapshot[]", [Snapshot(1, 2, ())], "array['1:2:'::pg_snapshot]"),
    ("txid_snapshot[]", [Snapshot(1, 2, ())], "array['1:2:'::txid_snapshot]"),
    ("refcursor[]", ["", None], "array[''::refcursor, null]"),
    ("jsonpath[]", ['$."a"', None], "array['$.a'::jsonpath, null]"),
    ("tsvector[]", ["'a':1", None], "array['a:1'::tsvector, null]"),
    ("tsquery[]", ["'a' & 'b'", None], "array['a & b'::tsquery, null]"),
    ("regproc[]", ["now", None], "array['now'::regproc, null]"),
    ("regprocedure[]", ["sum(integer)"], "array['sum(int4)'::regprocedure]"),
    ("regoper[]", ["||/"], "array['||/'::regoper]"),
    ("regoperator[]", ["+(integer,integer)"], "array['+(int4,int4)'::regoperator]"),
    ("regclass[]", ["pg_class", None], "array['pg_class'::regclass, null]"),
    ("regtype[]", ["integer", None], "array['int4'::regtype, null]"),
    ("regconfig[]", ["english"], "array['english'::regconfig]"),
    ("regdictionary[]", ["simple"], "array['simple'::regdictionary]"),
    ("regnamespace[]", ["pg_catalog"], "array['pg_catalog'::regnamespace]"),
    ("regrole[]", ["postgres"], "array['postgres'::regrole]"),
    ("regcollation[]", ['"C"'], "array['\"C\"'::regcollation]"),
    ("aclitem[]", ["=r/postgres"], "array['=r/postgres'::aclitem]"),
    ("inet[]", [IPv4Address(5), None], "array['0.0.0.5'::inet, null]"),
    ("cidr[]", [IPv4Network("10.0.0.0/8")], "array['10/8'::cidr]"),
    ("macaddr[]", ["08:00:2b:01:02:03"], "'{08:00:2b:01:02:03}'"),
    ("macaddr8[]", ["08:00:2b:01:02:03:04:05"], "'{08:00:2b:01:02:03:04:05}'"),
    ("varbit[]", [BitString("01"), None], "array['01'::varbit, null]"),
    ("bit[]", [BitString("1"), BitString("0")], "array['1'::bit, '0']"),
    ("money[]", [Decimal("1.50"), None], "array['1.50'::money, null]"),
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
    ("int4[]", Array([1, 2], (0,)), "'[0:1]={1,2}'"),
    ("int4[]", Array([1, 2], (-5,)), "'[-5:-4]={1,2}'"),
    ("text[]", Array([["a", None]], (2, 3)), "'[2:2][3:4]={{a,NULL}}'"),
    ("int4[]", Array([1], (2**31 - 2,)), "'[2147483646:2147483646]={1}'"),
    ("jsonb[]", Array([[1], {}, [[]]], (1,)), "array['[1]', '{}', '[[]]']"),
    ("json[]", Array([[[1], 2]], (1, 1)), "array[array['[1]'::json, '2']]"),
    ("int2vector", Array([1, -2], (0,)), "'1 -2'"),
    ("int2vector", Array([], (0,)), "''"),
    ("oidvector", Array([1, 4294967295], (0,)), "'1 4294967295'"),
    (
        "int2vector[]",
        [Array([1, 2], (0,)), Array([3], (0,))],
        "array['1 2', '3']",
    ),
    ("oidvector[]", [[Array([1], (0,))]], "array[array['1'::oidvector]]"),
    ("int4range[]", [Range(1, 2), None], "'{\"[1,2)\",NULL}'"),
    ("int8range[]", [Range(None, 2**40)], f"'{{\"(,{2**40})\"}}'"),
    ("numrange[]", [[Range(Decimal("1.5"), None)]], "'{{\"[1.5,)\"}}'"),
    ("daterange[]", [Range(dt.date(2024, 2, 29))], "'{\"[2024-02-29,)\"}'"),
    ("tsrange[]", [Range(empty=True)], "'{empty}'"),
    ("tstzrange[]", [Range()], "'{\"(,)\"}'"),
    ("int4multirange[]", [Multirange(), None], "'{\"{}\",NULL}'"),
    (
        "int8multirange[]",
        [[Multirange([Range(1, 2), Range(5)])], [Multirange()]],
        "array[array['{[1,2),[5,)}'::int8multirange], array['{}'::int8multirange]]",
    ),
    ("nummultirange[]", [], "'{}'"),
    ("datemultirange[]", [Multirange([Range()])], "array['{(,)}']"),
    ("tsmultirange[]", [], "'{}'"),
    ("tstzmultirange[]", [], "'{}'"),
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
    ("int4[]", range(3), "'{0,1,2}'"),
    ("int4[]", [range(2), (5, 6)], "'{{0,1},{5,6}}'"),
    ("int4[]", collections.deque([1, None]), "'{1,NULL}'"),
    ("int4[]", array.array("i", [1, 2]), "'{1,2}'"),
    ("float8[]", [array.array("d", [1.5])], "'{{1.5}}'"),
    ("int4[]", memoryview(bytes(range(4))).cast("B", [2, 2]), "'{{0,1},{2,3}}'"),
    ("int4[]", collections.UserList([1]), "'{1}'"),
    ("bytea[]", [memoryview(b"a"), bytearray(b"b")], "'{a,b}'"),
    ("bytea[]", [(b"a",)], "'{{a}}'"),
    ("int4[]", Array([1, 2]), "'{1,2}'"),
    ("int4[]", Array([1, 2], (0, 0)), "'{1,2}'"),
    ("int4[]", Array([[1, 2]], (0,)), "'{{1,2}}'"),
    ("int4[]", Array([], (0,)), "'{}'"),
    ("int2[]", Array([1], (0,)), "'[0:0]={1}'"),
    ("int2vector", [1, 2], "'1 2'"),
    ("int2vector", "1 2", "'1 2'"),
    ("oidvector", (7,), "'7'"),
    ("int2vector[]", [Array([1, 2], (0,)), Array([], (0,))], "array['1 2', '']"),
    ("jsonb[]", [{"a": (1, 2)}], "array['{\"a\": [1, 2]}']"),
    ("point[]", [(1, 2), Point(3, 4)], '\'{"(1,2)","(3,4)"}\''),
    # Text in it: the whole of it is text.
    ("int4[]", ["1", 2, None], "'{1,2,NULL}'"),
    ("int4[]", Array([[" 1"], ["2"]], (0, 5)), "'[0:1][5:5]={{1},{2}}'"),
    ("numeric[]", ["1.50", Decimal("2.0"), 3, 2.5], "'{1.50,2.0,3,2.5}'"),
    ("date[]", ["infinity", dt.date(2024, 2, 29)], "'{infinity,2024-02-29}'"),
    ("bool[]", ["yes", False, True], "'{t,f,t}'"),
    (
        "timestamptz[]",
        ["epoch", dt.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)],
        "'{1970-01-01 00:00+00,2024-02-29 01:02:03.000004+00}'",
    ),
    (
        "interval[]",
        ["1 month", dt.timedelta(-1, 5, 6)],
        "'{1 mon,-23:59:54.999994}'",
    ),
    ("time[]", ["allballs", dt.time(1, 2, 3, 4)], "'{00:00,01:02:03.000004}'"),
    ("bytea[]", ["a\\\\b", b"\0"], "array['a\\\\b'::bytea, '\\x00']"),
    ("uuid[]", ["{" + str(ONE) + "}", ONE], f"'{{{ONE},{ONE}}}'"),
    ("int4range[]", ["[1,5)", Range(1, 3)], '\'{"[1,5)","[1,3)"}\''),
    ("box[]", ["(1,1),(0,0)"], "'{(1,1),(0,0)}'"),
    (
        "int4multirange[]",
        ["{}", Multirange([Range(1, 3)]), ((1, 3), "[5,6]")],
        "array['{}'::int4multirange, '{[1,3)}', '{[1,3),[5,7)}']",
    ),
    ("int8[]", ["1", 2**60, True, 2.0], f"'{{1,{2**60},1,2}}'"),
    ("float8[]", ["1", float("nan"), 0.1, -0.0], "'{1,nan,0.1,-0}'"),
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
    if case[0] == "int2vector" and case[1] == []:
        assert encode(*case[:2]) == (0, b"")
        return
    form, data = encode(*case[:2])
    if case[0] in ("tsvector[]", "tsquery[]"):
        assert form == 0  # only the server reads their text
    elif form == 0:
        assert case[0].startswith(("reg", "aclitem"))
        assert_same(decode(case[0], data), case[1])
    else:
        assert_same(round_trip(case[0], case[1]), case[1])


def test_every_array_type_is_covered() -> None:
    arrays = {name for name in OIDS if name.endswith("[]")}
    assert arrays - {"record[]", "xml[]"} <= {case[0] for case in CASES}


async def test_lower_bounds(conn: Any) -> None:
    value = await conn.fetchval("select '[5:6]={1,2}'::int[]")
    assert value == [1, 2]
    assert value.lower_bounds == (5,)
    assert type(await conn.fetchval("select '[1:2]={1,2}'::int[]")) is list
    assert repr(value) == "Array([1, 2], lower_bounds=(5,))"
    for twin in (
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
    ):
        assert (twin, twin.lower_bounds, type(twin)) == (value, (5,), Array)
    value.append(3)
    assert await conn.fetchval("select $1::int[]::text", [value]) == "[5:7]={1,2,3}"


async def test_keys_of_an_index(conn: Any) -> None:
    keys = await conn.fetchval(
        "select indkey from pg_index where indexrelid = 'pg_class_oid_index'::regclass"
    )
    assert keys == [1]
    sql = "select count(*) from pg_index where indkey = $1"
    assert await conn.fetchval(sql, [keys]) > 1


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
        ("int4[]", {}, "{}", "list(value)"),
        ("int4[]", [1, {2}], "{2}", "as int4"),
        ("int4[]", ["1", b"2"], "b'2'", "as int4"),
        ("int4[]", ["1", [2]], "[2]", SHAPE),
        ("int4[]", Array([1], (2**31,)), "Array", "lower_bounds"),
        ("int4[]", Array([1], ("1",)), "Array", "lower_bounds"),  # type: ignore[list-item]
        ("int4[]", Array([1, 2], (2**31 - 1,)), "Array", "upper bound"),
        ("int4[]", Array([1, 2], range(7)), "Array", "lower_bounds"),
        ("jsonb[]", [5, [1]], "[1]", SHAPE),
        ("jsonb[]", Array([[[1]], 5], (1, 1)), "5", SHAPE),
        ("int2vector", [None], "None", "list of int"),
        ("int2vector", [2**15], "32768", "as int2"),
        ("int2vector", ["1"], "'1'", "list of int"),
        ("int2vector", {1}, "{1}", "list of int"),
        ("int2vector", 5, "5", "list of int"),
        ("record[]", [(1,)], "(1,)", "composite type"),
        ("text[]", ["a\0"], "'a\\x00'", "NUL"),
    ],
)
def test_refused(pg_type: str, value: object, culprit: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        encode(pg_type, value)
    assert str(caught.value).startswith(f"$1: cannot send {culprit}")
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
        decode("int4[]", data)


def test_elements_are_named_when_they_do_not_decode() -> None:
    bad = struct.pack("!iB", 1, 2)
    lying = header(1, 0, OIDS["bool"], 1, 1) + bad
    with pytest.raises(DataError, match="cannot decode bool: byte 2"):
        decode("bool[]", lying)
    assert_not_decoded("int4[]", b"", "header")


class Ndarray:
    """What numpy's arrays have that matters here."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("tolist is there for that")

    def tolist(self) -> Any:
        return self.values


def test_tolist() -> None:
    assert round_trip("int4[]", Ndarray([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert round_trip("int4[]", [Ndarray([1, 2]), [3, 4]]) == [[1, 2], [3, 4]]
    for scalar in (5, None, "x"):
        with pytest.raises(DataError, match="give a list of its elements"):
            encode("int4[]", Ndarray(scalar))


def test_a_vector_that_starts_elsewhere() -> None:
    data = header(1, 0, OIDS["int2"], 1, 1) + struct.pack("!ihh", 2, 5, 0)[:6]
    assert_not_decoded("int2vector", data, "start at 0")
    assert decode("int2[]", data) == [5]


def test_values_of_a_registered_type_may_be_sequences() -> None:
    pair = _core.Codec(
        "text",
        90_001,
        "pair",
        None,
        None,
        ("-".join, lambda text: tuple(text.split("-"))),
    )
    pairs = _core.Codec("array", 90_002, "pair[]", pair)
    assert pairs.is_text
    form, data = _core.codec_encode(pairs, [("a", '"'), None, ("NULL", "")])
    assert (form, data) == (0, b'{"a-\\"",NULL,"NULL-"}')
    assert _core.codec_decode(pairs, data) == [("a", '"'), None, ("NULL", "")]


def test_depth() -> None:
    codec: Any = OIDS["int4"]
    value: Any = 1
    for level in range(32):
        codec = _core.Codec("composite", 90_001 + level, "nest", None, [("a", codec)])
        value = (value,)
        assert _core.codec_decode(codec, _core.codec_encode(codec, value)[1]) == value
    codec = _core.Codec("composite", 90_101, "nest", None, [("a", codec)])
    with pytest.raises(DataError, match="nested too deeply"):
        _core.codec_encode(codec, (value,))
