"""Receiving piece by piece: core.stream() and core.take(), pausing, giving up, ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

import pgasync

MANY = "select g, repeat('x', 100) from generate_series(1, 300000) g"
HIGH = 256 * 1024
LIMIT_S = 5.0


def begin(conn: Any, sql: str) -> Any:
    return conn._core.open_portal("stream", sql, None, 10, False, True)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.002)


async def rows_of(core: Any, stream: Any) -> list[Any]:
    rows: list[Any] = []
    while piece := await core.take(stream):
        rows += piece
    return rows


async def paused(conn: Any, sql: str = MANY) -> Any:
    """A stream of which nothing is taken until its connection reads no more."""
    stream = begin(conn, sql)
    await until(lambda: conn._core.paused)
    return stream


async def test_all_rows_in_order(conn: Any) -> None:
    stream = begin(conn, MANY)
    rows = await rows_of(conn._core, stream)
    assert [row[0] for row in rows] == [*range(1, 300_001)]
    assert stream.statusmessage == "SELECT 300000"
    assert await conn._core.take(stream) == []
    assert await conn.fetchval("select 1") == 1


async def test_pieces_are_bounded(conn: Any) -> None:
    stream = await paused(conn)
    assert HIGH <= stream.received < 4 * HIGH
    first = await conn._core.take(stream)
    assert not conn._core.paused
    assert stream.received == 0
    assert len(first) < 4 * HIGH / 100
    await until(lambda: conn._core.paused)
    stream.cancel()
    assert await conn.fetchval("select 1") == 1


async def test_one_reader(conn: Any) -> None:
    stream = begin(conn, "select pg_sleep(0.05)")
    first = conn._core.take(stream)
    with pytest.raises(pgasync.InterfaceError, match="one reader"):
        conn._core.take(stream)
    assert len(await first) == 1


async def test_wrong_kind(conn: Any) -> None:
    operation = conn._core.execute("select 1")
    with pytest.raises(TypeError):
        conn._core.take(operation)
    await operation


@pytest.mark.parametrize("how", ["cancel", "expire", "task", "collected"])
async def test_given_up_while_paused(conn: Any, how: str) -> None:
    """What is left is drained, and the connection goes on, soon."""
    stream = await paused(conn)
    started = time.monotonic()
    if how == "cancel":
        stream.cancel()
    elif how == "expire":
        stream.expire(pgasync.QueryTimeout("late"))
    elif how == "task":
        # All that is there is taken, so that the task waits.
        async def read() -> None:
            await rows_of(conn._core, stream)

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        stream.close()
        del stream
        gc.collect()
    assert await conn.fetchval("select 1") == 1
    assert time.monotonic() - started < LIMIT_S
    assert not conn._core.paused


async def test_statements_of_others_wait(conn: Any) -> None:
    """They are not sent before the stream has ended: giving it up hits it alone."""
    stream = await paused(conn)
    other = conn._core.execute("select 7", None, pgasync._core.MODE_VALUE)
    assert not other.sent
    stream.cancel()
    assert await other == 7


async def test_behind_others(conn: Any) -> None:
    core = conn._core
    first = core.execute("select 1", None, pgasync._core.MODE_VALUE)
    await conn.fetchval("select 1")
    stream = begin(conn, "select 2")
    second = begin(conn, "select 3")
    takes = [core.take(stream), core.take(second)]
    assert await first == 1
    assert await takes[1] == [(3,)]
    assert await takes[0] == [(2,)]


async def test_error_after_the_rows_before_it(conn: Any) -> None:
    sql = "select 1000 / (50000 - g) from generate_series(1, 60000) g"
    stream = begin(conn, sql)
    rows: list[Any] = []
    with pytest.raises(pgasync.DataError, match="division by zero"):
        while piece := await conn._core.take(stream):
            rows += piece
    assert len(rows) == 49_999
    with pytest.raises(pgasync.DataError, match="division by zero"):
        await conn._core.take(stream)
    assert await conn.fetchval("select 1") == 1


@pytest.mark.parametrize("rows", [10, 3_000_000])
async def test_row_that_cannot_be_decoded(conn: Any, rows: int) -> None:
    sql = (
        "select case when g = 5 then 'infinity'::date else '2020-01-01' end"
        f" from generate_series(1, {rows}) g"
    )
    stream = begin(conn, sql)
    started = time.monotonic()
    assert len(await conn._core.take(stream)) == 4
    with pytest.raises(pgasync.DataError, match="column 1"):
        await conn._core.take(stream)
    assert await conn.fetchval("select 1") == 1
    assert time.monotonic() - started < LIMIT_S


async def test_refused_statement(conn: Any) -> None:
    stream = begin(conn, "select nonsense")
    with pytest.raises(pgasync.ProgrammingError, match="nonsense"):
        await conn._core.take(stream)


async def test_terminate_while_paused(conn: Any) -> None:
    stream = await paused(conn)
    conn.terminate()
    assert await conn._core.take(stream)
    with pytest.raises(pgasync.InterfaceError):
        await conn._core.take(stream)


async def test_end_of_the_server_is_noticed_when_it_reads_again(
    conn: Any, connect: Callable[..., Any]
) -> None:
    stream = await paused(conn)
    killer = await connect(autocommit=True)
    pid = conn.info.backend_pid
    await killer.execute("select pg_terminate_backend($1)", [pid])
    with pytest.raises(pgasync.OperationalError):
        await rows_of(conn._core, stream)
    assert conn.closed


async def test_dropped_while_paused(connect: Callable[..., Any], dsn: str) -> None:
    conn = await pgasync.connect(dsn, autocommit=True)
    stream = await paused(conn)
    with pytest.warns(ResourceWarning):
        del conn
        gc.collect()
    assert stream.done()


@pytest.mark.no_leak_check
def test_loop_ends_while_paused(dsn: str) -> None:
    async def start() -> tuple[Any, Any]:
        conn = await pgasync.connect(dsn, autocommit=True)
        return conn, await paused(conn)

    async def go_on(conn: Any, stream: Any) -> None:
        with pytest.raises((pgasync.ConnectionLost, pgasync.InterfaceError)):
            await conn.fetchval("select 1")
        with contextlib.suppress(pgasync.Error):
            await rows_of(conn._core, stream)
        await conn.close()

    loop = asyncio.new_event_loop()
    conn, stream = loop.run_until_complete(start())
    loop.close()
    asyncio.run(go_on(conn, stream))


@pytest.mark.no_leak_check
def test_loop_stops_while_paused(dsn: str) -> None:
    async def start() -> tuple[Any, Any]:
        conn = await pgasync.connect(dsn, autocommit=True)
        return conn, await paused(conn)

    async def end(conn: Any, stream: Any) -> None:
        assert len(await rows_of(conn._core, stream)) == 300_000
        await conn.close()

    async def elsewhere(conn: Any, stream: Any) -> None:
        with pytest.raises(pgasync.InterfaceError, match="busy in the event loop"):
            conn._core.take(stream)

    loop = asyncio.new_event_loop()
    try:
        conn, stream = loop.run_until_complete(start())
        asyncio.run(elsewhere(conn, stream))
        loop.run_until_complete(end(conn, stream))
    finally:
        loop.close()
