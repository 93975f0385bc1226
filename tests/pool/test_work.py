"""What a pool does by itself: streams, pipelines, COPY, notifications, types."""

from __future__ import annotations

import asyncio
import enum
import gc
import io
from collections.abc import Callable
from typing import Any

import pytest

from pgasync import errors

MakePool = Callable[..., Any]
NUMBERS = "select n from generate_series(1, $1) as n"


async def test_stream(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        assert [row.n async for row in pool.stream(NUMBERS, (500,))] == [*range(1, 501)]
        assert pool.stats().used == 0
        async with pool.stream(NUMBERS, (1_000_000,)) as stream:
            async for row in stream:
                if row.n == 3:
                    break
            assert pool.stats().used == 1
        assert await pool.fetchval("select 1") == 1
        assert [row async for row in stream] == []
        with pytest.raises(errors.UndefinedTable):
            await pool.stream("select * from pool_no_such_table").__anext__()
        stats = pool.stats()
        assert (stats.opened, stats.used) == (1, 0)


async def test_stream_that_is_dropped(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        async for _ in pool.stream(NUMBERS, (1_000_000,)):
            break
        gc.collect()
        assert await pool.fetchval("select 1", timeout=5) == 1


async def test_stream_cancelled(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        stream = pool.stream("select pg_sleep(60)")
        task = asyncio.create_task(stream.__anext__())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await pool.fetchval("select 1", timeout=5) == 1
        assert pool.stats().opened == 1


async def test_pipeline(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        async with pool.pipeline() as p:
            one, two = p.fetchval("select 1"), p.fetchval("select 2")
        assert (await one, await two) == (1, 2)
        assert pool.stats().used == 0


async def test_copy(make_pool: MakePool, conn: Any) -> None:
    await conn.execute("drop table if exists pool_copy")
    await conn.execute("create table pool_copy (n int, t text)")
    try:
        async with make_pool(max_size=2) as pool:
            await pool.copy_records_to_table("pool_copy", records=[(1, "a"), (2, "b")])
            source = io.BytesIO(b"3\tc\n")
            await pool.copy_to_table("pool_copy", source=source)
            output = io.BytesIO()
            await pool.copy_from_table("pool_copy", output=output)
            assert output.getvalue() == b"1\ta\n2\tb\n3\tc\n"
            output = io.BytesIO()
            await pool.copy_from_query("select 7", output=output)
            assert output.getvalue() == b"7\n"
            many = await pool.executemany(
                "insert into pool_copy values ($1, $2)", [(4, "d"), (5, "e")]
            )
            assert many.rowcount == 2
            assert await pool.fetchval("select count(*) from pool_copy") == 5
    finally:
        await conn.execute("drop table pool_copy")


async def test_listen(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool, pool.listen("pool_news") as events:
        await pool.notify("pool_news", "hello")
        event = await events.get(timeout=10)
        assert (event.channel, event.payload) == ("pool_news", "hello")
        assert pool.stats().size == 1


class Mood(enum.Enum):
    """A type of the database's."""

    GOOD = "good"
    BAD = "bad"


async def test_types_of_all_connections(make_pool: MakePool, conn: Any) -> None:
    await conn.execute("drop type if exists pool_mood")
    await conn.execute("create type pool_mood as enum ('good', 'bad')")
    try:
        async with make_pool(min_size=2, max_size=3) as pool:
            async with pool.acquire() as a, pool.acquire() as b:
                await pool.register_enum(Mood, "pool_mood")
                for c in (a, b):
                    assert await c.fetchval("select 'good'::pool_mood") is Mood.GOOD
                async with pool.acquire() as late:
                    assert await late.fetchval("select 'bad'::pool_mood") is Mood.BAD
            moods = [pool.fetchval("select 'bad'::pool_mood") for _ in range(3)]
            assert await asyncio.gather(*moods) == [Mood.BAD] * 3
            async with pool.acquire() as c:
                await c.reset_type_codec("pool_mood")
            assert await pool.fetchval("select 'bad'::pool_mood") is Mood.BAD
            await pool.reset_type_codec("pool_mood")
            assert await pool.fetchval("select 'bad'::pool_mood") == "bad"
            with pytest.raises(errors.UndefinedObject):
                await pool.set_type_codec("pool_no_such_type", decoder=str)
            await pool.set_type_codec(
                "int4", encoder=str, decoder=lambda text: -int(text)
            )
            assert await pool.fetchval("select 5::int4") == -5
    finally:
        await conn.execute("drop type pool_mood")


async def test_names_of_others(make_pool: MakePool) -> None:
    async with make_pool(
        min_size=1, max_size=3, max_inactive_connection_lifetime=5, max_queries=10
    ) as pool:
        sizes = (pool.get_size(), pool.get_idle_size())
        assert sizes == (1, 1)
        assert (pool.get_min_size(), pool.get_max_size()) == (1, 3)
        async with pool.connection() as c:
            assert await c.fetchval("select 1") == 1
        c = await pool.getconn()
        await pool.putconn(c)
        assert pool.stats().used == 0
