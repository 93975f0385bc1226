"""A value that cannot be sent, for each type: what the error says, and that nothing was
sent: the transaction goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest

import contexts
from contexts import Tables
from literals import TYPES
from pgasync import types
from pgasync.errors import DataError, Error

NOON = dt.datetime(2024, 2, 29, 12)
UTC = dt.timezone.utc


class Custom:
    def __repr__(self) -> str:
        return "<custom>"


CUSTOM = Custom()

# (type, value, what of it is named: the value itself unless a part is to blame, words)
REFUSED: list[tuple[str, Any, Any, str]] = [
    ("bool", 2, 2, "give True or False"),
    ("int2", 32768, 32768, "32767"),
    ("int4", 2**31, 2**31, "2147483647"),
    ("int4", 1.5, 1.5, "round it first"),
    ("int8", -(2**63) - 1, -(2**63) - 1, "9223372036854775807"),
    ("oid", -1, -1, "4294967295"),
    ("float4", 1e39, 1e39, "float4"),
    ("float8", 10**400, 10**400, "float8"),
    ("numeric", b"1", b"1", "give a Decimal"),
    ("numeric", decimal.Decimal("1e200000"), decimal.Decimal("1e200000"), "digits"),
    ("money", decimal.Decimal("0.001"), decimal.Decimal("0.001"), "money_digits"),
    ("inet", 5, 5, "ipaddress"),
    ("cidr", IPv4Interface("10.0.0.1/8"), IPv4Interface("10.0.0.1/8"), ".network"),
    ("macaddr", b"ab", b"ab", "08:00:2b:01:02:03"),
    ("varbit", 5, 5, "BitString"),
    ("text", b"a", b"a", "give a str"),
    ("text", "a\0", "a\0", "NUL"),
    ("varchar", "\ud800", "\ud800", "surrogate"),
    ('"char"', "ab", "ab", "use text"),
    ("bytea", [1], [1], "give bytes"),
    ("uuid", b"a", b"a", "16 bytes"),
    ("date", 5, 5, "give a datetime.date"),
    ("date", dt.time(5), dt.time(5), "give a datetime.date"),
    ("time", NOON, NOON, "give a datetime.time"),
    ("timetz", dt.time(5), dt.time(5), "timezone.utc"),
    (
        "timestamp",
        NOON.replace(tzinfo=UTC),
        NOON.replace(tzinfo=UTC),
        "naive_datetimes",
    ),
    ("timestamptz", NOON, NOON, "naive_datetimes"),
    ("interval", 5, 5, "give a datetime.timedelta"),
    ("point", (1,), (1,), "give a Point"),
    ("box", (1, 2), (1, 2), "give a Box"),
    ("path", [], [], "give a Path"),
    ("xid8", 2**64, 2**64, "2**64 - 1"),
    ("tid", (1, 65536), (1, 65536), "give a tuple (block, offset)"),
    ("int2vector", [40000], 40000, "32767"),
    ("pg_snapshot", 5, 5, "give a types.Snapshot"),
    ("jsonb", {1, 2}, {1, 2}, "give JSON text"),
    ("int4range", 5, 5, "give a pgasync.types.Range"),
    ("int4range", types.Range(1, 2.5), 2.5, "round it first"),
    ("nummultirange", [5], 5, "give a pgasync.types.Range"),
    ("int4[]", 5, 5, "give a list or tuple"),
    ("int4[]", [1, [2]], [2], "the same length and depth"),
    ("int4[]", [1, 2**31], 2**31, "2147483647"),
    ("mood", 5, 5, "give a str, or register"),
    ("pair", 5, 5, "of its members: n, t"),
    ("pair", (1,), (1,), "the type has 2"),
    ("pair", {"n": 1, "x": 2}, {"n": 1, "x": 2}, "t"),
    ("pair", ("x" * 3, b"a"), b"a", "give a str"),
    ("positive", 2**31, 2**31, "2147483647"),
    ("positiverange", types.Range(1.5), 1.5, "round it first"),
    ("hstore", {"a": 1}, {"a": 1}, "dict of str to str"),
    ("cube", 5, 5, "give a Cube"),
    ("vector", "a b".split(), ["a", "b"], "give a Vector"),
    ("halfvec", [1e6], [1e6], "65504"),
    ("sparsevec", [1], [1], "give a SparseVector"),
]


@pytest.fixture(scope="module")
def tables(dsn: str) -> Iterator[Tables]:
    yield asyncio.run(contexts.create(dsn, TYPES))
    asyncio.run(contexts.drop(dsn))


async def assert_refused(conn: Any, pg_type: str, value: Any, blamed: Any) -> str:
    """The remedy that the error names. The transaction that was open goes on."""
    with pytest.raises(DataError) as caught:
        await conn.fetchval(f"select $1::int, $2::{pg_type}", [1, value])
    error = caught.value
    assert error.sqlstate is None
    message = str(error)
    assert message.startswith(f"$2: cannot send {repr(blamed)[:40]}"), message
    assert f"{type(blamed).__name__}) as " in message
    assert message.partition(" as ")[2].partition(": ")[2], "no remedy"
    assert await conn.fetchval("select 1") == 1
    return message


def test_every_type(dsn: str, tables: Tables) -> None:
    async def run() -> None:
        async with contexts.connected(dsn) as conn, conn.transaction():
            for one in tables.types:
                message = await assert_refused(conn, one.name, CUSTOM, CUSTOM)
                name = one.name.strip('"')
                assert f" as {name}: " in message.replace('"', ""), message
                assert "give " in message.partition(" as ")[2], message

    asyncio.run(run())


@pytest.mark.parametrize(
    "case", REFUSED, ids=lambda case: f"{case[0]} {case[1]!r}"[:40]
)
def test_refused(dsn: str, tables: Tables, case: tuple[str, Any, Any, str]) -> None:
    pg_type, value, blamed, words = case
    if pg_type not in {one.name for one in tables.types}:
        pytest.skip(f"the server has no {pg_type}")

    async def run() -> str:
        async with contexts.connected(dsn) as conn, conn.transaction():
            return await assert_refused(conn, pg_type, value, blamed)

    message = asyncio.run(run())
    assert words in message, message


# What the server refuses, since a str is its to read

REFUSED_TEXT = [
    "bool int4 float8 numeric uuid date timestamptz interval point box int4range",
    "int4multirange jsonb int4[] pair nothing granted regclass aclitem mood positive",
    "hstore cube vector sparsevec inet macaddr money varbit tsquery pg_lsn tid xid8",
]


def test_text_that_the_server_refuses(dsn: str, tables: Tables) -> None:
    async def run() -> None:
        async with contexts.connected(dsn) as conn:
            for name in sorted(set(" ".join(REFUSED_TEXT).split()) & known):
                with pytest.raises(Error) as caught:
                    await conn.fetchval(f"select $1::{name}", ["{not:a value(&"])
                assert caught.value.sqlstate, name
                assert caught.value.outcome == "failed", name
                assert await conn.fetchval("select 1") == 1

    known = {one.name for one in tables.types}
    asyncio.run(run())
