"""hstore, citext, ltree and its queries, cube: types of extensions PostgreSQL ships."""

from __future__ import annotations

import collections
import math
import pickle
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from codec.checks import (
    Case,
    assert_both_ways,
    assert_same,
    assert_sent_as,
    names,
    with_extension,
)
from pgasync import _core
from pgasync.errors import DataError, Error
from pgasync.types import Cube

INF = float("inf")
KINDS = ("citext", "cube", "hstore", "lquery", "ltree", "ltxtquery")
MADE = {kind: _core.Codec(kind, 90_100, kind) for kind in KINDS}
EXTENSION = {"lquery": "ltree", "ltxtquery": "ltree"}
# Where the name is not the type's with "_send" behind it.
SEND = {"citext": "citextsend", "ltxtquery": "ltxtq_send"}

SAME_MANY = """(select hstore(array_agg(i::text), array_agg(
    case when i % 3 <> 0 then repeat('v', i) end)) from generate_series(0, 299) i)"""
MANY = {str(i): None if i % 3 == 0 else "v" * i for i in range(300)}

CASES: list[Case] = [
    ("hstore", {}, "''"),
    ("hstore", {"a": "1", "b": None}, "'a=>1, b=>NULL'"),
    ("hstore", {"": "", "null": "NULL", "=>": '"'},
     r"""'""=>"", null=>"NULL", "=>"=>"\""'"""),
    ("hstore", {"é😀": " ", "\n": "\\"}, "'\"é😀\"=>\" \", \"\n\"=>\"\\\\\"'"),
    ("hstore", MANY, SAME_MANY),
    ("citext", "", "''"),
    ("citext", "MiXed é😀", "'MiXed é😀'"),
    ("ltree", "", "''"),
    ("ltree", "Top.Science.Astronomy_1", "'Top.Science.Astronomy_1'"),
    ("lquery", "Top.*{,2}.sport@*.!football|tennis.Russ*|Spain",
     "'Top.*{,2}.sport@*.!football|tennis.Russ*|Spain'"),
    ("ltxtquery", "Europe & Russia@* & !Transportation",
     "'Europe & Russia@* & !Transportation'"),
    ("cube", Cube((), ()), "'()'"),
    ("cube", Cube((1.5,), (1.5,)), "'1.5'"),
    ("cube", Cube((1.0, -2.0), (1.0, -2.0)), "'(1,-2)'"),
    ("cube", Cube((0.0, 5.0), (3.0, -5.0)), "'(0,5),(3,-5)'"),
    ("cube", Cube((-0.0,), (-0.0,)), "'(-0)'"),
    ("cube", Cube((-INF, 5e-324), (1.7976931348623157e308, INF)),
     "'(-inf,5e-324),(1.7976931348623157e308,inf)'"),
    ("cube", Cube((1.0,) * 100, (2.0,) * 100),
     f"'({','.join('1' * 100)}),({','.join('2' * 100)})'"),
]  # fmt: skip


class Settings(Mapping[str, str]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> str:
        return {"a": "1"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Text(str):
    pass


SENT: list[Case] = [
    ("hstore", "a=>1", "'a=>1'"),
    ("hstore", Settings(), "'a=>1'"),
    ("hstore", MappingProxyType({"a": None}), "'a=>NULL'"),
    ("hstore", collections.OrderedDict(a="1"), "'a=>1'"),
    ("hstore", {Text("a"): Text("1")}, "'a=>1'"),
    ("citext", Text("A"), "'A'"),
    ("citext", 5, "'5'"),
    ("ltree", Text("a.b"), "'a.b'"),
    ("cube", "(1,2),(3,4)", "'(1,2),(3,4)'"),
    ("cube", (1, 2, 3), "'(1,2,3)'"),
    ("cube", [1, 2], "'(1,2)'"),
    ("cube", [[1, 2], (3, 4)], "'(1,2),(3,4)'"),
    ("cube", ((1, 2), (1, 2)), "'(1,2)'"),
    ("cube", ((0.0,), (-0.0,)), "'(0),(-0)'"),
]


def encode(kind: str, value: object) -> tuple[int, bytes]:
    return _core.codec_encode(MADE[kind], value)


def decode(kind: str, data: bytes) -> Any:
    return _core.codec_decode(MADE[kind], data)


async def extended(conn: Any, kind: str) -> None:
    await with_extension(conn, EXTENSION.get(kind, kind))


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await extended(conn, case[0])
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_bytes_are_the_servers(conn: Any, case: Case) -> None:
    kind, value, literal = case
    await extended(conn, kind)
    send = SEND.get(kind, f"{kind}_send")
    data = await conn.fetchval(f"select {send}({literal}::{kind})")
    assert_same(decode(kind, data), value)
    form, own = encode(kind, decode(kind, data))
    assert (form, own) == (1, data)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await extended(conn, case[0])
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_arrays(conn: Any, case: Case) -> None:
    kind, value, literal = case
    await extended(conn, kind)
    element = f"{literal}::{kind}"
    for sent, array in [
        ([], f"'{{}}'::{kind}[]"),
        ([value, None], f"array[{element}, null]"),
        ([[[value]], [[None]]], f"array[array[array[{element}]],array[array[null]]]"),
    ]:
        await assert_both_ways(conn, (f"{kind}[]", sent, array))
    await assert_sent_as(conn, (f"{kind}[]", (value,), f"array[{element}]"))


async def test_domain_over_hstore(conn: Any) -> None:
    await extended(conn, "hstore")
    await conn.execute(
        "drop domain if exists few; create domain few as hstore "
        "check (array_length(akeys(value), 1) < 3)"
    )
    assert await conn.fetchval("select $1::few", [{"a": None}]) == {"a": None}
    with pytest.raises(Error) as caught:
        await conn.fetchval("select $1::few", [{"a": None, "b": None, "c": None}])
    assert caught.value.sqlstate == "23514"
    await conn.execute("drop domain few")


async def test_empty_and_null(conn: Any) -> None:
    await extended(conn, "hstore")
    assert await conn.fetchval("select $1::hstore", [None]) is None
    assert await conn.fetchval("select $1::hstore is null", [None]) is True


REMEDY = {
    "hstore": "give a dict of str to str or None, as {key: str(value)}",
    "citext": "give a str",
    "ltree": "give a str",
    "cube": "give a Cube, or a tuple of numbers, which is a point",
}


class Liar(dict[str, str]):
    def items(self) -> Any:
        return [("a", "b", "c")]


class Broken(dict[str, str]):
    def items(self) -> Any:
        raise ZeroDivisionError("no")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("hstore", {"a": 1}),
        ("hstore", {"a": 1.5}),
        ("hstore", {"a": True}),
        ("hstore", {1: "a"}),
        ("hstore", {None: "a"}),
        ("hstore", {b"a": "b"}),
        ("hstore", [("a", "b")]),
        ("hstore", ("a", "b")),
        ("hstore", {"a", "b"}),
        ("hstore", b"a=>1"),
        ("hstore", 5),
        ("hstore", Liar(a="1")),
        ("hstore", Broken(a="1")),
        ("citext", b"a"),
        ("citext", None.__class__),
        ("ltree", 5),
        ("ltree", ["a", "b"]),
        ("cube", 5),
        ("cube", (1, "2")),
        ("cube", (1, None)),
        ("cube", (1, True)),
        ("cube", ((1, 2), (3,))),
        ("cube", ((1, 2), 3)),
        ("cube", ((1, 2), (3, 4), (5, 6))),
        ("cube", ("12", "34")),
        ("cube", {1: 2}),
        ("cube", b"ab"),
        ("cube", (10**400,)),
    ],
    ids=repr,
)
def test_refused(kind: str, value: object) -> None:
    with pytest.raises(DataError) as caught:
        encode(kind, value)
    message = str(caught.value)
    assert message.startswith("$1: cannot send ")
    assert f"({type(value).__name__}) as {kind}: {REMEDY[kind]}" in message


def test_what_failed_is_the_cause() -> None:
    with pytest.raises(DataError) as caught:
        encode("hstore", Broken(a="1"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_postgresql_has_not(text: str) -> None:
    for kind, value in [
        ("hstore", {text: "a"}),
        ("hstore", {"a": text}),
        ("hstore", text),
        ("citext", text),
        ("ltree", text),
        ("cube", text),
    ]:
        with pytest.raises(DataError, match=r"NUL|surrogate"):
            encode(kind, value)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("hstore", b"", "number of pairs"),
        ("hstore", b"\0\0\0\1", "number of pairs"),
        ("hstore", b"\xff\xff\xff\xff", "number of pairs"),
        ("hstore", b"\x7f\xff\xff\xff" + bytes(64), "number of pairs"),
        ("hstore", b"\0\0\0\0\0", "bytes behind"),
        ("hstore", b"\0\0\0\1\xff\xff\xff\xff\0\0\0\0", "does not fit"),
        ("hstore", b"\0\0\0\1\0\0\0\1a\xff\xff\xff\xfe", "does not fit"),
        ("hstore", b"\0\0\0\1\0\0\0\1a\0\0\0\5bcd", "does not fit"),
        ("hstore", b"\0\0\0\1\0\0\0\5abcd", "does not fit"),
        ("hstore", b"\0\0\0\1\0\0\0\4abcd\0\0", "does not fit"),
        ("hstore", b"\0\0\0\1\0\0\0\1\xff\xff\xff\xff\xff", "UTF-8"),
        ("citext", b"\xff", "UTF-8"),
        ("ltree", b"", "version"),
        ("ltree", b"\2a", "version"),
        ("ltree", b"\1\xff", "UTF-8"),
        ("lquery", b"a", "version"),
        ("ltxtquery", b"\0", "version"),
        ("cube", b"", "dimensions"),
        ("cube", b"\0\0\0\1" + bytes(8), "dimensions"),
        ("cube", b"\x80\0\0\1" + bytes(16), "dimensions"),
        ("cube", b"\xff\xff\xff\xff", "dimensions"),
        ("cube", b"\x7f\xff\xff\xff" + bytes(16), "dimensions"),
    ],
)
def test_malformed(kind: str, data: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(kind, data)
    assert f"cannot decode {kind}: " in str(caught.value)
    assert words in str(caught.value)


def test_a_key_that_comes_twice() -> None:
    pairs = b"\0\0\0\1a\0\0\0\1b" + b"\0\0\0\1a\xff\xff\xff\xff"
    assert decode("hstore", b"\0\0\0\2" + pairs) == {"a": None}


def test_cube_class() -> None:
    box = decode("cube", b"\0\0\0\1" + struct.pack("!2d", 1, 2))
    assert box == Cube(low=(1.0,), high=(2.0,)) == ((1.0,), (2.0,))
    assert pickle.loads(pickle.dumps(box)) == box
    assert repr(box) == "Cube(low=(1.0,), high=(2.0,))"
    nan = decode("cube", encode("cube", (math.nan,))[1])
    assert math.isnan(nan.low[0]) and nan.low == nan.high
    # A box whose corners are the same comes back as what it was sent as: a point.
    assert encode("cube", ((1,), (1,))) == encode("cube", (1,))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[0] == "cube"], ids=names
)
async def test_str_of_a_cube_is_the_text_form(conn: Any, case: Case) -> None:
    await extended(conn, "cube")
    await assert_sent_as(conn, ("cube", str(case[1]), case[2]))


async def test_too_many_dimensions(conn: Any) -> None:
    await extended(conn, "cube")
    with pytest.raises(Error) as caught:
        await conn.fetchval("select $1::cube", [(1.0,) * 101])
    assert caught.value.sqlstate is not None
    assert await conn.fetchval("select $1::cube", [(1.0,)]) == Cube((1.0,), (1.0,))


async def test_a_wrong_value_leaves_the_connection_in_order(conn: Any) -> None:
    for kind in ("hstore", "cube", "ltree"):
        await extended(conn, kind)
        with pytest.raises(DataError, match=f"as {kind}: give"):
            await conn.fetchval(f"select $1::{kind}", [object()])
        assert await conn.fetchval("select 1") == 1
