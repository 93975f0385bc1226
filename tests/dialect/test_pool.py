"""What the pool does with connections that have ended, and with those of a parent
process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

import pgasync

OWN_PID = sa.text("select pg_backend_pid()")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


async def backend(engine: AsyncEngine) -> Any:
    async with engine.connect() as conn:
        return await conn.scalar(OWN_PID)


async def end_backend(dsn: str, pid: Any) -> None:
    async with pgasync.connect(dsn) as conn:
        await conn.execute("select pg_terminate_backend($1, 5000)", [pid])


async def raw_of(conn: AsyncConnection) -> pgasync.Connection:
    raw = (await conn.get_raw_connection()).driver_connection
    assert isinstance(raw, pgasync.Connection)
    return raw


async def until_closed(raw: pgasync.Connection) -> None:
    for _ in range(5000):
        if raw.closed:
            return
        await asyncio.sleep(0.001)
    pytest.fail("the end of the session was not noticed")


async def test_idle_connections_that_ended(
    dsn: str, make_engine: Callable[..., AsyncEngine]
) -> None:
    """Nobody gets one, and nobody has to ask the server for it."""
    engine = make_engine(pool_size=1)
    for _ in range(3):
        async with engine.connect() as conn:
            raw = await raw_of(conn)
            pid = await conn.scalar(OWN_PID)
        await end_backend(dsn, pid)
        await until_closed(raw)
        assert await backend(engine) != pid
    assert engine.pool.status().endswith("Checked out connections: 0")


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_ended_between_two_loops(dsn: str, url: str, runner: str) -> None:
    """No loop saw it end: it is looked at when the next one gets it."""
    run: Any = pytest.importorskip(runner).run
    engine = create_async_engine(url, pool_size=1)
    first = run(backend(engine))
    assert run(backend(engine)) == first
    run(end_backend(dsn, first))
    second = run(backend(engine))
    assert second != first
    assert run(backend(engine)) == second
    run(engine.dispose())


async def test_a_listener_that_fails(
    dsn: str, make_engine: Callable[..., AsyncEngine]
) -> None:
    """Its error is told, and the place in the pool is not lost."""
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=1)
    async with engine.connect() as conn:
        raw = await raw_of(conn)
    await end_backend(dsn, raw.info.backend_pid)
    await until_closed(raw)
    calls = []

    @event.listens_for(engine.sync_engine, "invalidate")
    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise LookupError("the listener's")

    with pytest.raises(LookupError):
        await backend(engine)
    assert await backend(engine)


async def test_rollback_of_a_lost_connection(dsn: str, engine: AsyncEngine) -> None:
    """The server has rolled back: what the block raised is what the caller gets, and
    the connection is not used again."""
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as conn:
            await end_backend(dsn, await conn.scalar(OWN_PID))
            raise ZeroDivisionError
    assert await backend(engine)

    async with engine.connect() as conn:
        pid = await conn.scalar(OWN_PID)
        await end_backend(dsn, pid)
        await conn.rollback()
    assert await backend(engine) != pid

    async with engine.connect() as conn:
        await end_backend(dsn, await conn.scalar(OWN_PID))
        with pytest.raises(exc.DBAPIError):
            await conn.commit()


FORK = """
import asyncio, os, sys, warnings
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

warnings.simplefilter("ignore")  # forking beside threads is what this is about
engine = create_async_engine(sys.argv[1], pool_size=1)


async def backend():
    async with engine.connect() as conn:
        return await conn.scalar(sa.text("select pg_backend_pid()"))


async def child(parents):
    assert await backend() != parents
    assert await backend() != parents
    await engine.dispose()


parents = asyncio.run(backend())
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        asyncio.run(child(parents))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert asyncio.run(backend()) == parents
asyncio.run(engine.dispose())
print("done")
"""


@needs_fork
def test_fork(url: str) -> None:
    """A child makes connections of its own, and the parent keeps its one."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(FORK), url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert done.stderr == ""


# Who waits for a connection


async def serve_one(engine: AsyncEngine, seconds: float) -> float:
    """How long it took to be served."""
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(backend(engine), seconds)
    return asyncio.get_running_loop().time() - started


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_a_waiter_connects_in_place_of_another(
    dsn: str, make_engine: Callable[..., AsyncEngine], how: str
) -> None:
    """Whoever waits for the connection that another one is making makes it, as soon as
    the other one has given up: no connection will be returned to the pool."""
    attempts = 0
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def creator(*arguments: Any, **keywords: Any) -> pgasync.Connection:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            reached.set()
            await go_on.wait()
        if attempts < 3:
            raise pgasync.OperationalError("not this time")
        return await pgasync.connect(dsn)

    engine = make_engine(
        async_creator=creator, pool_size=1, max_overflow=0, pool_timeout=30
    )
    first = asyncio.ensure_future(backend(engine))
    await reached.wait()
    waiting = [asyncio.ensure_future(serve_one(engine, 5)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert attempts == 1
    if how == "fails":
        go_on.set()
    else:
        first.cancel()
    with pytest.raises((exc.OperationalError, asyncio.CancelledError)):
        await first
    with pytest.raises(exc.OperationalError):
        await waiting[0]
    assert max(await asyncio.gather(*waiting[1:])) < 5
    assert attempts == 3
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]


async def test_a_slot_that_nobody_takes(
    dsn: str, make_engine: Callable[..., AsyncEngine]
) -> None:
    """Its waiter is cancelled in the moment in which it is given the slot."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def creator(*arguments: Any, **keywords: Any) -> pgasync.Connection:
        reached.set()
        await go_on.wait()
        raise pgasync.OperationalError("never")

    engine = make_engine(async_creator=creator, pool_size=1, max_overflow=0)
    pool: Any = engine.pool
    first = asyncio.ensure_future(backend(engine))
    await reached.wait()
    second = asyncio.ensure_future(backend(engine))
    await asyncio.sleep(0.01)
    first.add_done_callback(lambda _: second.cancel())
    go_on.set()
    done = await asyncio.gather(first, second, return_exceptions=True)
    assert [*map(type, done)] == [exc.OperationalError, asyncio.CancelledError]
    assert (pool.checkedout(), pool.overflow()) == (0, -1)


async def test_returned_after_dispose(
    dsn: str, make_engine: Callable[..., AsyncEngine]
) -> None:
    """Nobody will take it out of a pool that has been left: it is closed."""
    engine = make_engine(pool_size=2)
    left = engine.pool
    async with engine.connect() as first, engine.connect() as second:
        raws = [await raw_of(first), await raw_of(second)]
        await engine.dispose()
        assert [raw.closed for raw in raws] == [False, False]
        await first.execute(OWN_PID)
    assert [raw.closed for raw in raws] == [True, True]
    assert left.checkedin() == left.checkedout() == 0  # type: ignore[attr-defined]


async def test_dispose_outside_of_a_greenlet(
    make_engine: Callable[..., AsyncEngine], caplog: pytest.LogCaptureFixture
) -> None:
    """As at the exit of a program: there is nothing to wait for."""
    engine = make_engine(pool_size=2)
    async with engine.connect() as first, engine.connect() as second:
        raws = [await raw_of(first), await raw_of(second)]
        await first.execute(OWN_PID)
    engine.sync_engine.dispose()
    assert [raw.closed for raw in raws] == [True, True]
    assert caplog.records == []
