"""text, varchar, bpchar, name, "char", bytea, and types without a codec."""

from __future__ import annotations

import array
import uuid
from decimal import Decimal
from typing import Any

import pytest

from codec.checks import (
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
from pgasync import _core

LONG = "påsk🐣" * 1000

CASES: list[Case] = [
    *[
        (pg_type, value, literal)
        for pg_type in ("text", "varchar")
        for value, literal in (
            ("", "''"),
            ("hello", "'hello'"),
            ("it's", "'it''s'"),
            ("naïve €𐍈", "'naïve €𐍈'"),
            (LONG, f"'{LONG}'"),
        )
    ],
    ("bpchar", "ab  ", "'ab  '"),
    ("name", "pg_class", "'pg_class'"),
    ('"char"', "", "''"),
    ('"char"', "a", "'a'"),
    ('"char"', "\\", "E'\\\\'"),
    ('"char"', "\\377", "E'\\\\377'"),
    ("bytea", b"", "''"),
    ("bytea", b"\0\1\xfe\xff", "'\\x0001feff'"),
    ("bytea", bytes(range(256)) * 40, f"'\\x{(bytes(range(256)) * 40).hex()}'"),
]


class Quoted(str):
    """A str of a library, which must not matter."""


SENT: list[Case] = [
    ("text", Quoted("x"), "'x'"),
    ("varchar", 5, "'5'"),
    ("text", -(2**70), f"'{-(2**70)}'"),
    ("name", Quoted("n"), "'n'"),
    ("bpchar", Quoted("n"), "'n'"),
    ('"char"', Quoted("n"), "'n'"),
    ("bytea", bytearray(b"ab"), "'\\x6162'"),
    ("bytea", memoryview(b"abcd")[1:3], "'\\x6263'"),
    ("bytea", array.array("B", [1, 2]), "'\\x0102'"),
    ("bytea", "\\x6162", "'\\x6162'"),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("text", "a\0b", "NUL"),
    ("varchar", "\ud800", "surrogate"),
    ("text", b"abc", ".decode()"),
    ("text", 1.5, "str(value)"),
    ("text", True, "str(value)"),
    ("text", ["a"], "str(value)"),
    ("name", None.__class__, "str(value)"),
    ("int4", "1\0", "NUL"),
    ("int4", "\udfff", "surrogate"),
    ('"char"', "ab", "use text"),
    ('"char"', "é", "use text"),
    ('"char"', "\\400", "use text"),
    ('"char"', 65, "one character"),
    ("bytea", 5, "memoryview"),
    ("bytea", ["a"], "memoryview"),
    ("bytea", memoryview(b"abcd")[::2], "contiguous"),
    ("bytea", "a\0", "NUL"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", REFUSED, ids=names)
def test_refused(case: tuple[str, Any, str]) -> None:
    assert_refused(*case)


@pytest.mark.parametrize("case", CASES, ids=names)
def test_round_trip(case: Case) -> None:
    assert_same(round_trip(case[0], case[1]), case[1])


@pytest.mark.parametrize("byte", range(256))
def test_every_char(byte: int) -> None:
    value = _core.codec_decode(18, bytes([byte]))
    assert isinstance(value, str)
    assert encode('"char"', value) == (1, bytes([byte]))


async def test_every_char_is_spelled_as_the_server_does(conn: Any) -> None:
    rows = await conn.fetch(
        """select chr(i)::"char", (chr(i)::"char")::text from generate_series(1, 127) i
        union all
        select v::"char", v from (select E'\\\\' || lpad(a::text, 3, '0') as v
            from unnest('{200,277,300,377}'::int[]) a) q"""
    )
    assert len(rows) == 131
    for value, text in rows:
        assert value == text


def test_invalid_utf8_is_data_error() -> None:
    for data in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"):
        assert_not_decoded("text", data, "UTF-8")
        assert_not_decoded("unknown", data, "UTF-8")
        assert_not_decoded("json", data, "not a JSON document")


def test_a_long_value_is_shortened_and_a_failing_repr_does_no_harm() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    message = str(assert_refused("int4", [1] * 1_000_000))
    assert len(message) < 300
    message = str(assert_refused("text", b"x" * 10_000_000))
    assert len(message) < 300
    with pytest.raises(_data_error(), match=r"\$1: cannot send <Bad> \(Bad\) as int4"):
        encode("int4", Bad())


def _data_error() -> type[Exception]:
    from pgasync.errors import DataError

    return DataError


# Types without a codec: text both ways.

NO_CODEC = 999_999


def test_no_codec_is_text() -> None:
    assert _core.codec_decode(NO_CODEC, "(1,é)".encode()) == "(1,é)"
    assert _core.codec_encode(NO_CODEC, "(1,é)") == (0, "(1,é)".encode())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, b"true"),
        (12, b"12"),
        (0.1, b"0.1"),
        (Decimal("1.10"), b"1.10"),
        (uuid.UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
    ],
)
def test_no_codec_spells_scalars(value: object, text: bytes) -> None:
    assert _core.codec_encode(NO_CODEC, value) == (0, text)


@pytest.mark.parametrize("value", [object(), [1], {}, b"x", "a\0", "\ud800"])
def test_no_codec_refuses(value: object) -> None:
    with pytest.raises(_data_error(), match=r"^\$1: cannot send "):
        _core.codec_encode(NO_CODEC, value)


async def test_types_without_codec_on_the_server(conn: Any) -> None:
    row = await conn.fetchrow(
        "select 'postgres=r/postgres'::aclitem, $1::aclitem, 'a'::unknown, pg_sleep(0)",
        ["postgres=w/postgres"],
    )
    assert tuple(row) == ("postgres=r/postgres", "postgres=w/postgres", "a", "")
