"""tsvector and tsquery: the text made of the binary form is the server's own."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from codec.checks import assert_not_decoded, assert_refused, decode, encode

VECTORS = [
    "",
    "a",
    "a fat cat sat on a mat",
    "a:1 fat:2A cat:3B,4C rat:5D",
    "'   ' 'Joe''s' 'back\\\\slash' 'a:b' 'x y'",
    "é:1 日本:2 😀:3",
    "word:16383A other:1,2,3,4,5,6,7,8,9,10",
]
QUERIES = [
    "",
    "fat",
    "fat & rat",
    "fat & (rat | cat)",
    "fat & rat & !cat",
    "!(fat & rat) | !!cat",
    "super:*",
    "fat:ab & cat:*C | rat:ABCD",
    "a <-> b",
    "a <-> b <-> c",
    "a <-> (b <-> c)",
    "(a <-> b) <3> (c | d) <0> e",
    "a | b & c <-> !d",
    "!(a <-> b) & (c | d) & e",
    "(a | b) <-> (c & d)",
    "'Joe''s' & 'back\\\\slash' & 'a & b'",
    "é | 日本 & 😀",
]


@pytest.mark.parametrize(
    ("pg_type", "text"),
    [("tsvector", text) for text in VECTORS] + [("tsquery", text) for text in QUERIES],
)
async def test_the_servers_text(conn: Any, pg_type: str, text: str) -> None:
    sql = f"""select v, v::text, array[v, null], array[v, null]::text
        from (select $1::{pg_type} v) q"""
    value, shown, array, array_text = await conn.fetchrow(sql, [text])
    assert value == shown
    assert array == [shown, None]
    sql = f"select ($1::{pg_type})::text, ($2::{pg_type}[])::text"
    assert tuple(await conn.fetchrow(sql, [value, array])) == (shown, array_text)


async def test_random_queries(conn: Any) -> None:
    dice = random.Random(4)

    def query(depth: int) -> str:
        kind = dice.randrange(6) if depth else 0
        if kind < 2:
            return dice.choice(["a", "b:*", "c:AB", "'d e'"])
        if kind == 2:
            return f"!{query(depth - 1)}"
        operator = dice.choice(["&", "|", "<->", "<2>"])
        return f"({query(depth - 1)} {operator} {query(depth - 1)})"

    texts = [query(5) for _ in range(300)]
    rows = await conn.fetch(
        "select q::tsquery, (q::tsquery)::text from unnest($1::text[]) q", [texts]
    )
    assert len(rows) == 300
    for value, shown in rows:
        assert value == shown


async def test_long_ones(conn: Any) -> None:
    for operator in (" & ", " | ", " <-> "):
        words = operator.join(f"w{n}" for n in range(5000))
        value, shown = await conn.fetchrow(
            "select $1::tsquery, ($1::tsquery)::text", [words]
        )
        assert value == shown
    text = " ".join(f"w{n}:{n + 1}" for n in range(2000))
    sql = "select $1::tsvector, ($1::tsvector)::text"
    value, shown = await conn.fetchrow(sql, [text])
    assert value == shown


def test_malformed() -> None:
    for data in (
        b"",
        b"\0\0\0\1",
        b"\xff\xff\xff\xff",
        b"\0\0\0\1ab\0",
        b"\0\0\0\1ab\0\0\1",
        b"\0\0\0\0x",
    ):
        assert_not_decoded("tsvector", data, "do not fit")
    for data in (
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1\1\0\0a",
        b"\0\0\0\1\3\0\0a\0",
        b"\0\0\0\1\2\1",
        b"\0\0\0\2\2\1\2\1",
        b"\0\0\0\2\1\0\0a\0",
        b"\0\0\0\1\1\0\0a\0x",
        b"\0\0\0\1\2\5",
        b"\0\0\0\2\2\4\0",
    ):
        assert_not_decoded("tsquery", data, "do not fit")
    assert_not_decoded(
        "tsquery", struct.pack("!i", DEEP) + b"\2\1" * DEEP, "do not fit"
    )


DEEP = 300_000


@pytest.mark.parametrize(
    ("item", "operands", "text"),
    [
        (b"\2\1", 1, "!" * DEEP + "'a'"),
        (b"\2\2", 2, " & ".join(["'a'"] * (DEEP + 1))),
        (b"\2\4\0\1", 2, "'a' <-> ( " * (DEEP - 1) + "'a' <-> 'a'" + " )" * (DEEP - 1)),
    ],
    ids=["not", "and", "phrase"],
)
def test_depth(item: bytes, operands: int, text: str) -> None:
    """A tree is as deep as it likes to be; the right operand comes first."""
    words = (1, DEEP + 1)[operands - 1]
    data = struct.pack("!i", DEEP + words) + item * DEEP + b"\1\0\0a\0" * words
    assert decode("tsquery", data) == text


def test_sent_as_text() -> None:
    assert encode("tsvector", "a b") == (0, b"a b")
    assert_refused("tsvector", ["a"], "text form")
    assert_refused("tsquery", 5, "text form")
