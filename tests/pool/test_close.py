"""The end of a pool, and pools where they do not belong."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pgasync
from pgasync import errors

MakePool = Callable[..., Any]


async def test_close_waits_for_holders(make_pool: MakePool) -> None:
    pool = await make_pool(max_size=2)
    c = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0.02)
    assert pool.closed and not closing.done()
    assert await c.fetchval("select 1") == 1
    await pool.release(c)
    await closing
    assert pool.stats().size == 0
    await pool.close()


async def test_who_waits_is_told(make_pool: MakePool) -> None:
    pool = await make_pool(max_size=1)
    c = await pool.acquire()
    waiting = asyncio.create_task(pool.fetchval("select 1"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.close())
    with pytest.raises(errors.PoolClosed):
        await waiting
    with pytest.raises(errors.PoolClosed):
        await pool.acquire()
    await pool.release(c)
    await closing
    with pytest.raises(errors.PoolClosed):
        await pool.fetch("select 1")
    with pytest.raises(errors.PoolClosed):
        async with pool.acquire():
            pass
    with pytest.raises(errors.PoolClosed):
        await pool.open()


async def test_holders_are_named(make_pool: MakePool, caplog: Any) -> None:
    pool = await make_pool(max_size=1)
    c = await pool.acquire()
    caplog.set_level(logging.WARNING, "pgasync.pool")
    await pool.close(timeout=0.05)
    assert "held by Task-" in caplog.text and "test_close.py:" in caplog.text
    with pytest.raises(errors.Error, match="closed"):
        await c.fetchval("select 1")
    await pool.release(c)
    assert pool.stats().closed == {"terminated": 1}


async def test_terminate(make_pool: MakePool) -> None:
    pool = await make_pool(min_size=2, max_size=2)
    c = await pool.acquire()
    running = asyncio.create_task(c.execute("select pg_sleep(60)"))
    await asyncio.sleep(0.02)
    pool.terminate()
    with pytest.raises(errors.Error):
        await running
    with pytest.raises(errors.Error):
        async with pool.acquire():
            pass
    await pool.release(c)
    pool.terminate()
    assert pool.stats().size == 0


async def test_closed_while_it_opens(make_pool: MakePool) -> None:
    pool = make_pool(min_size=3, max_size=3)
    opening = asyncio.create_task(pool.open())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(errors.PoolClosed):
        await opening
    assert pool.stats().size == pool.stats().opening == 0


async def test_block_that_fails(make_pool: MakePool) -> None:
    with pytest.raises(ZeroDivisionError):
        async with make_pool() as pool:
            raise ZeroDivisionError
    assert pool.closed and pool.stats().size == 0


async def test_close_cancelled(make_pool: MakePool) -> None:
    pool = await make_pool(max_size=1)
    c = await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert pool.stats().size == 0
    await pool.release(c)


async def test_dropped(dsn: str) -> None:
    pool = await pgasync.create_pool(dsn)
    with pytest.warns(ResourceWarning, match="never closed"):
        del pool
        gc.collect()


async def test_closed_ones_drop_quietly(dsn: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = pgasync.create_pool(dsn)
        del pool
        pool = await pgasync.create_pool(dsn)
        await pool.close()
        del pool
        gc.collect()


async def test_another_loop(make_pool: MakePool) -> None:
    pool = await make_pool()

    def elsewhere() -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(pool.fetchval("select 1"))
        finally:
            loop.close()

    with ThreadPoolExecutor(1) as threads:
        running = asyncio.get_running_loop().run_in_executor(threads, elsewhere)
        with pytest.raises(errors.InterfaceError, match="belongs to the event loop"):
            await running
    assert await pool.fetchval("select 1") == 1
    await pool.close()


@pytest.mark.no_leak_check
def test_a_loop_that_is_closed(dsn: str) -> None:
    """The pool was made outside of any loop, used in one, and that is gone."""
    pool = pgasync.create_pool(dsn)

    async def use() -> Any:
        return await pool.fetchval("select 1")

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(use()) == 1
    loop.close()
    with pytest.raises(errors.InterfaceError, match=r"\(closed\)"):
        asyncio.run(use())
    pool.terminate()
    assert pool.stats().size == 0


async def test_an_acquire_is_used_once(make_pool: MakePool) -> None:
    async with make_pool(max_size=2) as pool:
        acquiring = pool.acquire()
        async with acquiring as c:
            assert await c.fetchval("select 1") == 1
            with pytest.raises(errors.InterfaceError, match="entered before"):
                await acquiring.__aenter__()
        with pytest.raises(TypeError):
            pool.acquire(5)
        with pytest.raises(TypeError):
            pool.acquire(limit=5)


async def test_released_inside_of_its_block(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        async with pool.acquire() as c:
            await pool.release(c)
            async with pool.acquire() as d:
                assert await d.fetchval("select 1") == 1
        assert pool.stats().used == 0
