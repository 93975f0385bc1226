"""Cancellation and timeouts: delivered at once, never swallowed, and what comes
later on the connection is its own. See test_cancel_storm.py for random moments and
test_suspensions.py for every moment."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
from pgmock import Answer, MockServer, Peer, Proxy, error, serve

PROMPT_S = 1.0  # "at once", on a busy machine
DRAIN_S = 5.0


async def until(condition: Callable[[], bool], limit: float = DRAIN_S) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


async def finished(task: asyncio.Task[Any]) -> None:
    """Cancels and waits: CancelledError must come at once."""
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < PROMPT_S


@pytest.fixture
async def watcher(connect: Callable[..., Any]) -> Any:
    """A second connection, to look at the first one from outside."""
    return await connect(autocommit=True)


@pytest.fixture
async def table(watcher: Any) -> AsyncIterator[str]:
    name = f"cancel_{random.getrandbits(40):x}"
    await watcher.execute(f"create table {name} (n int)")
    yield name
    await watcher.execute(f"drop table {name}")


# --- single moments ----------------------------------------------------------


@pytest.mark.parametrize("cancelled", [False, True])
async def test_terminate_stops_the_statement(
    connect: Callable[..., Any], watcher: Any, cancelled: bool
) -> None:
    """The server would notice the closed socket only when the statement is over."""
    conn = await connect()
    running = asyncio.ensure_future(conn.execute("select pg_sleep(60)"))
    asked = "select state = 'active' from pg_stat_activity where pid = $1"
    while not await watcher.fetchval(asked, [conn.info.backend_pid]):
        await asyncio.sleep(0.001)
    if cancelled:
        running.cancel()  # another CancelRequest is on its way
    conn.terminate()
    with pytest.raises((pgasync.InterfaceError, asyncio.CancelledError)):
        await running
    deadline = time.monotonic() + DRAIN_S
    while await watcher.fetchval(asked, [conn.info.backend_pid]) is not None:
        assert time.monotonic() < deadline, "still runs"
        await asyncio.sleep(0.01)


async def test_before_first_step(conn: Any, watcher: Any, table: str) -> None:
    task = asyncio.ensure_future(conn.execute(f"insert into {table} values (1)"))
    await finished(task)
    assert await conn.fetchval("select 2") == 2
    assert await watcher.fetchval(f"select count(*) from {table}") == 0


async def test_in_flight(conn: Any, watcher: Any) -> None:
    """The server really stops, and the connection goes on."""
    pid = conn.info.backend_pid
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    active = "select state = 'active' from pg_stat_activity where pid = $1"
    while not await watcher.fetchval(active, [pid]):
        await asyncio.sleep(0.005)
    await finished(task)
    deadline = time.monotonic() + DRAIN_S
    while await watcher.fetchval(active, [pid]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    assert await conn.fetchval("select 3") == 3
    assert conn.info.backend_pid == pid


async def test_next_query_waits_for_the_drain(conn: Any) -> None:
    for token in range(20):
        task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.002)
        await finished(task)
        started = time.monotonic()
        assert await conn.fetchval("select $1::int", [token]) == token
        assert time.monotonic() - started < DRAIN_S


async def test_in_a_transaction(connect: Callable[..., Any]) -> None:
    """The server cancels the statement, which fails the transaction."""
    conn = await connect()
    await conn.execute("select 1")
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.02)
    await finished(task)
    with pytest.raises(pgasync.Error) as caught:
        await conn.execute("select 2")
    assert caught.value.sqlstate == "25P02"
    await conn.rollback()
    assert await conn.fetchval("select 3") == 3
    await conn.rollback()


async def test_second_cancel(conn: Any) -> None:
    """A task that is cancelled again while it cleans up on the same connection."""

    async def stubborn() -> None:
        try:
            await conn.execute("select pg_sleep(30)")
        except asyncio.CancelledError:
            await conn.execute("select pg_sleep(30)")

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    await finished(task)
    assert await conn.fetchval("select 4") == 4


async def test_cancel_of_those_who_wait_for_the_drain(conn: Any) -> None:
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.02)
    task.cancel()
    waiting = [asyncio.ensure_future(conn.fetchval("select 5")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    outcome = await asyncio.gather(task, *waiting, return_exceptions=True)
    assert isinstance(outcome[0], asyncio.CancelledError)
    assert isinstance(outcome[2], asyncio.CancelledError)
    assert outcome[1::2] == [5, 5]


async def test_queued_behind_another(conn: Any) -> None:
    """A cancelled member of a pipeline loses its result; the others keep theirs."""
    first = asyncio.ensure_future(conn.fetchval("select 1 from pg_sleep(0.2)"))
    second = asyncio.ensure_future(conn.fetchval("select 2"))
    third = asyncio.ensure_future(conn.fetchval("select 3"))
    await asyncio.sleep(0.02)
    await finished(second)
    assert await first == 1
    assert await third == 3
    assert await conn.fetchval("select 4") == 4


async def test_race_with_the_result(conn: Any) -> None:
    """The answer lies in the socket already when the task is cancelled."""
    met = 0
    for token in range(50):
        task = asyncio.ensure_future(conn.fetchval("select 1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.003)  # the loop does not see the answer come
        if task.cancel():
            met += 1
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            assert await task == 1
        # A request to cancel that comes late must not hit this one.
        later = "select $1::int from pg_sleep(0.004)"
        assert await conn.fetchval(later, [token]) == token
    assert met > 0


async def test_cancel_after_the_result(conn: Any) -> None:
    task = asyncio.ensure_future(conn.fetchval("select 6"))
    assert await task == 6
    assert not task.cancel()
    assert await conn.fetchval("select 7") == 7


async def test_cancel_method(conn: Any) -> None:
    """conn.cancel() asks the server; the query fails with its error."""
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.05)
    asked = conn.cancel()
    if asyncio.iscoroutine(asked) or asyncio.isfuture(asked):
        await asked
    with pytest.raises(pgasync.OperationalError) as caught:
        await asyncio.wait_for(task, DRAIN_S)
    assert caught.value.sqlstate == "57014"
    assert await conn.fetchval("select 8") == 8


# --- timeouts ----------------------------------------------------------------


async def test_timeout(conn: Any) -> None:
    started = time.monotonic()
    with pytest.raises(pgasync.QueryTimeout) as caught:
        await conn.fetchval("select pg_sleep(30)", timeout=0.1)
    assert 0.09 < time.monotonic() - started < PROMPT_S
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, pgasync.OperationalError)
    assert await conn.fetchval("select 9") == 9


async def test_timeout_that_is_not_reached(conn: Any) -> None:
    for token in range(50):
        assert await conn.fetchval("select $1::int", [token], timeout=5) == token
    await asyncio.sleep(0.05)
    assert await conn.fetchval("select 10") == 10


async def test_tiny_timeouts(conn: Any) -> None:
    for token in range(200):
        with contextlib.suppress(pgasync.QueryTimeout):
            assert (
                await conn.fetchval("select $1::int", [token], timeout=1e-10) == token
            )
    assert await conn.fetchval("select 11") == 11


async def test_command_timeout(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, command_timeout=0.1)
    with pytest.raises(pgasync.QueryTimeout):
        await conn.execute("select pg_sleep(30)")
    # One call may ask for longer.
    assert await conn.fetchval("select 12 from pg_sleep(0.2)", timeout=10) == 12
    assert await conn.fetchval("select 13") == 13


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is 3.11")
async def test_asyncio_timeout(conn: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await conn.execute("select pg_sleep(30)")
    assert await conn.fetchval("select 14") == 14


async def test_wait_for(conn: Any) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(conn.execute("select pg_sleep(30)"), 0.05)
    assert await conn.fetchval("select 15") == 15


# --- when the server does not help -------------------------------------------


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_server_out_of_reach(server: Any, how: str) -> None:
    """The request to cancel cannot be delivered: the connection is given up, and
    nobody waits longer than the time allowed."""
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conn = await pgasync.connect(dsn, autocommit=True, cancel_timeout=1)
        task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.05)
        if how == "refused":
            proxy.close_listener()
        else:
            proxy.stall()
        await finished(task)
        started = time.monotonic()
        with pytest.raises(pgasync.OperationalError):
            await conn.fetchval("select 16")
        assert time.monotonic() - started < 2.5
        assert conn.closed
        await conn.close()


class Slow:
    """A mock server whose `select slow` ends only when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.seen: list[str] = []
        self.server = MockServer(self.script)

    def script(self, peer: Peer) -> None:
        peer.startup()
        serve(peer, {"slow": Answer(execute=self.slow), "insert": self.insert})

    def slow(self, peer: Peer) -> None:
        self.go.wait(DRAIN_S)
        peer.send(error("57014", "canceling statement due to user request"))

    @property
    def insert(self) -> Answer:
        def count(peer: Peer) -> None:
            self.seen.append("insert")
            peer.send(b"C\0\0\0\x0fINSERT 0 1\0")

        return Answer(columns=(), execute=count)


async def test_never_sent_is_never_executed() -> None:
    """While a cancelled request drains nothing is sent, so that a request that is
    given up in that time has no effect at all."""
    slow = Slow()
    with slow.server as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        await conn.execute("insert into t values (0)")  # prepared from here on
        assert slow.seen == ["insert"]
        task = asyncio.ensure_future(conn.fetchval("select slow"))
        await asyncio.sleep(0.05)
        await finished(task)
        await until(lambda: len(server.cancels) > 0)
        insert = asyncio.ensure_future(conn.execute("insert into t values (0)"))
        last = asyncio.ensure_future(conn.fetchval("select 17"))
        await asyncio.sleep(0.02)
        await finished(insert)
        slow.go.set()
        assert await asyncio.wait_for(last, DRAIN_S) == 17
        assert slow.seen == ["insert"]
        assert set(server.cancels) == {(4711, b"\x00\x01\x02\x03")}
        await conn.close()
    assert not server.failures


async def test_request_to_cancel_is_repeated() -> None:
    """A request that reached the server before the query did is lost there, so it
    is sent again until the answer comes."""
    slow = Slow()
    with slow.server as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        task = asyncio.ensure_future(conn.fetchval("select slow"))
        await asyncio.sleep(0.05)
        await finished(task)
        await until(lambda: len(server.cancels) >= 3)
        slow.go.set()
        assert await asyncio.wait_for(conn.fetchval("select 18"), DRAIN_S) == 18
        await conn.close()
