"""Cancellations at random microseconds over eight connections at once.

Every statement carries a token of its own. What comes back must be that token; a cancel
that a task took must end it; what was acknowledged is in the table, whole, and what was
cancelled is there whole or not at all; no error of an earlier statement's cancellation
(57014) reaches a later one. A connection goes on afterwards, or says that it is closed.

PGASYNC_CANCELLATIONS sets their number (2,000); the figures are printed at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import pgasync
from conftest import open_sockets
from pgasync import _core

CANCELLATIONS = int(os.environ.get("PGASYNC_CANCELLATIONS", "2000"))
CONNECTIONS = 8
HANG_S = 12.0  # twice the cancel_timeout, and a little
LONGEST_S = 0.003  # after the start of what is cancelled
SETS = 20  # of an executemany


class Cut(Exception):
    """A timeout of the driver's or of asyncio's did what a cancel does."""


class Storm:
    """The table, the tokens, and the counts."""

    def __init__(self, open_one: Callable[[], Awaitable[Any]], table: str) -> None:
        self.open_one = open_one
        self.table = table
        self.tokens = itertools.count(1)
        self.counts: Counter[str] = Counter()
        self.strange: list[str] = []
        self.rows: dict[int, int] = {}  # token: how many rows it writes, all or none
        self.written: set[int] = set()  # tokens whose writes were acknowledged
        self.untouched: set[int] = set()  # cancelled before their first step

    @property
    def cancelled(self) -> int:
        return self.counts["cancelled"] + self.counts["timed out"]

    def check(self, right: bool, what: str) -> None:
        if not right:
            self.strange.append(what)

    # ----------------------------------------------------------- statements

    async def select(self, conn: Any, token: int) -> None:
        value = await conn.fetchval("select $1::int8", [token])
        self.check(value == token, f"select {token} gave {value}")

    async def rows_of(self, conn: Any, token: int) -> None:
        rows = await conn.fetch(
            "select $1::int8, n from generate_series(1, 300) n", [token]
        )
        right = [*map(tuple, rows)] == [(token, n) for n in range(1, 301)]
        self.check(right, f"rows of {token}")

    async def sleep(self, conn: Any, token: int) -> None:
        sql = "select $1::int8 from pg_sleep($2)"
        value = await conn.fetchval(sql, [token, random.random() * 0.004])
        self.check(value == token, f"sleep {token} gave {value}")

    async def write(self, conn: Any, token: int) -> None:
        self.rows[token] = 1
        sql = f"insert into {self.table} values ($1, 0) returning token"
        value = await conn.fetchval(sql, [token])
        self.check(value == token, f"write {token} gave {value}")

    async def executemany(self, conn: Any, token: int) -> None:
        self.rows[token] = SETS
        sql = f"insert into {self.table} values ($1, $2)"
        cursor = await conn.executemany(sql, [[token, n] for n in range(SETS)])
        self.check(cursor.rowcount == SETS, f"executemany {token}: {cursor.rowcount}")

    async def transaction(self, conn: Any, token: int) -> None:
        self.rows[token] = 2
        async with conn.transaction():
            await self.insert(conn, token)
            async with conn.transaction():
                await self.insert(conn, token)
            sql = f"select count(*) from {self.table} where token = $1"
            count = await conn.fetchval(sql, [token])
            self.check(count == 2, f"transaction {token} sees {count} rows")

    async def by_hand(self, conn: Any, token: int) -> None:
        """start() and commit(); when it is cut, a rollback puts things right."""
        self.rows[token] = 1
        transaction = conn.transaction()
        await transaction.start()
        try:
            await self.insert(conn, token)
            await transaction.commit()
        except BaseException:
            if not conn.closed and conn._transactions:
                await transaction.rollback()
            raise

    async def script(self, conn: Any, token: int) -> None:
        self.rows[token] = 2
        insert = f"insert into {self.table} values ({token}, 0)"
        cursor = await conn.execute(f"{insert}; {insert}; select {token}::int8")
        last = None
        while await cursor.nextset():
            last = await cursor.fetchone() if cursor.description else None
        self.check(last is not None and last[0] == token, f"script {token} gave {last}")

    async def portal(self, conn: Any, token: int) -> None:
        core, name = conn._core, f"portal_{token}"
        async with conn.transaction():
            sql = "select $1::int8, n from generate_series(1, 60) n"
            part = await core.open_portal(name, sql, [token], 20, False)
            rows, statement = [*part.rows], part.statement
            while part.suspended:
                part = await core.fetch_portal(name, statement, 20, False)
                rows += part.rows
            await core.close_portal(name)
        right = [*map(tuple, rows)] == [(token, n) for n in range(1, 61)]
        self.check(right, f"portal {token}: {len(rows)} rows")

    async def prepared(self, conn: Any, token: int) -> None:
        statement = await conn.prepare(f"select $1::int8 + {token % 50}")
        value = await statement.fetchval([token])
        self.check(value == token + token % 50, f"prepared {token} gave {value}")

    async def insert(self, conn: Any, token: int) -> None:
        await conn.execute(f"insert into {self.table} values ($1, 0)", [token])

    ALONE = (transaction, by_hand, script, portal)  # they own the transaction
    ANY = (select, select, rows_of, sleep, sleep, write, executemany, prepared)

    # ------------------------------------------------------------- the ends

    async def by_cancel(self, work: Any, token: int, rng: random.Random) -> None:
        """Task.cancel(), in part twice, in part before the first step."""
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        asked = False

        def cancel() -> None:
            nonlocal asked
            asked = task.cancel() or asked

        timers = []
        way = rng.random()
        if way < 0.05:
            cancel()
            self.untouched.add(token)
        elif way < 0.3:
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
            cancel()
        else:
            delay = rng.random() ** 2 * LONGEST_S
            timers.append(loop.call_later(delay, cancel))
            if way > 0.9:
                later = delay + rng.random() * 0.001
                timers.append(loop.call_later(later, cancel))
        await asyncio.wait({task}, timeout=HANG_S)
        for timer in timers:
            timer.cancel()
        assert task.done(), f"{work} hangs"
        try:
            task.result()
        except asyncio.CancelledError:
            self.check(asked, f"{token}: cancelled, but nobody asked")
            raise
        else:
            self.check(not asked, f"{token}: the cancel was swallowed")

    async def by_asyncio_timeout(self, work: Any, rng: random.Random) -> None:
        timeout = asyncio.timeout(rng.random() ** 2 * LONGEST_S)  # type: ignore[attr-defined]
        try:
            async with timeout:
                await work
        except TimeoutError as error:
            raise Cut from error
        self.check(not timeout.expired(), "asyncio.timeout was swallowed")

    async def by_timeout(self, conn: Any, token: int, rng: random.Random) -> None:
        sql = "select $1::int8 from pg_sleep($2)"
        pause, limit = rng.random() * 0.004, rng.random() * LONGEST_S
        try:
            value = await conn.fetchval(sql, [token, pause], timeout=limit)
        except pgasync.QueryTimeout as error:
            raise Cut from error
        self.check(value == token, f"timeout {token} gave {value}")

    async def by_command_timeout(
        self, conn: Any, work: Any, rng: random.Random
    ) -> None:
        conn._timeout = rng.random() * LONGEST_S
        try:
            await work
        except pgasync.QueryTimeout as error:
            raise Cut from error
        finally:
            conn._timeout = None

    # ------------------------------------------------------------- the storm

    async def once(self, conn: Any, kind: Any, rng: random.Random, alone: bool) -> None:
        """One statement or transaction, cut short in one of the four ways."""
        token = next(self.tokens)
        way = rng.random()
        work = kind(self, conn, token)
        try:
            if alone and way < 0.1:
                work.close()
                kind = Storm.by_timeout
                await self.by_timeout(conn, token, rng)
            elif alone and way < 0.2:
                await self.by_command_timeout(conn, work, rng)
            elif way < 0.4 and sys.version_info >= (3, 11):
                await self.by_asyncio_timeout(work, rng)
            else:
                await self.by_cancel(work, token, rng)
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
        except Cut:
            self.counts["timed out"] += 1
        except pgasync.Error as error:
            # A rollback that is cut short closes the connection, and says so.
            self.counts["refused"] += conn.closed
            self.check(conn.closed, f"{token} {kind.__name__}: {error!r}")
        else:
            self.counts["results"] += 1
            if token in self.rows:
                self.written.add(token)

    async def turn(self, conn: Any, rng: random.Random) -> None:
        if rng.random() < 0.7:
            kinds = self.ANY + self.ALONE
            await self.once(conn, rng.choice(kinds), rng, True)
            return
        kinds = [rng.choice(self.ANY) for _ in range(rng.randrange(2, 5))]
        await asyncio.gather(*(self.once(conn, kind, rng, False) for kind in kinds))

    async def still_good(self, conn: Any) -> Any:
        """The same connection, or a new one in place of a closed one."""
        if conn.closed:
            self.counts["closed"] += 1
            return await self.open_one()
        token = -next(self.tokens)
        value = await asyncio.wait_for(
            conn.fetchval("select $1::int8", [token]), HANG_S
        )
        self.check(value == token, f"after a cut: {value} instead of {token}")
        self.check(conn.info.transaction_status == "I", f"{token}: in a transaction")
        return conn

    async def worker(self, number: int, aim: int) -> None:
        rng = random.Random(number)
        conn = await self.open_one()
        try:
            while self.cancelled < aim and not self.strange:
                await self.turn(conn, rng)
                if conn.closed or rng.random() < 0.2:
                    conn = await self.still_good(conn)
            await self.still_good(conn)
        finally:
            await conn.close()


def anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture(params=["plain", "tls", "context"])
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How to connect: over a Unix socket, by our TLS, by that of an ssl.SSLContext."""
    if request.param == "plain":
        return {"dsn": request.getfixturevalue("dsn")}
    dsn = request.getfixturevalue("tls_server").tcp_dsn
    if request.param == "tls":
        return {"dsn": dsn, "sslmode": "require"}
    return {"dsn": dsn, "ssl": anybody()}


@pytest.fixture
async def watcher(way: dict[str, Any], connect: Callable[..., Any]) -> Any:
    return await connect(way["dsn"], autocommit=True)


@pytest.fixture
async def table(watcher: Any) -> AsyncIterator[str]:
    name = f"storm_{random.getrandbits(40):x}"
    await watcher.execute(f"create table {name} (token int8, n int)")
    yield name
    await watcher.execute(f"drop table {name}")


async def nobody_left(watcher: Any, name: str) -> None:
    asked = "select count(*) from pg_stat_activity where application_name = $1"
    deadline = time.monotonic() + HANG_S
    while left := await watcher.fetchval(asked, [name]):
        assert time.monotonic() < deadline, f"{left} backends are left"
        await asyncio.sleep(0.01)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many CancelRequests were sent."""
    counted: Counter[str] = Counter()
    real = _core.cancel_request

    def cancel_request(pid: int, key: bytes) -> bytes:
        counted["sent"] += 1
        return real(pid, key)

    monkeypatch.setattr(_core, "cancel_request", cancel_request)
    return counted


async def test_storm(
    request: pytest.FixtureRequest,
    way: dict[str, Any],
    watcher: Any,
    table: str,
    summary: list[str],
    requests: Counter[str],
) -> None:
    async def open_one() -> Any:
        return await pgasync.connect(**way, autocommit=True, application_name=table)

    tasks, sockets = asyncio.all_tasks(), open_sockets()
    storm = Storm(open_one, table)
    started = time.monotonic()
    await asyncio.gather(*(storm.worker(n, CANCELLATIONS) for n in range(CONNECTIONS)))
    seconds = time.monotonic() - started
    assert storm.strange == []
    await nobody_left(watcher, table)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= tasks
    assert open_sockets() <= sockets

    sql = f"select token, count(*)::int from {table} group by token"
    there = dict(await watcher.fetch(sql))
    torn = {t: n for t, n in there.items() if n != storm.rows[t]}
    assert torn == {}, "written in part"
    assert storm.written <= there.keys(), "acknowledged, but not there"
    assert not storm.untouched & there.keys(), "cancelled before it began, but there"
    assert storm.cancelled >= CANCELLATIONS
    assert storm.counts["results"] > CANCELLATIONS / 20
    assert requests["sent"] > CANCELLATIONS / 20

    counts = ", ".join(f"{count:,} {what}" for what, count in storm.counts.items())
    summary.append(
        f"cancel storm ({request.node.callspec.id}): {storm.cancelled:,} "
        f"cancellations over {CONNECTIONS} connections in {seconds:.1f} s ({counts}); "
        f"{len(storm.written):,} acknowledged writes, {requests['sent']:,} requests"
    )


async def test_connects(
    request: pytest.FixtureRequest,
    way: dict[str, Any],
    watcher: Any,
    summary: list[str],
) -> None:
    """Connecting, cancelled at random microseconds: nothing is left of it."""
    name = f"connects_{random.getrandbits(40):x}"
    rng = random.Random(7)
    loop = asyncio.get_running_loop()
    counts: Counter[str] = Counter()
    tasks, sockets = asyncio.all_tasks(), open_sockets()

    async def once(longest: float) -> None:
        connecting = pgasync.connect(**way, application_name=name)
        task = asyncio.ensure_future(connecting)
        timer = loop.call_later(rng.random() * longest, task.cancel)
        await asyncio.wait({task}, timeout=HANG_S)
        timer.cancel()
        assert task.done(), "hangs"
        if task.cancelled():
            counts["cancelled"] += 1
        else:
            counts["connected"] += 1
            await task.result().close()

    aim = max(80, CANCELLATIONS // 10)
    while counts["cancelled"] < aim:
        started = time.monotonic()
        await asyncio.gather(*(once(1000) for _ in range(CONNECTIONS)))
        takes = time.monotonic() - started
        for _ in range(5):
            await asyncio.gather(*(once(takes) for _ in range(CONNECTIONS)))
    await nobody_left(watcher, name)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= tasks
    assert open_sockets() <= sockets
    each = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    summary.append(f"connects cut short ({request.node.callspec.id}): {each}")
