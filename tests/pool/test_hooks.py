"""init, setup, check and reset: when they run, and what follows when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pgasync import errors

MakePool = Callable[..., Any]
PID = "select pg_backend_pid()"


async def test_order(make_pool: MakePool) -> None:
    calls: list[str] = []

    def hook(name: str) -> Any:
        async def call(connection: Any) -> None:
            assert connection.autocommit
            await connection.fetchval("select 1")
            calls.append(name)

        return call

    names = ("init", "check", "setup", "reset")
    async with make_pool(max_size=1, **{name: hook(name) for name in names}) as pool:
        assert calls == ["init"]
        async with pool.acquire() as c:
            assert not c.autocommit
            calls.append("use")
        await pool.fetchval("select 1")
        async with pool.acquire():
            pass
        once = ["check", "setup", "use", "reset", "check", "setup", "reset"]
        assert calls == ["init", *once, "check", "setup", "reset"]


async def test_what_init_sets_stays(make_pool: MakePool) -> None:
    async def init(connection: Any) -> None:
        await connection.execute("set application_name = 'pool_init'")

    async with make_pool(max_size=2, init=init) as pool:
        for _ in range(3):
            assert await pool.fetchval("show application_name") == "pool_init"
        async with pool.acquire() as c:
            await c.execute("set application_name = 'other'")
            await c.commit()
        assert await pool.fetchval("show application_name") == "pool_init"


async def test_setup_and_its_listeners(make_pool: MakePool) -> None:
    heard: list[str] = []

    async def setup(connection: Any) -> None:
        connection.add_notice_listener(lambda c, notice: heard.append(notice.message))

    async with make_pool(max_size=1, setup=setup) as pool:
        async with pool.acquire() as c:
            await c.execute("do $$ begin raise notice 'hello'; end $$")
            await asyncio.sleep(0)
        assert heard == ["hello"]


async def test_init_that_fails(make_pool: MakePool) -> None:
    async def init(connection: Any) -> None:
        raise ZeroDivisionError("in init")

    with pytest.raises(ZeroDivisionError):
        await make_pool(init=init)
    pool = make_pool(min_size=0, init=init)
    with pytest.raises(ZeroDivisionError):
        await pool.acquire()
    await pool.close()
    assert pool.stats().size == 0


async def test_setup_that_fails(make_pool: MakePool) -> None:
    fail = True

    async def setup(connection: Any) -> None:
        if fail:
            raise ZeroDivisionError("in setup")

    async with make_pool(max_size=1, setup=setup) as pool:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.fetchval("select 1")
        fail = False
        assert await pool.fetchval("select 1") == 1
        assert pool.stats().closed["setup"] == 3


async def test_check_that_finds_one_unfit(make_pool: MakePool) -> None:
    bad: set[int] = set()

    async def check(connection: Any) -> bool:
        return await connection.fetchval(PID) not in bad

    async with make_pool(max_size=1, check=check) as pool:
        first = await pool.fetchval(PID)
        assert await pool.fetchval(PID) == first
        bad.add(first)
        assert await pool.fetchval(PID) != first
        assert pool.stats().closed["hook"] == 1


async def test_check_that_finds_all_unfit(make_pool: MakePool) -> None:
    async def check(connection: Any) -> None:
        raise ZeroDivisionError("in check")

    async with make_pool(max_size=2, check=check) as pool:
        with pytest.raises(errors.OperationalError, match="in check"):
            await pool.fetchval("select 1")
        assert pool.stats().closed["hook"] == 3


async def test_hook_that_leaves_a_transaction(make_pool: MakePool) -> None:
    async def setup(connection: Any) -> None:
        await connection.execute("begin")

    async with make_pool(max_size=1, setup=setup) as pool:
        with pytest.raises(errors.InterfaceError, match="setup= left"):
            await pool.fetchval("select 1")


async def test_reset_that_fails(make_pool: MakePool) -> None:
    async def reset(connection: Any) -> None:
        raise ZeroDivisionError("in reset")

    async with make_pool(max_size=1, reset=reset) as pool:
        first = await pool.fetchval(PID)
        assert await pool.fetchval(PID) != first
        assert pool.stats().closed["broken"] >= 1


async def test_hook_that_does_not_end(make_pool: MakePool) -> None:
    async def setup(connection: Any) -> None:
        await asyncio.sleep(60)

    async with make_pool(max_size=1, setup=setup, timeout=5) as pool:
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=0.1)
        assert pool.stats().used == 0


async def test_cancelled_in_setup(make_pool: MakePool) -> None:
    inside = asyncio.Event()

    async def setup(connection: Any) -> None:
        inside.set()
        await asyncio.sleep(60)

    async with make_pool(max_size=1, setup=setup) as pool:
        task = asyncio.create_task(pool.fetchval("select 1"))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats().used == 0


async def test_ping_after_long_idleness(make_pool: MakePool, conn: Any) -> None:
    async with make_pool(max_size=1, check_after=0.05) as pool:
        first = await pool.fetchval(PID)
        await asyncio.sleep(0.1)
        assert await pool.fetchval(PID) == first
