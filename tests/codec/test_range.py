"""Ranges and multiranges: the classes, and both ways of every type."""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import pickle
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import ranges as alchemy

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
from pgasync.infer import infer
from pgasync.types import Multirange, Range

UTC = dt.timezone.utc
DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1)

RANGES: list[Case] = [
    ("int4range", Range(1, 5), "'[1,5)'"),
    ("int4range", Range(-(2**31), 2**31 - 1), "'[-2147483648,2147483647)'"),
    ("int4range", Range(None, 5, "()"), "'(,5)'"),
    ("int4range", Range(1), "'[1,)'"),
    ("int4range", Range(), "'(,)'"),
    ("int4range", Range(empty=True), "'empty'"),
    ("int4range", Range(2, 5), "'(1,4]'"),
    ("int8range", Range(-(2**63), 2**63 - 1), f"'[{-(2**63)},{2**63 - 1})'"),
    ("numrange", Range(Decimal("1.10"), Decimal("1.2"), "(]"), "'(1.10,1.2]'"),
    ("numrange", Range(Decimal("1"), Decimal("1"), "[]"), "'[1,1]'"),
    ("daterange", Range(DAY, dt.date(2024, 3, 2)), "'[2024-02-29,2024-03-01]'"),
    ("daterange", Range(dt.date.min, dt.date.max), "'[0001-01-01,9999-12-31)'"),
    ("tsrange", Range(NOON, None, "()"), "'(2024-02-29 12:00:00.000001,)'"),
    (
        "tstzrange",
        Range(NOON.replace(tzinfo=UTC), NOON.replace(hour=13, tzinfo=UTC), "()"),
        "'(2024-02-29 12:00:00.000001+00,2024-02-29 13:00:00.000001+00)'",
    ),
    ("int4multirange", Multirange(), "'{}'"),
    ("int4multirange", Multirange([Range(1, 3), Range(5)]), "'{[1,3),[5,)}'"),
    ("int8multirange", Multirange([Range(None, 2**40)]), f"'{{(,{2**40})}}'"),
    (
        "nummultirange",
        Multirange([Range(Decimal(1), Decimal(2), "[]"), Range(Decimal(3))]),
        "'{[1,2],[3,)}'",
    ),
    ("datemultirange", Multirange([Range(DAY)]), "'{[2024-02-29,)}'"),
    ("tsmultirange", Multirange([Range(None, NOON)]), f"'{{(,\"{NOON}\")}}'"),
    ("tstzmultirange", Multirange([Range()]), "'{(,)}'"),
]


@dataclass
class Inclusive:
    """As asyncpg's."""

    lower: Any
    upper: Any
    lower_inc: bool = True
    upper_inc: bool = False
    isempty: bool = False


SENT: list[Case] = [
    ("int4range", Range(1, 4, "[]"), "'[1,4]'"),
    ("int4range", "[1,4]", "'[1,4]'"),
    ("int4range", (1, 4), "'[1,4)'"),
    ("int4range", (None, 4), "'(,4)'"),
    ("int4range", (1, None), "'[1,)'"),
    ("int4range", range(1, 4), "'[1,4)'"),
    ("int8range", range(4, 4), "'empty'"),
    ("int4range", Inclusive(1, 4, False, True), "'(1,4]'"),
    ("int4range", Inclusive(None, 4), "'(,4)'"),
    ("int4range", Inclusive(1, 1, isempty=True), "'empty'"),
    ("int4range", alchemy.Range(1, 4, bounds="[]"), "'[1,4]'"),
    ("int4range", alchemy.Range(None, 4), "'(,4)'"),
    ("int4range", alchemy.Range(empty=True), "'empty'"),
    ("numrange", Range(1, 2.5), "'[1,2.5)'"),
    ("int4range", Range("1", 4, "(]"), "'(1,4]'"),
    ("numrange", ("1.50", Decimal("2.50")), "'[1.50,2.50)'"),
    ("daterange", Range("2024-01-01", None), "'[2024-01-01,)'"),
    ("daterange", ("-infinity", "infinity"), "'[-infinity,infinity)'"),
    ("tsrange", ("2024-01-01 10:00", NOON), f"'[2024-01-01 10:00,{NOON})'"),
    ("int4multirange", [Range(1, 2), (5, 6)], "'{[1,2),[5,6)}'"),
    ("int4multirange", [range(3), Range(empty=True)], "'{[0,3)}'"),
    ("int4multirange", (Range(1, 2), "[7,8]"), "'{[1,2),[7,9)}'"),
    ("int4multirange", "{[1,2)}", "'{[1,2)}'"),
    ("int4multirange", [("1", 2), (2, "3")], "'{[1,3)}'"),
    ("nummultirange", [("1", Decimal("1.50"))], "'{[1,1.50)}'"),
    (
        "int4multirange",
        alchemy.MultiRange([alchemy.Range(1, 2), alchemy.Range(5, None)]),
        "'{[1,2),[5,)}'",
    ),
]


@pytest.mark.parametrize("case", RANGES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", RANGES, ids=names)
def test_round_trip(case: Case) -> None:
    assert_same(round_trip(case[0], case[1]), case[1])


def test_every_type_is_covered() -> None:
    ours = {name for name in OIDS if name.endswith("range")}
    assert len(ours) == 12
    assert ours == {case[0] for case in RANGES}


async def test_ranges_that_the_server_refuses(conn: Any) -> None:
    with pytest.raises(DataError, match="lower bound must be less than or equal"):
        await conn.fetchval("select $1::int4range", [Range(5, 1)])
    assert await conn.fetchval("select $1::int4range", [(1, 5)]) == Range(1, 5)


async def test_alchemys_classes_by_option(conn: Any) -> None:
    conn._core.configure(
        {"range_type": alchemy.Range, "multirange_type": alchemy.MultiRange}
    )
    value = await conn.fetchval("select '(1,5]'::numrange")
    assert value == alchemy.Range(Decimal(1), Decimal(5), bounds="(]")
    assert type(value) is alchemy.Range
    value = await conn.fetchval("select array['{[1,3)}', '{}']::int4multirange[]")
    assert value == [alchemy.MultiRange([alchemy.Range(1, 3)]), alchemy.MultiRange()]
    assert type(value[0]) is alchemy.MultiRange
    sent = await conn.fetchval("select $1::int4multirange[]::text", [value])
    assert sent == '{"{[1,3)}","{}"}'
    assert await conn.fetchval("select 'empty'::daterange") == alchemy.Range(empty=True)


def test_a_range_type_that_fails() -> None:
    data = encode("int4range", Range(1, 2))[1]
    oid = OIDS["int4range"]
    with pytest.raises(DataError, match="cannot decode int4range: range_type failed"):
        _core.codec_decode(oid, data, {"range_type": len})
    with pytest.raises(DataError, match="multirange_type failed"):
        _core.codec_decode(
            OIDS["int4multirange"], b"\0\0\0\0", {"multirange_type": chr}
        )

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _core.codec_decode(oid, data, {"range_type": interrupted})


REMEDY = "give a pgasync.types.Range"


class Odd:
    """A range whose attributes are not what they are called."""

    lower, upper, empty = 1, 2, False

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("pg_type", "value", "words"),
    [
        ("int4range", 5, REMEDY),
        ("int4range", [1, 5], REMEDY),
        ("int4range", (1, 5, "[)"), REMEDY),
        ("int4range", b"[1,5)", REMEDY),
        ("int4range", {"lower": 1}, REMEDY),
        ("int4range", range(1, 9, 2), REMEDY),
        ("numrange", range(1, 9), REMEDY),
        ("int4range", Range, REMEDY),
        ("int4multirange", Range(1, 2), "give a sequence of ranges"),
        ("int4multirange", {Range(1, 2)}, "give a sequence of ranges"),
        ("int4multirange", range(1, 2), "give a sequence of ranges"),
        ("int4multirange", 5, "give a sequence of ranges"),
    ],
)
def test_refused(pg_type: str, value: object, words: str) -> None:
    assert_refused(pg_type, value, words)


def test_a_range_without_contents() -> None:
    with pytest.raises(DataError, match=REMEDY):
        encode("int4range", Range.__new__(Range))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"bounds": "{)"},
        {"bounds": 5},
        {"bounds": None},
        {"bounds": "[)", "empty": "no"},
        {"bounds": "[)", "isempty": print},
        {"lower_inc": True},
        {"lower_inc": True, "upper_inc": 1},
    ],
)
def test_odd_objects(attributes: dict[str, Any]) -> None:
    if attributes.get("isempty") is print:  # a method says nothing; `empty` does
        assert encode("int4range", Odd(**attributes))[0] == 1
        return
    with pytest.raises(DataError, match=REMEDY):
        encode("int4range", Odd(**attributes))


def test_bounds_are_named_in_errors() -> None:
    with pytest.raises(
        DataError, match=r"^\$1: cannot send 2147483648 \(int\) as int4"
    ):
        encode("int4range", Range(1, 2**31))
    with pytest.raises(DataError, match=r"^\$1: cannot send None \(NoneType\)"):
        encode("int4multirange", [None])


@pytest.mark.parametrize(
    ("pg_type", "data"),
    [
        ("int4range", b""),
        ("int4range", b"\x20"),
        ("int4range", b"\x01\0"),
        ("int4range", b"\x02"),
        ("int4range", b"\x02" + b"\xff" * 4),
        ("int4range", b"\x1a" + b"\0\0\0\4\0\0\0\1"),
        ("int4range", b"\x12\0\0\0\5\0\0\0\1"),
        ("int4range", b"\x02\0\0\0\4\0\0\0\1" + b"\xff" * 4),
        ("int4range", b"\x02\0\0\0\4\0\0\0\1\xff\xff\xff\xfe"),
        ("int4multirange", b""),
        ("int4multirange", b"\xff\xff\xff\xff"),
        ("int4multirange", b"\0\0\0\1\xff\xff\xff\xff\0"),
        ("int4multirange", b"\0\0\0\0\0"),
        ("int4multirange", b"\x7f\xff\xff\xff" + b"\0\0\0\1\x01"),
        ("int4multirange", b"\0\0\0\1\0\0\0\2\x01\0"),
    ],
)
def test_malformed(pg_type: str, data: bytes) -> None:
    with pytest.raises(DataError, match=r"cannot decode int4(range|multirange)?: "):
        decode(pg_type, data)


def test_malformed_bound() -> None:
    assert_not_decoded("int4range", b"\x02\0\0\0\5", "beyond")
    with pytest.raises(DataError, match="cannot decode int4: a value of 2 bytes"):
        decode("int4range", b"\x12\0\0\0\2\0\0")


# Ranges that a database has of its own

SCHEMA = """
create schema spans;
create type spans.floatspan as range
  (subtype = float8, multirange_type_name = spans.floats);
create domain spans.small as int4range check (upper(value) < 100);
create domain spans.positive as int4 check (value > 0);
create type spans.posrange as range (subtype = spans.positive);
create type spans.textspan as range (subtype = text, collation = "C");
create type spans.pair as (n int4, t text);
create type spans.pairspan as range (subtype = spans.pair);
"""

OWN: list[tuple[str, Any, str]] = [
    ("floatspan", Range(1.5, float("inf"), "[]"), "'[1.5,inf]'"),
    ("floats", Multirange([Range(1.5, 2.5), Range(3.0)]), "'{[1.5,2.5),[3,)}'"),
    ("floats[]", [Multirange(), None], "array['{}'::spans.floats, null]"),
    (
        "floatspan[]",
        [[Range(1.5, 2.5)], [None]],
        "array[array['[1.5,2.5)'], array[null]]",
    ),
    ("small", Range(1, 50), "'[1,50)'"),
    ("small[]", [Range(1, 50), None], "'{\"[1,50)\",NULL}'"),
    ("posrange", Range(1, 50), "'[1,50)'"),
    ("posmultirange", Multirange([Range(1, 50)]), "'{[1,50)}'"),
    ("textspan", Range("", 'a,"b\\', "[]"), 'e\'["","a,\\\\"b\\\\\\\\"]\''),
    ("pairspan", Range((1, "a"), (2, "b c")), "spans.pairspan((1,'a'),(2,'b c'))"),
    ("pairspan[]", [Range((1, "a"), None)], "array[spans.pairspan((1,'a'),null)]"),
]


@pytest.fixture
async def spans(conn: Any) -> AsyncIterator[Any]:
    """A connection in a transaction that has ranges of its own."""
    transaction = conn.transaction()
    await transaction.__aenter__()
    for statement in SCHEMA.strip().removesuffix(";").split(";"):
        await conn.execute(statement)
    await conn.execute("set local search_path to spans, public")
    yield conn
    await transaction.__aexit__(RuntimeError, RuntimeError(), None)


async def test_ranges_of_a_database(spans: Any) -> None:
    for case in OWN:
        await assert_both_ways(spans, case)
    sent = await spans.fetchval("select $1::posrange::text", [("1", 2)])
    assert sent == "[1,2)"
    with pytest.raises(DataError, match=r"as pair: it has 1 members"):
        await spans.fetchval("select $1::pairspan", [Range((1,), None)])


async def test_a_domain_refuses(spans: Any) -> None:
    with pytest.raises(Exception, match="violates check constraint"):
        await spans.fetchval("select $1::small", [Range(1, 500)])


@pytest.mark.parametrize(
    ("value", "pg_type"),
    [
        (Range(1, 2), "int8range"),
        (Range(None, 2.5), "numrange"),
        (Range(Decimal(1)), "numrange"),
        (Range(DAY), "daterange"),
        (Range(NOON), "tsrange"),
        (Range(NOON.replace(tzinfo=UTC)), "tstzrange"),
        (Multirange([Range(), Range(1, 2)]), "int8multirange"),
        ([Range(1, 2)], "int8range[]"),
        ([[Multirange([Range(1, 2)])]], "int8multirange[]"),
    ],
)
def test_type_of_a_value(value: Any, pg_type: str) -> None:
    assert infer(value) == OIDS[pg_type]


@pytest.mark.parametrize(
    "value", [Range(), Range(empty=True), Multirange(), Range("a")]
)
def test_no_type_of_a_value(value: Any) -> None:
    assert infer(value) == 0


# The classes


def test_attributes() -> None:
    one = Range(1, 5)
    assert (one.lower, one.upper, one.bounds, one.empty) == (1, 5, "[)", False)
    assert (one.lower_inc, one.upper_inc) == (True, False)
    assert (one.lower_inf, one.upper_inf, one.isempty) == (False, False, False)
    open_ended = Range(None, 5, "[]")
    assert (open_ended.bounds, open_ended.lower_inf, open_ended.lower_inc) == (
        "(]",
        True,
        False,
    )
    nothing: Range[int] = Range(empty=True)
    assert nothing == Range(3, 3) == Range(7, 9, empty=True)
    assert (nothing.lower, nothing.lower_inc, nothing.upper_inc) == (None, False, False)
    assert nothing.isempty and not nothing.lower_inf and not nothing.upper_inf


@pytest.mark.parametrize("bounds", ["", "[", "[]]", "{}", "][", "[ ", None, 5])
def test_wrong_bounds(bounds: Any) -> None:
    with pytest.raises(ValueError, match="bounds are"):
        Range(1, 2, bounds)


def test_immutable() -> None:
    one = Range(1, 2)
    with pytest.raises(AttributeError, match="immutable"):
        one.lower = 5
    with pytest.raises(AttributeError, match="immutable"):
        del one.lower
    with pytest.raises(AttributeError):
        one.other = 5  # type: ignore[attr-defined]
    assert Range[int](1, 2) == one


@pytest.mark.parametrize(
    "value", [Range(1, 2), Range(), Range(DAY, None, "()"), Range(empty=True)]
)
def test_copies(value: Range[Any]) -> None:
    for twin in (
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
        eval(repr(value), {"Range": Range, "datetime": dt}),
    ):
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)
    several = Multirange([value, value])
    assert pickle.loads(pickle.dumps(several)) == several
    assert type(pickle.loads(pickle.dumps(several))) is Multirange


def test_normal_form() -> None:
    assert Range(1, 5) == Range(1, 4, "[]") == Range(0, 4, "(]") == Range(0, 5, "()")
    assert len({Range(1, 5), Range(1, 4, "[]"), Range(0, 5, "()")}) == 1
    assert Range(1, 2, "()") == Range(empty=True)
    assert Range(DAY, DAY, "[]") == Range(DAY, DAY + dt.timedelta(1))
    assert Range(dt.date.max, dt.date.max, "[]") != Range(DAY)
    assert Range(1.0, 2.0) != Range(1.0, 2.0, "[]")
    assert Range(NOON, NOON, "[]") != Range(NOON, NOON)
    assert Range(1, 2) != (1, 2)
    assert Range(1, 2).__eq__((1, 2)) is NotImplemented


def test_in() -> None:
    assert 1 in Range(1, 5)
    assert 5 not in Range(1, 5)
    assert 5 in Range(1, 5, "(]")
    assert 1 not in Range(1, 5, "(]")
    assert 0 not in Range(1, None)
    assert 10**9 in Range(1, None)
    assert -5 in Range(None, 5)
    assert "anything" in Range()
    assert 1 not in Range(empty=True)


async def test_order_is_the_servers(conn: Any) -> None:
    literals = [
        "empty", "(,)", "(,1)", "(,1]", "[1,1]", "[1,2)", "[1,2]", "(1,2)", "(1,2]",
        "[1,)", "(1,)", "[2,3)", "[1.5,1.7]",
    ]  # fmt: skip
    expected = await conn.fetchval(
        "select array_agg(r order by r) from unnest($1::numrange[]) r", [literals]
    )
    backwards = expected[::-1]
    assert sorted(backwards) == expected
    for one, other in itertools.pairwise(expected):
        assert one < other and one <= other and other > one and other >= one
        assert not (one > other or one >= other or other < one or other <= one)
    with pytest.raises(TypeError):
        assert expected[0] < 5


async def test_str_is_the_servers(conn: Any) -> None:
    for value in [
        Range(1, 5),
        Range(None, 5, "[]"),
        Range(empty=True),
        Range(Decimal("1.5"), None, "()"),
    ]:
        row = await conn.fetchrow(
            "select $1::numrange, $2::numrange", [str(value), value]
        )
        assert row[0] == row[1]
    assert str(Range(1, 5)) == "[1,5)"
    assert str(Range("a b", 'c"\\')) == '["a b","c\\"\\\\")'
    assert str(Range("", "a")) == '["",a)'
    assert str(Multirange([Range(1, 2), Range()])) == "{[1,2),(,)}"
    assert repr(Multirange([Range(1, 2)])) == "Multirange([Range(1, 2)])"
    assert repr(Range(1, None, "()")) == "Range(1, None, '()')"
