"""Parameters whose type the server cannot tell: parsed again with the value's own."""

from __future__ import annotations

import array
import datetime as dt
import enum
import ipaddress
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import pgasync
import pgmock
from pgasync import types
from pgasync.infer import infer

UTC = dt.timezone.utc


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "boolean"),
        (5, "bigint"),
        (2**63, "numeric"),
        (Level.LOW, "bigint"),
        (1.5, "double precision"),
        ("x", "text"),
        (None, "text"),
        (Decimal("1.50"), "numeric"),
        (b"x", "bytea"),
        (dt.date(2024, 1, 1), "date"),
        (dt.datetime(2024, 1, 1), "timestamp without time zone"),
        (dt.datetime(2024, 1, 1, tzinfo=UTC), "timestamp with time zone"),
        (dt.time(1), "time without time zone"),
        (dt.timedelta(1), "interval"),
        (types.Interval(months=1), "interval"),
        (types.Beyond("date", b"\x7f\xff\xff\xff"), "date"),
        (uuid.UUID(int=1), "uuid"),
        ({"a": 1}, "jsonb"),
        ([1, None, 2], "bigint[]"),
        ([1, 2.5], "double precision[]"),
        ([[1], [Decimal(2)]], "numeric[]"),
        (array.array("i", [1]), "bigint[]"),
        (["a"], "text[]"),
        ([], "text[]"),
        (types.Json(None), "jsonb"),
        (ipaddress.ip_address("10.0.0.1"), "inet"),
        (ipaddress.ip_network("10.0.0.0/8"), "cidr"),
        (ipaddress.ip_interface("10.0.0.1/8"), "inet"),
        (types.BitString("01"), "bit varying"),
        ([types.BitString("01"), None], "bit varying[]"),
        (types.Lsn(5), "pg_lsn"),
        ([types.Lsn(5)], "pg_lsn[]"),
        (types.Snapshot(1, 2, (1,)), "pg_snapshot"),
        ([types.Snapshot(1, 2, (1,))], "pg_snapshot[]"),
    ],
    ids=str,
)
async def test_types(conn: Any, value: object, name: str) -> None:
    assert await conn.fetchval("select pg_typeof($1)::text", [value]) == name


@pytest.mark.parametrize("value", [object(), [object()], [1, "x"], 5j, Colour.RED])
async def test_without_a_type(conn: Any, value: object) -> None:
    assert infer(value) == 0
    with pytest.raises(pgasync.errors.IndeterminateDatatype):
        await conn.fetchval("select pg_typeof($1)", [value])
    assert await conn.fetchval("select 1") == 1


async def test_only_the_one_that_is_named(conn: Any) -> None:
    """The others keep the type that the statement gives them."""
    row = await conn.fetchrow(
        "select pg_typeof($1), $2::date, pg_typeof($3)", ["x", "2024-02-29", 1.5]
    )
    assert tuple(row) == ("text", dt.date(2024, 2, 29), "double precision")


async def test_inconsistent_types(conn: Any) -> None:
    sql = "select $1::int where $1 = 'x'::text"
    with pytest.raises(pgasync.ProgrammingError):
        await conn.fetchval(sql, ["y"])
    await conn.execute("create temp table kept (name varchar(5), note text)")
    await conn.execute("insert into kept values ($1, $1 || '!')", ["ab"])
    assert await conn.fetchval("select note from kept") == "ab!"


async def test_round_trips(server: Any, connect: Callable[..., Any]) -> None:
    with pgmock.Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conn = await connect(dsn, autocommit=True)

        async def trips(*params: Any) -> int:
            before = proxy.round_trips
            sql = "select concat($1, $2)"
            text = "".join(str(value) for value in params)
            assert await conn.fetchval(sql, params) == text
            return proxy.round_trips - before

        assert await trips(5, "x") == 4  # each parameter is asked for by itself
        assert await trips(6, "y") == 1
        assert await trips("6", "y") == 2  # of another type: parsed again, at once
        assert await trips(6, 7) == 2
        assert await trips(8, 9) == 1
        names = await conn.fetch("select name from pg_prepared_statements")
        assert len(names) == 2  # what was parsed before has been closed


async def test_first_statement_of_a_transaction(connect: Callable[..., Any]) -> None:
    conn = await connect()
    assert await conn.fetchval("select concat($1, $2)", [1, 2]) == "12"
    assert conn.info.transaction_status == "T"
    await conn.execute("create temp table kept (n int)")
    await conn.commit()
    async with conn.transaction(isolation="serializable"):
        assert await conn.fetchval("select concat($1)", ["a"]) == "a"
        level = await conn.fetchval("show transaction_isolation")
        assert level == "serializable"


async def test_later_in_a_transaction(connect: Callable[..., Any]) -> None:
    """Something has run: the error stays, as for any other in a transaction."""
    conn = await connect()
    await conn.execute("select 1")
    sql = f"select concat($1, '{uuid.uuid4()}')"  # nothing in this process knows it
    with pytest.raises(pgasync.errors.IndeterminateDatatype):
        await conn.fetchval(sql, [1])
    assert conn.info.transaction_status == "E"
    await conn.rollback()
    assert (await conn.fetchval(sql, [1])).startswith("1")
    await conn.rollback()


async def test_prepared_before_it_fails(conn: Any) -> None:
    with pytest.raises(pgasync.errors.IndeterminateDatatype):
        await conn.prepare("select pg_typeof($1)")
    assert await conn.fetchval("select 1") == 1


async def test_many(conn: Any) -> None:
    await conn.execute("create temp table kept (doc jsonb)")
    await conn.executemany(
        "insert into kept values (jsonb_build_object('v', $1))", [(None,), (1,), (2,)]
    )
    rows = await conn.fetch("select doc->'v' from kept order by doc")
    assert sorted(str(row[0]) for row in rows) == ["1", "2", "None"]


async def test_without_a_cache(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, statement_cache_size=0)
    for value in (1, "x", 1.5):
        assert await conn.fetchval("select concat($1)", [value]) == str(value)


async def test_a_refused_value_was_not_sent(conn: Any) -> None:
    for _ in range(2):  # before the statement is known, and after
        with pytest.raises(pgasync.DataError) as caught:
            await conn.fetchval("select $1::uuid", [5])
        assert caught.value.outcome == "not_sent" and caught.value.safe_to_retry
    with pytest.raises(pgasync.DataError) as caught:
        await conn.fetchval("select $1::uuid", ["x"])
    assert caught.value.outcome == "failed"  # by the server
