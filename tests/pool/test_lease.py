"""What csrc/driver/lease.c does without asking Python, and leaves to it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import pgasync
from pgasync import _core


async def test_taken_at_once(dsn: str) -> None:
    """Not one turn of the loop, in either way; and nothing Python counts is missed."""
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        turns: list[int] = []
        await pool.fetchval("select 1")
        asyncio.get_running_loop().call_soon(turns.append, 1)
        for _ in range(3):
            async with pool.acquire() as conn:
                assert conn._core.autocommit is False
            conn = await pool.acquire()
            await pool.release(conn)
        assert not turns
        stats = pool.stats()
        assert (stats.acquired, stats.released, stats.waited) == (7, 7, 0)
        assert (stats.idle, stats.used) == (1, 0)


async def test_the_holder_is_named(dsn: str) -> None:
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        await pool.fetchval("select 1")
        async with pool.acquire():
            (member,) = pool._state.holders()
            assert member.holder is asyncio.current_task()
            with pytest.raises(pgasync.PoolTimeout, match=r"test_lease\.py:\d+$"):
                await pool.acquire(timeout=0.01)
        assert member.holder is None and member.where is None


async def test_awaited_by_others(dsn: str) -> None:
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        await pool.fetchval("select 1")
        for _ in range(2):
            conn = await asyncio.wait_for(pool.acquire(), 5)
            assert await conn.fetchval("select 2") == 2
            await pool.release(conn)


async def test_one_acquire_again(dsn: str) -> None:
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        acquiring = pool.acquire()
        for _ in range(2):
            await pool.release(await acquiring)
        async with acquiring:
            pass
        with pytest.raises(pgasync.InterfaceError, match="was entered before"):
            await acquiring.__aenter__()


async def test_not_understood(dsn: str) -> None:
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        call: Any = pool.acquire
        with pytest.raises(TypeError, match="keyword timeout only"):
            call(5)
        with pytest.raises(TypeError, match="no keyword 'timout'"):
            call(timout=5)
        with pytest.raises(TypeError, match="three arguments"):
            await call().__aexit__(None, None, None)
        with pytest.raises(TypeError):
            _core.Acquiring()
        assert pool._give(object()) is False  # type: ignore[arg-type]


async def test_forgotten(dsn: str) -> None:
    """It comes back by itself, and says so."""
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        await pool.fetchval("select 1")
        conn: Any = await pool.acquire()
        await conn.execute("create temporary table left_behind (n int)")
        with pytest.warns(ResourceWarning, match=r"test_lease\.py:\d+, was"):
            del conn
            gc.collect()
        assert await pool.fetchval("select to_regclass('left_behind')") is None
        assert pool.stats().used == 0


async def test_listeners_end_with_the_release(dsn: str) -> None:
    say = "do $$ begin raise notice 'said'; end $$"
    heard: list[object] = []
    async with pgasync.create_pool(dsn, max_size=1, autocommit=True) as pool:
        for _ in range(2):
            async with pool.acquire() as conn:
                await conn.execute(say)
                await asyncio.sleep(0)
                if not heard:
                    conn.add_notice_listener(lambda _, notice: heard.append(notice))
                    await conn.execute(say)
                    await asyncio.sleep(0)
        assert len(heard) == 1


async def test_choices_of_the_pool(dsn: str) -> None:
    async with pgasync.create_pool(
        dsn, max_size=1, autocommit=True, command_timeout=0.3, row_factory=dict
    ) as pool:
        for _ in range(2):
            async with pool.acquire() as conn:
                assert await conn.fetchrow("select 1 as n") == {"n": 1}
                with pytest.raises(pgasync.QueryTimeout):
                    await conn.fetchval("select pg_sleep(5)")


async def test_exceptions_roll_back(dsn: str) -> None:
    async with pgasync.create_pool(dsn, max_size=1) as pool:
        with pytest.raises(LookupError):
            async with pool.acquire() as conn:
                await conn.execute("create table never_there (n int)")
                raise LookupError
        with pytest.raises(LookupError):
            async with pool.acquire():
                raise LookupError  # nothing was begun
        assert await pool.fetchval("select to_regclass('never_there')") is None
        assert pool.stats().size == 1


def test_from_another_loop(dsn: str) -> None:
    """Not without Python's say, which refuses."""

    async def use(pool: pgasync.Pool) -> None:
        async with pool.acquire():
            pass

    async def main() -> None:
        async with pgasync.create_pool(dsn, max_size=1) as pool:
            await use(pool)
            loop = asyncio.get_running_loop()
            with pytest.raises(pgasync.InterfaceError, match="a pool for each loop"):
                await loop.run_in_executor(None, asyncio.run, use(pool))

    asyncio.run(main())
