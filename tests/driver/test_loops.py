"""A connection and more than one event loop: an idle one moves, a busy one refuses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgasync import _core
from pgasync.errors import ConnectionLost, InterfaceError, QueryCanceled, QueryTimeout

Work = Callable[[], Awaitable[Any]]
LIMIT_S = 30.0


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    loop = asyncio.SelectorEventLoop()
    loop.set_debug(kind == "debug")
    return loop


@pytest.fixture(params=["asyncio", "debug", "uvloop"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Thread:
    """A loop that runs in a thread of its own."""

    def __init__(
        self, kind: str, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.loop = new_loop(kind) if loop is None else loop
        self.thread = threading.Thread(target=self._main)
        self.thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        asyncio.set_event_loop(None)

    def run(self, work: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(LIMIT_S)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()

    def close(self) -> None:
        if self.thread.is_alive():
            self.stop()
        self.loop.close()


@pytest.fixture
def loops(kind: str) -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    made: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(new_loop(kind))
        return made[-1]

    yield make
    for loop in made:
        loop.close()


@pytest.fixture
def threads(kind: str) -> Iterator[Callable[[], Thread]]:
    made: list[Thread] = []

    def make() -> Thread:
        made.append(Thread(kind))
        return made[-1]

    yield make
    for thread in made:
        thread.close()


async def connected(dsn: str, **keywords: Any) -> pgasync.Connection:
    return await pgasync.connect(dsn, autocommit=True, **keywords)


async def both_flights(conn: pgasync.Connection, n: int) -> int:
    """A statement seen for the first time, a known one, and a type lookup's worth."""
    first = await conn.fetchval(f"select $1::int + {n}", [1])
    known = await conn.fetchval("select $1::int", [n])
    return int(first + known)


def test_first_loop_closed(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    first = loops()
    conn = first.run_until_complete(connected(dsn))
    pid = conn.info.backend_pid
    first.close()
    for n in range(10):
        loop = loops()
        assert loop.run_until_complete(both_flights(conn, n)) == 2 * n + 1
        found = loop.run_until_complete(conn.fetchval("select pg_backend_pid()"))
        assert found == pid
        loop.close()
    last = loops()
    last.run_until_complete(conn.close())
    assert conn.closed


def test_first_loop_stopped_and_started_again(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    first, second = loops(), loops()
    conn = first.run_until_complete(connected(dsn))
    for n in range(5):
        assert second.run_until_complete(both_flights(conn, n)) == 2 * n + 1
        first.run_until_complete(asyncio.sleep(0.01))
        assert first.run_until_complete(both_flights(conn, n)) == 2 * n + 1
    first.run_until_complete(conn.close())


def test_first_loop_runs_in_another_thread(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop], threads: Any
) -> None:
    thread, here = threads(), loops()
    conn = thread.run(connected(dsn))
    for n in range(20):
        assert here.run_until_complete(both_flights(conn, n)) == 2 * n + 1
        assert thread.run(both_flights(conn, n)) == 2 * n + 1
    here.run_until_complete(conn.close())
    thread.run(asyncio.sleep(0))  # what it was asked to let go of is closed


def test_descriptor_that_the_old_loop_uses_again(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop], threads: Any
) -> None:
    """The connection has left and is closed before its old loop gets to run: the next
    socket there may have the number, and must be watched."""
    thread, here = threads(), loops()
    for _ in range(20):
        conn = thread.run(connected(dsn))
        held = threading.Event()
        thread.loop.call_soon_threadsafe(held.wait, LIMIT_S)
        here.run_until_complete(both_flights(conn, 1))
        here.run_until_complete(conn.close())
        held.set()
        again = thread.run(connected(dsn, connect_timeout=5))
        assert thread.run(both_flights(again, 2)) == 5
        thread.run(again.close())


def test_busy_connection_names_both_loops(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop], threads: Any
) -> None:
    thread, here = threads(), loops()
    conn = thread.run(connected(dsn))
    sleeping = asyncio.run_coroutine_threadsafe(
        conn.fetchval("select pg_sleep(1)::text || '!'"), thread.loop
    )
    while not conn._core.pending:
        time.sleep(0.001)
    with pytest.raises(InterfaceError, match="busy") as caught:
        here.run_until_complete(conn.fetchval("select 1"))
    assert repr(thread.loop) in str(caught.value) or "running=True" in str(caught.value)
    assert str(caught.value).count("Loop") >= 2
    with pytest.raises(InterfaceError, match="busy"):
        here.run_until_complete(conn.close())
    assert sleeping.result(LIMIT_S) == "!"
    assert here.run_until_complete(conn.fetchval("select 1")) == 1
    here.run_until_complete(conn.close())


def test_transaction_goes_on_in_another_loop(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    first, second = loops(), loops()
    conn = first.run_until_complete(pgasync.connect(dsn))
    first.run_until_complete(conn.execute("create temp table moved (n int)"))
    first.run_until_complete(conn.execute("insert into moved values (1)"))
    first.close()
    assert second.run_until_complete(conn.fetchval("select n from moved")) == 1
    second.run_until_complete(conn.commit())
    assert second.run_until_complete(conn.fetchval("select n from moved")) == 1
    second.run_until_complete(conn.close())


def test_timeout_cancellation_and_notices_after_a_move(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    first, second = loops(), loops()
    conn = first.run_until_complete(connected(dsn))
    heard: list[str] = []
    conn.add_notice_listener(lambda _, notice: heard.append(notice.message))
    first.close()

    async def work() -> None:
        with pytest.raises(QueryTimeout):
            await conn.fetchval("select pg_sleep(10)", timeout=0.05)
        assert await conn.fetchval("select 1") == 1
        task = asyncio.ensure_future(conn.fetchval("select pg_sleep(10)"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await conn.fetchval("select 2") == 2
        await conn.execute("do $$ begin raise notice 'here'; end $$")
        await asyncio.sleep(0)
        await conn.close()

    second.run_until_complete(work())
    assert heard == ["here"]


def test_loop_closed_under_a_statement(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    first, second = loops(), loops()
    conn = first.run_until_complete(connected(dsn))
    task = first.create_task(conn.fetchval("select pg_sleep(10)"))
    first.run_until_complete(asyncio.sleep(0.05))
    first.close()
    with pytest.raises(ConnectionLost, match="loop was closed"):
        second.run_until_complete(conn.fetchval("select 1"))
    assert conn.closed
    second.run_until_complete(conn.close())
    # Nobody runs it any more: it must not complain of that when it is collected.
    task._log_destroy_pending = False  # type: ignore[attr-defined]


# The collector may get at the socket of a CancelRequest that was cut off before it gets
# at the coroutine that would close it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loop_that_ends_with_a_statement_under_way(dsn: str, kind: str) -> None:
    """asyncio.run() cancels what is left: if the loop's end leaves no time for the
    server to be told, the connection is gone, and says so."""
    made: list[pgasync.Connection] = []

    async def leave() -> None:
        conn = await connected(dsn)
        made.append(conn)
        sleeping = asyncio.ensure_future(conn.fetchval("select pg_sleep(10)"))
        await asyncio.sleep(0.05)
        assert not sleeping.done()

    async def look() -> None:
        try:
            assert await made[0].fetchval("select 1") == 1
        except ConnectionLost:
            assert made[0].closed
        await made[0].close()

    asyncio.run(leave())
    asyncio.run(look())


def test_no_loop_at_all(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    loop = loops()
    conn = loop.run_until_complete(connected(dsn))
    with pytest.raises(InterfaceError, match="no event loop is running"):
        conn._core.execute("select 1", None, _core.MODE_ROWS, False)
    loop.run_until_complete(conn.close())


def test_two_threads_hammer_one_connection(dsn: str, threads: Any) -> None:
    """Every answer is right, or the connection was busy at that moment."""
    one, two = threads(), threads()
    conn = one.run(connected(dsn))

    async def hammer(base: int) -> tuple[int, int]:
        good = busy = 0
        for n in range(300):
            try:
                assert await conn.fetchval("select $1::int", [base + n]) == base + n
                good += 1
            except InterfaceError as error:
                assert "busy" in str(error)
                busy += 1
                await asyncio.sleep(0)
        return good, busy

    futures = [
        asyncio.run_coroutine_threadsafe(hammer(base), thread.loop)
        for base, thread in ((0, one), (1_000_000, two))
    ]
    results = [future.result(LIMIT_S) for future in futures]
    assert sum(good for good, _ in results) > 0
    assert one.run(_close_when_idle(conn))


async def _close_when_idle(conn: pgasync.Connection) -> bool:
    with contextlib.suppress(InterfaceError):
        await conn.close()
    return conn.closed


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self") else 0


def test_loop_that_goes_to_another_thread(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Set up here, run for ever in a thread, and taken back."""
    loop = loops()
    conn = loop.run_until_complete(connected(dsn))
    heard: list[str] = []
    conn.add_notice_listener(lambda _, notice: heard.append(notice.message))
    for n in range(3):
        thread = Thread("", loop)
        assert thread.run(both_flights(conn, n)) == 2 * n + 1
        thread.run(conn.execute("do $$ begin raise notice 'here'; end $$"))
        with pytest.raises(QueryTimeout):
            thread.run(conn.fetchval("select pg_sleep(10)", timeout=0.05))
        thread.stop()
        assert loop.run_until_complete(both_flights(conn, n)) == 2 * n + 1
    assert heard == ["here"] * 3
    loop.run_until_complete(conn.close())


def test_end_noticed_by_a_loop_in_another_thread(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """An idle connection whose loop went to another thread, and whose server goes."""
    loop = loops()
    conn = loop.run_until_complete(connected(dsn))
    ended = threading.Event()
    conn.add_termination_listener(lambda _: ended.set())
    thread = Thread("", loop)
    killed = thread.run(_kill(dsn, conn.info.backend_pid))
    assert killed
    assert ended.wait(LIMIT_S)
    assert conn.closed
    thread.stop()


async def _kill(dsn: str, pid: int) -> bool:
    async with await connected(dsn) as other:
        killed = await other.fetchval("select pg_terminate_backend($1::int)", [pid])
        return bool(killed)


def test_two_threads_gather_on_one_connection(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Each task is woken in its own thread and loop, whoever has the connection when
    an earlier one of the same flight runs."""
    mine = [loops(), loops()]
    conn = mine[0].run_until_complete(connected(dsn))
    wrong: list[object] = []
    good = [0, 0]

    def main(at: int) -> None:
        ident = threading.get_ident()

        async def one(number: int) -> None:
            try:
                found = await conn.fetchval("select $1::int", [number])
            except InterfaceError as error:
                assert "busy" in str(error)
                return
            if found != number or threading.get_ident() != ident:
                wrong.append((number, found))
            if asyncio.get_running_loop() is not mine[at]:
                wrong.append(asyncio.get_running_loop())
            good[at] += 1

        async def many() -> None:
            number = at * 1_000_000
            for _ in range(200):
                await asyncio.gather(*(one(number + n) for n in range(10)))
                number += 10
                await asyncio.sleep(0)

        try:
            mine[at].run_until_complete(asyncio.wait_for(many(), LIMIT_S))
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=main, args=(at,)) for at in (0, 1)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert sum(good) > 0
    conn.terminate()


def test_old_loop_ends_before_it_has_let_go(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop], kind: str
) -> None:
    """It was asked to close the descriptor that it watches, and was closed instead."""
    here, old = loops(), new_loop(kind)
    old.run_until_complete(asyncio.sleep(0))
    conn = old.run_until_complete(connected(dsn))
    held, moved = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        moved.wait(LIMIT_S)
        old.stop()

    old.call_soon(hold)
    thread = threading.Thread(target=old.run_forever)
    thread.start()
    assert held.wait(LIMIT_S)
    before = doubled_sockets()
    assert here.run_until_complete(both_flights(conn, 1)) == 3
    moved.set()
    thread.join()
    old.close()
    assert doubled_sockets() == before
    here.run_until_complete(conn.close())


def doubled_sockets() -> int:
    """How many sockets have more than one descriptor in this process."""
    links: list[str] = []
    for entry in os.listdir("/proc/self/fd") if os.path.exists("/proc/self") else ():
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{entry}"))
    return sum(links.count(link) > 1 for link in {*links} if link.startswith("socket:"))


def test_cancel_from_another_thread(dsn: str, threads: Any) -> None:
    thread = threads()
    conn = thread.run(connected(dsn))
    sleeping = asyncio.run_coroutine_threadsafe(
        conn.fetchval("select pg_sleep(20)"), thread.loop
    )
    while not conn._core.pending:
        time.sleep(0.001)
    time.sleep(0.05)  # the server has begun
    conn.cancel()
    with pytest.raises(QueryCanceled):
        sleeping.result(LIMIT_S)
    thread.run(conn.close())
    conn.cancel()


def test_terminate_in_another_thread_while_the_loop_is_stopped(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    loop = loops()
    conn = loop.run_until_complete(connected(dsn))
    ended: list[pgasync.Connection] = []
    conn.add_termination_listener(ended.append)
    files = open_files()
    worker = threading.Thread(target=conn.terminate)
    worker.start()
    worker.join()
    assert conn.closed
    assert open_files() in (files - 1, 0)
    loop.run_until_complete(asyncio.sleep(0))
    assert ended == [conn]


def test_listeners_hear_of_an_end_in_another_loop(
    dsn: str, loops: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    first, second = loops(), loops()
    conn = first.run_until_complete(connected(dsn))
    ended: list[pgasync.Connection] = []
    conn.add_termination_listener(ended.append)
    task = first.create_task(conn.fetchval("select pg_sleep(10)"))
    first.run_until_complete(asyncio.sleep(0.05))
    first.close()

    async def look() -> None:
        with pytest.raises(ConnectionLost, match="loop was closed"):
            await conn.fetchval("select 1")
        await asyncio.sleep(0)

    second.run_until_complete(look())
    assert ended == [conn]
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_nothing_is_left(dsn: str, threads: Any) -> None:
    thread = threads()
    here = asyncio.new_event_loop()

    def once() -> None:
        conn = thread.run(connected(dsn))
        for _ in range(3):
            here.run_until_complete(both_flights(conn, 1))
            thread.run(both_flights(conn, 1))
        here.run_until_complete(conn.close())
        thread.run(asyncio.sleep(0.01))

    once()
    gc.collect()
    files, objects = open_files(), _core.live_objects()
    for _ in range(5):
        once()
    gc.collect()
    assert open_files() == files
    assert _core.live_objects() == objects
    here.close()
