"""Containers in text form: of types that have no binary one."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import ipaddress
import random
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from codec.checks import OIDS
from pgasync import _core
from pgasync.errors import DataError
from pgasync.textform import text_of, text_to
from pgasync.types import (
    Array,
    Beyond,
    BitString,
    Interval,
    Lsn,
    Multirange,
    Range,
    Snapshot,
)

UTC = dt.timezone.utc


def kinds() -> dict[str, Any]:
    """Codecs of every container around a type that is text, and some beside it."""
    word = _core.Codec("text", 90_000, "word", None, None, (None, None))
    words = _core.Codec("array", 90_001, "word[]", word)
    span = _core.Codec("range", 90_002, "span", word)
    pair = _core.Codec(
        "composite", 90_004, "pair", None, [("w", word), ("n", OIDS["int4"])]
    )
    members = [
        ("ws", words),
        ("s", span),
        ("p", pair),
        ("xs", OIDS["int4[]"]),
        ("r", OIDS["int4range"]),
        ("m", OIDS["int4multirange"]),
        ("boxes", OIDS["box[]"]),
    ]
    return {
        "words": words,
        "span": span,
        "spans": _core.Codec("multirange", 90_003, "spans", span),
        "pair": pair,
        "pairs": _core.Codec("array", 90_005, "pair[]", pair),
        "single": _core.Codec("composite", 90_006, "single", None, [("w", word)]),
        "deep": _core.Codec("composite", 90_007, "deep", None, members),
        "semicolons": _core.Codec("array", 90_008, "word[]", word, None, ";"),
    }


CODECS = kinds()
NETWORKS = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::/0")]
MACS = ["08:00:2b:01:02:03", "08:00:2b:01:02:04"]

# kind, text, value
CASES: list[tuple[str, str, Any]] = [
    ("words", "{}", []),
    ("words", '{a,"b c",NULL,"NULL",""}', ["a", "b c", None, "NULL", ""]),
    ("words", '{"a\\"b","\\\\","{,}"}', ['a"b', "\\", "{,}"]),
    ("words", "{{a,b},{c,NULL}}", [["a", "b"], ["c", None]]),
    ("words", "{{{{{{a}}}}}}", [[[[[["a"]]]]]]),
    ("words", "[0:1]={a,b}", Array(["a", "b"], (0,))),
    ("words", "[-2:-2][5:6]={{é,😀}}", Array([["é", "😀"]], (-2, 5))),
    ("words", "[-2147483648:-2147483648]={a}", Array(["a"], (-(2**31),))),
    ("semicolons", '{a,b;NULL;";"}', ["a,b", None, ";"]),
    ("span", "empty", Range(empty=True)),
    ("span", "[a,b)", Range("a", "b")),
    ("span", "(,b]", Range(None, "b", "(]")),
    ("span", '["",)', Range("", None)),
    ("span", '("a,b","c""d\\\\")', Range("a,b", 'c"d\\', "()")),
    ("span", "(,)", Range()),
    ("spans", "{}", Multirange()),
    ("spans", '{[a,b),["c}",)}', Multirange([Range("a", "b"), Range("c}", None)])),
    ("pair", "(a,5)", ("a", 5)),
    ("pair", "(,)", (None, None)),
    ("pair", '("",-7)', ("", -7)),
    ("pair", '("a""b\\\\,)",0)', ('a"b\\,)', 0)),
    ("single", "()", (None,)),
    ("single", '("")', ("",)),
    ("pairs", '{"(a,1)",NULL,"(\\"\\",)"}', [("a", 1), None, ("", None)]),
    (
        "deep",
        '("{a,""b c""}","[x,y)","(z,""1"")","{1,NULL}","[1,5)","{[1,2),[3,4)}",)',
        (
            ["a", "b c"],
            Range("x", "y"),
            ("z", 1),
            [1, None],
            Range(1, 5),
            (Range(1, 2), Range(3, 4)),
            None,
        ),
    ),
]


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
def test_reading(kind: str, text: str, value: Any) -> None:
    assert CODECS[kind].is_text
    got = _core.codec_decode(CODECS[kind], text.encode())
    assert got == value
    assert type(got) is type(value)
    assert getattr(got, "lower_bounds", ()) == getattr(value, "lower_bounds", ())


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
def test_round_trip(kind: str, text: str, value: Any) -> None:
    form, data = _core.codec_encode(CODECS[kind], value)
    assert form == 0
    assert _core.codec_decode(CODECS[kind], data) == value


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("words", [None, "a", ""], '{NULL,"a",""}'),
        ("words", ["\\", '"'], '{"\\\\","\\""}'),
        ("words", [[], []], "{}"),
        ("words", Array(["a"], (0,)), '[0:0]={"a"}'),
        ("semicolons", ["a", None], '{"a";NULL}'),
        ("pair", (None, None), "(,)"),
        ("pair", ("a", 5), '("a","5")'),
        ("single", [None], "()"),
        ("span", Range(None, "x", "[]"), '(,"x"]'),
        ("spans", ["[a,b)", Range("c", "d", "()")], '{[a,b),("c","d")}'),
        ("spans", [], "{}"),
    ],
)
def test_writing(kind: str, value: Any, text: str) -> None:
    assert _core.codec_encode(CODECS[kind], value) == (0, text.encode())


MALFORMED: dict[str, str] = {
    "words": """{ {a {a, {a,} {,a} {,} {a}} {a}b {a}{b} {"a {"a} {a\\ {{a},b} {a,{b}}
        {{a},{{b}}} {{{{{{{a}}}}}}} [1]={a} [1:2={a} [1:1]{a} [a:b]={a} [:1]={a}
        [9999999999:1]={a} [12345678901:1]={a} [1:1][1:1][1:1][1:1][1:1][1:1][1:1]""",
    "span": """a [a [a, [a,b a,b) [a) {a,b) [a,b)c emptyx ["a,b) [a\\ [, empty)""",
    "spans": "{ } [a,b) {[a,b) {[a,b),} {,} {[a,b)}x {empty}",
    "pair": """a ( (a (a,5 a,5) (a,5)x ("a,5) (a,x) [a,5)""",
    "single": "( (a (a)b",
    "pairs": """{"(a,1"} {(a} {"(a,x)"}""",
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kind, text)
        for kind, texts in MALFORMED.items()
        for text in ["", *texts.split()]
    ],
)
def test_malformed(kind: str, text: str) -> None:
    with pytest.raises(DataError, match="cannot decode "):
        _core.codec_decode(CODECS[kind], text.encode())


@pytest.mark.parametrize("text", ["(a)", "(a,5,6)", "()"])
def test_another_number_of_members(text: str) -> None:
    with pytest.raises(DataError, match="OID 90004"):
        _core.codec_decode(CODECS["pair"], text.encode())


def test_depth() -> None:
    codec: Any = CODECS["words"]
    for level in range(40):
        codec = _core.Codec("composite", 90_100 + level, "nest", None, [("a", codec)])
    value: Any = ["a"]
    for _ in range(40):
        value = (value,)
    with pytest.raises(DataError, match="nested too deeply"):
        _core.codec_encode(codec, value)


def test_depth_of_text() -> None:
    codec: Any = CODECS["single"]
    text = "(a)"
    for level in range(8):  # each level doubles the backslashes
        codec = _core.Codec("composite", 90_100 + level, "nest", None, [("a", codec)])
        text = '("' + text.replace("\\", "\\\\").replace('"', '\\"') + '")'
        value = _core.codec_decode(codec, text.encode())
        assert _core.codec_encode(codec, value)[0] == 0
    for _ in range(9):
        (value,) = value
    assert value == "a"


def bad_texts() -> Iterator[tuple[Any, bytes]]:
    dice = random.Random(11)
    for kind, text, _ in CASES:
        good = text.encode()
        for i in range(len(good) + 1):
            yield CODECS[kind], good[:i]
            for byte in b'{}[]()",\\;:=\0\xff' + bytes([dice.randrange(256)]):
                yield CODECS[kind], good[:i] + bytes([byte]) + good[i:]
                yield CODECS[kind], good[:i] + bytes([byte]) + good[i + 1 :]


def test_any_text_gives_a_value_or_data_error() -> None:
    cases = refused = 0
    for codec, text in bad_texts():
        cases += 1
        try:
            _core.codec_decode(codec, text)
        except DataError as error:
            refused += 1
            assert str(error).startswith("cannot decode ")
    assert cases > 5000
    assert refused > 1000


def test_nothing_is_leaked() -> None:
    texts = list(bad_texts())[::7]
    values = [
        [1],
        [object()],
        [["a"], "b"],
        Range(1, object()),
        ("a", b"x"),
        ["1", b""],
    ]

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        for codec, text in texts:
            with contextlib.suppress(DataError):
                _core.codec_decode(codec, text)
        for _ in range(30):
            for codec in CODECS.values():
                for value in values:
                    with contextlib.suppress(DataError):
                        _core.codec_encode(codec, value)
        gc.collect()
        return sys.getallocatedblocks() - before

    assert any(growth() < 20 for _ in range(20))


def test_a_neighbour_that_has_no_text_form() -> None:
    functions = (bytes, bytearray)
    custom = _core.Codec("binary", 90_020, "custom", None, None, functions)
    members = [("a", OIDS["int4"]), ("b", custom)]
    pair = _core.Codec("composite", 90_021, "pair", None, members)
    with pytest.raises(DataError, match=r"as custom: .*give a str"):
        _core.codec_encode(pair, ("1", b"ab"))


def test_hstore_beside_text() -> None:
    hstore = _core.Codec("hstore", 90_020, "hstore")
    array = _core.Codec("array", 90_021, "hstore[]", hstore)
    form, data = _core.codec_encode(array, ["a=>b", {"a": 'b"', "c": None}])
    text = rb'{"a=>b","\"a\"=>\"b\\\"\",\"c\"=>NULL"}'
    assert (form, data) == (0, text)


def test_a_point_beside_text() -> None:
    form, data = _core.codec_encode(OIDS["point[]"], ["(1,2)", (1, 2)])
    assert (form, data) == (0, b'{"(1,2)","(1.0,2.0)"}')


def test_json_beside_text() -> None:
    pair = _core.Codec(
        "composite",
        90_010,
        "pair",
        None,
        [("n", OIDS["int4"]), ("j", OIDS["jsonb"]), ("k", OIDS["json"])],
    )
    form, data = _core.codec_encode(pair, ("1", {"a": "b"}, [1]))
    assert form == 0
    assert data.startswith(b'("1","{\\"a\\":')
    assert data.endswith(b'}","[1]")')


def test_money_beside_text() -> None:
    """What 1.50 means there depends on the server's locale."""
    with pytest.raises(DataError, match="lc_monetary; give a str"):
        _core.codec_encode(OIDS["money[]"], ["1.50", Decimal("1.50")])
    form, data = _core.codec_encode(OIDS["money[]"], ["1.50", "$2"])
    assert (form, data) == (0, b'{"1.50","$2"}')


MIXED: list[tuple[str, list[Any], list[Any]]] = [
    ("pg_lsn", ["0/7", Lsn(2**40), 6], [Lsn(7), Lsn(2**40), Lsn(6)]),
    ("tid", ["(1,2)", (3, 4)], [(1, 2), (3, 4)]),
    (
        "pg_snapshot",
        ["1:2:", Snapshot(1, 3, (2,))],
        [Snapshot(1, 2, ()), Snapshot(1, 3, (2,))],
    ),
    ("varbit", ["X1F", BitString("01")], [BitString("00011111"), BitString("01")]),
    (
        "inet",
        ["10.0.0.1", ipaddress.ip_interface("10.0.0.1/8")],
        [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_interface("10.0.0.1/8")],
    ),
    ("cidr", ["10/8", ipaddress.ip_network("::/0")], NETWORKS),
    ("macaddr", ["08002b010203", "08:00:2b:01:02:04"], MACS),
    ("xid8", ["5", 6], [5, 6]),
    ("regclass", ["pg_class", 1247, None], ["pg_class", "pg_type", None]),
]


@pytest.mark.parametrize(("pg_type", "sent", "got"), MIXED)
async def test_text_beside_values(
    conn: Any, pg_type: str, sent: list[Any], got: list[Any]
) -> None:
    """A str that only the server can read makes text of the values beside it."""
    value = await conn.fetchval(f"select $1::{pg_type}[]", [sent])
    assert value == got
    assert list(map(type, value)) == list(map(type, got))


async def test_a_row_with_a_type_that_is_text(conn: Any) -> None:
    """The whole row travels as text then, and its values stay what they are."""
    await conn.execute(
        "create temp table beside (r regclass, l pg_lsn, t tid, s pg_snapshot,"
        " b bit(3), i inet, c cidr, x xid8, q tsquery, m macaddr)"
    )
    row = (
        "pg_class",
        Lsn(7),
        (1, 2),
        Snapshot(1, 3, (2,)),
        BitString("101"),
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_network("10.0.0.0/8"),
        2**64 - 1,
        "'a' & !'b'",
        "08:00:2b:01:02:03",
    )
    value = await conn.fetchval("select $1::beside", [row])
    assert value == row
    assert list(map(type, value)) == list(map(type, row))


# Scalars

NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "t"),
        (False, "f"),
        ("a", "a"),
        (5, "5"),
        (-(10**3000), "-1" + "0" * 3000),
        (0.1, "0.1"),
        (float("-inf"), "-inf"),
        (Decimal("1.50"), "1.50"),
        (b"\0\xff", "\\x00ff"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (NOON, "2024-02-29T12:00:00.000001"),
        (NOON.replace(tzinfo=UTC), "2024-02-29T12:00:00.000001+00:00"),
        (dt.time(1, 2), "01:02:00"),
        (dt.timedelta(-1, 5, 6), "+0 months +0 days -86394999994 microseconds"),
        (Interval(-1, 2, -3), "-1 months +2 days -3 microseconds"),
        (Beyond("date", b"\x7f\xff\xff\xff"), "infinity"),
        ({"a": None, '"': "\\"}, '"a"=>NULL,"\\""=>"\\\\"'),
        (ipaddress.ip_address("::1"), "::1"),
        (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (BitString("0101"), "0101"),
        (Lsn(0x16B374D848), "16/B374D848"),
        (Snapshot(1, 1, ()), "1:1:"),
        (Snapshot(10, 20, (12, 14)), "10:20:12,14"),
        ((4, 5), "(4,5)"),
    ],
)
def test_text_of(value: Any, text: str) -> None:
    assert text_of(value) == text


class Days(dt.timedelta):
    pass


@pytest.mark.parametrize("value", [None, object(), [], (), Range(1, 2), Days(1)])
def test_no_text_form(value: Any) -> None:
    with pytest.raises(TypeError, match="has no text form"):
        text_of(value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "t", True),
        ("bool", "f", False),
        ("int", "-5", -5),
        ("float", "1e+300", 1e300),
        ("float", "Infinity", float("inf")),
        ("numeric", "1.10", Decimal("1.10")),
        ("bytea", "\\x00ff", b"\0\xff"),
        ("bytea", "\\000", "\\000"),
        ("uuid", "00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
        ("date", "2024-02-29", dt.date(2024, 2, 29)),
        ("date", "infinity", "infinity"),
        ("date", "0044-03-15 BC", "0044-03-15 BC"),
        ("date", "29/02/2024", "29/02/2024"),
        ("time", "01:02:03.5", dt.time(1, 2, 3, 500_000)),
        ("time", "24:00:00", "24:00:00"),
        ("timestamp", "2024-02-29 12:00:00.000001", NOON),
        ("timestamp", "-infinity", "-infinity"),
        ("timestamp", "294276-12-31 23:59:59", "294276-12-31 23:59:59"),
        ("timestamptz", "2024-02-29 12:00:00.000001+00", NOON.replace(tzinfo=UTC)),
        ("timestamptz", "2024-02-29 17:30:00.000001+05:30", NOON.replace(tzinfo=UTC)),
        ("timestamptz", "2024-02-29 11:00:00.000001-01", NOON.replace(tzinfo=UTC)),
        ("timestamptz", "infinity", "infinity"),
        ("inet", "10.0.0.1", ipaddress.ip_address("10.0.0.1")),
        ("inet", "2001:db8::1/64", ipaddress.ip_interface("2001:db8::1/64")),
        ("cidr", "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
        ("bits", "0101", BitString("0101")),
        ("lsn", "16/B374D848", Lsn(0x16B374D848)),
        ("snapshot", "1:1:", Snapshot(1, 1, ())),
        ("snapshot", "10:20:12,14", Snapshot(10, 20, (12, 14))),
        ("tid", "(4,5)", (4, 5)),
        ("interval", "1 day", dt.timedelta(1)),
        ("interval", "-3 days +01:02:03.5", Interval(0, -3, 3_723_500_000)),
        ("interval", "-3 days -01:00:00", dt.timedelta(-3, -3600)),
        ("interval", "-00:00:01", dt.timedelta(0, -1)),
        ("interval", "24:00:00", Interval(0, 0, 86_400_000_000)),
        ("interval", "1 year 2 mons -3 days", Interval(14, -3, 0)),
        ("interval", "2147483647 days", "2147483647 days"),
        ("interval", "P1D", "P1D"),
        ("another", "text", "text"),
    ],
)
def test_text_to(kind: str, text: str, value: Any) -> None:
    got = text_to(kind, text, None)
    assert got == value
    assert type(got) is type(value)


def test_zone() -> None:
    zone = dt.timezone(dt.timedelta(hours=5))
    got = text_to("timestamptz", "2024-02-29 12:00:00+00", zone)
    assert (got.hour, got.tzinfo) == (17, zone)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("int", "x"), ("numeric", "x"), ("uuid", "x"), ("date", "2024-02-30")],
)
def test_text_that_is_wrong(kind: str, text: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        text_to(kind, text, None)


async def test_interval_of_a_server(conn: Any) -> None:
    for literal in ("1 day 02:03:04.5", "-1 days -00:00:01", "0", "-5 days"):
        text = await conn.fetchval(f"select '{literal}'::interval::text")
        value = await conn.fetchval(f"select '{literal}'::interval")
        assert text_to("interval", text, None) == value
        sql = "select $1::text::interval = $2"
        assert await conn.fetchval(sql, [text_of(value), value]) is True
