"""Sizes, ages and times: what is opened and closed, and when."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors

MakePool = Callable[..., Any]


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, "it did not come about"
        await asyncio.sleep(0.01)


async def test_the_floor_is_opened_and_kept(make_pool: MakePool, conn: Any) -> None:
    pool = await make_pool(min_size=3, max_size=5)
    assert pool.get_size() == pool.get_idle_size() == 3
    pid = await pool.fetchval("select pg_backend_pid()")
    await conn.execute("select pg_terminate_backend($1, 5000)", (pid,))
    await eventually(lambda: pool.stats().closed.get("lost") == 1)
    await eventually(lambda: pool.get_size() == 3)
    await pool.close()


async def test_no_more_than_max_size(make_pool: MakePool) -> None:
    async with make_pool(min_size=0, max_size=4) as pool:
        assert pool.get_size() == 0
        running = 0
        most = 0

        async def user() -> None:
            nonlocal running, most
            async with pool.acquire() as c:
                running += 1
                most = max(most, running)
                await c.execute("select pg_sleep(0.01)")
                running -= 1

        await asyncio.gather(*(user() for _ in range(20)))
        assert most == 4 == pool.stats().opened


async def test_opened_by_its_first_use(make_pool: MakePool) -> None:
    pool = make_pool()
    assert await pool.fetchval("select 1") == 1
    await pool.close()


async def test_idle_ones_above_the_floor_are_closed(make_pool: MakePool) -> None:
    async with make_pool(min_size=1, max_size=4, max_idle=0.2) as pool:
        await asyncio.gather(*(pool.fetch("select pg_sleep(0.05)") for _ in range(4)))
        assert pool.get_size() == 4
        await eventually(lambda: pool.get_size() == 1)
        assert pool.stats().closed["idle"] == 3


async def test_old_ones_are_replaced(make_pool: MakePool) -> None:
    async with make_pool(min_size=2, max_size=2, max_lifetime=0.2) as pool:
        await eventually(lambda: pool.stats().closed.get("lifetime", 0) >= 4)
        assert await pool.fetchval("select 1") == 1


async def test_an_old_one_in_use_is_closed_at_its_release(make_pool: MakePool) -> None:
    async with make_pool(max_size=1, max_lifetime=0.05) as pool:
        async with pool.acquire() as c:
            pid = c.info.backend_pid
            await asyncio.sleep(0.1)
            assert await c.fetchval("select pg_backend_pid()") == pid
        assert await pool.fetchval("select pg_backend_pid()") != pid


async def test_max_uses(make_pool: MakePool) -> None:
    async with make_pool(max_size=1, max_queries=3) as pool:
        pids = [await pool.fetchval("select pg_backend_pid()") for _ in range(6)]
        assert len(set(pids[:3])) == len(set(pids[3:])) == 1 and pids[0] != pids[3]
        assert pool.stats().closed["uses"] == 2


async def test_resize(make_pool: MakePool) -> None:
    async with make_pool(min_size=1, max_size=2) as pool:
        held = [await pool.acquire() for _ in range(2)]
        with pytest.raises(errors.PoolTimeout):
            await pool.acquire(timeout=0.02)
        pool.resize(max_size=3)
        held.append(await pool.acquire(timeout=5))
        pool.resize(min_size=0, max_size=1)
        for c in held:
            await pool.release(c)
        assert pool.get_size() == 1
        assert pool.stats().closed["resized"] == 2
        pool.resize(min_size=2, max_size=2)
        await eventually(lambda: pool.get_idle_size() == 2)
        pool.resize(min_size=1, max_size=1)
        assert pool.get_size() == 1
        with pytest.raises(errors.InterfaceError):
            pool.resize(min_size=3)


async def test_a_bigger_pool_serves_who_waits(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool, pool.acquire():
        waiting = asyncio.create_task(pool.fetchval("select 5"))
        await asyncio.sleep(0.02)
        pool.resize(max_size=2)
        assert await waiting == 5


async def test_drain(make_pool: MakePool) -> None:
    async with make_pool(min_size=2, max_size=2) as pool:
        async with pool.acquire() as c:
            used = c.info.backend_pid
            pool.expire()
            assert pool.stats().closed["drained"] == 1
            assert await c.fetchval("select 1") == 1
        await eventually(lambda: pool.get_idle_size() == 2)
        assert pool.stats().closed["drained"] == 2
        assert used != await pool.fetchval("select pg_backend_pid()")


async def test_passwords_are_asked_for_every_connection(
    make_pool: MakePool, hba_server: Any
) -> None:
    asked = 0

    async def password() -> str:
        nonlocal asked
        asked += 1
        return str(hba_server.password)

    async with make_pool(hba_server.dsn, password=password, min_size=2) as pool:
        assert asked == 2
        await pool.expire_connections()
        await eventually(lambda: pool.get_idle_size() == 2)
        assert asked == 4


async def test_wrong_database(make_pool: MakePool, dsn: str) -> None:
    with pytest.raises(errors.InvalidCatalogName):
        await make_pool(dbname="pool_no_such")
    pool = make_pool(dbname="pool_no_such", min_size=0)
    results = await asyncio.gather(
        *(pool.fetch("select 1") for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in results] == [errors.InvalidCatalogName] * 3
    assert len({id(error) for error in results}) == 3
    assert pool.stats().refused == 3
    await pool.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_nobody_listens(make_pool: MakePool, caplog: Any) -> None:
    """It is tried again until the time is over; the reason is the error's cause."""
    address = f"host=127.0.0.1 port={free_port()} user=nobody dbname=none"
    pool = make_pool(address, min_size=0, timeout=0.4)
    caplog.set_level(logging.WARNING, "pgasync.pool")
    with pytest.raises(errors.PoolTimeout) as caught:
        await pool.fetch("select 1")
    assert isinstance(caught.value.__cause__, errors.ConnectError)
    assert pool.stats().errors >= 2
    assert "no connection was opened" in caplog.text
    with pytest.raises(errors.PoolTimeout):
        await make_pool(address, timeout=0.2)
    await pool.close()


async def test_a_server_that_comes_late(make_pool: MakePool, dsn: str) -> None:
    """Who waits is served as soon as the server is there."""
    config = pgasync.conninfo.parse(dsn, {})  # type: ignore[attr-defined]
    target = config.hosts[0]
    port = free_port()
    pool = make_pool(dsn, host="127.0.0.1", port=port, sslmode="disable", min_size=0)
    waiting = asyncio.create_task(pool.fetchval("select 1"))
    await eventually(lambda: pool.stats().errors > 0)
    assert not waiting.done()

    async def relay(reader: Any, writer: Any) -> None:
        if target.is_unix:
            other = await asyncio.open_unix_connection(target.socket_path)
        else:
            other = await asyncio.open_connection(target.address, target.port)
        await asyncio.gather(copy(reader, other[1]), copy(other[0], writer))

    async def copy(reader: Any, writer: Any) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", port)
    try:
        assert await asyncio.wait_for(waiting, 10) == 1
        await pool.close()
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "keywords",
    [
        {"min_size": -1},
        {"min_size": 3, "max_size": 2},
        {"max_size": 0, "min_size": 0},
        {"max_size": "2"},
        {"max_idle": -1},
        {"max_lifetime": "long"},
        {"timeout": -0.1},
        {"max_waiting": 1.5},
        {"check_after": True},
        {"setup": 5},
        {"max_connections": 5},
    ],
)
def test_wrong_keywords(dsn: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(errors.InterfaceError) as caught:
        pgasync.create_pool(dsn, **keywords)
    assert any(name in str(caught.value) for name in keywords)


async def test_stats_add_up(make_pool: MakePool) -> None:
    async with make_pool(min_size=0, max_size=3) as pool:
        await asyncio.gather(*(pool.fetch("select 1") for _ in range(50)))
        stats = pool.stats()
        assert stats.acquired == stats.released == 50
        assert sum(stats.waits.values()) == stats.waited >= 40
        assert stats.wait_seconds > 0
        assert stats.opened == stats.size == stats.idle <= 3
        with pytest.raises(AttributeError):
            stats.size = 3
        assert "size=" in repr(pool)
