"""Notifications beneath SQLAlchemy: what listens on the driver's connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool

import pgasync

LIMIT_S = 20.0
LISTENING = sa.text("select pg_listening_channels()")
NOTIFY = sa.text("select pg_notify('jobs', :payload)")


async def driver_of(conn: AsyncConnection) -> pgasync.Connection:
    driver = (await conn.get_raw_connection()).driver_connection
    assert isinstance(driver, pgasync.Connection)
    return driver


async def test_listen_beside_statements(
    make_engine: Callable[..., AsyncEngine],
) -> None:
    """Notifications of a transaction come when it has been committed."""
    engine = make_engine()
    async with engine.connect() as conn:
        driver = await driver_of(conn)
        async with driver.listen("jobs") as notifications:
            await conn.execute(NOTIFY, {"payload": "undone"})
            await conn.rollback()
            await conn.execute(NOTIFY, {"payload": "1"})
            with pytest.raises(TimeoutError):
                await notifications.get(timeout=0.02)
            await conn.commit()
            assert (await notifications.get(timeout=LIMIT_S)).payload == "1"
            await conn.execute(NOTIFY, {"payload": "2"})
            await conn.commit()
        assert (await conn.execute(LISTENING)).all() == []


async def test_add_listener(make_engine: Callable[..., AsyncEngine]) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(conn: Any, pid: int, channel: str, payload: str) -> None:
        heard.put_nowait(payload)

    engine = make_engine(isolation_level="AUTOCOMMIT")
    async with engine.connect() as conn, engine.connect() as other:
        driver = await driver_of(conn)
        await driver.add_listener("jobs", hear)
        await other.execute(NOTIFY, {"payload": "1"})
        assert await asyncio.wait_for(heard.get(), LIMIT_S) == "1"
        await driver.remove_listener("jobs", hear)


async def test_inside_a_transaction(make_engine: Callable[..., AsyncEngine]) -> None:
    engine = make_engine()
    async with engine.begin() as conn:
        driver = await driver_of(conn)
        await conn.execute(sa.text("select 1"))
        with pytest.raises(pgasync.InterfaceError, match="inside a transaction"):
            await driver.add_listener("jobs", print)


async def test_a_connection_given_back_does_not_listen(
    make_engine: Callable[..., AsyncEngine], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at the server nor here; the log says so."""
    heard: list[Any] = []
    engine = make_engine(pool_size=1, max_overflow=0)
    with caplog.at_level(logging.WARNING, "pgasync"):
        async with engine.connect() as conn:
            driver = await driver_of(conn)
            await driver.add_listener("jobs", lambda *args: heard.append(args))
            notifications = driver.listen("news")
            await notifications.__aenter__()
            await conn.execute(sa.text("select 1"))
    (record,) = caplog.records
    assert "while it listened to 'jobs', 'news'" in record.getMessage()
    assert [n async for n in notifications] == []
    async with engine.begin() as conn:
        assert await driver_of(conn) is driver
        assert (await conn.execute(LISTENING)).all() == []
        await conn.execute(NOTIFY, {"payload": "1"})
    async with engine.connect() as conn:
        await conn.execute(sa.text("select 1"))
    assert heard == []
    assert len(caplog.records) == 1


async def test_given_back_in_a_cancelled_task(
    make_engine: Callable[..., AsyncEngine],
) -> None:
    """However far it has come: the pool has its connection, and it does not listen."""
    engine = make_engine(pool_size=1, max_overflow=0)
    listening = asyncio.Event()

    async def listen() -> None:
        async with engine.connect() as conn:
            await (await driver_of(conn)).add_listener("jobs", print)
            listening.set()
            await asyncio.sleep(0)

    for turns in range(12):
        listening.clear()
        task = asyncio.ensure_future(listen())
        await listening.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        async with engine.connect() as conn:
            assert (await conn.execute(LISTENING)).all() == []
    assert engine.pool.status().startswith("Pool size: 1")


async def test_without_a_pool(make_engine: Callable[..., AsyncEngine]) -> None:
    """A connection that is closed ends what listens on it."""
    engine = make_engine(poolclass=NullPool)
    async with engine.connect() as conn:
        notifications = (await driver_of(conn)).listen("jobs")
        await notifications.__aenter__()
    assert [n async for n in notifications] == []
