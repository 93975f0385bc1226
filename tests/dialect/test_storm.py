"""Many tasks over a small pool: cancelled, timed out, and their sessions ended by the
server, at random. Slots, sessions and rows add up at the end."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from dialect.cuts import LIMIT_S, Room, Row, Write, make_table, needs_safe_sqlalchemy

pytestmark = needs_safe_sqlalchemy

TASKS = 50
SHORT_S = 2.0
LONG_S = 15.0
LONGEST_S = 0.03  # until a task is cancelled
KILL_EVERY_S = 0.02


@pytest.fixture
async def room(
    connect: Callable[..., Any], schema: str, make_engine: Callable[..., AsyncEngine]
) -> AsyncIterator[Room]:
    watcher = await connect(autocommit=True)
    await make_table(watcher, schema)
    room = Room(watcher, f"storm_{random.getrandbits(40):x}", schema, make_engine)
    asyncio.get_running_loop().set_exception_handler(room.complain)
    yield room
    assert room.complaints == []


class Storm:
    def __init__(self, room: Room, engine: AsyncEngine, killer: Any, seed: int) -> None:
        self.room = room
        self.engine = engine
        self.killer = killer
        self.rng = random.Random(seed)
        self.writes: list[Write] = []
        self.strange: list[str] = []
        self.counts: Counter[str] = Counter()
        self.deadline = 0.0

    # ------------------------------------------------------------- the works

    async def check(self, conn: AsyncConnection, token: int) -> None:
        sql = sa.text("select cast(:n as bigint), pg_sleep(:s)")
        seconds = self.rng.random() * 0.003
        value = await conn.scalar(sql, {"n": token, "s": seconds})
        if value != token:
            self.strange.append(f"{value} instead of {token}")

    async def insert(self, conn: AsyncConnection, write: Write) -> None:
        for n in range(write.rows):
            sql = sa.insert(Row).values(token=write.token, n=n)
            await conn.execute(sql)

    async def core(self, write: Write) -> None:
        async with self.engine.connect() as conn:
            await self.check(conn, write.token)
            await self.insert(conn, write)
            write.began_commit = True
            await conn.commit()
            write.committed = True
            await self.check(conn, write.token)

    async def begin(self, write: Write) -> None:
        async with self.engine.begin() as conn:
            async with conn.begin_nested():
                await self.insert(conn, write)
            await self.check(conn, write.token)
            write.began_commit = True
        write.committed = True

    async def session(self, write: Write) -> None:
        async with AsyncSession(self.engine) as session:
            for n in range(write.rows):
                session.add(Row(token=write.token, n=n))
            await session.flush()
            write.began_commit = True
            await session.commit()
            write.committed = True

    async def stream(self, write: Write) -> None:
        sql = sa.text("select cast(:t as bigint), n from generate_series(1, 400) n")
        async with self.engine.connect() as conn:
            async with conn.stream(sql, {"t": write.token}) as result:
                for n in range(1, self.rng.randrange(2, 400)):
                    if await result.fetchone() != (write.token, n):
                        self.strange.append(f"stream of {write.token}")
            await self.check(conn, write.token)

    async def autocommit(self, write: Write) -> None:
        write.rows, write.began_commit = 1, True
        async with self.engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            await self.insert(conn, write)
            write.committed = True
            await self.check(conn, write.token)

    WORKS = (core, begin, session, stream, autocommit)

    # -------------------------------------------------------------- the ends

    async def cancelled(self, work: Any) -> None:
        """Once or more, or not at all when the work is quick."""
        task = asyncio.ensure_future(work)
        asked = False
        times = self.rng.choice((1, 1, 1, 2, 3))
        for _ in range(times):
            await asyncio.wait({task}, timeout=self.rng.random() ** 2 * LONGEST_S)
            asked = task.cancel() or asked
        await asyncio.wait({task}, timeout=2 * LIMIT_S)
        if not task.done():
            self.strange.append(f"hangs: {task!r}")
        elif asked and not task.cancelled():
            self.strange.append(f"the cancel was swallowed: {task!r}")
        if task.cancelled():
            self.counts["cancelled"] += 1
        else:
            task.result()

    async def timed_out(self, work: Any) -> None:
        limit = self.rng.random() ** 2 * LONGEST_S
        try:
            if sys.version_info >= (3, 11) and self.rng.random() < 0.5:
                async with asyncio.timeout(limit):
                    await work
            else:
                await asyncio.wait_for(work, limit)
        except (TimeoutError, asyncio.TimeoutError):
            self.counts["timed out"] += 1

    async def left_alone(self, work: Any) -> None:
        await work

    ENDS = (cancelled, cancelled, timed_out, left_alone)

    async def worker(self) -> None:
        while time.monotonic() < self.deadline and not self.strange:
            write = Write(next(self.room.tokens))
            self.writes.append(write)
            work = self.rng.choice(self.WORKS)(self, write)
            try:
                await self.rng.choice(self.ENDS)(self, work)
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    self.strange.append(repr(error))
                self.counts["lost"] += 1
            except Exception as error:
                self.strange.append(repr(error))
            else:
                self.counts["committed"] += write.committed

    async def kill(self) -> None:
        sql = (
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = $1 order by random() limit 1"
        )
        while time.monotonic() < self.deadline:
            await asyncio.sleep(self.rng.random() * 2 * KILL_EVERY_S)
            rows = await self.killer.fetch(sql, [self.room.name])
            self.counts["killed"] += len(rows)

    async def run(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        killing = asyncio.ensure_future(self.kill())
        await asyncio.gather(*(self.worker() for _ in range(TASKS)))
        await killing


async def storm(room: Room, killer: Any, seconds: float) -> str:
    seed = random.getrandbits(32)
    engine = room.engine(pool_size=3, max_overflow=2, pool_timeout=4 * LIMIT_S)
    storm = Storm(room, engine, killer, seed)
    await storm.run(seconds)
    assert storm.strange == [], f"seed {seed}"
    await room.settled(engine)
    asked = f"select token, count(*)::int from {room.schema}.cut group by token"
    found = dict([*map(tuple, await room.watcher.fetch(asked))])
    for write in storm.writes:
        write.check(found.pop(write.token, 0))
    assert found == {}
    assert storm.counts["cancelled"] > 50 and storm.counts["committed"] > 50

    async def one(number: int) -> Any:
        async with engine.connect() as conn:
            sql = sa.text("select cast(:n as int)")
            return await conn.scalar(sql, {"n": number})

    assert await asyncio.gather(*map(one, range(TASKS))) == [*range(TASKS)]
    await room.settled(engine)
    return ", ".join(f"{count:,} {what}" for what, count in storm.counts.items())


async def test_storm(
    room: Room, connect: Callable[..., Any], summary: list[str]
) -> None:
    counts = await storm(room, await connect(autocommit=True), SHORT_S)
    summary.append(f"dialect storm: {TASKS} tasks, a pool of 5: {counts}")


@pytest.mark.slow
async def test_long_storm(
    room: Room, connect: Callable[..., Any], summary: list[str]
) -> None:
    counts = await storm(room, await connect(autocommit=True), LONG_S)
    summary.append(f"dialect storm, long: {TASKS} tasks, a pool of 5: {counts}")
