"""The cursor of PEP 249."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

import pytest

import pgasync

THREE = "select n, 'r' || n as name from generate_series(1, 3) n"


def test_module() -> None:
    assert pgasync.apilevel == "2.0"
    assert pgasync.threadsafety == 1
    assert pgasync.paramstyle == "numeric_dollar"
    assert pgasync.__version__


def test_exceptions() -> None:
    tree = {
        "Warning": Exception,
        "Error": Exception,
        "InterfaceError": pgasync.Error,
        "DatabaseError": pgasync.Error,
        "DataError": pgasync.DatabaseError,
        "OperationalError": pgasync.DatabaseError,
        "IntegrityError": pgasync.DatabaseError,
        "InternalError": pgasync.DatabaseError,
        "ProgrammingError": pgasync.DatabaseError,
        "NotSupportedError": pgasync.DatabaseError,
    }
    for name, base in tree.items():
        kind = getattr(pgasync, name)
        assert issubclass(kind, base)
        assert getattr(pgasync.Connection, name) is kind


def test_constructors() -> None:
    assert pgasync.Date(2026, 2, 1) == datetime.date(2026, 2, 1)
    assert pgasync.Time(1, 2, 3) == datetime.time(1, 2, 3)
    assert pgasync.Timestamp(2026, 2, 1, 3) == datetime.datetime(2026, 2, 1, 3)
    assert pgasync.Binary(b"x") == b"x"
    now = time.time()
    local = datetime.datetime.fromtimestamp(int(now))
    assert pgasync.DateFromTicks(now) == local.date()
    assert pgasync.TimeFromTicks(now) == local.time()
    assert pgasync.TimestampFromTicks(now) == local


def test_type_objects() -> None:
    assert pgasync.STRING == 25
    assert pgasync.STRING != 23
    assert pgasync.NUMBER == pgasync.NUMBER
    assert pgasync.NUMBER != pgasync.STRING
    assert pgasync.NUMBER != "23"
    assert {pgasync.BINARY: 1}[pgasync.BINARY] == 1
    assert repr(pgasync.ROWID) == "pgasync.ROWID"


async def test_description(conn: Any) -> None:
    cursor = conn.cursor()
    assert cursor.description is None
    await cursor.execute(
        "select 1::int as i, 'x'::text as t, now() as w, 2.5::numeric(5,1) as n,"
        " '\\x00'::bytea as b, 3::oid as o"
    )
    names = [column[0] for column in cursor.description]
    assert names == ["i", "t", "w", "n", "b", "o"]
    kinds = [column[1] for column in cursor.description]
    assert kinds == [
        pgasync.NUMBER,
        pgasync.STRING,
        pgasync.DATETIME,
        pgasync.NUMBER,
        pgasync.BINARY,
        pgasync.ROWID,
    ]
    assert {len(column) for column in cursor.description} == {7}
    await cursor.execute("create temporary table d (n int)")
    assert cursor.description is None


async def test_fetching(conn: Any) -> None:
    cursor = conn.cursor()
    assert cursor.rownumber is None
    assert await cursor.execute(THREE) is cursor
    assert (cursor.rowcount, cursor.rownumber) == (3, 0)
    assert await cursor.fetchone() == (1, "r1")
    assert cursor.rownumber == 1
    assert await cursor.fetchall() == [(2, "r2"), (3, "r3")]
    assert await cursor.fetchone() is None
    assert await cursor.fetchall() == []
    assert await cursor.fetchmany() == []
    assert cursor.connection is conn


async def test_fetchmany(conn: Any) -> None:
    cursor = await conn.execute(THREE)
    assert cursor.arraysize == 1
    assert await cursor.fetchmany() == [(1, "r1")]
    cursor.arraysize = 5
    assert await cursor.fetchmany() == [(2, "r2"), (3, "r3")]
    await cursor.execute(THREE)
    assert await cursor.fetchmany(2) == [(1, "r1"), (2, "r2")]
    assert await cursor.fetchmany(0) == []
    with pytest.raises(pgasync.InterfaceError):
        await cursor.fetchmany(-1)


async def test_iteration(conn: Any) -> None:
    cursor = await conn.execute(THREE)
    assert [row.name async for row in cursor] == ["r1", "r2", "r3"]
    assert [row async for row in cursor] == []


async def test_rowcount(conn: Any) -> None:
    cursor = conn.cursor()
    assert cursor.rowcount == -1
    await cursor.execute("create temporary table rc (n int)")
    assert cursor.rowcount == -1
    await cursor.execute("insert into rc select generate_series(1, 5)")
    assert (cursor.rowcount, cursor.statusmessage) == (5, "INSERT 0 5")
    await cursor.execute("update rc set n = n where n > 2")
    assert (cursor.rowcount, cursor.statusmessage) == (3, "UPDATE 3")
    await cursor.execute("delete from rc where n > 100")
    assert cursor.rowcount == 0
    await cursor.executemany("insert into rc values ($1)", [[1], [2]])
    assert cursor.rowcount == 2


async def test_returning(conn: Any) -> None:
    await conn.execute("create temporary table rt (id serial, n int)")
    cursor = await conn.execute("insert into rt (n) values (7), (8) returning id, n")
    assert await cursor.fetchall() == [(1, 7), (2, 8)]
    assert cursor.rowcount == 2


async def test_fetch_without_a_result(conn: Any) -> None:
    cursor = conn.cursor()
    with pytest.raises(pgasync.Error, match="nothing was executed"):
        await cursor.fetchone()
    await cursor.execute("create temporary table nr (n int)")
    for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall):
        with pytest.raises(pgasync.ProgrammingError, match="CREATE TABLE"):
            await fetch()
    await cursor.executemany("insert into nr values ($1)", [[1]])
    with pytest.raises(pgasync.ProgrammingError):
        await cursor.fetchall()


async def test_failed_statement_leaves_no_old_result(conn: Any) -> None:
    cursor = await conn.execute(THREE)
    with pytest.raises(pgasync.DataError):
        await cursor.execute("select 1/0")
    assert (cursor.description, cursor.rowcount) == (None, -1)
    with pytest.raises(pgasync.ProgrammingError):
        await cursor.fetchone()


async def test_closed_cursor(conn: Any) -> None:
    cursor = await conn.execute(THREE)
    await cursor.close()
    await cursor.close()
    assert cursor.closed
    for use in (
        cursor.fetchone,
        cursor.fetchmany,
        cursor.fetchall,
        cursor.nextset,
        lambda: cursor.execute("select 1"),
        lambda: cursor.executemany("select 1", [[]]),
    ):
        with pytest.raises(pgasync.InterfaceError, match="cursor is closed"):
            await use()
    assert await conn.fetchval("select 1") == 1


async def test_as_a_context_manager(conn: Any) -> None:
    async with conn.cursor() as cursor:
        await cursor.execute("select 1")
    assert cursor.closed


async def test_nextset(conn: Any) -> None:
    cursor = await conn.execute("select 1 as a; select 2, 3; set work_mem = '1MB'")
    assert await cursor.fetchall() == [(1,)]
    assert await cursor.nextset() is True
    assert await cursor.fetchall() == [(2, 3)]
    assert len(cursor.description) == 2
    assert await cursor.nextset() is True
    assert (cursor.statusmessage, cursor.description) == ("SET", None)
    assert await cursor.nextset() is None
    await cursor.execute("select 1")
    assert await cursor.nextset() is None


async def test_sizes_are_accepted(conn: Any) -> None:
    cursor = conn.cursor()
    cursor.setinputsizes([1, 2])
    cursor.setoutputsize(10)
    cursor.setoutputsize(10, 1)


async def test_named_parameters(conn: Any) -> None:
    cursor = await conn.execute("select :a::int + :b::int", {"a": 1, "b": 2})
    assert await cursor.fetchone() == (3,)


async def test_cursors_share_the_transaction(connect: Callable[..., Any]) -> None:
    conn = await connect()
    one, two = conn.cursor(), conn.cursor()
    await one.execute("create temporary table st (n int)")
    await two.execute("insert into st values (1)")
    await one.execute("select n from st")
    assert await one.fetchall() == [(1,)]
    await conn.rollback()
