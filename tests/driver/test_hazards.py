"""The hazards of living on an event loop: what must not happen with descriptors,
callbacks, tasks, threads, signals and forks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pgmock import (
    BYTEA,
    Answer,
    MockServer,
    Peer,
    complete,
    data_row,
    int4,
    message,
    serve,
)

LIMIT_S = 5.0
FD_FOLDER = Path("/proc/self/fd")
needs_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="needs Python 3.11")
needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run_script(
    text: str, *arguments: str, flags: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own; its output must say "done"."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(text), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done" in done.stdout, done.stdout + done.stderr
    return done


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def loop_kind() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


# What scripts begin with: `run(main())` on the loop the caller names.
PRELUDE = """
import asyncio, os, sys, gc, time
import pgasync

dsn, kind = sys.argv[1:3]


def run(main):
    if kind == "uvloop":
        import uvloop
        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
"""


# --- descriptors -------------------------------------------------------------


async def test_descriptor_reuse(connect: Callable[..., Any]) -> None:
    """A connection that gets the number of one just closed works: the loop has
    forgotten the old one."""
    for how in ("close", "terminate", "server") * 10:
        conn = await connect(autocommit=True)
        assert await conn.fetchval("select 1") == 1
        if how == "close":
            await conn.close()
        elif how == "terminate":
            conn.terminate()
        else:
            with pytest.raises(pgasync.OperationalError):
                await conn.execute("select pg_terminate_backend(pg_backend_pid())")
        # Without a turn of the loop between: the same number comes at once.
        other = await connect(autocommit=True)
        assert await asyncio.wait_for(other.fetchval("select 2"), LIMIT_S) == 2
        other.terminate()


async def test_terminate_with_bytes_waiting(connect: Callable[..., Any]) -> None:
    """Both descriptors are ready in one turn of the loop; what the first one's
    callback does closes the second, whose callback may come nevertheless."""
    first, second = [await connect(autocommit=True) for _ in range(2)]

    async def killer() -> None:
        await first.fetchval("select 1 from pg_sleep(0.05)")
        second.terminate()

    async def victim() -> None:
        with pytest.raises(pgasync.Error):
            await second.fetchval("select 2 from pg_sleep(0.05)")

    def block() -> None:
        time.sleep(0.15)  # both answers arrive meanwhile

    tasks = [asyncio.ensure_future(killer())]
    victim_task = asyncio.ensure_future(victim())
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_soon(block)
    await asyncio.gather(*tasks)
    # Either its answer was read first, or it was terminated; never a hang.
    await asyncio.wait({victim_task}, timeout=LIMIT_S)
    assert victim_task.done()
    victim_task.exception()
    assert await first.fetchval("select 3") == 3


async def test_close_twice_and_together(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    await asyncio.gather(conn.close(), conn.close(), conn.close())
    await conn.close()
    conn.terminate()
    assert conn.closed


async def test_close_ends_those_who_wait(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    waiting = [asyncio.ensure_future(conn.execute("select pg_sleep(30)"))]
    waiting += [asyncio.ensure_future(conn.fetchval("select 1")) for _ in range(3)]
    await asyncio.sleep(0.05)
    conn.terminate()
    assert conn.closed
    done, left = await asyncio.wait(waiting, timeout=LIMIT_S)
    assert not left
    for task in done:
        assert isinstance(task.exception(), pgasync.Error)


# --- callbacks ---------------------------------------------------------------


async def test_no_exception_leaves_the_reader(connect: Callable[..., Any]) -> None:
    """Whatever a listener, a decoder or the peer does, the loop's handler of
    exceptions sees at most the listener's own error, and only once."""
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=message(b"!", b"junk"))})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        with pytest.raises(pgasync.OperationalError):
            await conn.fetchval("select v")
        await asyncio.sleep(0.05)
        await conn.close()
    assert seen == []

    conn = await connect(autocommit=True)
    conn.add_notice_listener(lambda *args: 1 / 0)
    await conn.execute("do $$ begin raise notice 'hear'; end $$")
    assert await conn.fetchval("select 1") == 1
    await asyncio.sleep(0.05)
    assert len(seen) == 1
    assert isinstance(seen[0]["exception"], ZeroDivisionError)
    loop.set_exception_handler(None)


async def test_listener_closes_the_connection(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    conn.add_notice_listener(lambda *args: conn.terminate())
    raising = "do $$ begin raise notice 'hear'; perform pg_sleep(0.1); end $$"
    with pytest.raises(pgasync.Error):
        await asyncio.wait_for(conn.execute(raising), LIMIT_S)
        await conn.fetchval("select 1")
    assert conn.closed


@pytest.mark.parametrize("rows", [1, 1000])
async def test_decoder_closes_the_connection(
    connect: Callable[..., Any], rows: int
) -> None:
    """json.loads that closes the connection it decodes for."""
    conn = await connect(autocommit=True)

    def loads(text: Any) -> Any:
        conn.terminate()
        return text

    conn._core.configure({"json_loads": loads})
    sql = f"select '[1]'::jsonb from generate_series(1, {rows})"
    with contextlib.suppress(pgasync.Error):
        await asyncio.wait_for(conn.fetch(sql), LIMIT_S)
    assert conn.closed
    gc.collect()


async def test_decoder_uses_the_connection(connect: Callable[..., Any]) -> None:
    """json.loads that starts a request on the connection it decodes for."""
    conn = await connect(autocommit=True)
    tasks: list[asyncio.Future[Any]] = []

    def loads(text: Any) -> Any:
        tasks.append(asyncio.ensure_future(conn.fetchval("select 2")))
        return 1

    conn._core.configure({"json_loads": loads})
    rows = await conn.fetch("select '[1]'::jsonb from generate_series(1, 20)")
    assert [row[0] for row in rows] == [1] * 20
    assert await asyncio.gather(*tasks) == [2] * 20


async def test_decoder_raises(connect: Callable[..., Any]) -> None:
    """The decoder's own error is the cause; the connection stays usable."""
    conn = await connect(autocommit=True)

    def loads(text: Any) -> Any:
        raise ValueError("not today")

    conn._core.configure({"json_loads": loads})
    with pytest.raises(pgasync.DataError) as caught:
        await conn.fetch("select '[1]'::jsonb from generate_series(1, 20)")
    assert "not today" in list(map(str, causes(caught.value)))
    assert await conn.fetchval("select 3") == 3


async def test_encoder_uses_the_connection(connect: Callable[..., Any]) -> None:
    """json.dumps that starts requests, closes, or raises, inside an execute."""
    conn = await connect(autocommit=True)
    begun: list[asyncio.Future[Any]] = []

    def dumps(value: dict[str, str]) -> str:
        if value["do"] == "start":
            begun.append(asyncio.ensure_future(conn.fetchval("select 4")))
        elif value["do"] == "close":
            conn.terminate()
        elif value["do"] == "raise":
            raise ValueError("not today")
        return "1"

    conn._core.configure({"json_dumps": dumps})
    assert await conn.fetchval("select $1::jsonb", [{"do": "start"}]) == 1
    assert await asyncio.gather(*begun) == [4] * len(begun)
    with pytest.raises(pgasync.DataError) as caught:
        await conn.fetchval("select $1::jsonb", [{"do": "raise"}])
    assert "not today" in list(map(str, causes(caught.value)))
    assert await conn.fetchval("select $1::jsonb", [{"do": "ok"}]) == 1
    with pytest.raises(pgasync.Error):
        query = conn.fetchval("select $1::jsonb", [{"do": "close"}])
        await asyncio.wait_for(query, LIMIT_S)
        await conn.fetchval("select 1")
    assert conn.closed


# --- the awaitable -----------------------------------------------------------


async def test_future_contract(conn: Any) -> None:
    """What asyncio.Task and asyncio.isfuture ask of what a coroutine yields."""
    op = conn._core.execute("select 1", None)
    assert asyncio.isfuture(op)
    assert op.get_loop() is asyncio.get_running_loop()
    assert not op.done()
    assert await op is op
    assert op.done()
    assert op.result() is op
    assert op.exception() is None
    assert not op.cancel()


async def test_result_may_be_anything(conn: Any) -> None:
    """A tuple as the result, which StopIteration would unpack."""
    for named in (False, True):
        op = conn._core.execute("select 1, 2", None, 2, named)

        async def wait(op: Any = op) -> Any:
            return await op

        assert tuple(await wait()) == (1, 2)


async def test_operation_has_one_waiter(conn: Any) -> None:
    op = conn._core.execute("select 1 from pg_sleep(0.1)", None)

    async def wait() -> Any:
        return await op

    first, second = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
    with pytest.raises(RuntimeError):
        await second
    assert await first is op


async def test_never_awaited(conn: Any) -> None:
    """A request whose operation is dropped is answered nevertheless."""
    for _ in range(10):
        conn._core.execute("select 1", None)
    gc.collect()
    assert await conn.fetchval("select 2") == 2


@needs_311
async def test_task_group(conn: Any) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(conn.fetchval("select $1::int", [n])) for n in range(9)
        ]
    assert [task.result() for task in tasks] == list(range(9))


@needs_311
async def test_task_group_cancels_the_others(conn: Any) -> None:
    with pytest.raises(BaseException) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(conn.execute("select pg_sleep(30)"))
            await asyncio.sleep(0.05)
            raise KeyError("stop")
    assert isinstance(caught.value.exceptions[0], KeyError)  # type: ignore[attr-defined]
    assert await conn.fetchval("select 1") == 1


@needs_312
async def test_eager_tasks(connect: Callable[..., Any]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        try:
            await asyncio.create_task(asyncio.sleep(0))
        except TypeError:
            pytest.skip("this loop and this Python disagree on eager tasks")
        conn = await connect(autocommit=True)
        tasks = [
            asyncio.create_task(conn.fetchval("select $1::int", [n])) for n in range(50)
        ]
        assert await asyncio.gather(*tasks) == list(range(50))

        async def nested(depth: int) -> int:
            if depth:
                await asyncio.create_task(nested(depth - 1))
            return int(await conn.fetchval("select $1::int", [depth]))

        assert await asyncio.create_task(nested(20)) == 20
        sleeping = asyncio.create_task(conn.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.02)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert await conn.fetchval("select 1") == 1
    finally:
        loop.set_task_factory(None)


async def test_shield(conn: Any) -> None:
    """A shielded query goes on when its waiter is cancelled."""
    inner = asyncio.ensure_future(conn.fetchval("select 5 from pg_sleep(0.1)"))

    async def outer() -> Any:
        return await asyncio.shield(inner)

    task = asyncio.ensure_future(outer())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await inner == 5


async def test_gather_wait_for_as_completed(conn: Any) -> None:
    queries = [conn.fetchval("select $1::int", [n]) for n in range(10)]
    assert await asyncio.gather(*queries) == list(range(10))
    assert await asyncio.wait_for(conn.fetchval("select 11"), LIMIT_S) == 11
    soon = [asyncio.ensure_future(conn.fetchval("select $1::int", [n])) for n in (1, 2)]
    assert {await each for each in asyncio.as_completed(soon)} == {1, 2}


async def test_context_variables(conn: Any) -> None:
    """A task goes on in its own context after each await."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def work(n: int) -> None:
        variable.set(n)
        for _ in range(20):
            assert await conn.fetchval("select $1::int", [n]) == n
            assert variable.get() == n

    variable.set(-1)
    await asyncio.gather(*(work(n) for n in range(10)))
    assert variable.get() == -1


async def test_current_task(conn: Any) -> None:
    """After a direct wake the loop knows which task runs."""
    me = asyncio.current_task()
    for _ in range(20):
        await conn.fetchval("select 1")
        assert asyncio.current_task() is me

    async def child() -> None:
        task = asyncio.current_task()
        await conn.fetchval("select 1")
        assert asyncio.current_task() is task

    await asyncio.gather(*(child() for _ in range(10)))


# --- loops and threads -------------------------------------------------------


async def test_two_tasks_on_one_connection(conn: Any) -> None:
    """Each gets its own; nobody sees the other's rows."""

    async def work(token: int) -> None:
        for n in range(100):
            rows = await conn.fetch("select $1::int, $2::int", [token, n])
            assert [tuple(row) for row in rows] == [(token, n)]

    await asyncio.gather(*(work(token) for token in range(5)))


async def test_terminate_from_another_thread(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    waiting = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.05)
    thread = threading.Thread(target=conn.terminate)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.01)
    with pytest.raises(pgasync.Error):
        await asyncio.wait_for(waiting, LIMIT_S)
    assert conn.closed


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_loop_closed(dsn: str, kind: str) -> None:
    """A connection left open when its loop is closed: a ResourceWarning and a
    closed descriptor, no call of the dead loop."""
    script = (
        PRELUDE
        + """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("always", category=ResourceWarning, message=".*pgasync.*")


def sockets():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    return [link for link in found if link.startswith("socket:")]


async def main():
    conn = await pgasync.connect(dsn, autocommit=True)
    await conn.fetchval("select 1")
    return conn

conn = run(main())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    del conn
    gc.collect()
kinds = [warning.category for warning in caught]
assert kinds.count(ResourceWarning) >= 1, kinds
assert not sockets(), sockets()
print("done")
"""
    )
    run_script(script, dsn, kind)


@pytest.mark.no_leak_check
async def test_dropped_without_close(dsn: str) -> None:
    conn = await pgasync.connect(dsn, autocommit=True)
    before = len(os.listdir(FD_FOLDER)) if FD_FOLDER.is_dir() else 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del conn
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()
    assert ResourceWarning in [warning.category for warning in caught]
    if FD_FOLDER.is_dir():
        assert len(os.listdir(FD_FOLDER)) == before - 1


# --- fairness ----------------------------------------------------------------


class Metronome:
    """A timer of 10 ms that notes how late it is at worst."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.ticks = 0

    async def run(self) -> None:
        while True:
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            self.worst = max(self.worst, time.perf_counter() - due)
            self.ticks += 1


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_huge_result_starves_nobody(conn: Any) -> None:
    """A timer beside a result of about 100 MB stays within a bound."""
    sql = "select repeat('x', 1000), n from generate_series(1, 100000) n"
    metronome = Metronome()
    task = asyncio.ensure_future(metronome.run())
    await asyncio.sleep(0.05)
    gc.disable()  # what is measured is the driver, not a collection of 10^5 rows
    try:
        rows = await conn.fetch(sql)
    finally:
        gc.enable()
    await stopped(task)
    assert len(rows) == 100_000
    assert metronome.ticks > 5
    assert metronome.worst < 0.1


async def test_endless_result_starves_nobody() -> None:
    """The peer never stops sending; timers run, and the timeout ends it."""
    row = data_row(int4(1)) * 1000

    def endless(peer: Peer) -> None:
        while True:
            peer.send(row)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"endless": Answer(execute=endless)})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True, cancel_timeout=0.5)
        metronome = Metronome()
        task = asyncio.ensure_future(metronome.run())
        started = time.monotonic()
        with pytest.raises(pgasync.QueryTimeout):
            await conn.fetch("select 1 /* endless */", timeout=0.3)
        assert time.monotonic() - started < 2
        with pytest.raises(pgasync.OperationalError):  # it will not stop: closed
            await conn.fetchval("select 2")
        assert time.monotonic() - started < 4
        assert conn.closed
        await stopped(task)
        assert metronome.worst < 0.5
        await conn.close()


async def test_small_beside_huge(connect: Callable[..., Any]) -> None:
    """A hundred small queries on one connection while another reads a lot."""
    huge, small = [await connect(autocommit=True) for _ in range(2)]
    sql = "select repeat('x', 1000) from generate_series(1, 50000)"
    task = asyncio.ensure_future(huge.fetch(sql))
    for n in range(100):
        assert await small.fetchval("select $1::int", [n]) == n
    assert len(await task) == 50_000


# --- writing -----------------------------------------------------------------


async def test_parameters_larger_than_the_socket(conn: Any) -> None:
    """Both sides have more to say than the socket's buffers hold: the client goes
    on reading while it cannot write."""
    big = b"x" * 4_000_000
    values = [
        conn.fetchval("select length($1::bytea) + $2::int", [big, n]) for n in range(5)
    ]
    echoes = [conn.fetchval("select $1::bytea", [big]) for _ in range(5)]
    outcome = await asyncio.wait_for(asyncio.gather(*values, *echoes), 30)
    assert outcome[:5] == [4_000_000 + n for n in range(5)]
    assert all(echo == big for echo in outcome[5:])


async def test_writes_while_the_peer_writes() -> None:
    """A peer that reads nothing before it has sent all of a large answer, while
    the client has as much to send."""
    blob = b"y" * 8_000_000
    rows = 300_000

    def script(peer: Peer) -> None:
        peer.startup()
        answer = data_row(int4(1)) * rows + complete(f"SELECT {rows}")
        five = Answer(parameters=(BYTEA,), rows=(data_row(int4(5)),))
        serve(peer, {"large": Answer(execute=answer), "five": five})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        await conn.fetchval("five", [b""])  # prepared from here on
        await conn.fetchval("large")
        large = asyncio.ensure_future(conn.fetch("large"))
        behind = [asyncio.ensure_future(conn.fetchval("five", [blob])) for _ in "ab"]
        assert len(await asyncio.wait_for(large, 30)) == rows
        assert await asyncio.wait_for(asyncio.gather(*behind), 30) == [5, 5]
        await conn.close()
    assert not server.failures


# --- signals, forks, modes ---------------------------------------------------


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_keyboard_interrupt(dsn: str, kind: str) -> None:
    """Ctrl-C during a query ends the program as it ends any other, and the
    server-side query does not survive it."""
    script = (
        PRELUDE
        + """
import signal, threading


async def main():
    global conn
    conn = await pgasync.connect(dsn, autocommit=True)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    await conn.execute("select pg_sleep(30)")

started = time.monotonic()
try:
    run(main())
except KeyboardInterrupt:
    assert time.monotonic() - started < 5
    conn.terminate()
    print("done")
"""
    )
    run_script(script, dsn, kind)


@needs_311
def test_keyboard_interrupt_in_runner(dsn: str) -> None:
    """asyncio.Runner turns Ctrl-C into a cancel of the main task."""
    script = (
        PRELUDE
        + """
import signal, threading


async def main():
    async with pgasync.connect(dsn, autocommit=True) as conn:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await conn.execute("select pg_sleep(30)")
        except asyncio.CancelledError:
            assert await conn.fetchval("select 1") == 1
            raise

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("done")
"""
    )
    run_script(script, dsn, "asyncio")


async def test_signals_interrupt_nothing(conn: Any) -> None:
    """System calls broken off by a signal are done again."""
    fired = 0

    def count(*args: object) -> None:
        nonlocal fired
        fired += 1

    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for n in range(500):
            assert await conn.fetchval("select $1::int", [n]) == n
        rows = await conn.fetch(
            "select repeat('x', 1000) from generate_series(1, 20000)"
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(rows) == 20_000
    assert fired > 5


@needs_fork
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_fork(dsn: str, kind: str) -> None:
    """In a forked child the connection cannot be used; its end there sends
    nothing, and the parent goes on."""
    script = (
        PRELUDE
        + """
import warnings
warnings.simplefilter("ignore")  # forking beside threads is what this is about


def child(conn, how):
    if how == "use":
        async def use():
            await conn.fetchval("select 1")
        try:
            use().send(None)
        except pgasync.InterfaceError:
            os._exit(0)
        except BaseException as exc:
            print(repr(exc), file=sys.stderr)
        os._exit(1)
    if how == "terminate":
        conn.terminate()
        os._exit(0)
    if how == "collect":
        del conn
        gc.collect()
        os._exit(0)
    sys.exit(0)


async def main():
    conn = await pgasync.connect(dsn, autocommit=True)
    pid = conn.info.backend_pid
    for how in ("use", "terminate", "collect"):
        child_pid = os.fork()
        if child_pid == 0:
            child(conn, how)
        status = os.waitpid(child_pid, 0)[1]
        assert status == 0, (how, status)
        # The server has heard nothing, and the loop still watches the socket.
        result = await asyncio.wait_for(conn.fetchval("select pg_backend_pid()"), 5)
        assert result == pid, how
    query = asyncio.ensure_future(conn.fetchval("select 7 from pg_sleep(0.2)"))
    await asyncio.sleep(0.05)
    child_pid = os.fork()
    if child_pid == 0:
        child(conn, "terminate")
    os.waitpid(child_pid, 0)
    assert await asyncio.wait_for(query, 5) == 7
    await conn.close()

run(main())
print("done")
"""
    )
    run_script(script, dsn, kind)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_debug_mode(dsn: str, kind: str) -> None:
    """Development mode with every warning an error: a whole small program."""
    script = (
        PRELUDE
        + """

async def main():
    async with pgasync.connect(dsn) as conn:
        cur = await conn.execute("select n from generate_series(1, 5) n")
        assert [row[0] for row in await cur.fetchall()] == [1, 2, 3, 4, 5]
        task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.05)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        await conn.rollback()
        try:
            await conn.execute("select 1/0")
        except pgasync.DataError:
            await conn.rollback()
        many = [conn.fetchval("select $1::int", [n]) for n in range(100)]
        assert await asyncio.gather(*many) == list(range(100))
    conn = await pgasync.connect(dsn)
    conn.terminate()

run(main())
gc.collect()
print("done")
"""
    )
    flags = ("-X", "dev", "-W", "error", "-W", "default::DeprecationWarning")
    done = run_script(script, dsn, kind, flags=flags, PYTHONASYNCIODEBUG="1")
    noise = [line for line in done.stderr.splitlines() if "took" not in line]
    assert noise == []


async def test_loop_is_the_one_asked_for(conn: Any) -> None:
    """The suite really runs on both loops."""
    assert loop_kind() in ("asyncio", "uvloop")
    assert conn._core.loop is asyncio.get_running_loop()
