"""acquire(): who gets which connection, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors

MakePool = Callable[..., Any]


async def test_block_commits(make_pool: MakePool) -> None:
    async with make_pool(max_size=2) as pool:
        async with pool.acquire() as c:
            await c.execute("create table pool_commit (n int)")
        try:
            with pytest.raises(ZeroDivisionError):
                async with pool.acquire() as c:
                    await c.execute("insert into pool_commit values (1)")
                    raise ZeroDivisionError
            async with pool.acquire() as c:
                await c.execute("insert into pool_commit values (2)")
            assert await pool.fetch("select n from pool_commit") == [(2,)]
        finally:
            await pool.execute("drop table pool_commit")


async def test_release_rolls_back(make_pool: MakePool) -> None:
    pool = await make_pool(max_size=1)
    c = await pool.acquire()
    await c.execute("create table pool_rolled_back (n int)")
    await pool.release(c)
    assert await pool.fetchval("select to_regclass('pool_rolled_back')") is None
    assert pool.stats().opened == 1


async def test_autocommit_is_connects(make_pool: MakePool) -> None:
    async with make_pool(autocommit=True) as pool, pool.acquire() as c:
        assert c.autocommit
    async with make_pool() as pool:
        async with pool.acquire() as c:
            assert not c.autocommit
        async with pool.acquire() as c:
            assert not c.autocommit


async def test_the_last_used_one_is_used_again(make_pool: MakePool) -> None:
    async with make_pool(min_size=3, max_size=3) as pool:
        async with pool.acquire() as c:
            pid = c.info.backend_pid
        for _ in range(3):
            async with pool.acquire() as c:
                assert c.info.backend_pid == pid


async def test_first_come_first_served(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        order: list[int] = []

        async def user(number: int) -> None:
            async with pool.acquire() as c:
                order.append(number)
                await c.fetchval("select 1")

        await asyncio.gather(*map(user, range(20)))
        assert order == [*range(20)]
        assert pool.stats().waited >= 19


async def test_nobody_waits_for_a_connect_of_their_own(make_pool: MakePool) -> None:
    """A connection that comes back first goes to who waits longest, though another one
    is being opened."""
    async with make_pool(min_size=1, max_size=2) as pool:
        first = await pool.acquire()
        pid = first.info.backend_pid
        second = asyncio.create_task(pool._acquire(None, None))
        await asyncio.sleep(0)
        assert pool.stats().opening == 1
        await pool.release(first)
        got = await second
        assert got.info.backend_pid == pid
        await pool.release(got)


async def test_timeout_names_the_situation(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        async with pool.acquire():
            with pytest.raises(errors.PoolTimeout) as caught:
                await pool.acquire(timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, pgasync.OperationalError)
        text = str(caught.value)
        assert "0.05 s" in text and "1 in use" in text and "test_acquire.py:" in text
        stats = pool.stats()
        assert (stats.timeouts, stats.waiting) == (1, 0)


async def test_max_waiting(make_pool: MakePool) -> None:
    async with make_pool(max_size=1, max_waiting=1) as pool:
        held = await pool.acquire()
        waiting = asyncio.create_task(pool._acquire(None, None))
        await asyncio.sleep(0)
        with pytest.raises(errors.TooManyWaiting):
            await pool.acquire()
        await pool.release(held)
        await pool.release(await waiting)
        assert pool.stats().rejected == 1


async def test_cancelled_while_waiting(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        held = await pool.acquire()
        waiting = asyncio.create_task(pool._acquire(None, None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pool.release(held)
        stats = pool.stats()
        assert (stats.idle, stats.used, stats.cancelled) == (1, 0, 1)


async def test_cancelled_when_just_served(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        held = await pool.acquire()
        waiting = asyncio.create_task(pool._acquire(None, None))
        await asyncio.sleep(0)
        await pool.release(held)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        stats = pool.stats()
        assert (stats.idle, stats.used, stats.cancelled) == (1, 0, 1)
        assert await pool.fetchval("select 1", timeout=5) == 1


async def test_statements_without_a_connection(make_pool: MakePool) -> None:
    async with make_pool(max_size=2) as pool:
        assert await pool.fetch("select $1::int as n", (7,)) == [(7,)]
        assert (await pool.fetchrow("select 8 as n")).n == 8
        assert await pool.fetchval("select 9", timeout=5) == 9
        assert await pool.fetchval("select 1; select 2") == 2
        assert (await pool.execute("select 3")).rowcount == 1
        assert await pool.fetch("select 1 as n", row_factory=dict) == [{"n": 1}]
        stats = pool.stats()
        assert stats.acquired == stats.released and stats.used == 0


async def test_a_dead_idle_connection_is_not_handed_out(
    make_pool: MakePool, conn: Any
) -> None:
    async with make_pool(min_size=2, max_size=2) as pool:
        pid = await pool.fetchval("select pg_backend_pid()")
        await conn.execute("select pg_terminate_backend($1, 5000)", (pid,))
        for _ in range(4):
            assert await pool.fetchval("select 1") == 1


async def test_closed_before_an_opening_has_begun(make_pool: MakePool) -> None:
    pool = await make_pool(max_size=1)
    c = await pool.acquire()
    c._core.terminate()
    await pool.release(c)  # another one is due, whose task has not run yet
    began = asyncio.get_running_loop().time()
    await pool.close(timeout=60)
    assert asyncio.get_running_loop().time() - began < 30
