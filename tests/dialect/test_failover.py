"""An engine over a primary and a standby: restarts and a failover under its pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import servers
from pgasync import errors

SIZE = 4
INSERT = sa.text("insert into ledger values (:n)")
PORT = sa.text("select inet_server_port()")


@pytest.fixture
def pair() -> Iterator[tuple[servers.Server, servers.Standby]]:
    settings = {"synchronous_commit": "on"}
    with servers.Server(settings=settings) as first, servers.Standby(first) as second:
        second.wait_streaming()
        yield first, second


@pytest.fixture
async def engine(
    pair: tuple[servers.Server, servers.Standby],
) -> AsyncIterator[AsyncEngine]:
    first, second = pair
    made = create_async_engine(
        f"postgresql+pgasync://postgres:{first.password}@/postgres"
        f"?host=127.0.0.1:{first.port}&host=127.0.0.1:{second.port}"
        "&target_session_attrs=read-write&connect_timeout=5",
        pool_pre_ping=True,
        pool_size=SIZE,
    )
    yield made
    await made.dispose()


async def all_at_once(engine: AsyncEngine) -> set[int]:
    """Uses every connection of the pool; the ports that they lead to."""
    found = set()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SIZE):
            conn = await stack.enter_async_context(engine.connect())
            found.add(int(await conn.scalar(PORT)))
    return found


async def test_restart_and_failover(
    engine: AsyncEngine, pair: tuple[servers.Server, servers.Standby]
) -> None:
    first, second = pair
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table ledger (n int)"))
    assert await all_at_once(engine) == {first.port}

    # Between two statements nobody notices a restart: the ping does.
    for fast in (True, False):
        await asyncio.to_thread(first.restart, fast=fast)
        async with engine.begin() as conn:
            await conn.execute(INSERT, {"n": 1})
        assert await all_at_once(engine) == {first.port}

    # Within a transaction it is an error that says so, and only there.
    async with engine.connect() as conn:
        await conn.execute(INSERT, {"n": 2})
        await asyncio.to_thread(first.restart)
        with pytest.raises(exc.DBAPIError) as caught:
            await conn.execute(INSERT, {"n": 3})
        assert caught.value.connection_invalidated
        assert isinstance(caught.value.orig, errors.OperationalError)
        await conn.rollback()
    assert await all_at_once(engine) == {first.port}

    await asyncio.to_thread(second.wait_streaming)
    await asyncio.to_thread(first.shut_down)
    with pytest.raises(exc.OperationalError) as refused:
        async with engine.connect():
            pass
    assert isinstance(refused.value.orig, errors.ConnectError)
    assert "the session is read-only" in str(refused.value)

    await asyncio.to_thread(second.promote)
    assert await all_at_once(engine) == {second.port}
    async with engine.begin() as conn:
        await conn.execute(INSERT, {"n": 4})
        rows = await conn.scalars(sa.text("select n from ledger order by n"))
        assert rows.all() == [1, 1, 4]
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
