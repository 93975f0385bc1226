"""Very many acquires: cancelled, timed out, with holders that break what they hold, a
server that is killed, and a pool that is resized, drained and expired meanwhile. No
slot leaks, no session has two holders, no waiter is forgotten, and the stats add up.

PGASYNC_STORM_ACQUIRES says how many. The figures of the notes:
PGASYNC_STORM_ACQUIRES=1000000 PGASYNC_TEST_LIMIT_S=3000 pytest tests/pool/test_storm.py
-o faulthandler_timeout=3000 -p no:logging (what pytest keeps of the log is memory, too)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pgasync
from pool.abuse import Abuse, adds_up, eventually, no_complaints
from pool.faults import FAULTS, accepts, away, clients_of
from servers import Server

TASKS = 40
SIZE = 6
ACQUIRES = int(os.environ.get("PGASYNC_STORM_ACQUIRES", "20000"))
FAULTS_APART = max(4000, ACQUIRES // 100)  # acquires between two faults
CHANGES_APART = 500  # between two changes of the pool
GROWTH_MAX = 6 << 20  # bytes of memory, from a fifth of the way to the end
PAUSE_S = 0.005  # of a task that was refused

tokens = itertools.count(random.getrandbits(40))


class Boom(Exception):
    pass


def memory() -> int:
    """Bytes of it that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Storm(Abuse):
    """`holders`: the session that each holder has, by its core."""

    def __init__(self, server: Server, pool: Any, seed: int) -> None:
        super().__init__(pool, TASKS, seed)
        self.server = server
        self.holders: dict[int, int] = {}
        self.acquired = 0
        self.in_flight: set[asyncio.Task[Any]] = set()

    # --------------------------------------------------------------- holding

    @contextlib.asynccontextmanager
    async def held(self) -> Any:
        """A connection that nobody else has until it is given back."""
        async with self.pool.acquire() as conn:
            with self.alone(conn):
                yield conn

    @contextlib.contextmanager
    def alone(self, conn: Any) -> Any:
        core, token = id(conn._core), next(tokens)
        if (other := self.holders.get(core)) is not None:
            self.strange.append(f"{token} was given what {other} has: {conn!r}")
        self.holders[core] = token
        try:
            yield token
        finally:
            if self.holders.pop(core, None) != token:
                self.strange.append(f"{token} has lost {conn!r}")

    async def asks(self, conn: Any) -> None:
        token = next(tokens)
        if await conn.fetchval("select $1::int8", [token]) != token:
            self.strange.append(f"another's answer on {conn!r}")

    # ------------------------------------------------------------- the works

    async def nothing(self) -> None:
        async with self.held():
            pass

    async def a_turn(self) -> None:
        async with self.held():
            await asyncio.sleep(0)

    async def asking(self) -> None:
        async with self.held() as conn:
            await self.asks(conn)

    async def by_hand(self) -> None:
        conn = await self.pool.acquire()
        try:
            with self.alone(conn):
                await self.asks(conn)
        finally:
            await self.pool.release(conn)
        try:
            await conn.fetchval("select 1")
        except pgasync.InterfaceError:
            return
        self.strange.append("used after it was given back")

    async def straight(self) -> None:
        await self.asks(self.pool)

    async def marked(self) -> None:
        """A mark that the server keeps for the session until the transaction ends."""
        mark = str(next(tokens))
        async with self.held() as conn, conn.transaction():
            await conn.execute("select set_config('storm.mark', $1, true)", [mark])
            await asyncio.sleep(0)
            for _ in range(2):
                sql = "select current_setting('storm.mark', true)"
                if (found := await conn.fetchval(sql)) != mark:
                    self.strange.append(f"{found!r} instead of the mark {mark}")

    async def unmarked(self) -> None:
        """Nobody else's transaction is open in what we are given."""
        async with self.held() as conn:
            sql = "select current_setting('storm.mark', true)"
            if found := await conn.fetchval(sql):
                self.strange.append(f"{found!r}, the mark of somebody else")

    async def left_open(self) -> None:
        """A transaction that nobody ends."""
        conn = await self.pool.acquire()
        try:
            await conn.execute("select set_config('storm.mark', 'open', true)")
        finally:
            await self.pool.release(conn)

    async def slow(self) -> None:
        async with self.held() as conn:
            await conn.execute("select pg_sleep($1)", [self.pick.random() * 0.01])

    async def failing(self) -> None:
        try:
            async with self.held() as conn:
                await conn.execute("select 1/0")
        except pgasync.DataError:
            pass

    async def raising(self) -> None:
        with contextlib.suppress(Boom):
            async with self.pool.transaction() as conn:
                await self.asks(conn)
                raise Boom

    async def streaming(self) -> None:
        """Left before its end, mostly."""
        sql = "select $1::int8, n from generate_series(1, 50) n"
        token, last = next(tokens), self.pick.randrange(1, 60)
        async with self.pool.stream(sql, [token]) as rows:
            async for row in rows:
                if row[0] != token:
                    self.strange.append(f"another's rows: {row} for {token}")
                if row[1] == last:
                    break

    async def pipelining(self) -> None:
        token = next(tokens)
        async with self.pool.pipeline() as p:
            first = p.fetchval("select $1::int8", [token])
            second = p.fetchval("select $1::int8 + 1", [token])
        if (await first, await second) != (token, token + 1):
            self.strange.append("another's answers in a pipeline")

    async def closing(self) -> None:
        async with self.held() as conn:
            await conn.close()

    async def terminating(self) -> None:
        async with self.held() as conn:
            conn.terminate()

    async def killed(self) -> None:
        async with self.held() as conn:
            await conn.execute("select pg_terminate_backend(pg_backend_pid())")

    async def under_way(self) -> None:
        """Something still runs when it is given back: that is no one else's then."""
        async with self.held() as conn:
            running = asyncio.ensure_future(self.give_up(conn))
            self.in_flight.add(running)
            running.add_done_callback(self.in_flight.discard)
            await asyncio.sleep(0)

    async def give_up(self, conn: Any) -> None:
        with contextlib.suppress(pgasync.Error):
            await conn.execute("select pg_sleep(0.002)")

    WORKS: tuple[Callable[[Storm], Awaitable[None]], ...] = (
        *(nothing, a_turn, asking, by_hand, straight, straight) * 6,
        *(marked, unmarked, left_open, slow, failing, raising) * 2,
        *(streaming, pipelining) * 2,
        *(closing, terminating, killed, under_way),
    )

    # -------------------------------------------------------------- the ends

    async def cancelled(self, work: Awaitable[None]) -> None:
        """After some turns of the loop, or some time; perhaps again."""
        task = asyncio.ensure_future(work)
        asked = False
        for _ in range(self.pick.choice((1, 1, 2))):
            if self.pick.random() < 0.7:
                for _ in range(self.pick.randrange(8)):
                    await asyncio.sleep(0)
            else:
                await asyncio.wait({task}, timeout=self.pick.random() * 0.01)
            asked = task.cancel() or asked
        try:
            await task
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
        else:
            if asked:
                self.strange.append(f"the cancel was swallowed: {task!r}")

    async def timed_out(self, work: Awaitable[None]) -> None:
        try:
            await asyncio.wait_for(work, self.pick.random() * 0.01)
        except asyncio.TimeoutError:
            self.counts["timed out"] += 1

    async def in_time(self, work: Awaitable[None]) -> None:
        await work

    async def hasty(self) -> None:
        """The pool's own limit."""
        try:
            async with self.pool.acquire(timeout=self.pick.random() * 0.002) as conn:
                with self.alone(conn):
                    await asyncio.sleep(0)
        except pgasync.PoolTimeout as error:
            self.counts["pool timeouts"] += 1
            if error.outcome != "not_sent":
                self.strange.append(repr(error))

    ENDS = (*(in_time,) * 6, cancelled, cancelled, timed_out)

    async def once(self, number: int) -> None:
        self.acquired += 1
        try:
            if self.pick.random() < 0.1:
                await self.hasty()
            else:
                work = self.pick.choice(self.WORKS)(self)
                await self.pick.choice(self.ENDS)(self, work)
        except pgasync.OperationalError as error:
            self.counts["lost"] += 1
            if error.outcome is None:
                self.strange.append(repr(error))
            await asyncio.sleep(PAUSE_S)

    # ---------------------------------------------------------- the troubles

    def change(self) -> None:
        """The pool, in one of its ways."""
        which = self.pick.randrange(4)
        if which == 0:
            self.pool.drain()
        elif which == 1:
            self.pool.expire()
        else:
            largest = self.pick.randrange(1, SIZE + 3)
            smallest = self.pick.randrange(largest + 1)
            self.pool.resize(min_size=smallest, max_size=largest)
        self.counts["changes"] += 1

    async def until(self, acquired: int) -> None:
        while self.acquired < acquired and self.going_on:
            await asyncio.sleep(0.005)

    async def changes(self) -> None:
        for reached in range(CHANGES_APART, ACQUIRES, CHANGES_APART):
            await self.until(reached)
            if self.going_on:
                self.change()

    async def faults(self) -> None:
        faults = itertools.cycle(FAULTS)
        for reached in range(FAULTS_APART // 2, ACQUIRES, FAULTS_APART):
            await self.until(reached)
            if self.going_on:
                await away(next(faults), self.server)
                await accepts(self.server)
                self.counts["faults"] += 1

    async def weighed(self) -> None:
        await self.until(ACQUIRES // 5)
        before = memory()
        await self.until(ACQUIRES)
        self.growth = memory() - before

    async def direct(self) -> None:
        await asyncio.gather(self.changes(), self.faults(), self.weighed())

    # ------------------------------------------------------------- the truth

    async def check(self) -> None:
        """Nobody has anything any more: the pool and the server agree on that."""
        assert not self.holders
        self.pool.resize(min_size=0, max_size=SIZE)
        if self.in_flight:
            await asyncio.wait(self.in_flight, timeout=10)
        stats = self.pool.stats
        await eventually(lambda: stats().idle == stats().size, stats)
        adds_up(stats())
        await self.all_of_them()
        sessions = stats().size
        deadline = time.monotonic() + 10
        while (found := await away(clients_of, self.server)) != sessions:
            assert time.monotonic() < deadline, f"{found} sessions, {stats()}"
            await asyncio.sleep(0.05)

    async def all_of_them(self) -> None:
        """As many as there may be, each with a session of its own."""
        async with contextlib.AsyncExitStack() as stack:
            conns = [
                await stack.enter_async_context(self.pool.acquire(timeout=10))
                for _ in range(SIZE)
            ]
            pids = await asyncio.gather(
                *(conn.fetchval("select pg_backend_pid()") for conn in conns)
            )
            assert len(set(pids)) == SIZE
            try:
                await self.pool.acquire(timeout=0.01)
            except pgasync.PoolTimeout:
                return
            raise AssertionError("one more than there may be")


async def test_many_acquires(victim: Server, summary: list[str]) -> None:
    async with no_complaints():
        pool = pgasync.create_pool(victim.dsn, min_size=1, max_size=SIZE)
        async with pool:
            storm = Storm(victim, pool, random.getrandbits(32))
            started = time.monotonic()
            await storm.run(storm.direct())
            seconds = time.monotonic() - started
            await storm.check()
            stats = pool.stats()
        await eventually(lambda: clients_of(victim) == 0, lambda: clients_of(victim))
    if ACQUIRES >= 500_000:
        assert storm.growth < GROWTH_MAX
    assert storm.counts["cancelled"] > ACQUIRES / 50
    assert storm.counts["faults"] >= 2 and storm.counts["changes"] > 10
    what = ", ".join(f"{count:,} {name}" for name, count in storm.counts.items())
    summary.append(
        f"pool storm: {storm.acquired:,} acquires by {TASKS} tasks in {seconds:.0f} s, "
        f"{what}, memory {storm.growth / 1024:+,.0f} KiB; {stats}"
    )
