"""create_async_engine(…, reset_session=True)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_engine_from_config

from dialect.flights import FlightCounter

MakeEngine = Callable[..., AsyncEngine]

QUESTION = text(
    "select current_setting('work_mem'), current_setting('TimeZone'),"
    " coalesce(current_setting('dirty.tenant', true), ''), current_user,"
    " (select count(*) from pg_locks"
    "  where locktype = 'advisory' and pid = pg_backend_pid()),"
    " (select count(*) from pg_class where relnamespace = pg_my_temp_schema()),"
    " (select count(*) from pg_listening_channels())"
)
DIRT = (
    "set work_mem = '1MB'",
    "set time zone 'Asia/Tokyo'",
    "select set_config('dirty.tenant', 'evil', false)",
    "set role pg_monitor",
    "select pg_advisory_lock(31)",
    "create temp table dirty_dialect (x int)",
    "listen dirty_dialect",
)


async def asked(engine: AsyncEngine) -> Any:
    async with engine.connect() as conn:
        return (await conn.execute(QUESTION)).one()


async def use(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as conn:
        await conn.execute(text(sql))


async def test_next_user_finds_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(reset_session=True, pool_size=1, max_overflow=0)
    clean = await asked(engine)
    for sql in DIRT:
        await use(engine, sql)
        assert await asked(engine) == clean, sql
        with contextlib.suppress(ZeroDivisionError):
            async with engine.connect() as conn:
                await conn.execution_options(isolation_level="AUTOCOMMIT")
                await conn.execute(text(sql))
                raise ZeroDivisionError
        assert await asked(engine) == clean, sql


async def test_without_it_everything_stays(make_engine: MakeEngine) -> None:
    engine = make_engine(pool_size=1, max_overflow=0)
    clean = await asked(engine)
    await use(engine, DIRT[0])
    assert await asked(engine) != clean


@pytest.mark.parametrize("style", ["committed", "autocommit", "run_async"])
async def test_what_listeners_set_survives(make_engine: MakeEngine, style: str) -> None:
    engine = make_engine(reset_session=True, pool_size=1, max_overflow=0)
    sql = "select set_config('dirty.tenant', 'nobody', false)"

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        if style == "run_async":
            connection.run_async(lambda driver: driver.execute(sql))
            return
        connection.autocommit = style == "autocommit"
        connection.execute(sql)
        connection.commit()
        connection.autocommit = False

    for _ in range(2):
        clean = await asked(engine)
        assert clean[2] == "nobody"
        for dirt in DIRT:
            await use(engine, dirt)
            assert await asked(engine) == clean, dirt
        await use(engine, "rollback")
        async with engine.connect() as conn:
            await conn.invalidate()  # the record connects again
    await engine.dispose()
    assert await asked(engine) == clean


async def test_first_statement_fails(make_engine: MakeEngine) -> None:
    engine = make_engine(reset_session=True, pool_size=1, max_overflow=0)
    clean = await asked(engine)
    await use(engine, DIRT[0])
    with pytest.raises(DBAPIError):
        await use(engine, "select 1 / 0")
    assert await asked(engine) == clean


async def test_costs_no_trip(
    make_engine: MakeEngine, counted_url: str, flights: FlightCounter
) -> None:
    engine = make_engine(
        url=counted_url, reset_session=True, pool_size=1, max_overflow=0
    )
    async with engine.connect() as conn:
        await conn.execute(text("select 1"))
        await conn.commit()
        await conn.execute(text("select 1"))
    before = flights.count
    async with engine.connect() as conn:
        await conn.execute(text("select 1"))
    clean = flights.count - before
    await use(engine, DIRT[0])
    before = flights.count
    async with engine.connect() as conn:
        await conn.execute(text("select 1"))
    assert flights.count - before == clean


async def test_other_pools_and_configurations(url: str) -> None:
    for poolclass in (pool.AsyncAdaptedQueuePool, pool.StaticPool):
        engine = async_engine_from_config(
            {"sqlalchemy.url": url, "sqlalchemy.reset_session": "true"},
            poolclass=poolclass,
        )
        clean = await asked(engine)
        await use(engine, DIRT[2])
        assert await asked(engine) == clean
        await engine.dispose()
