"""A pool that cannot open what it would like to: it lives with what it has, who waits
is served by that or told in time, and it grows once there is more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgasync import errors, poolkeeper
from pool.abuse import adds_up, eventually
from pool.faults import away
from servers import Server, free_port

SOON_S = 5.0  # on a busy machine; far less than the pool's timeout
SHORT_S = 0.3  # that somebody waits at most
LATE_S = 3.0  # that a short wait may take on a busy machine
TIMEOUT_S = 60.0
FEW = 3


def make_pool(dsn: str, **keywords: Any) -> Any:
    keywords = {"min_size": 0, "max_size": 10, "timeout": TIMEOUT_S, **keywords}
    return pgasync.create_pool(dsn, **keywords)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


async def pid(pool: Any) -> int:
    """Of the session that a task has for a moment."""
    async with pool.acquire() as conn:
        return int(await conn.fetchval("select pg_backend_pid() from pg_sleep(0.005)"))


@pytest.fixture
async def limited(dsn: str, connect: Callable[..., Any]) -> AsyncIterator[str]:
    """A DSN whose user may have only so many sessions."""
    role = f"few_{random.getrandbits(40):x}"
    watcher = await connect(autocommit=True)
    await watcher.execute(f"create role {role} login connection limit {FEW}")
    yield f"{dsn}&user={role}"
    await watcher.execute(f"drop role {role}")


# --- the server gives no more ------------------------------------------------


async def test_fewer_than_the_pool_would_like(limited: str) -> None:
    """53300: many tasks share what there is, and nobody is told of the failures."""
    async with make_pool(limited) as pool:
        pids = await asyncio.gather(*(pid(pool) for _ in range(40)))
        stats = pool.stats()
        assert 1 <= len(set(pids)) <= FEW and stats.size <= FEW
        assert stats.errors > 0 and stats.waiting == 0
        await eventually(lambda: not pool.stats().opening, pool.stats)
        adds_up(pool.stats())


async def test_others_have_them_all(limited: str) -> None:
    """Who waits gets one when somebody elsewhere goes, and the reason when not."""
    others = [await pgasync.connect(limited) for _ in range(FEW)]
    async with make_pool(limited) as pool:
        with within(LATE_S), pytest.raises(pgasync.PoolTimeout) as caught:
            await pool.acquire(timeout=SHORT_S)
        assert isinstance(caught.value.__cause__, errors.TooManyConnections)
        assert caught.value.outcome == "not_sent"
        waiting = asyncio.ensure_future(pool.fetchval("select 1"))
        await asyncio.sleep(0.05)
        await others.pop().close()
        assert await asyncio.wait_for(waiting, SOON_S) == 1
        for other in others:
            await other.close()
        pids = await asyncio.gather(*(pid(pool) for _ in range(40)))
        await eventually(lambda: pool.stats().size > 0, pool.stats)
        assert pids
    adds_up(pool.stats())


# --- no descriptors ----------------------------------------------------------


@contextlib.contextmanager
def descriptors(left: int) -> Iterator[None]:
    """This process may open so many more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_no_descriptors(dsn: str) -> None:
    async with make_pool(dsn, max_size=6) as pool:
        await pool.fetchval("select 1")  # the loop has what it needs
        with descriptors(2):
            values = (pool.fetchval("select $1::int", [n]) for n in range(40))
            assert await asyncio.gather(*values) == [*range(40)]
            holding = await pool.acquire()
            assert pool.stats().size <= 5
            await pool.release(holding)
        conns = [await pool.acquire() for _ in range(6)]
        for conn in conns:
            await pool.release(conn)
        assert pool.stats().size == 6
    adds_up(pool.stats())


async def test_not_even_one_descriptor(dsn: str) -> None:
    async with make_pool(dsn) as pool:
        await pool.fetchval("select 1")
        pool.drain()
        with descriptors(0), within(LATE_S), pytest.raises(pgasync.Error) as caught:
            async with pool.acquire(timeout=SHORT_S):
                pass
        assert caught.value.outcome == "not_sent"
        assert await asyncio.wait_for(pool.fetchval("select 2"), SOON_S) == 2
    adds_up(pool.stats())


# --- no memory ---------------------------------------------------------------


class NoMemory:
    """In place of a function: there is no memory for its first `calls` calls."""

    def __init__(self, function: Any, calls: int) -> None:
        self.function = function
        self.left = calls

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            for work in args:
                if asyncio.iscoroutine(work):
                    work.close()
            raise MemoryError
        return self.function(*args, **keywords)


@pytest.mark.parametrize("place", ["helper_task", "open_connection"])
@pytest.mark.parametrize("calls", [1, 2, 3])
async def test_no_memory(
    dsn: str, monkeypatch: pytest.MonkeyPatch, place: str, calls: int
) -> None:
    """For the task that opens a connection, or for opening it: whoever waits is told,
    or served by a later attempt, and no slot is lost."""
    failing = NoMemory(getattr(poolkeeper, place), calls)
    monkeypatch.setattr(poolkeeper, place, failing)
    async with make_pool(dsn, max_size=2) as pool:
        asking = [asyncio.ensure_future(pid(pool)) for _ in range(6)]
        with within(SOON_S):
            await asyncio.wait(asking)
        for task in asking:
            assert task.exception() is None or isinstance(task.exception(), MemoryError)
        while failing.left:
            with contextlib.suppress(MemoryError):
                await pool.fetchval("select 1", timeout=SOON_S)
        assert await pool.fetchval("select 1", timeout=SOON_S) == 1
        assert pool.stats().errors == calls
        conns = [await pool.acquire(timeout=SOON_S) for _ in range(2)]
        for conn in conns:
            await pool.release(conn)
        assert pool.stats().size == 2
    adds_up(pool.stats())


# --- no server ---------------------------------------------------------------


async def test_nobody_listens() -> None:
    dsn = f"postgresql://nobody@127.0.0.1:{free_port()}/postgres"
    async with make_pool(dsn, min_size=0) as pool:
        with within(LATE_S), pytest.raises(pgasync.OperationalError) as caught:
            await pool.acquire(timeout=SHORT_S)
        assert caught.value.outcome == "not_sent"
        assert pool.stats().size == 0 and pool.stats().waiting == 0
    assert pool.stats().opening == 0


async def test_a_name_that_nobody_knows() -> None:
    async with make_pool("postgresql://nobody@no-such-host.invalid/postgres") as pool:
        with within(SOON_S), pytest.raises(pgasync.OperationalError) as caught:
            await pool.acquire(timeout=SHORT_S)
        assert caught.value.outcome == "not_sent"
    assert pool.stats().opening == 0


async def test_the_server_comes_later(victim: Server) -> None:
    """Who waits while it starts is served when it has."""
    await away(victim.shut_down)
    try:
        async with make_pool(victim.dsn) as pool:
            waiting = [asyncio.ensure_future(pid(pool)) for _ in range(20)]
            await asyncio.sleep(SHORT_S)
            await away(victim.start)
            with within(SOON_S):
                assert len(set(await asyncio.gather(*waiting))) <= 10
    finally:
        await away(victim.start)
    adds_up(pool.stats())


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The DSN of one that accepts and never answers."""
    over = asyncio.Event()

    async def accept(_: Any, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"postgresql://nobody@{host}:{port}/postgres?sslmode=disable"
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def test_no_answer() -> None:
    """Neither who waits nor who closes waits for the server."""
    async with silent() as dsn:
        async with make_pool(dsn, max_size=2) as pool:
            for _ in range(3):
                with within(LATE_S), pytest.raises(pgasync.PoolTimeout):
                    await pool.acquire(timeout=SHORT_S)
            waiting = asyncio.ensure_future(pool.fetch("select 1"))
            await asyncio.sleep(0.02)
            waiting.cancel()
            with within(LATE_S), pytest.raises(asyncio.CancelledError):
                await waiting
            with within(LATE_S), pytest.raises(pgasync.PoolTimeout):
                await pool.fetch("select 1", timeout=SHORT_S)
            left = asyncio.ensure_future(pool.fetch("select 1"))
            await asyncio.sleep(0.02)
            with within(LATE_S):
                await pool.close()
            with pytest.raises(pgasync.Error):
                await left
        assert pool.stats().opening == pool.stats().waiting == 0


# --- refused for good --------------------------------------------------------


@pytest.mark.parametrize("user", ["reject_user", "scram_user"])
async def test_refused(user: str, hba_server: Any) -> None:
    """By pg_hba.conf, or for the password: waiting would not help."""
    async with make_pool(hba_server.tcp_dsn_for(user=user, password="wrong")) as pool:
        tasks = [asyncio.ensure_future(pid(pool)) for _ in range(5)]
        with within(SOON_S):
            await asyncio.wait(tasks)
        for task in tasks:
            error = task.exception()
            assert isinstance(error, pgasync.OperationalError)
            assert error.sqlstate in ("28000", "28P01") and error.outcome == "not_sent"
        assert pool.stats().size == 0
    adds_up(pool.stats())


async def test_no_such_database(dsn: str) -> None:
    async with make_pool(dsn, dbname="no_such_database") as pool:
        with within(SOON_S), pytest.raises(errors.InvalidCatalogName):
            await pool.fetch("select 1")
    adds_up(pool.stats())


async def test_refused_later(dsn: str, connect: Callable[..., Any]) -> None:
    """What is open goes on serving when no more can be opened."""
    role = f"later_{random.getrandbits(40):x}"
    watcher = await connect(autocommit=True)
    await watcher.execute(f"create role {role} login")
    try:
        async with make_pool(f"{dsn}&user={role}") as pool:
            first = await pid(pool)
            await watcher.execute(f"alter role {role} nologin")
            assert set(await asyncio.gather(*(pid(pool) for _ in range(20)))) == {first}
            pool.drain()
            with within(SOON_S), pytest.raises(pgasync.OperationalError):
                await pool.fetch("select 1")
            await watcher.execute(f"alter role {role} login")
            assert await asyncio.wait_for(pool.fetchval("select 1"), SOON_S) == 1
    finally:
        await watcher.execute(f"drop role {role}")
    adds_up(pool.stats())
