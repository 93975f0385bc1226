"""conn.stream(): rows with backpressure, in autocommit and in transactions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
from pgasync import _core

MANY = "select g, repeat('x', 100) from generate_series(1, 300000) g"
SLOW = "select g, pg_sleep(0.01) from generate_series(1, 10000) g"
LIMIT_S = 5.0  # where 100 ms are meant, on a machine that is busy


@pytest.fixture(params=["autocommit", "transaction", "block"])
async def any_conn(
    request: pytest.FixtureRequest, connect: Callable[..., Any]
) -> AsyncIterator[Any]:
    """Connections on which a stream is pulled, or is a portal of a transaction."""
    conn = await connect(autocommit=request.param != "transaction")
    if request.param == "block":
        async with conn.transaction():
            yield conn
    else:
        yield conn


async def first_of(conn: Any, sql: str, count: int = 1) -> list[Any]:
    """The first rows of a stream that is then left."""
    rows = []
    async for row in conn.stream(sql):
        rows.append(row)
        if len(rows) == count:
            break
    return rows


# --- rows --------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000, 30_000])
async def test_all_rows(any_conn: Any, count: int) -> None:
    sql = "select g, g * 2 from generate_series(1, $1::int) g"
    rows = [row async for row in any_conn.stream(sql, [count])]
    assert rows == [(n, 2 * n) for n in range(1, count + 1)]
    assert await any_conn.fetchval("select 1") == 1


async def test_parameters_and_factories(any_conn: Any) -> None:
    stream = any_conn.stream("select :n::int as n", {"n": 5}, row_factory=dict)
    assert [row async for row in stream] == [{"n": 5}]
    stream = any_conn.stream("select 6", row_factory=pgasync.rows.scalar)
    assert [row async for row in stream] == [6]


async def test_prepared(any_conn: Any) -> None:
    statement = await any_conn.prepare("select $1::int + 1")
    for n in range(3):
        assert [row async for row in statement.stream([n])] == [(n + 1,)]


async def test_row_factory_of_the_connection(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, row_factory=dict)
    assert [row async for row in conn.stream("select 1 as a")] == [{"a": 1}]


async def test_rows_of_a_megabyte(any_conn: Any) -> None:
    sql = "select repeat('x', 1000000) from generate_series(1, 50)"
    lengths = [len(row[0]) async for row in any_conn.stream(sql)]
    assert lengths == [1_000_000] * 50


async def test_statement_without_rows(any_conn: Any) -> None:
    sql = "create temporary table nothing (n int)"
    assert [row async for row in any_conn.stream(sql)] == []
    sql = "insert into nothing select generate_series(1, 100) returning n"
    assert len([row async for row in any_conn.stream(sql)]) == 100


async def test_script(conn: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="one statement"):
        await anext(conn.stream("select 1; select 2"))


async def test_description(any_conn: Any) -> None:
    stream = any_conn.stream("select 1 as a, 'x'::text as b")
    assert stream.description is None
    async for _ in stream:
        assert [column[0] for column in stream.description] == ["a", "b"]


async def test_fetchmany_and_batches(any_conn: Any) -> None:
    sql = "select generate_series(1, 100000)"
    async with any_conn.stream(sql, row_factory=pgasync.rows.scalar) as stream:
        assert await stream.fetchmany(3) == [1, 2, 3]
        assert await anext(stream) == 4
        sizes, last = [], 4
        async for batch in stream.batches(30_000):
            sizes.append(len(batch))
            assert batch == [*range(last + 1, last + 1 + len(batch))]
            last = batch[-1]
        assert sizes == [30_000, 30_000, 30_000, 9_996]
        assert await stream.fetchmany(5) == []
    with pytest.raises(pgasync.InterfaceError):
        stream.batches(0)


async def test_unknown_types(any_conn: Any) -> None:
    """Rows that wait for the types of what they hold come in their order."""
    name = f"mood_{time.monotonic_ns()}"
    await any_conn.execute(f"create type {name} as enum ('happy')")
    try:
        sql = (
            f"select g, case when g > 40 then row(g, 'happy'::{name}) end"
            " from generate_series(1, 100) g"
        )
        rows = [row async for row in any_conn.stream(sql)]
        assert [row[0] for row in rows] == [*range(1, 101)]
        assert rows[40][1] == (41, "happy")
        assert rows[99][1] == (100, "happy")
    finally:
        await any_conn.execute(f"drop type {name}")


async def test_awaits_of_one_row(any_conn: Any) -> None:
    """What __anext__ gives is a coroutine to asyncio."""
    stream = any_conn.stream("select generate_series(1, 10)")
    assert await stream.__anext__() == (1,)
    assert await asyncio.create_task(stream.__anext__()) == (2,)
    assert await asyncio.wait_for(stream.__anext__(), LIMIT_S) == (3,)
    stream.__anext__()  # takes nothing
    assert await anext(stream) == (4,)
    unstarted = stream.__anext__()
    unstarted.close()
    assert await anext(stream, None) == (5,)
    assert [row[0] async for row in stream] == [6, 7, 8, 9, 10]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert await anext(stream, None) is None


# --- errors ------------------------------------------------------------------


async def test_error_after_the_rows_before_it(connect: Callable[..., Any]) -> None:
    sql = "select 1000 / (100000 - g) from generate_series(1, 110000) g"
    for autocommit in (True, False):
        conn = await connect(autocommit=autocommit)
        count = 0
        with pytest.raises(pgasync.DataError, match="division by zero"):
            async for _ in conn.stream(sql):
                count += 1
        if autocommit:
            assert count == 99_999
        else:  # the chunk in which it happened comes to nothing
            assert count >= 32
            await conn.rollback()
        assert await conn.fetchval("select 1") == 1


@pytest.mark.parametrize("autocommit", [True, False])
async def test_row_that_cannot_be_decoded(
    connect: Callable[..., Any], autocommit: bool
) -> None:
    conn = await connect(autocommit=autocommit)
    sql = (
        "select case when g = 5 then 'infinity'::date else '2020-01-01' end"
        " from generate_series(1, 3000000) g"
    )
    count = 0
    with pytest.raises(pgasync.DataError, match="column 1"):
        async for _ in conn.stream(sql):
            count += 1
    assert count == 4
    assert await conn.fetchval("select 1") == 1


async def test_factory_that_raises(any_conn: Any) -> None:
    def factory(g: int, repeat: str) -> int:
        if g == 7:
            raise ZeroDivisionError
        return g

    count = 0
    with pytest.raises(ZeroDivisionError):
        async for _ in any_conn.stream(MANY, row_factory=factory):
            count += 1
    assert count == 6
    assert await any_conn.fetchval("select 1") == 1


async def test_refused(conn: Any) -> None:
    stream = conn.stream("select nonsense")
    with pytest.raises(pgasync.ProgrammingError, match="nonsense"):
        await anext(stream)
    with pytest.raises(pgasync.InterfaceError, match="closed"):
        await anext(stream)
    with pytest.raises(pgasync.ProgrammingError, match="takes 1 parameter"):
        await anext(conn.stream("select $1::int"))
    assert [row async for row in conn.stream("select 1")] == [(1,)]


async def test_connection_lost(conn: Any, connect: Callable[..., Any]) -> None:
    killer = await connect(autocommit=True)
    count = 0
    with pytest.raises(pgasync.OperationalError):
        async for _ in conn.stream(MANY):
            count += 1
            if count == 1:
                pid = conn.info.backend_pid
                await killer.execute("select pg_terminate_backend($1)", [pid])
    assert conn.closed
    with pytest.raises(pgasync.Error):
        await anext(conn.stream("select 1"))


@pytest.mark.parametrize("autocommit", [True, False])
async def test_timeout(connect: Callable[..., Any], autocommit: bool) -> None:
    """For each wait: what the consumer does with the rows does not count."""
    conn = await connect(autocommit=autocommit)
    async for _ in conn.stream("select generate_series(1, 3)", timeout=0.4):
        await asyncio.sleep(0.15)
    sql = "select 1 union all select 2 from pg_sleep(30)"
    with pytest.raises(pgasync.QueryTimeout, match=r"no row .* within 0\.1 s"):
        async for _ in conn.stream(sql, timeout=0.1):
            pass
    await conn.rollback()
    assert await conn.fetchval("select 1") == 1


async def test_timeout_of_the_connection(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, command_timeout=0.1)
    with pytest.raises(pgasync.QueryTimeout):
        await anext(conn.stream("select pg_sleep(30)"))


# --- leaving early -----------------------------------------------------------


async def test_left_early(any_conn: Any) -> None:
    """The connection is free at once, and the transaction goes on."""
    for count in (1, 10, 50_000):
        rows = await first_of(any_conn, MANY, count)
        started = time.monotonic()
        assert await any_conn.fetchval("select 1") == 1
        assert time.monotonic() - started < LIMIT_S
        assert len(rows) == count


async def test_left_by_the_block(any_conn: Any) -> None:
    async with any_conn.stream(MANY) as rows:
        async for _ in rows:
            break
    assert await any_conn.fetchval("select 1") == 1
    with pytest.raises(pgasync.InterfaceError, match="closed"):
        await anext(rows)
    with pytest.raises(pgasync.InterfaceError, match="closed"):
        async with rows:
            pass
    await rows.aclose()


async def test_left_by_an_error(any_conn: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in any_conn.stream(MANY):
            raise ZeroDivisionError
    assert await any_conn.fetchval("select 1") == 1


async def test_never_read(any_conn: Any) -> None:
    """Nothing is sent before the first row is asked for."""
    stream = any_conn.stream("select nonsense")
    async with any_conn.stream("select nonsense"):
        pass
    del stream
    assert await any_conn.fetchval("select 1") == 1


async def test_portals_are_closed(connect: Callable[..., Any]) -> None:
    conn = await connect()
    for _ in range(3):
        await first_of(conn, MANY)
        assert len([row async for row in conn.stream("select 1")]) == 1
    portals = "select count(*) from pg_cursors where name like 'pgasync_stream%'"
    assert await conn.fetchval(portals) == 0


@pytest.mark.parametrize("autocommit", [True, False])
async def test_task_cancelled(connect: Callable[..., Any], autocommit: bool) -> None:
    conn = await connect(autocommit=autocommit)

    async def read() -> None:
        async for _ in conn.stream(SLOW):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await conn.rollback()
    assert await conn.fetchval("select 1") == 1
    assert time.monotonic() - started < LIMIT_S


async def test_collected_in_a_cycle(conn: Any) -> None:
    class Holder:
        pass

    holder: Any = Holder()
    holder.myself = holder
    holder.rows = conn.stream(MANY)
    await anext(holder.rows)
    other = asyncio.create_task(conn.fetchval("select 1"))
    await asyncio.sleep(0)
    del holder
    gc.collect()
    assert await other == 1


async def test_dropped_in_another_thread(conn: Any) -> None:
    streams = [conn.stream(MANY)]
    await anext(streams[0])
    other = asyncio.create_task(conn.fetchval("select 1"))
    thread = threading.Thread(target=streams.clear)
    thread.start()
    thread.join()
    assert await other == 1
    assert await conn.fetchval("select 2") == 2


@pytest.mark.parametrize("autocommit", [True, False])
async def test_connection_closed(connect: Callable[..., Any], autocommit: bool) -> None:
    conn = await connect(autocommit=autocommit)
    stream = conn.stream(MANY)
    await anext(stream)
    started = time.monotonic()
    await conn.close()
    assert time.monotonic() - started < LIMIT_S
    with pytest.raises(pgasync.InterfaceError):
        await anext(stream)


async def test_connection_terminated(conn: Any) -> None:
    stream = conn.stream(MANY)
    await anext(stream)
    conn.terminate()
    with pytest.raises(pgasync.InterfaceError):
        async for _ in stream:
            pass


async def test_closed_under_its_reader(conn: Any) -> None:
    """Who reads gets an error, no cancellation that nobody has asked for."""
    stream = conn.stream("select pg_sleep(30)")
    reader = asyncio.create_task(anext(stream, None))
    await asyncio.sleep(0.02)
    await stream.aclose()
    with pytest.raises(pgasync.InterfaceError, match="closed"):
        await reader
    assert await conn.fetchval("select 1") == 1


async def test_loop_over(dsn: str) -> None:
    """A stream that outlives its loop."""
    code = f"""
import asyncio, pgasync
async def main():
    conn = await pgasync.connect({dsn!r}, autocommit=True)
    stream = conn.stream({MANY!r})
    await anext(stream)
    return conn, stream
conn, stream = asyncio.run(main())
del stream
conn.terminate()
print("done")
"""
    command = [sys.executable, "-X", "dev", "-c", code]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True)
    assert (done.stdout, done.returncode) == (b"done\n", 0)
    assert done.stderr == b""


@pytest.mark.parametrize("how", ["own", "context"])
async def test_over_tls(tls_server: Any, how: str) -> None:
    """A paused stream's bytes may lie decrypted where the descriptor does not show
    them."""
    keywords: dict[str, Any] = {"sslmode": "require"}
    if how == "context":
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        keywords = {"ssl": anybody}
    dsn = tls_server.tcp_dsn
    async with pgasync.connect(dsn, autocommit=True, **keywords) as conn:
        count = 0
        async for _ in conn.stream(MANY):
            count += 1
            if count % 50_000 == 0:
                await asyncio.sleep(0.02)
        assert count == 300_000
        assert len(await first_of(conn, MANY)) == 1
        assert await conn.fetchval("select 1") == 1


# --- with other statements ---------------------------------------------------


async def test_statements_between_rows_of_a_transaction(
    connect: Callable[..., Any],
) -> None:
    conn = await connect()
    seen = 0
    sql = "select g, repeat('x', 10000) from generate_series(1, 300) g"
    async for row in conn.stream(sql):
        assert await conn.fetchval("select $1::int", [row[0]]) == row[0]
        seen += 1
    assert seen == 300


async def test_two_streams_of_a_transaction(connect: Callable[..., Any]) -> None:
    conn = await connect()
    one = conn.stream("select generate_series(1, 1000)")
    two = conn.stream("select generate_series(1, 1000)")
    async for row in one:
        assert await anext(two) == row
    assert await anext(two, None) is None


async def test_statement_of_the_same_task(conn: Any) -> None:
    """It would wait for ever: an error at once, whether all rows are here or not."""
    for sql in (MANY, "select generate_series(1, 2)"):
        async with conn.stream(sql) as rows:
            await anext(rows)
            for statement in (conn.fetchval, conn.execute, conn.prepare):
                with pytest.raises(pgasync.InterfaceError, match="a stream is open"):
                    await statement("select 1")
            with pytest.raises(pgasync.InterfaceError, match="a stream is open"):
                await anext(conn.stream("select 1"))
            with pytest.raises(pgasync.InterfaceError, match="a stream is open"):
                async with conn.transaction():
                    await conn.execute("select 1")
        assert await conn.fetchval("select 1") == 1
        assert not conn._core.in_transaction


async def test_statement_of_the_same_task_behind_the_last_row(conn: Any) -> None:
    async for _ in conn.stream("select 1"):
        pass
    assert await conn.fetchval("select 1") == 1


async def test_statement_of_another_task(conn: Any) -> None:
    async with conn.stream(MANY) as rows:
        await anext(rows)
        other = asyncio.create_task(conn.fetchval("select 1"))
        await asyncio.sleep(0.02)
        assert not other.done()
        count = 1
        async for _ in rows:
            count += 1
        assert count == 300_000
        assert await other == 1


async def test_read_by_another_task(conn: Any) -> None:
    """The task that reads is the one that may not do anything else."""
    stream = conn.stream(MANY)
    await anext(stream)

    async def read() -> int:
        return len([row async for row in stream])

    reader = asyncio.create_task(read())
    while stream._task is not reader and not reader.done():
        await asyncio.sleep(0)
    assert await conn.fetchval("select 1") == 1
    assert await reader == 299_999


async def test_transaction_that_ends_under_it(connect: Callable[..., Any]) -> None:
    conn = await connect()
    with pytest.raises(pgasync.InterfaceError, match="the transaction in which"):
        async for row in conn.stream(MANY):
            if row[0] == 1:
                await conn.commit()
                await conn.execute("select 1")
    await conn.rollback()
    assert await conn.fetchval("select 1") == 1


async def test_behind_a_begin_of_the_program(conn: Any) -> None:
    await conn.execute("begin")
    assert await first_of(conn, MANY)
    assert await conn.fetchval("select 1") == 1
    assert conn.info.transaction_status == "T"
    await conn.execute("rollback")
    assert await first_of(conn, MANY)
    assert await conn.fetchval("select 1") == 1


# --- memory and leaks --------------------------------------------------------


def resident() -> int:
    """Bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


async def test_consumer_that_sleeps(any_conn: Any) -> None:
    """What nobody takes stays at the server."""
    sql = MANY.replace("300000", "3000000")
    stream = any_conn.stream(sql)
    await anext(stream)
    for _ in range(20_000):
        await anext(stream)
    await asyncio.sleep(0.1)
    before = resident()
    await asyncio.sleep(0.4)
    assert resident() - before < 2_000_000
    operation = stream._operation
    assert operation is not None
    assert operation.received < 4 * 256 * 1024
    await stream.aclose()


@pytest.mark.parametrize(
    "rows", [300_000, pytest.param(10_000_000, marks=pytest.mark.slow)]
)
async def test_memory(any_conn: Any, rows: int) -> None:
    sql = f"select g, g::text from generate_series(1, {rows}) g"
    await first_of(any_conn, sql, 20_000)
    gc.collect()
    idle = resident()
    most = count = 0
    async for _ in any_conn.stream(sql):
        count += 1
        if count % 10_000 == 0:
            most = max(most, resident())
    assert count == rows
    assert most - idle < 20_000_000


async def test_nothing_is_left(conn: Any) -> None:
    async def rounds() -> None:
        await first_of(conn, MANY)
        assert len([row async for row in conn.stream("select 1")]) == 1
        with contextlib.suppress(pgasync.Error):
            await anext(conn.stream("select 1/0"))
        async with conn.transaction():
            await first_of(conn, MANY)
        await conn.fetchval("select 1")

    await rounds()
    gc.collect()
    before = _core.live_objects()
    for _ in range(20):
        await rounds()
    gc.collect()
    assert _core.live_objects() == before
