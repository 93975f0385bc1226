"""One engine in many event loops: one after the other, and two in two threads."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import greenlet_spawn
from sqlalchemy.util.queue import Empty, Full

from pgasync import _core
from pgasync.sqlalchemy.pool import AnyLoopQueue, AnyLoopQueuePool

LIMIT_S = 60.0


@pytest.fixture
def url(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+pgasync://", 1)


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Any:
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    uvloop = pytest.importorskip("uvloop")
    return uvloop.new_event_loop


@pytest.fixture
def engine(url: str, new_loop: Any) -> Iterator[AsyncEngine]:
    made = create_async_engine(url, pool_size=2, max_overflow=0, pool_timeout=30)
    yield made
    loop = new_loop()
    loop.run_until_complete(made.dispose())
    loop.close()


async def work(engine: AsyncEngine, base: int, tasks: int = 20) -> int:
    """More tasks than connections, each with its own answer to check."""

    async def one(number: int) -> int:
        async with engine.connect() as connection:
            found = await connection.scalar(
                text("select cast(:n as int)"), {"n": number}
            )
            await connection.execute(text("select pg_sleep(0.001)"))
            assert found == number
            return 1

    return sum(await asyncio.gather(*(one(base + n) for n in range(tasks))))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self") else 0


def test_ten_loops_in_turn(engine: AsyncEngine, new_loop: Any) -> None:
    assert isinstance(engine.pool, AnyLoopQueuePool)
    live: tuple[int, int] | None = None
    for turn in range(10):
        loop = new_loop()
        assert loop.run_until_complete(work(engine, 100 * turn)) == 20
        assert engine.pool.checkedin() == 2  # type: ignore[attr-defined]
        loop.close()
        gc.collect()
        now = _core.live_objects(), open_files()
        live = live or now
        assert now[0] <= live[0] + 2
        assert now[1] == live[1]


def test_two_threads_at_once(engine: AsyncEngine, new_loop: Any) -> None:
    done: list[int] = []
    failed: list[BaseException] = []

    def main(base: int) -> None:
        loop = new_loop()
        try:
            for turn in range(10):
                done.append(loop.run_until_complete(work(engine, base + 100 * turn)))
        except BaseException as error:
            failed.append(error)
        finally:
            loop.close()

    threads = [threading.Thread(target=main, args=(n,)) for n in (0, 1_000_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert not failed
    assert sum(done) == 400
    assert engine.pool.checkedin() == 2  # type: ignore[attr-defined]


def test_first_connections_of_two_threads(url: str, new_loop: Any) -> None:
    """What listens to a new connection may wait for the server, while the other thread
    waits for its turn to listen."""
    for _ in range(3):
        engine = create_async_engine(url, pool_size=2, max_overflow=0)
        inside = [0, 0]

        @event.listens_for(engine.sync_engine, "connect")
        def listen(connection: Any, record: object, inside: list[int] = inside) -> None:
            inside[0] += 1
            inside[1] = max(inside)
            cursor = connection.cursor()
            cursor.execute("select pg_sleep(0.05)")
            cursor.close()
            connection.rollback()
            inside[0] -= 1

        start = threading.Barrier(2)
        done: list[int] = []

        def main(
            base: int,
            engine: AsyncEngine = engine,
            start: threading.Barrier = start,
            done: list[int] = done,
        ) -> None:
            loop = new_loop()
            start.wait()
            done.append(loop.run_until_complete(work(engine, base, 1)))
            loop.close()

        threads = [
            threading.Thread(target=main, args=(n,), daemon=True) for n in (0, 9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S / 6)
            assert not thread.is_alive()
        assert done == [1, 1]
        assert inside == [0, 1]  # one at a time, as SQLAlchemy wants it
        loop = new_loop()
        loop.run_until_complete(engine.dispose())
        loop.close()


def test_pool_timeout(url: str, new_loop: Any) -> None:
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)

    async def main() -> None:
        async with engine.connect():
            with pytest.raises(exc.TimeoutError):
                await engine.connect()
        async with engine.connect() as connection:
            assert await connection.scalar(text("select 1")) == 1
        await engine.dispose()

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()


LOOP_PER_TEST = """
import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import pgasync

engine = create_async_engine({url!r}, pool_size=2, max_overflow=0)
connections = []


@pytest.mark.parametrize("turn", range(5))
async def test_module_level(turn):
    async def one(number):
        async with engine.connect() as connection:
            sql = text("select cast(:n as int)")
            return await connection.scalar(sql, {{"n": number}})

    assert await asyncio.gather(*(one(n) for n in range(20))) == [*range(20)]
    if not connections:
        connections.append(await pgasync.connect({dsn!r}, autocommit=True))
    assert await connections[0].fetchval("select $1::int", [turn]) == turn


async def test_end():
    await connections[0].close()
    await engine.dispose()
"""


def test_loop_per_test(url: str, dsn: str, tmp_path: Path) -> None:
    """pytest-asyncio's loop for each test, with an engine and a connection of the
    module; what is left behind would be an error."""
    (tmp_path / "test_it.py").write_text(LOOP_PER_TEST.format(url=url, dsn=dsn))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "pytest", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
    )
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_null_pool_stays(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    assert isinstance(engine.pool, NullPool)


# ------------------------------------------------------------------ the queue


async def get(queue: AnyLoopQueue, timeout: float | None = None) -> Any:
    return await greenlet_spawn(queue.get, True, timeout)


async def test_first_come_first_served() -> None:
    queue = AnyLoopQueue(5)
    waiting = [asyncio.ensure_future(get(queue)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for item in "abc":
        queue.put_nowait(item)
    assert await asyncio.gather(*waiting) == ["a", "b", "c"]
    assert queue.empty() and queue.qsize() == 0


async def test_order_and_size() -> None:
    queue, stack = AnyLoopQueue(2), AnyLoopQueue(2, use_lifo=True)
    for item in (1, 2):
        queue.put(item, False)
        stack.put(item, False)
    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait(3)
    assert [queue.get(False), queue.get(False)] == [1, 2]
    assert [stack.get(False), stack.get(False)] == [2, 1]
    with pytest.raises(Empty):
        queue.get(False)


async def test_timeout_leaves_no_waiter() -> None:
    queue = AnyLoopQueue()
    with pytest.raises(Empty):
        await get(queue, 0.01)
    queue.put_nowait("kept")
    assert queue.qsize() == 1


async def test_cancelled_waiter_passes_on_what_it_was_given() -> None:
    queue = AnyLoopQueue()
    first, second = (asyncio.ensure_future(get(queue)) for _ in range(2))
    await asyncio.sleep(0.01)
    queue.put_nowait("item")  # given to the first, who has not run yet
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "item"


async def test_cancelled_waiter_is_forgotten() -> None:
    queue = AnyLoopQueue()
    waiting = asyncio.ensure_future(get(queue))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    queue.put_nowait("item")
    assert queue.get_nowait() == "item"


def test_waiter_of_a_closed_loop_is_passed_over() -> None:
    queue = AnyLoopQueue()
    gone = asyncio.new_event_loop()
    task = gone.create_task(get(queue))
    gone.run_until_complete(asyncio.sleep(0.01))
    gone.close()
    queue.put_nowait("item")
    assert queue.get_nowait() == "item"
    task._log_destroy_pending = False  # type: ignore[attr-defined]
