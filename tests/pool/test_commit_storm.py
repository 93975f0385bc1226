"""Fifty tasks write through a pool while their server is killed, shut down, crashes and
ends single sessions. What was acknowledged is there, once and as a whole; what was
refused is not; only what is in doubt may be either.

PGASYNC_STORM_FAULTS says how many faults there are. The figures of the notes:
PGASYNC_STORM_FAULTS=200 PGASYNC_TEST_LIMIT_S=3000 pytest
tests/pool/test_commit_storm.py -o faulthandler_timeout=3000
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pgasync
from pool.abuse import Abuse, no_complaints
from pool.faults import FAULTS, accepts, away
from servers import Server

TASKS = 50
SIZE = 10
TIMES = int(os.environ.get("PGASYNC_STORM_FAULTS", "5"))
CALM_S = 0.25  # of work before a fault; the double at most
PAUSE_S = 0.01  # of a task that was refused
RECOVERY_S = 20.0
INSERT = "insert into storm values ($1)"

# What is known of a token: nothing was committed, all was, or it may be either.
ABSENT, PRESENT, IN_DOUBT = 1, 2, 3


class Attempt:
    """`commits`: what goes wrong from now on may have committed."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.commits = False


# --- the ways to write -------------------------------------------------------


async def autocommit(pool: Any, attempt: Attempt) -> None:
    attempt.commits = True
    await pool.execute(INSERT, [attempt.token])


async def returning(pool: Any, attempt: Attempt) -> None:
    attempt.commits = True
    token = await pool.fetchval(f"{INSERT} returning token", [attempt.token])
    assert token == attempt.token


async def many(pool: Any, attempt: Attempt) -> None:
    attempt.commits = True
    await pool.executemany(INSERT, [[attempt.token]] * 3)


async def block(pool: Any, attempt: Attempt) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(INSERT, [attempt.token])
        await conn.execute(INSERT, [attempt.token])
        attempt.commits = True


async def of_the_pool(pool: Any, attempt: Attempt) -> None:
    async with pool.transaction() as conn:
        await conn.execute(INSERT, [attempt.token])
        await conn.execute(INSERT, [attempt.token])
        attempt.commits = True


async def run_again(pool: Any, attempt: Attempt) -> None:
    """The pool runs it again where nothing of it can be there."""

    async def twice(conn: Any) -> None:
        await conn.execute(INSERT, [attempt.token])
        await conn.execute(INSERT, [attempt.token])

    attempt.commits = True
    await pool.run_transaction(twice)


async def pipelined(pool: Any, attempt: Attempt) -> None:
    attempt.commits = True
    async with pool.pipeline() as p:
        p.execute(INSERT, [attempt.token])
        p.execute(INSERT, [attempt.token])


async def copied(pool: Any, attempt: Attempt) -> None:
    attempt.commits = True
    await pool.copy_records_to_table("storm", records=[(attempt.token,)] * 4)


async def by_hand(pool: Any, attempt: Attempt) -> None:
    conn = await pool.acquire()
    try:
        await conn.execute(INSERT, [attempt.token])
        await conn.execute(INSERT, [attempt.token])
        attempt.commits = True
        await conn.commit()
    finally:
        await pool.release(conn)


async def clean_exit(pool: Any, attempt: Attempt) -> None:
    async with pool.acquire() as conn:
        await conn.execute(INSERT, [attempt.token])
        attempt.commits = True


async def taken_back(pool: Any, attempt: Attempt) -> None:
    """Acknowledged, but nothing that must be there."""
    try:
        async with pool.acquire() as conn:
            await conn.execute(INSERT, [attempt.token])
            raise LookupError
    except LookupError:
        pass


class Way(NamedTuple):
    write: Callable[[Any, Attempt], Awaitable[None]]
    rows: int  # that it writes


WAYS = (
    Way(autocommit, 1),
    Way(returning, 1),
    Way(many, 3),
    Way(block, 2),
    Way(of_the_pool, 2),
    Way(run_again, 2),
    Way(pipelined, 2),
    Way(copied, 4),
    Way(by_hand, 2),
    Way(clean_exit, 1),
    Way(taken_back, 0),
)


class Storm(Abuse):
    """`known` and `ways` have a byte for each token that was tried."""

    def __init__(self, server: Server, pool: Any, seed: int) -> None:
        super().__init__(pool, TASKS, seed)
        self.server = server
        self.known = bytearray()
        self.ways = bytearray()
        self.errors: dict[int, pgasync.Error] = {}  # those that promise something
        self.succeeded = [0.0] * TASKS  # when a task did so last
        self.recoveries: list[float] = []

    # ------------------------------------------------------------- the tasks

    async def once(self, number: int) -> None:
        attempt = Attempt(len(self.known))
        way = self.pick.randrange(len(WAYS))
        self.known.append(IN_DOUBT)
        self.ways.append(way)
        try:
            await WAYS[way].write(self.pool, attempt)
        except pgasync.Error as error:
            self.known[attempt.token] = self.judge(attempt, error)
            await asyncio.sleep(PAUSE_S)
        else:
            self.known[attempt.token] = PRESENT if WAYS[way].rows else ABSENT
            self.succeeded[number] = time.monotonic()
            self.counts["acknowledged"] += 1

    def judge(self, attempt: Attempt, error: pgasync.Error) -> int:
        """What an error says about the token."""
        if not isinstance(error, pgasync.OperationalError) or error.outcome is None:
            self.strange.append(f"{self.way(attempt.token)}: {error!r}")
        if error.safe_to_retry and error.outcome == "in_doubt":
            self.strange.append(f"safe to retry, but {error.outcome}: {error!r}")
        self.counts[f"{error.outcome}"] += 1
        if attempt.commits and error.outcome == "in_doubt":
            return IN_DOUBT
        if attempt.commits:
            self.errors[attempt.token] = error
        return ABSENT

    def way(self, token: int) -> str:
        return WAYS[self.ways[token]].write.__name__

    # ------------------------------------------------------------ the faults

    async def hit(self, fault: Callable[[Server], None]) -> None:
        """A fault; then all tasks must succeed again."""
        await away(fault, self.server)
        there = await accepts(self.server)
        deadline = there + RECOVERY_S
        while min(self.succeeded) < there and not self.strange:
            assert time.monotonic() < deadline, self.pool.stats()
            await asyncio.sleep(0.002)
        self.recoveries.append(time.monotonic() - there)
        self.counts[fault.__name__] += 1

    async def direct(self) -> None:
        for fault in itertools.islice(itertools.cycle(FAULTS), TIMES):
            await asyncio.sleep(CALM_S * (1 + self.pick.random()))
            if self.going_on:
                await self.hit(fault)

    # ------------------------------------------------------------- the truth

    async def check(self) -> None:
        """Asks the server what has come of every token."""
        found: Counter[int] = Counter()
        async with pgasync.connect(self.server.dsn) as conn:
            sql = "select token, count(*)::int from storm group by token"
            async for token, rows in conn.stream(sql):
                found[token] = rows
        wrong: list[str] = []
        for token, known in enumerate(self.known):
            rows, wanted = found.pop(token, 0), WAYS[self.ways[token]].rows
            here = f"{self.way(token)}, {self.errors.get(token)!r}"
            if rows not in (0, wanted):
                wrong.append(f"torn: {rows} of {wanted} rows, {here}")
            elif known == PRESENT and not rows:
                wrong.append(f"lost: {here}")
            elif known == ABSENT and rows:
                wrong.append(f"phantom: {here}")
            self.counts["in doubt, there"] += known == IN_DOUBT and rows > 0
        assert not found, "tokens that nobody has written"
        assert not wrong, f"seed {self.seed}: {wrong[:5]}"

    def report(self) -> str:
        counts = self.counts
        faults = ", ".join(f"{counts[f.__name__]} {f.__name__}" for f in FAULTS)
        return (
            f"{len(self.recoveries)} faults ({faults}), {counts['acknowledged']:,} "
            f"acknowledged: none lost, torn or phantom; {counts['failed']:,} failed, "
            f"{counts['not_sent']:,} not sent, {counts['in_doubt']:,} in doubt "
            f"({counts['in doubt, there']:,} of them there); recovery of all {TASKS} "
            f"tasks: median {1000 * statistics.median(self.recoveries):.0f} ms, "
            f"max {1000 * max(self.recoveries):.0f} ms"
        )


async def test_nothing_acknowledged_is_lost(victim: Server, summary: list[str]) -> None:
    await away(victim.psql, "create table if not exists storm (token int)")
    await away(victim.psql, "truncate storm")
    async with (
        no_complaints(),
        pgasync.create_pool(victim.dsn, min_size=2, max_size=SIZE) as pool,
    ):
        storm = Storm(victim, pool, random.getrandbits(32))
        await storm.run(storm.direct())
        await storm.check()
        assert storm.counts["acknowledged"] > 20 * TIMES
        stats = pool.stats()
        assert stats.size <= SIZE and stats.waiting == 0
        assert stats.idle == stats.size
    summary.append(f"commit storm: {storm.report()}")
