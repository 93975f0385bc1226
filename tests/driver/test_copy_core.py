"""The core's COPY: its beginning, its data in, its ends (csrc/driver/copy.h)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors

LIMIT_S = 20


@pytest.fixture
async def table(conn: Any) -> AsyncIterator[Any]:
    """A connection with a table t (a int, b text)."""
    await conn.execute("create temporary table t (a int, b text)")
    yield conn


async def start(conn: Any, sql: str = "copy t from stdin") -> Any:
    operation = conn._core.copy(sql)
    await conn._core.copy_started(operation)
    return operation


async def count(conn: Any) -> int:
    value = await asyncio.wait_for(conn.fetchval("select count(*) from t"), LIMIT_S)
    assert isinstance(value, int)
    return value


async def test_in(table: Any) -> None:
    core = table._core
    operation = await start(table)
    assert operation.copying == ("in", 0, 2)
    assert core.copy_write(operation, b"1\tone\n") is True
    assert core.copy_write(operation, memoryview(b"2\ttwo\n")) is True
    core.copy_done(operation)
    assert await operation is operation
    assert (operation.statusmessage, operation.rowcount) == ("COPY 2", 2)
    assert await count(table) == 2


async def test_binary_and_no_data(table: Any) -> None:
    operation = await start(table, "copy t from stdin (format binary)")
    assert operation.copying == ("in", 1, 2)
    table._core.copy_write(operation, b"PGCOPY\n\xff\r\n\0" + b"\0" * 8 + b"\xff\xff")
    table._core.copy_done(operation)
    await operation
    assert operation.statusmessage == "COPY 0"


async def test_large_pieces(table: Any) -> None:
    """A piece of any size is cut into messages; drain() bounds what waits."""
    core = table._core
    operation = await start(table, "copy t (b) from stdin")
    line = b"x" * 99_999 + b"\n"
    for _ in range(50):
        if not core.copy_write(operation, line):
            await core.drain()
    core.copy_done(operation)
    await operation
    assert await count(table) == 50
    assert await table.fetchval("select min(length(b)) from t") == 99_999


async def test_out(table: Any) -> None:
    """Begins and ends; its data are not kept here."""
    await table.execute("insert into t values (1, 'a')")
    operation = await start(table, "copy t to stdout")
    assert operation.copying == ("out", 0, 2)
    with pytest.raises(pgasync.InterfaceError, match="takes none"):
        table._core.copy_write(operation, b"1")
    await operation
    assert operation.statusmessage == "COPY 1"


async def test_fail(table: Any) -> None:
    operation = await start(table)
    table._core.copy_write(operation, b"1\tone\n")
    table._core.copy_fail(operation, "no \udc80 more\0 hidden")
    with pytest.raises(errors.QueryCanceled, match=r"no \\udc80 more$"):
        await operation
    assert await count(table) == 0


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("copy nowhere from stdin", errors.UndefinedTable),
        ("copy t from stdin (format parquet)", errors.DatabaseError),
        ("copy t from", pgasync.ProgrammingError),
    ],
)
async def test_refused(table: Any, sql: str, kind: type[Exception]) -> None:
    operation = table._core.copy(sql)
    with pytest.raises(kind):
        await table._core.copy_started(operation)
    with pytest.raises(kind):
        await operation
    assert await count(table) == 0


async def test_error_in_the_middle(table: Any) -> None:
    """Data that the server refuses: the error is there at the next write at the
    latest, and the connection goes on whatever was still on its way."""
    core = table._core
    operation = await start(table)
    core.copy_write(operation, b"1\tone\nx\ttwo\n" + b"3\tthree\n" * 100_000)
    with pytest.raises(errors.InvalidTextRepresentation):
        while True:
            core.copy_write(operation, b"3\tthree\n" * 10_000)
            await core.drain()
            await asyncio.sleep(0)
    with pytest.raises(errors.InvalidTextRepresentation) as caught:
        await operation
    assert "line 2" in caught.value.where
    assert await count(table) == 0


@pytest.mark.parametrize("sql", ["select 1", "insert into t values (1)", ""])
async def test_no_copy(table: Any, sql: str) -> None:
    operation = table._core.copy(sql)
    with pytest.raises(pgasync.ProgrammingError, match="no COPY has come"):
        await table._core.copy_started(operation)
    with pytest.raises(pgasync.ProgrammingError):
        await operation
    assert await count(table) == sql.startswith("insert")


@pytest.mark.parametrize(
    "sql",
    [
        "copy t from stdin; copy t from stdin",
        "copy t from stdin; copy t to stdout",
        "copy t to stdout; copy t from stdin",
    ],
)
async def test_two_in_one_text(table: Any, sql: str) -> None:
    operation = await start(table, sql)
    if operation.copying[0] == "in":
        table._core.copy_done(operation)
    with pytest.raises(pgasync.NotSupportedError, match="one COPY at a time"):
        await asyncio.wait_for(operation, LIMIT_S)
    assert await count(table) == 0


async def test_execute_names_the_remedy(table: Any) -> None:
    for sql in ("copy t from stdin", "copy t to stdout"):
        with pytest.raises(pgasync.NotSupportedError, match=r"copy\(\)"):
            await table.execute(sql)
    assert await count(table) == 0


async def test_begin_rides_in_front(connect: Callable[..., Any], dsn: str) -> None:
    async with await connect(autocommit=False) as conn:
        await conn.execute("create temporary table t (a int, b text)")
        await conn.commit()
        operation = await start(conn)
        conn._core.copy_write(operation, b"1\tone\n")
        conn._core.copy_done(operation)
        await operation
        assert operation.statusmessage == "COPY 1"
        assert conn._core.in_transaction
        await conn.rollback()
        assert await count(conn) == 0


async def test_position_in_the_text(connect: Callable[..., Any]) -> None:
    """The caret of an error does not count the BEGIN."""
    async with await connect(autocommit=False) as conn:
        for sql in ("copy nowhere from stdin", "copy t (nothing here) from stdin"):
            operation = conn._core.copy(sql)
            with pytest.raises(pgasync.ProgrammingError) as caught:
                await operation
            assert caught.value.query == sql
            position = caught.value.position
            if position is not None:
                assert sql[position - 1 :].startswith(("nowhere", "here"))
            await conn.rollback()


async def test_in_a_failed_transaction(table: Any) -> None:
    with pytest.raises(pgasync.DataError):
        async with table.transaction():
            with pytest.raises(pgasync.DataError):
                await table.execute("select 1/0")
            operation = table._core.copy("copy t from stdin")
            with pytest.raises(errors.InFailedSqlTransaction):
                await operation
            raise pgasync.DataError("enough")
    assert await count(table) == 0


# --- who has to wait -----------------------------------------------------------


async def test_own_statement_is_refused(table: Any) -> None:
    operation = await start(table)
    with pytest.raises(pgasync.InterfaceError, match="end the COPY first"):
        await table.fetchval("select 1")
    with pytest.raises(pgasync.InterfaceError, match="end the COPY first"):
        await start(table)
    table._core.copy_done(operation)
    await operation
    assert await count(table) == 0


async def test_others_wait(table: Any) -> None:
    async def other() -> int:
        return await count(table)

    operation = await start(table)
    task = asyncio.create_task(other())
    await asyncio.sleep(0.05)
    assert not task.done()
    table._core.copy_write(operation, b"1\tone\n")
    table._core.copy_done(operation)
    await operation
    assert await asyncio.wait_for(task, LIMIT_S) == 1


async def test_waits_for_its_turn(table: Any) -> None:
    """What was asked before a COPY is answered before it."""

    async def sleeper() -> None:
        await table.execute("select pg_sleep(0.05)")

    task = asyncio.create_task(sleeper())
    await asyncio.sleep(0)
    operation = await start(table)
    assert task.done()
    table._core.copy_done(operation)
    await operation


# --- giving up -------------------------------------------------------------------


async def test_cancel(table: Any) -> None:
    operation = await start(table)
    table._core.copy_write(operation, b"1\tone\n")
    assert operation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await operation
    with pytest.raises(pgasync.InterfaceError):
        table._core.copy_write(operation, b"1\tone\n")
    assert await count(table) == 0


async def test_cancel_before_the_answer(table: Any, dsn: str) -> None:
    """While it waits for a lock."""
    await table.execute("create table if not exists copy_locked (a int)")
    async with pgasync.connect(dsn) as other:
        await other.execute("lock table copy_locked")
        operation = table._core.copy("copy copy_locked from stdin")
        started = table._core.copy_started(operation)
        task = asyncio.ensure_future(wait(started))
        await asyncio.sleep(0.05)
        operation.expire(pgasync.QueryTimeout("late"))
        with pytest.raises(pgasync.QueryTimeout):
            await task
        assert await count(table) == 0
    await table.execute("drop table copy_locked")


async def wait(operation: Any) -> Any:
    return await operation


async def test_cancel_what_was_not_sent(table: Any) -> None:
    async def sleeper() -> None:
        await table.execute("select pg_sleep(0.1)")

    first = await start(table)
    task = asyncio.create_task(give_up_queued(table))
    await asyncio.sleep(0)
    await task
    table._core.copy_done(first)
    await first
    assert await count(table) == 0


async def give_up_queued(table: Any) -> None:
    operation = table._core.copy("copy t from stdin")
    started = table._core.copy_started(operation)
    assert not operation.sent
    operation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started


async def test_lost(connect: Callable[..., Any], dsn: str) -> None:
    """The session ends under it: nothing can have been committed."""
    conn = await connect()
    await conn.execute("create temporary table t (a int)")
    operation = await start(conn)
    async with pgasync.connect(dsn) as other:
        await other.execute("select pg_terminate_backend($1)", [conn.info.backend_pid])
    with pytest.raises(pgasync.OperationalError):  # of the COPY, or of the drain()
        while True:
            conn._core.copy_write(operation, b"1\n" * 100_000)
            await conn._core.drain()
            await asyncio.sleep(0)
    with pytest.raises(pgasync.OperationalError) as caught:
        await operation
    assert caught.value.outcome == "failed"
    assert conn.closed


async def test_terminate(connect: Callable[..., Any]) -> None:
    conn = await connect()
    await conn.execute("create temporary table t (a int)")
    operation = await start(conn)
    conn.terminate()
    with pytest.raises(pgasync.InterfaceError):
        conn._core.copy_write(operation, b"1\n")
    with pytest.raises(pgasync.InterfaceError):
        await operation
