"""CancelledError at the k-th suspension of every coroutine of the pool, for every k,
once and twice: delivered, and afterwards the pool has all its slots, nobody waits, and
who asks next is served. How they are cut: steps.Cut.

PGASYNC_SUSPENSIONS=all cuts all of them in every way, instead of each in one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import pytest

import pgasync
from conftest import open_sockets
from pool.abuse import adds_up, eventually
from steps import HOWS, STEPS_MAX, Room, cut, fresh, nothing_left

ALL = os.environ.get("PGASYNC_SUSPENSIONS") == "all"
SIZE = 2
SETTLED_S = 4.5  # less than cancel_timeout
SOON_S = 8.0  # for somebody to be served, on a busy machine


class Boom(Exception):
    pass


@pytest.fixture(scope="module")
def cuts(summary: list[str]) -> Iterator[dict[str, int]]:
    """How many suspensions each coroutine was cut at."""
    counted: dict[str, int] = {}
    yield counted
    summary.append(
        f"pool cancelled at every suspension: {sum(counted.values())} cuts in "
        f"{len(counted)} coroutines"
    )


@pytest.fixture
async def room(dsn: str, connect: Callable[..., Any]) -> AsyncIterator[Room]:
    watcher = await connect(autocommit=True)
    room = Room(dsn, watcher, f"pool_{random.getrandbits(40):x}")
    await watcher.execute(f"create table {room.name} (n int)")
    yield room
    await watcher.execute(f"drop table {room.name}")


# --- the works ---------------------------------------------------------------


async def use(conn: Any) -> None:
    assert await conn.fetchval("select 7") == 7


async def opening(room: Room, pool: Any) -> None:
    """Nothing is idle: a connection is opened for it."""
    async with pool.acquire() as conn:
        await use(conn)


async def idle(room: Room, pool: Any) -> None:
    conn = await pool.acquire()
    try:
        await use(conn)
    finally:
        await pool.release(conn)


async def too_late(room: Room, pool: Any) -> None:
    """Waiting in vain, while this task has them all; then they are broken."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SIZE):
            conn = await stack.enter_async_context(pool.acquire())
            stack.callback(conn.terminate)
        with contextlib.suppress(pgasync.PoolTimeout):
            async with pool.acquire(timeout=0.003):
                pass


async def open_transaction(room: Room, pool: Any) -> None:
    conn = await pool.acquire()
    try:
        await conn.execute(f"insert into {room.name} values (1)")
    finally:
        await pool.release(conn)


async def clean_exit(room: Room, pool: Any) -> None:
    async with pool.acquire() as conn:
        await conn.execute(f"insert into {room.name} values (2)")


async def failed(room: Room, pool: Any) -> None:
    with contextlib.suppress(Boom):
        async with pool.acquire() as conn:
            await conn.execute(f"insert into {room.name} values (1)")
            raise Boom


async def in_flight(room: Room, pool: Any) -> None:
    """A statement still runs when its connection is given back."""
    conn = await pool.acquire()
    running = asyncio.ensure_future(conn.execute("select pg_sleep(20)"))
    running.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        await asyncio.sleep(0.002)
    finally:
        await pool.release(conn)


async def dirty(room: Room, pool: Any) -> None:
    for _ in range(2):
        async with pool.acquire() as conn:
            await conn.execute("set statement_timeout = '50s'")
            await conn.execute("create temp table if not exists mine (n int)")
            await conn.execute("select pg_advisory_lock(7), pg_advisory_unlock(7)")


async def straight(room: Room, pool: Any) -> None:
    await pool.fetchval(fresh("select $1::int"), [1])
    await pool.fetchrow("select 1, 2")
    await pool.execute(f"insert into {room.name} values (3)")
    await pool.executemany(f"insert into {room.name} values ($1)", [[4], [4]])
    with contextlib.suppress(pgasync.DataError):
        await pool.fetch("select 1/0")


async def transaction(room: Room, pool: Any) -> None:
    async with pool.transaction() as conn:
        await conn.execute(f"insert into {room.name} values (5)")
    with contextlib.suppress(Boom):
        async with pool.transaction() as conn:
            await conn.execute(f"insert into {room.name} values (1)")
            raise Boom


async def dead(room: Room, pool: Any) -> None:
    """What is idle has ended; the next one is opened."""
    async with pool.acquire() as conn:
        conn.terminate()
    async with pool.acquire() as conn:
        await conn.close()
    await pool.fetchval("select 1")


async def listening(room: Room, pool: Any) -> None:
    async with pool.listen(room.name) as notifications:
        await pool.execute(f"notify {room.name}, 'news'")
        assert (await anext(notifications)).payload == "news"


async def streaming(room: Room, pool: Any) -> None:
    sql = "select n from generate_series(1, 3000) n"
    assert len([row async for row in pool.stream(sql)]) == 3000
    async with pool.stream(sql) as rows:
        async for _ in rows:
            break


async def pipelining(room: Room, pool: Any) -> None:
    async with pool.pipeline() as p:
        p.execute(f"insert into {room.name} values (6)")
        assert await p.fetchval(fresh("select 7")) == 7


async def copying(room: Room, pool: Any) -> None:
    await pool.copy_records_to_table(room.name, records=[(n,) for n in range(7, 90)])


async def run_again(room: Room, pool: Any) -> None:
    """The first time it is refused."""
    times = itertools.count()

    async def work(conn: Any) -> None:
        await conn.execute(f"insert into {room.name} values (8)")
        if next(times) == 0:
            sql = "do $$begin raise exception using errcode = '40001'; end$$"
            await conn.execute(sql)

    await pool.run_transaction(work)


async def larger(room: Room, pool: Any) -> None:
    pool.resize(min_size=2, max_size=4)
    await pool.fetchval("select 1")
    pool.resize(min_size=0, max_size=SIZE)


async def smaller(room: Room, pool: Any) -> None:
    """One of two is held, and one is idle."""
    async with pool.acquire():
        await pool.fetchval("select 1")
        pool.resize(min_size=0, max_size=1)
    pool.resize(min_size=0, max_size=SIZE)


async def drained(room: Room, pool: Any) -> None:
    async with pool.acquire() as conn:
        await pool.fetchval("select 1")
        pool.drain()
        await use(conn)
    pool.expire()
    await pool.fetchval("select 1")


Work = Callable[[Room, Any], Coroutine[Any, Any, Any]]
WORKS: tuple[Work, ...] = (
    opening,
    idle,
    too_late,
    open_transaction,
    clean_exit,
    failed,
    in_flight,
    dirty,
    straight,
    transaction,
    dead,
    listening,
    streaming,
    pipelining,
    copying,
    run_again,
    larger,
    smaller,
    drained,
)


async def hook(conn: Any) -> None:
    await asyncio.sleep(0)
    await conn.execute("select 'a hook'")


@contextlib.asynccontextmanager
async def cold(pool: Any) -> AsyncIterator[None]:
    """Nothing is open."""
    yield


@contextlib.asynccontextmanager
async def warm(pool: Any) -> AsyncIterator[None]:
    """One is idle."""
    await pool.fetchval("select 1")
    yield


@contextlib.asynccontextmanager
async def full(pool: Any) -> AsyncIterator[None]:
    """Somebody has them all, and gives them back after a while."""
    async with pool.acquire() as first, pool.acquire() as second:
        held = [first, second]

        async def give_back() -> None:
            await asyncio.sleep(0.003)
            for conn in held:
                await pool.release(conn)

        giving = asyncio.create_task(give_back())
        yield
        await giving


class Kind(NamedTuple):
    """A pool to cut the works with."""

    prepared: Callable[[Any], contextlib.AbstractAsyncContextManager[None]]
    keywords: dict[str, Any]


HOOKS = dict.fromkeys(("init", "setup", "check", "reset"), hook)
KINDS = {
    "cold": Kind(cold, {}),
    "warm": Kind(warm, {}),
    "full": Kind(full, {}),
    "hooks": Kind(warm, HOOKS),
}
CASES = [
    (work, kind, how)
    for number, (work, kind) in enumerate(itertools.product(WORKS, KINDS))
    for how in (HOWS if ALL else [HOWS[number % 5 % len(HOWS)]])
]


def make_pool(room: Room, **keywords: Any) -> Any:
    keywords = {"min_size": 0, "max_size": SIZE, "timeout": SOON_S, **keywords}
    return pgasync.create_pool(room.dsn, application_name=room.name, **keywords)


async def whole(room: Room, pool: Any) -> None:
    """All slots are there, and what others left is not."""
    pool.resize(min_size=0, max_size=SIZE)
    stats, started = pool.stats, time.monotonic()
    await eventually(lambda: stats().idle == stats().size, stats)
    assert time.monotonic() - started < SETTLED_S, "until cancel_timeout"
    assert stats().size <= SIZE
    adds_up(stats())
    async with pool.acquire() as first, pool.acquire() as second:
        for conn in (first, second):
            assert conn.info.transaction_status == "I"
            assert await conn.fetchval("show statement_timeout") == "0"
        asked = "select pg_backend_pid()"
        assert await first.fetchval(asked) != await second.fetchval(asked)


@pytest.mark.parametrize(("work", "kind", "how"), CASES)
async def test_work(
    room: Room, cuts: dict[str, int], work: Work, kind: str, how: str
) -> None:
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    over = False
    for step in range(1, STEPS_MAX):
        async with make_pool(room, **KINDS[kind].keywords) as pool:
            async with KINDS[kind].prepared(pool):
                over = await cut(work(room, pool), step, how)
            await whole(room, pool)
        await nothing_left(room, tasks, sockets)
        if over:
            break
    assert over and step > 1
    rolled_back = f"select count(*) from {room.name} where n = 1"
    assert await room.watcher.fetchval(rolled_back) == 0
    cuts[f"{work.__name__} {kind} {how}"] = step - 1


# --- the pool's own beginning and end -----------------------------------------


async def begins(room: Room, pool: Any) -> None:
    await pool
    await pool.fetchval("select 1")


async def ends_idle(room: Room, pool: Any) -> None:
    async with pool:
        await pool.fetchval("select 1")


async def ends_held(room: Room, pool: Any) -> None:
    """Somebody has one, does not give it back, and somebody waits."""
    await pool
    conn = await pool.acquire()
    asking = asyncio.ensure_future(conn.execute("select pg_sleep(2)"))
    others = [asyncio.ensure_future(pool.fetchval("select 1")) for _ in range(4)]
    everybody = {asking, *others}
    try:
        await asyncio.sleep(0)
        await pool.close(timeout=0.01)
    finally:
        pool.terminate()
        await pool.release(conn)
        for task in everybody:
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            task.cancel()


ENDS: tuple[Work, ...] = (begins, ends_idle, ends_held)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("work", ENDS)
async def test_begin_and_end(
    room: Room, cuts: dict[str, int], work: Work, how: str
) -> None:
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    over = False
    for step in range(1, STEPS_MAX):
        pool = make_pool(room, min_size=1)
        over = await cut(work(room, pool), step, how)
        await pool.close(timeout=1)
        await nothing_left(room, tasks, sockets)
        if over:
            break
    assert over and step > 1
    cuts[f"{work.__name__} {how}"] = step - 1
