"""transaction(): blocks, savepoints, modes, and blocks that end badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors
from pgasync.transaction import begin_sql


@pytest.fixture
async def table(conn: Any) -> AsyncIterator[str]:
    name = "transaction_test"
    await conn.execute(f"drop table if exists {name}")
    await conn.execute(f"create table {name} (n int)")
    yield name
    await conn.execute(f"drop table {name}")


async def numbers(conn: Any, table: str) -> list[int]:
    rows = await conn.fetch(f"select n from {table} order by n")
    return [row.n for row in rows]


def insert(table: str, number: int) -> str:
    return f"insert into {table} values ({number})"


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ((None, None, None), "BEGIN"),
        (("serializable", None, None), "BEGIN ISOLATION LEVEL SERIALIZABLE"),
        (("REPEATABLE_READ", True, None), "BEGIN ISOLATION LEVEL REPEATABLE READ, "),
        ((None, False, None), "BEGIN READ WRITE"),
        ((None, True, True), "BEGIN READ ONLY, DEFERRABLE"),
        ((None, None, False), "BEGIN NOT DEFERRABLE"),
    ],
)
def test_begin(modes: Any, expected: str) -> None:
    assert begin_sql(*modes).startswith(expected)


def test_unknown_isolation_level() -> None:
    with pytest.raises(pgasync.InterfaceError, match="read committed"):
        begin_sql("snapshot; drop table t", None, None)


async def test_commit_and_rollback(conn: Any, table: str) -> None:
    async with conn.transaction():
        await conn.execute(insert(table, 1))
        assert conn.info.transaction_status == "T"
    assert conn.info.transaction_status == "I"
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.execute(insert(table, 2))
            raise ZeroDivisionError
    assert conn.info.transaction_status == "I"
    assert await numbers(conn, table) == [1]
    await conn.execute(insert(table, 3))  # autocommit again
    assert conn.info.transaction_status == "I"


async def test_empty_block(conn: Any) -> None:
    async with conn.transaction():
        pass
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction(isolation="serializable"):
            raise ZeroDivisionError
    # The BEGIN that was due is forgotten.
    assert await conn.fetchval("show transaction_isolation") == "read committed"
    assert conn.info.transaction_status == "I"


async def test_modes(conn: Any, table: str) -> None:
    async with conn.transaction(
        isolation="serializable", readonly=True, deferrable=True
    ):
        assert await conn.fetchval("show transaction_isolation") == "serializable"
        assert await conn.fetchval("show transaction_read_only") == "on"
        assert await conn.fetchval("show transaction_deferrable") == "on"
        with pytest.raises(errors.ReadOnlySqlTransaction):
            async with conn.transaction():
                await conn.execute(insert(table, 1))
    assert await conn.fetchval("show transaction_isolation") == "read committed"


async def test_savepoints(conn: Any, table: str) -> None:
    async with conn.transaction():
        await conn.execute(insert(table, 1))
        with pytest.raises(errors.DivisionByZero):
            async with conn.transaction():
                await conn.execute(insert(table, 2))
                await conn.execute("select 1/0")
        async with conn.transaction():
            await conn.execute(insert(table, 3))
            with pytest.raises(KeyError):
                async with conn.transaction():
                    await conn.execute(insert(table, 4))
                    raise KeyError
            await conn.execute(insert(table, 5))
    assert await numbers(conn, table) == [1, 3, 5]


async def test_savepoint_as_the_first_thing(conn: Any, table: str) -> None:
    """The outer BEGIN has not been sent when the savepoint is set."""
    async with conn.transaction(isolation="repeatable read"):
        with pytest.raises(KeyError):
            async with conn.transaction():
                await conn.execute(insert(table, 1))
                raise KeyError
        assert await conn.fetchval("show transaction_isolation") == "repeatable read"
        await conn.execute(insert(table, 2))
    assert await numbers(conn, table) == [2]


async def test_failed_inner_statement_that_was_swallowed(conn: Any, table: str) -> None:
    """The savepoint cannot be released; the outer transaction goes on."""
    async with conn.transaction():
        await conn.execute(insert(table, 1))
        with pytest.raises(errors.InFailedSqlTransaction):
            async with conn.transaction():
                with pytest.raises(errors.DivisionByZero):
                    await conn.execute("select 1/0")
        await conn.execute(insert(table, 2))
    assert await numbers(conn, table) == [1, 2]


async def test_failed_statement_that_was_swallowed(conn: Any) -> None:
    with pytest.raises(pgasync.TransactionRolledBack):
        async with conn.transaction():
            with pytest.raises(errors.DivisionByZero):
                await conn.execute("select 1/0")
    assert conn.info.transaction_status == "I"


async def test_by_hand(conn: Any, table: str) -> None:
    outer = conn.transaction()
    await outer.start()
    await conn.execute(insert(table, 1))
    inner = conn.transaction()
    await inner.start()
    await conn.execute(insert(table, 2))
    await inner.rollback()
    await outer.commit()
    assert await numbers(conn, table) == [1]


async def test_wrong_use(conn: Any) -> None:
    outer = conn.transaction()
    with pytest.raises(pgasync.InterfaceError, match="not started"):
        await outer.commit()
    with pytest.raises(pgasync.InterfaceError, match="not started"):
        await outer.rollback()
    await outer.start()
    with pytest.raises(pgasync.InterfaceError, match="already"):
        await outer.start()
    inner = conn.transaction()
    await inner.start()
    with pytest.raises(pgasync.InterfaceError, match="reverse order"):
        await outer.commit()
    with pytest.raises(pgasync.InterfaceError, match="block"):
        await conn.commit()
    with pytest.raises(pgasync.InterfaceError, match="block"):
        await conn.rollback()
    with pytest.raises(pgasync.InterfaceError, match="savepoint"):
        await conn.transaction(readonly=True).start()
    await inner.commit()
    await outer.rollback()
    with pytest.raises(pgasync.InterfaceError, match="rolled back already"):
        await outer.commit()
    with pytest.raises(pgasync.InterfaceError):
        async with outer:
            pass


async def test_ended_by_hand_inside_the_block(conn: Any, table: str) -> None:
    async with conn.transaction() as transaction:
        await conn.execute(insert(table, 1))
        await transaction.rollback()
    assert await numbers(conn, table) == []


async def test_without_autocommit(connect: Callable[..., Any], table: str) -> None:
    conn = await connect()
    async with conn.transaction():
        await conn.execute(insert(table, 1))
    assert conn.info.transaction_status == "I"
    await conn.execute(insert(table, 2))  # opens one: the block is a savepoint
    with pytest.raises(KeyError):
        async with conn.transaction():
            await conn.execute(insert(table, 3))
            raise KeyError
    assert conn.info.transaction_status == "T"
    await conn.commit()
    assert await numbers(conn, table) == [1, 2]
    await conn.rollback()


async def test_cancelled_inside(conn: Any, table: str) -> None:
    async def work() -> None:
        async with conn.transaction():
            await conn.execute(insert(table, 1))
            await conn.execute("select pg_sleep(30)")

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert conn.info.transaction_status == "I"
    assert await numbers(conn, table) == []


async def test_cancelled_twice(connect: Callable[..., Any], table: str) -> None:
    """The second one meets the rollback: closed, or usable and rolled back."""
    conn = await connect(autocommit=True)

    async def work() -> None:
        async with conn.transaction():
            await conn.execute(insert(table, 1))
            await conn.execute("select pg_sleep(30)")

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    if not conn.closed:
        assert await numbers(conn, table) == []


async def test_lost_inside(connect: Callable[..., Any], conn: Any, table: str) -> None:
    """The block's own exception is seen, not that of the rollback."""
    other = await connect(autocommit=True)
    with pytest.raises(KeyError):
        async with other.transaction():
            await other.execute(insert(table, 1))
            other.terminate()
            raise KeyError
    lost = await connect(autocommit=True)
    with pytest.raises(pgasync.OperationalError):
        async with lost.transaction():
            await lost.execute(insert(table, 2))
            pid = lost.info.backend_pid
            await conn.execute("select pg_terminate_backend($1)", [pid])
            await lost.fetchval("select pg_sleep(5)")
    assert await numbers(conn, table) == []
