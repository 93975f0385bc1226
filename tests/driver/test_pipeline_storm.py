"""Fifty tasks share one connection: every one gets the row it has asked for, whatever
becomes of the requests of the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest

import pgasync

TASKS = 50
KEYS = 1000
BY_KEY = "select id, id * 7 + 1, 'row ' || id from storm where id = $1"


class Storm:
    def __init__(self, conn: Any, seed: int) -> None:
        self.conn = conn
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()

    async def task(self, share: int) -> None:
        for _ in range(share):
            kind = self.rng.choices(
                (self.row, self.division, self.missing, self.bad, self.cancelled),
                (90, 3, 2, 3, 2),
            )[0]
            await kind(self.rng.randrange(KEYS))
            self.seen[kind.__name__] += 1

    async def row(self, key: int) -> None:
        row = await self.conn.fetchrow(BY_KEY, [key])
        assert tuple(row) == (key, key * 7 + 1, f"row {key}")

    async def division(self, key: int) -> None:
        with pytest.raises(pgasync.errors.DivisionByZero):
            await self.conn.fetchval("select $1::int / 0", [key])

    async def missing(self, key: int) -> None:
        with pytest.raises(pgasync.errors.UndefinedTable) as caught:
            await self.conn.fetchval(f"select {key} from storm_nowhere_{key % 20}")
        assert f"storm_nowhere_{key % 20}" in str(caught.value)

    async def bad(self, key: int) -> None:
        with pytest.raises(pgasync.DataError) as caught:
            await self.conn.fetchrow(BY_KEY, [object() if key % 2 else 2**40])
        assert caught.value.safe_to_retry

    async def cancelled(self, key: int) -> None:
        """At once, or when it has been sent, or when it has been answered."""
        asked = asyncio.ensure_future(self.conn.fetchrow(BY_KEY, [key]))
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        asked.cancel()
        try:
            row = await asked
        except asyncio.CancelledError:
            self.seen["given up"] += 1
        else:
            assert row[0] == key


async def storm(conn: Any, count: int, seed: int) -> Storm:
    await conn.execute(
        "create temp table storm as "
        f"select i as id from generate_series(0, {KEYS - 1}) i"
    )
    await conn.execute("create unique index on storm (id)")
    work = Storm(conn, seed)
    await asyncio.gather(*(work.task(count // TASKS) for _ in range(TASKS)))
    kinds = ("row", "division", "missing", "bad", "cancelled")
    assert sum(work.seen[kind] for kind in kinds) == count
    assert all(work.seen[kind] > 0 for kind in kinds), work.seen
    assert conn._core.pending == 0
    assert await conn.fetchval("select count(*) from storm") == KEYS
    return work


async def test_storm(conn: Any) -> None:
    await storm(conn, 3000, 7)


@pytest.mark.slow
async def test_long_storm(conn: Any, summary: list[str]) -> None:
    began = time.perf_counter()
    work = await storm(conn, 100_000, 11)
    rate = 100_000 / (time.perf_counter() - began)
    summary.append(
        f"100,000 requests of {TASKS} tasks on one connection, {rate:,.0f}/s: "
        + ", ".join(f"{count} {name}" for name, count in work.seen.items())
    )


async def test_storm_of_pipelines(conn: Any) -> None:
    """Blocks of several tasks, some of which fail, are left or are cancelled, beside
    plain statements and transactions: each block is there as a whole or not at all."""
    await conn.execute("create temp table whole (block int, n int)")
    rng = random.Random(3)
    expected: set[int] = set()
    doubtful: set[int] = set()
    size = 5

    async def block(number: int, fate: str) -> None:
        async with conn.pipeline() as p:
            for n in range(size):
                result = p.execute("insert into whole values ($1, $2)", [number, n])
                if rng.random() < 0.3:
                    await result
                if n == 3 and fate == "error":
                    p.execute("select 1 / 0")
                if n == 3 and fate == "value":
                    p.execute("select $1::int", [object()])
                if n == 3 and fate == "left":
                    raise KeyError(number)

    async def one(number: int) -> None:
        fate = rng.choice(("well", "well", "error", "value", "left", "cancelled"))
        task = asyncio.ensure_future(block(number, fate))
        if fate == "cancelled":
            doubtful.add(number)
            await asyncio.sleep(rng.random() * 0.01)
            task.cancel()
        try:
            await task
            expected.add(number)
        except (pgasync.Error, KeyError, asyncio.CancelledError) as error:
            assert fate != "well", error

    async def worker(first: int) -> None:
        for number in range(first, first + 10):
            await one(number)
            kind = rng.randrange(3)
            if kind == 0:
                assert await conn.fetchval("select $1::int", [number]) == number
            elif kind == 1:
                async with conn.transaction():
                    assert await conn.fetchval("select $1::int", [number]) == number

    everything = asyncio.gather(*(worker(first) for first in range(0, 200, 10)))
    await asyncio.wait_for(everything, 60)
    counts = dict(await conn.fetch("select block, count(*) from whole group by 1"))
    assert set(counts.values()) <= {size}
    assert expected - doubtful <= set(counts) <= expected | doubtful
    assert conn._core.pending == 0
    assert conn._core.pipelines == 0
