"""Many tasks on one connection, each with another way of moving rows, some of them
cancelled: every one gets its own rows, what is acknowledged is there as a whole, and
what is not is there as a whole or not at all."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import pgasync
from bulk import Boom
from steps import LIMIT_S

SECONDS = float(os.environ.get("PGASYNC_STORM_SECONDS", "2"))
TASKS = 12
ROWS = 150  # that a piece of work writes
BATCH = "x" * 300


class Storm:
    """What all tasks share. `acknowledged`: the works whose rows must be there."""

    def __init__(self, conn: Any, seed: int) -> None:
        self.conn = conn
        self.pick = random.Random(seed)
        self.works = 0
        self.acknowledged: set[int] = set()
        self.counts: dict[str, int] = {}

    def rows(self, work: int) -> list[tuple[int, int, str]]:
        return [(work, n, BATCH) for n in range(ROWS)]

    async def later(self, work: int, fails: bool) -> AsyncIterator[tuple[Any, ...]]:
        for n, row in enumerate(self.rows(work)):
            if n % 50 == 49:
                await asyncio.sleep(0)
            if fails and n == 100:
                raise Boom
            yield row


Work = Callable[[Storm, int], Awaitable[bool]]
"""Whether it has written."""
INSERT = "insert into storm values ($1, $2, $3)"
SERIES = "select n, $1::int, repeat('x', 100) from generate_series(1, $2) n"


async def select(storm: Storm, work: int) -> bool:
    assert await storm.conn.fetchval("select $1::int", [work]) == work
    return False


async def fails(storm: Storm, work: int) -> bool:
    with pytest.raises(pgasync.DataError):
        await storm.conn.fetchval("select $1 / 0", [work])
    return False


async def fetch(storm: Storm, work: int) -> bool:
    rows = await storm.conn.fetch(SERIES, [work, 2000])
    assert [row[0] for row in rows] == [*range(1, 2001)]
    assert {row[1] for row in rows} == {work}
    return False


async def stream(storm: Storm, work: int) -> bool:
    until = storm.pick.choice([1, 500, 100_000])
    seen = 0
    async with storm.conn.stream(SERIES, [work, 4000]) as rows:
        async for row in rows:
            seen += 1
            assert row[:2] == (seen, work)
            if seen == until:
                break
    assert seen == min(until, 4000)
    return False


async def cursor(storm: Storm, work: int) -> bool:
    async with storm.conn.transaction():
        found = storm.conn.cursor(name=f"c{work}")
        await found.execute(SERIES, [work, 300])
        assert [row[1] async for row in found] == [work] * 300
    return False


async def copy_out(storm: Storm, work: int) -> bool:
    pieces: list[bytes] = []
    tag = await storm.conn.copy_from_query(SERIES, work, 1000, output=pieces.append)
    assert tag == "COPY 1000"
    lines = b"".join(pieces).splitlines()
    assert [line.split(b"\t")[1] for line in lines] == [b"%d" % work] * 1000
    return False


async def copy_rows(storm: Storm, work: int) -> bool:
    series = f"select n, {work} from generate_series(1, 500) n"
    async with storm.conn.copy(f"copy ({series}) to stdout (format binary)") as copy:
        assert [row[1] async for row in copy.rows()] == [work] * 500
    return False


async def executemany(storm: Storm, work: int) -> bool:
    await storm.conn.executemany(INSERT, storm.rows(work))
    return True


async def executemany_later(storm: Storm, work: int) -> bool:
    await storm.conn.executemany(INSERT, storm.later(work, False))
    return True


async def source_fails(storm: Storm, work: int) -> bool:
    with pytest.raises(Boom):
        await storm.conn.copy_records_to_table("storm", records=storm.later(work, True))
    return False


async def copy_records(storm: Storm, work: int) -> bool:
    await storm.conn.copy_records_to_table("storm", records=storm.later(work, False))
    return True


async def pipeline(storm: Storm, work: int) -> bool:
    async with storm.conn.pipeline() as pipeline:
        for row in storm.rows(work):
            pipeline.execute(INSERT, row)
        count = pipeline.fetchval("select count(*) from storm where work = $1", [work])
    assert await count == ROWS
    return True


async def block(storm: Storm, work: int) -> bool:
    async with storm.conn.transaction():
        rows = storm.rows(work)
        await storm.conn.executemany(INSERT, rows[:50])
        await storm.conn.copy_records_to_table("storm", records=rows[50:])
        sql = "select count(*) from storm where work = $1"
        assert await storm.conn.fetchval(sql, [work]) == ROWS
    return True


WORKS: list[Work] = [
    select, fails, fetch, stream, cursor, copy_out, copy_rows, executemany,
    executemany_later, source_fails, copy_records, pipeline, block,
]  # fmt: skip


async def worker(storm: Storm, until: float) -> None:
    while time.monotonic() < until:
        storm.works += 1
        number, work = storm.works, storm.pick.choice(WORKS)
        task = asyncio.ensure_future(work(storm, number))
        if storm.pick.random() < 0.25:
            await asyncio.sleep(storm.pick.random() * 0.02)
            task.cancel()
        await asyncio.wait({task}, timeout=5 * LIMIT_S)
        assert task.done(), f"{work.__name__} hangs: {task}"
        if not task.cancelled():
            if task.result():
                storm.acknowledged.add(number)
            name = work.__name__
            storm.counts[name] = storm.counts.get(name, 0) + 1


async def test_storm(
    connect: Callable[..., Any], summary: list[str], request: Any
) -> None:
    seed = random.getrandbits(32)
    print("seed", seed)
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table storm (work int, n int, pad text)")
    storm = Storm(conn, seed)
    pid = conn.info.backend_pid
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(worker(storm, until) for _ in range(TASKS)))
    assert not conn.closed
    assert conn.info.backend_pid == pid
    assert conn.info.transaction_status == "I"
    found = await conn.fetch("select work, count(*) from storm group by work")
    counts = dict(map(tuple, found))
    assert set(counts.values()) <= {ROWS}, "written in part"
    assert storm.acknowledged <= counts.keys(), "acknowledged, but not there"
    assert await conn.fetchval("select 7") == 7
    summary.append(
        f"{request.node.name}: {storm.works} works on one connection, "
        f"{sum(storm.counts.values())} not cancelled"
    )
