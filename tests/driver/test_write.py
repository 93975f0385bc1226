"""Requests that are made together leave together; one that is alone leaves at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgmock import Proxy

ECHO = "select $1::int"


class Writes:
    """How often the connection has written to its socket, as its trace tells: a call
    for each write that took bytes."""

    encoding = "utf-8"

    def __init__(self, conn: pgasync.Connection) -> None:
        self.requests: list[int] = []  # Syncs and Queries of each write
        conn.trace(self, timestamps=False)

    def write(self, lines: str) -> None:
        if lines.startswith("F"):
            sent = [line.split("\t")[2] for line in lines.splitlines()]
            self.requests.append(sent.count("Sync") + sent.count("Query"))

    def flush(self) -> None:
        pass


async def test_one_alone(conn: Any) -> None:
    """Written before anything else runs."""
    await conn.fetchval(ECHO, [0])
    writes = Writes(conn)
    asked = conn.fetchval(ECHO, [1])
    task = asyncio.ensure_future(asked)
    await asyncio.sleep(0)
    assert writes.requests == [1]
    assert await task == 1


async def test_those_behind_it(conn: Any) -> None:
    await conn.fetchval(ECHO, [0])
    writes = Writes(conn)
    asked = (conn.fetchval(ECHO, [n]) for n in range(100))
    assert await asyncio.gather(*asked) == list(range(100))
    assert writes.requests == [1, 99]


async def test_woken_together(conn: Any) -> None:
    """Tasks whose answers came in one piece: what they ask for next is one write."""
    await conn.fetchval(ECHO, [0])
    writes = Writes(conn)

    async def ask(n: int) -> None:
        for _ in range(10):
            assert await conn.fetchval(ECHO, [n]) == n

    await asyncio.gather(*map(ask, range(20)))
    assert sum(writes.requests) == 200
    assert len(writes.requests) < 100


async def test_much_at_once(conn: Any) -> None:
    """The bytes that are kept back are bounded."""
    await conn.fetchval("select length($1)", [""])
    writes = Writes(conn)
    text = "x" * 5000
    asked = (conn.fetchval("select length($1)", [text]) for _ in range(20))
    assert await asyncio.gather(*asked) == [5000] * 20
    assert len(writes.requests) >= 5


async def test_new_statements_behind(conn: Any) -> None:
    """Those that wait for a description, and are sent by the pump."""
    asked = (conn.fetchval(f"select $1::int + {n % 3}", [n]) for n in range(30))
    assert await asyncio.gather(*asked) == [n + n % 3 for n in range(30)]


async def test_cancelled_in_between(conn: Any) -> None:
    """Given up in the turn in which it was asked for."""
    await conn.fetchval(ECHO, [0])
    asked = [asyncio.ensure_future(conn.fetchval(ECHO, [n])) for n in range(10)]
    await asyncio.sleep(0)
    for task in asked[3:7]:
        task.cancel()
    outcome = await asyncio.gather(*asked, return_exceptions=True)
    for n, got in enumerate(outcome):
        if 3 <= n < 7:
            assert isinstance(got, asyncio.CancelledError)
        else:
            assert got == n
    assert await conn.fetchval(ECHO, [11]) == 11


async def test_all_cancelled_in_between(conn: Any) -> None:
    """Also those that have not been written yet are drained."""
    await conn.fetchval(ECHO, [0])
    asked = [asyncio.ensure_future(conn.fetchval("select pg_sleep(5)")) for _ in "abc"]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert await asyncio.wait_for(conn.fetchval(ECHO, [11]), 4) == 11


async def test_terminated_in_between(connect: Callable[..., Any]) -> None:
    """What was kept back does not keep the good-bye back."""
    conn = await connect(autocommit=True)
    await conn.fetchval(ECHO, [0])
    writes = Writes(conn)
    asked = [asyncio.ensure_future(conn.fetchval(ECHO, [n])) for n in range(4)]
    await asyncio.sleep(0)
    assert writes.requests == [1]
    conn.terminate()
    assert writes.requests == [1, 3]
    outcome = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(got, pgasync.InterfaceError) for got in outcome)


async def test_server_gone_in_between(server: Any) -> None:
    """A write that fails after the turn: everybody is told."""
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conn = await pgasync.connect(dsn, autocommit=True)
        await conn.fetchval(ECHO, [0])
        proxy.stall()
        asked = [asyncio.ensure_future(conn.fetchval(ECHO, [n])) for n in range(10)]
        await asyncio.sleep(0)
        proxy.cut("rst")
        outcome = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(got) for got in outcome] == [pgasync.errors.ConnectionLost] * 10
        assert {got.outcome for got in outcome} == {"in_doubt"}
        assert conn.closed
        conn.terminate()


@pytest.mark.no_leak_check
def test_loop_closed_in_between(dsn: str) -> None:
    """The loop ends before the turn in which it should have been written; whoever uses
    the connection then learns that it is lost."""
    loop = asyncio.new_event_loop()

    async def start() -> pgasync.Connection:
        conn = await pgasync.connect(dsn, autocommit=True)
        await conn.fetchval(ECHO, [0])
        return conn

    conn = loop.run_until_complete(start())

    async def ask() -> None:
        for n in range(3):
            conn._core.execute(ECHO, [n])

    loop.run_until_complete(ask())
    loop.close()

    async def use() -> None:
        with pytest.raises(pgasync.ConnectionLost):
            await conn.fetchval(ECHO, [1])

    asyncio.run(use())
    conn.terminate()


def test_moves_to_another_loop(dsn: str) -> None:
    """A turn that was asked for in the old loop does not count in the new one."""

    async def ask(conn: pgasync.Connection, first: int) -> None:
        asked = (conn.fetchval(ECHO, [first + n]) for n in range(10))
        assert await asyncio.gather(*asked) == [first + n for n in range(10)]

    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        conn = one.run_until_complete(pgasync.connect(dsn, autocommit=True))
        for first in range(0, 100, 20):
            one.run_until_complete(ask(conn, first))
            two.run_until_complete(ask(conn, first + 10))
        two.run_until_complete(conn.close())
    finally:
        one.close()
        two.close()


def test_threads_take_turns(dsn: str) -> None:
    """Each with a loop of its own; the connection goes from one to the next."""
    conns: list[pgasync.Connection] = []

    async def ask() -> None:
        if not conns:
            conns.append(await pgasync.connect(dsn, autocommit=True))
        for _ in range(5):
            asked = (conns[0].fetchval(ECHO, [n]) for n in range(20))
            assert await asyncio.gather(*asked) == list(range(20))

    for _ in range(4):
        thread = threading.Thread(target=lambda: asyncio.run(ask()))
        thread.start()
        thread.join()

    async def close() -> None:
        await conns[0].close()

    asyncio.run(close())
