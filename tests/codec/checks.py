"""What the tests of the families share: a case is (type, value, SQL literal)."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from pgasync import _core
from pgasync.errors import DataError, Error

Case = tuple[str, Any, str]

OIDS: dict[str, int] = {name: oid for oid, _, name, _ in _core.codec_table()}


def decode(pg_type: str, data: bytes) -> Any:
    return _core.codec_decode(OIDS[pg_type], data)


def encode(pg_type: str, value: object) -> tuple[int, bytes]:
    return _core.codec_encode(OIDS[pg_type], value)


def round_trip(pg_type: str, value: object) -> Any:
    """Encodes, which must give the binary form, and decodes again."""
    form, data = encode(pg_type, value)
    assert form == 1
    return decode(pg_type, data)


def assert_same(got: Any, expected: Any) -> None:
    """Equal and of the same type; NaN is NaN, and a Decimal keeps its scale."""
    assert type(got) is type(expected)
    if isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        assert getattr(got, "lower_bounds", ()) == getattr(expected, "lower_bounds", ())
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, Decimal):
        assert str(got) == str(expected)
    elif isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(got)
    else:
        assert got == expected
        assert getattr(got, "tzinfo", None) == getattr(expected, "tzinfo", None)


async def assert_both_ways(conn: Any, case: Case) -> None:
    """The literal arrives as the value; the value sent comes back as itself and
    is, to the server, the same text as the literal."""
    pg_type, value, literal = case
    assert_same(await conn.fetchval(f"select {literal}::{pg_type}"), value)
    row = await conn.fetchrow(
        f"select $1::{pg_type}, ($1::{pg_type})::text, ({literal}::{pg_type})::text",
        [value],
    )
    assert_same(row[0], value)
    assert row[1] == row[2]


async def assert_sent_as(conn: Any, case: Case) -> None:
    """What the server makes of the value is what it makes of the literal."""
    pg_type, value, literal = case
    row = await conn.fetchrow(
        f"select ($1::{pg_type})::text, ({literal}::{pg_type})::text", [value]
    )
    assert row[0] == row[1]


def assert_refused(pg_type: str, value: object, *words: str) -> DataError:
    """A DataError that names the parameter, the value, both types and a remedy."""
    with pytest.raises(DataError) as caught:
        encode(pg_type, value)
    message = str(caught.value)
    assert message.startswith("$1: cannot send "), message
    named = type(value).__name__
    for word in (repr(value)[:40], f"{named})", f" as {pg_type}: ", *words):
        assert word in message, (word, message)
    return caught.value


def assert_not_decoded(pg_type: str, data: bytes, *words: str) -> None:
    """A DataError that names the type."""
    with pytest.raises(DataError) as caught:
        decode(pg_type, data)
    for word in (f"cannot decode {pg_type}: ", *words):
        assert word in str(caught.value)


def names(case: Any) -> str:
    """A short id for a parametrised case."""
    text = " ".join(str(part) for part in case[:2]) if isinstance(case, tuple) else ""
    return text.encode("ascii", "replace").decode()[:40]


async def with_extension(conn: Any, name: str) -> None:
    """Creates the extension unless it is there; skips where the server has none."""
    sql = "select 1 from pg_extension where extname = $1"
    if await conn.fetchval(sql, [name]) is None:
        try:
            await conn.execute(f"create extension {name} schema public")
        except Error as error:
            if error.sqlstate != "0A000":
                raise
            pytest.skip(f"the server has no extension {name}")
