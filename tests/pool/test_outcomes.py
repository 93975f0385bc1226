"""What errors say of statements is what the table shows, while sessions are ended all
the time: what is safe to retry, or has failed, is not there; nothing is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgbouncer import PgBouncer, need
from servers import Server

TASKS = 12
RUN_S = float(os.environ.get("PGASYNC_OUTCOMES_S", "2.5"))
KILL = """
select pg_terminate_backend(pid) from pg_stat_activity
 where application_name = 'outcomes' order by random() limit 2
"""
INSERT = "insert into outcomes values ($1)"


async def plainly(pool: Any, number: int) -> None:
    await pool.execute(INSERT, [number])


async def with_a_result(pool: Any, number: int) -> None:
    await pool.fetchval(INSERT + " returning n", [number])


async def in_a_block(pool: Any, number: int) -> None:
    async with pool.acquire() as conn, conn.transaction(settings={"a.b": number}):
        await conn.execute(INSERT, [number])
        await conn.fetchval("select 1")


async def held(pool: Any, number: int) -> None:
    """The session may end before the first statement."""
    async with pool.acquire() as conn:
        await asyncio.sleep(random.random() / 100)
        await conn.execute(INSERT, [number])


async def again(pool: Any, number: int) -> None:
    async def work(conn: Any) -> None:
        await conn.execute(INSERT, [number])
        await conn.fetchval("select pg_sleep(0.001)")

    await pool.run_transaction(work, retries=50)


WAYS = [plainly, with_a_result, in_a_block, held, again]


class Storm:
    def __init__(self, pool: Any, summary: Counter[str]) -> None:
        self.pool = pool
        self.summary = summary
        self.numbers = itertools.count()
        self.done: set[int] = set()
        self.absent: set[int] = set()
        self.until = time.monotonic() + RUN_S

    async def work(self) -> None:
        while time.monotonic() < self.until:
            number = next(self.numbers)
            way = random.choice(WAYS)
            try:
                await way(self.pool, number)
            except pgasync.OperationalError as error:
                self.book(number, error)
            else:
                self.done.add(number)
                self.summary["acknowledged"] += 1

    def book(self, number: int, error: pgasync.OperationalError) -> None:
        safe = "safe" if error.safe_to_retry else str(error.outcome)
        self.summary[safe] += 1
        if error.safe_to_retry or error.outcome in ("failed", "not_sent"):
            self.absent.add(number)
        assert error.outcome is not None, repr(error)

    async def kill(self, dsn: str) -> None:
        while time.monotonic() < self.until:
            with contextlib.suppress(pgasync.OperationalError):
                async with pgasync.connect(dsn, autocommit=True) as conn:
                    while time.monotonic() < self.until:
                        await conn.execute(KILL)
                        await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)

    async def crash(self, server: Server) -> None:
        """An immediate shutdown, which says little, in the middle."""
        await asyncio.sleep(RUN_S / 2)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: server.restart(fast=False))


@pytest.fixture
def bouncer(victim: Server) -> Iterator[PgBouncer]:
    need()
    with PgBouncer(victim) as started:
        yield started


async def test_what_errors_say_is_so(
    make_pool: Callable[..., Any], victim: Server, summary: list[str]
) -> None:
    counts = await storm_of(make_pool, victim, victim.dsn)
    assert counts["safe"] > 0
    summary.append(f"outcomes under ends of sessions: {told(counts)}")


async def test_behind_a_pooler(
    make_pool: Callable[..., Any], victim: Server, bouncer: PgBouncer, summary: Any
) -> None:
    """Where words of the server may be lost, and those of the pooler prove nothing."""
    counts = await storm_of(make_pool, victim, bouncer.dsn)
    summary.append(f"the same behind PgBouncer: {told(counts)}")


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


async def storm_of(
    make_pool: Callable[..., Any], victim: Server, dsn: str
) -> Counter[str]:
    victim.psql("drop table if exists outcomes")
    victim.psql("create table outcomes (n int primary key)")  # twice: 23505
    counts: Counter[str] = Counter()
    pool = make_pool(dsn, max_size=6, application_name="outcomes", timeout=30)
    storm = Storm(pool, counts)
    tasks = [asyncio.ensure_future(storm.work()) for _ in range(TASKS)]
    await asyncio.gather(storm.kill(victim.dsn), storm.crash(victim), *tasks)
    await pool.close()
    stats = pool.stats()
    assert stats.acquired == stats.released
    conn = await pgasync.connect(victim.dsn)
    sql = "select n from outcomes"
    there = {*await conn.fetch(sql, row_factory=pgasync.rows.scalar)}
    await conn.close()
    assert storm.done <= there, "acknowledged and lost"
    assert not storm.absent & there, "there, though its error says otherwise"
    assert counts["acknowledged"] > 50
    return counts
