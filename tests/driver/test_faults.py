"""Servers that die, refuse or answer late, and networks that break: the error
says what is known about the statement, and only this connection is affected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgasync import errors
from pgmock import (
    Answer,
    MockServer,
    Peer,
    Proxy,
    complete,
    data_row,
    error,
    int4,
    notice,
    ready,
    serve,
)
from servers import Server

LIMIT_S = 5.0
DETECT_S = 1.0  # a crash on the same host is noticed within


@pytest.fixture
def victim() -> Iterator[Server]:
    """A server of its own, to be killed."""
    with Server(18) as started:
        yield started


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    """In front of the suite's server; connect to `through(proxy)`."""
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    with Proxy(str(server.socket_dir), server.port) as started:
        yield started


def through(proxy: Proxy) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"


async def failing(task: asyncio.Future[Any]) -> Any:
    """The error that ends the task, which must come soon."""
    done, _ = await asyncio.wait({task}, timeout=LIMIT_S)
    assert done, "hangs"
    caught = task.exception()
    assert isinstance(caught, pgasync.Error), caught
    return caught


async def become_closed(conn: Any) -> None:
    deadline = time.monotonic() + DETECT_S
    while not conn.closed:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# --- the server dies ---------------------------------------------------------


async def test_server_killed(connect: Callable[..., Any], victim: Server) -> None:
    """kill -9 of everything in mid query."""
    other = await connect(autocommit=True)
    conn = await pgasync.connect(victim.dsn, autocommit=True)
    idle = await pgasync.connect(victim.dsn, autocommit=True)
    running = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    queued = asyncio.ensure_future(conn.fetchval("select 1"))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await asyncio.get_running_loop().run_in_executor(None, victim.kill)
    # Of the one behind it only Parse was sent.
    for task, outcome in ((running, "in_doubt"), (queued, "not_sent")):
        lost = await failing(task)
        assert isinstance(lost, errors.ConnectionLost)
        assert isinstance(lost, pgasync.OperationalError)
        assert lost.outcome == outcome
        assert lost.safe_to_retry == (outcome == "not_sent")
    assert time.monotonic() - started < DETECT_S + 1
    await become_closed(conn)
    await become_closed(idle)
    for dead in (conn, idle):
        with pytest.raises(pgasync.Error) as caught:
            await dead.fetchval("select 1")
        assert caught.value.outcome in (None, "not_sent")
        await dead.close()
    assert await other.fetchval("select 2") == 2


async def test_backend_killed(conn: Any, connect: Callable[..., Any]) -> None:
    """One backend crashes: PostgreSQL restarts, everybody is told 57P02 or cut
    off. Done to a mock, not to the suite's server."""

    def script(peer: Peer) -> None:
        peer.startup()
        last_words = error("57P02", "terminating because of a crash", "WARNING")
        goodbye = b"N" + last_words[1:]

        def die(peer: Peer) -> None:
            peer.send(goodbye)
            peer.reset()

        serve(peer, {"select v": Answer(execute=die)})

    with MockServer(script) as server:
        other = await pgasync.connect(server.dsn, autocommit=True)
        caught = await failing(asyncio.ensure_future(other.fetch("select v")))
        assert isinstance(caught, errors.ConnectionLost)
        assert other.closed
        await other.close()
    assert await conn.fetchval("select 1") == 1


@pytest.mark.parametrize("busy", [False, True])
async def test_terminate_backend(
    connect: Callable[..., Any], conn: Any, busy: bool
) -> None:
    """The FATAL is kept and shown: by the query that runs, else by the next."""
    other = await connect(autocommit=True)
    ended: list[Any] = []
    other.add_termination_listener(ended.append)
    pid = other.info.backend_pid
    task = None
    if busy:
        task = asyncio.ensure_future(other.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.05)
    await conn.execute("select pg_terminate_backend($1)", [pid])
    if task is not None:
        caught = await failing(task)
        assert isinstance(caught, pgasync.OperationalError)
        assert caught.sqlstate == "57P01"
        assert caught.outcome in ("failed", "in_doubt")
        assert "terminating connection" in str(caught)
    await become_closed(other)
    with pytest.raises(pgasync.Error) as later:
        await other.fetchval("select 1")
    seen = (later.value, later.value.__cause__, later.value.__context__)
    assert "57P01" in [getattr(each, "sqlstate", None) for each in seen]
    await asyncio.sleep(0)
    assert ended == [other]
    assert await conn.fetchval("select 2") == 2


async def test_fast_shutdown(victim: Server) -> None:
    conn = await pgasync.connect(victim.dsn, autocommit=True)
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.1)
    os.kill(victim.pid, signal.SIGINT)
    caught = await failing(task)
    assert caught.sqlstate == "57P01"
    assert conn.closed
    await conn.close()


async def test_restart(victim: Server) -> None:
    """After a restart a new connection works; the old one says why it does not."""
    conn = await pgasync.connect(victim.dsn, autocommit=True)
    await asyncio.get_running_loop().run_in_executor(None, victim.restart)
    await become_closed(conn)
    with pytest.raises(pgasync.Error):
        await conn.fetchval("select 1")
    await conn.close()
    async with pgasync.connect(victim.dsn, autocommit=True) as again:
        assert await again.fetchval("select 2") == 2


# --- transactions ------------------------------------------------------------


async def test_commit_answered_by_rollback(connect: Callable[..., Any]) -> None:
    conn = await connect()
    await conn.execute("create temporary table t (n int)")
    await conn.execute("insert into t values (1)")
    with pytest.raises(pgasync.DataError):
        await conn.execute("select 1/0")
    with pytest.raises(pgasync.TransactionRolledBack) as caught:
        await conn.commit()
    assert caught.value.outcome == "failed"
    assert isinstance(caught.value, pgasync.OperationalError)
    assert conn.info.transaction_status == "I"
    assert await conn.fetchval("select 1") == 1
    await conn.rollback()


async def test_commit_answered_by_rollback_in_a_block(
    connect: Callable[..., Any],
) -> None:
    conn = await connect(autocommit=True)
    with pytest.raises(pgasync.TransactionRolledBack):
        async with conn.transaction():
            with contextlib.suppress(pgasync.DataError):
                await conn.execute("select 1/0")
    assert await conn.fetchval("select 1") == 1


DEFERRED = """
    create temporary table parent (n int primary key);
    create temporary table child (n int references parent deferrable
        initially deferred)
"""


async def test_error_after_the_result(conn: Any) -> None:
    """A deferred constraint fails when Sync commits: after CommandComplete."""
    for statement in DEFERRED.split(";"):
        await conn.execute(statement)
    for _ in range(3):
        with pytest.raises(pgasync.IntegrityError) as caught:
            await conn.execute("insert into child values (1)")
        assert caught.value.sqlstate == "23503"
        assert caught.value.outcome == "failed"
    assert await conn.fetchval("select count(*) from child") == 0


async def test_deferred_constraint_at_commit(connect: Callable[..., Any]) -> None:
    conn = await connect()
    for statement in DEFERRED.split(";"):
        await conn.execute(statement)
    await conn.commit()
    await conn.execute("insert into child values (1)")
    with pytest.raises(pgasync.IntegrityError):
        await conn.commit()
    assert conn.info.transaction_status == "I"
    assert await conn.fetchval("select count(*) from child") == 0
    await conn.rollback()


async def test_lost_while_committing(proxy: Proxy) -> None:
    """Nobody knows whether it was done, and the error says so."""
    conn = await pgasync.connect(through(proxy))
    await conn.execute("create temporary table t (n int)")
    proxy.stall()
    task = asyncio.ensure_future(conn.commit())
    await asyncio.sleep(0.05)
    proxy.cut()
    proxy.resume()
    caught = await failing(task)
    assert isinstance(caught, errors.ConnectionLost)
    assert caught.outcome == "in_doubt"
    await conn.close()


# --- refusals ----------------------------------------------------------------


async def test_too_many_connections() -> None:
    def script(peer: Peer) -> None:
        peer.read_startup()
        peer.send(error("53300", "sorry, too many clients already", "FATAL"))

    with MockServer(script) as server:
        with pytest.raises(pgasync.OperationalError) as caught:
            await pgasync.connect(server.dsn)
        assert caught.value.sqlstate == "53300"
        assert "too many clients" in str(caught.value)


async def test_starting_up() -> None:
    def script(peer: Peer) -> None:
        peer.read_startup()
        peer.send(error("57P03", "the database system is starting up", "FATAL"))

    with MockServer(script) as server:
        with pytest.raises(pgasync.OperationalError) as caught:
            await pgasync.connect(server.dsn)
        assert caught.value.sqlstate == "57P03"


async def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(errors.ConnectError) as caught:
        await pgasync.connect(f"postgresql://u@127.0.0.1:{port}/d")
    assert isinstance(caught.value.__cause__, OSError)


async def test_statement_timeout(conn: Any) -> None:
    await conn.execute("set statement_timeout = '50ms'")
    with pytest.raises(pgasync.OperationalError) as caught:
        await conn.execute("select pg_sleep(30)")
    assert caught.value.sqlstate == "57014"
    assert caught.value.outcome == "failed"
    assert await conn.fetchval("select 1") == 1


async def test_errors_pickle(conn: Any) -> None:
    with pytest.raises(pgasync.Error) as caught:
        await conn.execute("select nothing from nowhere")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert (again.sqlstate, str(again)) == (caught.value.sqlstate, str(caught.value))


@pytest.mark.parametrize("sql", ["copy t from stdin", "copy t to stdout"])
async def test_copy_without_the_copy_methods(conn: Any, sql: str) -> None:
    """COPY through execute() is refused, not waited for."""
    await conn.execute("create temporary table t (n int)")
    await conn.execute("insert into t values (1)")
    with pytest.raises(pgasync.Error):
        await asyncio.wait_for(conn.execute(sql), LIMIT_S)
    if not conn.closed:
        assert await asyncio.wait_for(conn.fetchval("select n from t"), LIMIT_S) == 1


# --- the network -------------------------------------------------------------


async def test_one_byte_at_a_time(proxy: Proxy) -> None:
    """Split everywhere, in both directions, startup included."""
    proxy.chunk = 1
    conn = await pgasync.connect(through(proxy), autocommit=True)
    for n in range(5):
        row = await conn.fetchrow("select $1::int, 'a' || $2, null", [n, "b"])
        assert tuple(row) == (n, "ab", None)
    rows = await conn.fetch("select n, n::text from generate_series(1, 100) n")
    assert [tuple(row) for row in rows] == [(n, str(n)) for n in range(1, 101)]
    with pytest.raises(pgasync.DataError):
        await conn.execute("select 1/0")
    both = await asyncio.gather(conn.fetchval("select 1"), conn.fetchval("select 2"))
    assert both == [1, 2]
    await conn.close()


async def test_odd_chunks(proxy: Proxy) -> None:
    for chunk in (2, 3, 5, 7, 1000):
        proxy.chunk = chunk
        async with pgasync.connect(through(proxy), autocommit=True) as conn:
            rows = await conn.fetch("select n, n::text from generate_series(1, 50) n")
            assert [tuple(row) for row in rows] == [(n, str(n)) for n in range(1, 51)]


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_cut_inside_rows(proxy: Proxy, how: str) -> None:
    conn = await pgasync.connect(through(proxy), autocommit=True)
    proxy.cut_how = how
    proxy.cut_after = proxy.down_bytes + 50_000
    sql = "select n, repeat('x', 100) from generate_series(1, 10000) n"
    caught = await failing(asyncio.ensure_future(conn.fetch(sql)))
    assert isinstance(caught, errors.ConnectionLost)
    assert caught.outcome == "in_doubt"
    if how == "rst":
        assert isinstance(caught.__cause__, (OSError, type(None)))
    assert conn.closed
    await conn.close()


async def test_cut_at_every_byte_of_the_startup(proxy: Proxy) -> None:
    """The connection breaks off anywhere in the startup: a clean error."""
    async with pgasync.connect(through(proxy)) as conn:
        await conn.rollback()
        total = proxy.down_bytes
    assert total > 100
    for cut in range(1, total, 37):
        proxy.down_bytes = 0
        proxy.chunk = 16
        proxy.cut_after = cut
        with pytest.raises(pgasync.OperationalError):
            conn = await pgasync.connect(through(proxy), connect_timeout=3)
            await conn.fetchval("select 1")


async def test_last_words_before_a_reset() -> None:
    """What lies in the socket is read before the loss is reported."""

    def say_and_reset(peer: Peer) -> None:
        peer.send(error("57P05", "idle timeout", "FATAL"))
        time.sleep(0.1)
        peer.reset()

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=say_and_reset)})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        caught = await failing(asyncio.ensure_future(conn.fetch("select v")))
        assert caught.sqlstate == "57P05"
        assert conn.closed
        await conn.close()


@pytest.mark.parametrize("sql", ["commit", "/* it */ COMMIT", "end"])
async def test_last_words_for_a_commit(sql: str) -> None:
    """A COMMIT that is a statement like others may have been done, too."""

    def say_and_leave(peer: Peer) -> None:
        peer.send(error("57P01", "terminating", "FATAL"))
        peer.close()

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {sql: Answer(columns=(), execute=say_and_leave)})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        caught = await failing(asyncio.ensure_future(conn.execute(sql)))
        assert caught.sqlstate == "57P01"
        assert caught.outcome == "in_doubt"
        await conn.close()


async def test_reset_behind_a_result() -> None:
    """An answer and an RST reach the socket together. Some loops report a broken
    socket only once; whoever comes next must not wait for ever."""

    def leave(peer: Peer) -> None:
        peer.send(data_row(int4(5)), complete("SELECT 1"))
        peer.expect(b"S")
        peer.send(ready())
        peer.reset()

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=leave)})

    with MockServer(script) as server:
        for _ in range(10):
            conn = await pgasync.connect(server.dsn, autocommit=True)
            statement = await conn.prepare("select v")
            task = asyncio.ensure_future(statement.fetchval())
            await asyncio.sleep(0)
            time.sleep(0.02)  # both arrive meanwhile
            assert await asyncio.wait_for(task, LIMIT_S) == 5
            lost = await failing(asyncio.ensure_future(conn.fetchval("select 1")))
            assert isinstance(lost, pgasync.OperationalError)
            assert conn.closed


async def test_reset_behind_a_notice() -> None:
    """The same while nothing was asked: the end is noticed without another use."""
    told = threading.Event()

    def script(peer: Peer) -> None:
        peer.startup()
        assert told.wait(LIMIT_S)
        peer.send(notice("good-bye"))
        peer.reset()

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        told.set()
        time.sleep(0.05)  # both arrive meanwhile
        for _ in range(100):
            if conn.closed:
                break
            await asyncio.sleep(0.01)
        assert conn.closed
        await conn.close()


async def test_large_result_before_a_reset() -> None:
    """More than one turn of the loop reads, then an RST."""

    def leave(peer: Peer) -> None:
        peer.send(data_row(b"x" * 1000) * 2000)
        time.sleep(0.1)
        peer.reset()

    def script(peer: Peer) -> None:
        peer.startup()
        answer = Answer(columns=(("v", 25),), execute=leave)
        serve(peer, {"select v": answer})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        task = asyncio.ensure_future(conn.fetch("select v"))
        await asyncio.sleep(0.02)
        time.sleep(0.3)
        lost = await failing(task)
        assert isinstance(lost, errors.ConnectionLost)
        assert conn.closed


async def test_result_before_the_end() -> None:
    """A whole answer followed by the end of the session is still an answer."""

    def script(peer: Peer) -> None:
        peer.startup()

        def leave(peer: Peer) -> None:
            peer.send(data_row(int4(5)), complete("SELECT 1"))
            peer.expect(b"S")
            peer.send(b"Z\0\0\0\x05I", error("57P01", "bye", "FATAL"))
            peer.close()

        serve(peer, {"select v": Answer(execute=leave)})

    with MockServer(script) as server:
        conn = await pgasync.connect(server.dsn, autocommit=True)
        assert await conn.fetchval("select v") == 5
        await become_closed(conn)
        with pytest.raises(pgasync.Error) as caught:
            await conn.fetchval("select 1")
        seen = (caught.value, caught.value.__cause__)
        assert "57P01" in [getattr(each, "sqlstate", None) for each in seen]
        await conn.close()


async def test_waiters_all_told(proxy: Proxy) -> None:
    """Every request in the queue ends when the connection does."""
    conn = await pgasync.connect(through(proxy), autocommit=True)
    tasks = [asyncio.ensure_future(conn.execute("select pg_sleep(30)"))]
    tasks += [asyncio.ensure_future(conn.fetchval("select 1")) for _ in range(50)]
    await asyncio.sleep(0.05)
    proxy.cut("rst")
    for task in tasks:
        assert isinstance(await failing(task), errors.ConnectionLost)
    await conn.close()


async def test_close_while_stalled(proxy: Proxy) -> None:
    """close() comes to an end when the network does not help."""
    conn = await pgasync.connect(through(proxy), autocommit=True, cancel_timeout=0.5)
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.05)
    proxy.stall()
    started = time.monotonic()
    await conn.close(timeout=0.5)
    assert time.monotonic() - started < 3
    assert conn.closed
    await failing(task)
    proxy.resume()


async def test_misuse_after_close(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    await conn.close()
    for use in (conn.fetch, conn.fetchrow, conn.fetchval, conn.execute, conn.prepare):
        with pytest.raises(pgasync.InterfaceError):
            await use("select 1")
    with pytest.raises(pgasync.InterfaceError):
        conn.cursor()
