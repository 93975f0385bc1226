"""The pump works for a few milliseconds at a time, however much has come."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync

STALL_S = 0.020
BUSY_S = 0.002  # for a row


def slow(n: int) -> int:
    """A row factory."""
    over = time.thread_time() + BUSY_S
    while time.thread_time() < over:
        pass
    return n


class Turns:
    """What the loop's thread has worked, in CPU time, between two turns of a task
    that asks for the next one at once: other processes do not count, and neither does
    the garbage collector's own work."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.count = 0
        self._collected = 0.0
        self._began = 0.0

    def collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collected += time.thread_time() - self._began

    def worked(self) -> float:
        return time.thread_time() - self._collected

    async def watch(self) -> None:
        last = self.worked()
        while True:
            await asyncio.sleep(0)
            now = self.worked()
            self.longest = max(self.longest, now - last)
            self.count += 1
            last = now


@contextlib.asynccontextmanager
async def turns() -> AsyncIterator[Turns]:
    found = Turns()
    gc.callbacks.append(found.collecting)
    task = asyncio.create_task(found.watch())
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        task.cancel()
        gc.callbacks.remove(found.collecting)


LONG = {
    "numbers": "select g, g + 1 from generate_series(1, 300000) g",
    "decimals": "select g::numeric / 7, now() from generate_series(1, 100000) g",
    "documents": "select jsonb_build_array(g, 'x') from generate_series(1, 50000) g",
    "long rows": "select repeat('x', 1000000) from generate_series(1, 50)",
}


@pytest.mark.parametrize("what", LONG)
async def test_no_stall(conn: Any, what: str) -> None:
    """The driver's share of it, of which its budget is 3 ms."""
    async with turns() as found:
        rows = await conn.fetch(LONG[what])
    assert len(rows) >= 50
    assert found.longest < STALL_S
    assert found.count > 10


async def test_rows_that_take_long(conn: Any) -> None:
    """The clock is looked at more often where a row costs more."""

    async with turns() as found:
        rows = await conn.fetch(
            "select n from generate_series(1, 150) n", row_factory=slow
        )
    assert rows == [*range(1, 151)]
    # The first turn learns it, by twice FLOW_LOOK_FIRST rows.
    assert found.longest < 16 * BUSY_S + STALL_S
    assert found.count >= 20


@pytest.mark.parametrize("how", ["stream", "fetch"])
async def test_other_connections_have_their_turn(
    conn: Any, connect: Callable[..., Any], how: str
) -> None:
    """Small questions are answered while a long answer is read."""
    other = await connect(autocommit=True)
    sql = "select g, g::text from generate_series(1, 1000000) g"

    async def read() -> None:
        if how == "fetch":
            await conn.fetch(sql)
        else:
            async for _ in conn.stream(sql):
                pass

    await other.fetchval("select 0")
    reader = asyncio.create_task(read())
    answered = 0
    while not reader.done():
        await other.fetchval("select 0")
        answered += 1
    await reader
    assert answered > 20


async def test_what_is_left_when_it_ends(
    conn: Any, connect: Callable[..., Any]
) -> None:
    """A turn that was over leaves bytes behind: the server's end does not lose them."""

    seen: list[int] = []

    def factory(n: int) -> int:
        seen.append(n)
        return slow(n)

    with pytest.raises(pgasync.OperationalError):
        await conn.fetch(
            "select n from generate_series(1, 101) n"
            " where n < 101 or (select pg_terminate_backend(pg_backend_pid()))",
            row_factory=factory,
        )
    assert seen == [*range(1, len(seen) + 1)]
    assert conn.closed


async def test_terminated_between_two_turns(conn: Any) -> None:
    sql = "select n from generate_series(1, 500) n"
    reader = asyncio.create_task(conn.fetch(sql, row_factory=slow))
    await asyncio.sleep(0.1)
    assert not reader.done()
    conn.terminate()
    with pytest.raises(pgasync.InterfaceError):
        await reader


async def test_given_up_between_two_turns(conn: Any) -> None:
    sql = "select n from generate_series(1, 5000) n"
    reader = asyncio.create_task(conn.fetch(sql, row_factory=slow))
    await asyncio.sleep(0.1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await conn.fetchval("select 1") == 1
