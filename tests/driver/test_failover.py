"""A client over a primary and its synchronous standby survives the primary's death.

Tasks write numbered rows, each number once, and connect again with
target_session_attrs=read-write whenever their connection breaks. The primary is killed
(SIGKILL to the postmaster and its children) or shut down, then the standby promoted.
What the driver said about each number is held against the rows of the new primary.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import pgasync
import servers
from pgasync import errors

WRITERS = 8
ROWS_BEFORE = 200  # acknowledged, then the primary dies
ROWS_AFTER = 200  # acknowledged by the new primary, then it is over
LIMIT_S = 60.0
AGAIN_S = 0.02  # a writer that found no primary waits


@pytest.fixture
def pair() -> Iterator[tuple[servers.Server, servers.Standby]]:
    """A primary whose commits wait until the standby has them on disk."""
    settings = {"synchronous_commit": "on"}
    with servers.Server(settings=settings) as first, servers.Standby(first) as second:
        second.wait_streaming()
        first.psql("CREATE TABLE ledger (n int, half int)")
        first.psql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        first.psql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + LIMIT_S
        while first.psql("SELECT sync_state FROM pg_stat_replication").strip() != (
            "sync"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield first, second


class Ledger:
    """What became of each number, as the driver told it."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.numbers = itertools.count(1)
        self.acked: dict[int, tuple[float, int]] = {}  # when, and by which port
        self.failed: dict[int, pgasync.Error] = {}
        self.refused: list[pgasync.Error] = []  # by connect()
        self.stop = False

    async def write(self) -> None:
        """One writer: single statements and transactions of two, in turn."""
        while not self.stop:
            try:
                conn = await pgasync.connect(**self.arguments)
            except pgasync.Error as error:
                self.refused.append(error)
                await asyncio.sleep(AGAIN_S)
                continue
            while not self.stop and not conn.closed:
                await self.write_one(conn, next(self.numbers))
            await conn.close()

    async def write_one(self, conn: Any, number: int) -> None:
        sql = "INSERT INTO ledger VALUES ($1, $2)"
        try:
            if number % 2:
                await conn.execute(sql, [number, 1])
            else:
                async with conn.transaction():
                    await conn.execute(sql, [number, 1])
                    await conn.execute(sql, [number, 2])
        except pgasync.Error as error:
            self.failed[number] = error
        else:
            self.acked[number] = time.monotonic(), conn.info.port

    async def hold(self) -> None:
        """A statement that is certainly under way when the primary dies."""
        number = next(self.numbers)
        conn = await pgasync.connect(**self.arguments)
        try:
            await conn.execute(
                "INSERT INTO ledger SELECT $1::int, 1 FROM pg_sleep(600)", [number]
            )
        except pgasync.Error as error:
            self.failed[number] = error
        finally:
            await conn.close()

    def acked_by(self, port: int) -> int:
        return sum(1 for _, by in self.acked.values() if by == port)

    async def until_acked(self, port: int, count: int) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.acked_by(port) < count:
            assert time.monotonic() < deadline, f"{port} does not take rows"
            await asyncio.sleep(0.01)

    def check(self, rows: list[Any], summary: list[str], how: str) -> None:
        """Every row is what the driver said of it."""
        found: dict[int, Counter[int]] = {}
        for number, half in rows:
            found.setdefault(number, Counter())[half] += 1
        whole = {n: Counter([1]) if n % 2 else Counter([1, 2]) for n in self.acked}
        lost = [n for n in self.acked if found.get(n) != whole[n]]
        assert not lost, f"acknowledged, but not there as written: {lost}"
        doubtful = 0
        for number, error in self.failed.items():
            assert isinstance(error, errors.OperationalError), repr(error)
            assert error.outcome in ("not_sent", "failed", "in_doubt"), repr(error)
            if error.outcome == "in_doubt":
                doubtful += 1
                expected = Counter([1]) if number % 2 else Counter([1, 2])
                assert found.get(number) in (None, expected), (number, found[number])
            else:
                assert number not in found, (number, repr(error))
        assert found.keys() <= self.acked.keys() | self.failed.keys()
        for error in self.refused:
            assert isinstance(error, errors.OperationalError), repr(error)
            assert error.outcome in (None, "not_sent"), repr(error)
        summary.append(
            f"failover ({how}): {len(self.acked)} commits acknowledged, all there; "
            f"{len(self.failed)} failed, {doubtful} of them in doubt; "
            f"{len(self.refused)} connects refused"
        )


async def until_held(server: servers.Server) -> None:
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
        "AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + LIMIT_S
    while int(await asyncio.to_thread(server.psql, sql)) == 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


ENDS = {
    "kill -9": servers.Server.kill,
    "fast shutdown": servers.Server.shut_down,
    "immediate shutdown": lambda server: server.shut_down(fast=False),
}


@pytest.mark.parametrize(
    ("end", "transport"),
    [
        ("kill -9", "unix"),
        ("kill -9", "tcp"),
        ("fast shutdown", "tcp"),
        ("immediate shutdown", "unix"),
    ],
)
async def test_every_acknowledged_commit_survives(
    pair: tuple[servers.Server, servers.Standby],
    end: str,
    transport: str,
    summary: list[str],
) -> None:
    first, second = pair
    how = f"{end}, {transport}"
    places = [str(s.socket_dir) if transport == "unix" else s.host for s in pair]
    ledger = Ledger(
        {
            "host": ",".join(places),
            "port": f"{first.port},{second.port}",
            "user": "postgres",
            "password": first.password,
            "dbname": "postgres",
            "target_session_attrs": "read-write",
            "autocommit": True,
            "connect_timeout": 5,
        }
    )
    loop = asyncio.get_running_loop()
    writers = [loop.create_task(ledger.write()) for _ in range(WRITERS)]
    writers.append(loop.create_task(ledger.hold()))
    try:
        await ledger.until_acked(first.port, ROWS_BEFORE)
        await until_held(first)
        ended = time.monotonic()
        await asyncio.to_thread(ENDS[end], first)
        await asyncio.sleep(0.2)  # nobody takes writes
        await asyncio.to_thread(second.promote)
        promoted = time.monotonic()
        await ledger.until_acked(second.port, ROWS_AFTER)
    finally:
        ledger.stop = True
        await asyncio.wait_for(asyncio.gather(*writers), LIMIT_S)
    assert ledger.failed, "nothing was under way when the primary ended"
    assert ledger.refused, "nobody looked for a primary meanwhile"
    async with pgasync.connect(**ledger.arguments) as conn:
        rows = await conn.fetch("SELECT n, half FROM ledger", row_factory=tuple)
    ledger.check(rows, summary, how)
    back = min(when for when, by in ledger.acked.values() if by == second.port)
    assert back - promoted < 5.0
    late = max(0.0, back - promoted)
    summary.append(
        f"failover ({how}): first commit on the new primary {back - ended:.2f} s after"
        f" the end of the old, {late:.2f} s after its promotion"
    )
