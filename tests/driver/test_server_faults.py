"""Real servers that end sessions: by a crash, a shutdown, a command, a timeout, a
limit. Every kind meets a session in each of its phases; each statement ends in time
with an error that says what became of it and what the server said last."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest

import pgasync
from pgasync import errors
from pgmock import Proxy
from servers import Server, children_of

NOTICED_S = 2.0  # on the same host, with a busy machine
SERVICE_S = 30.0

TABLES = """
create table t (n int);
create table slow (n int);
create function sleep() returns trigger language plpgsql as
    'begin perform pg_sleep(60); return null; end';
create constraint trigger slow after insert on slow deferrable initially deferred
    for each row execute function sleep();
checkpoint; -- or kill -9 loses it: synchronous_commit is off
"""


@pytest.fixture(scope="module")
def victim() -> Iterator[Server]:
    """A server to be killed and started again."""
    with Server(18, settings={"restart_after_crash": "on"}) as server:
        server.psql(TABLES)
        yield server


async def away(call: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call)


# --- the phases --------------------------------------------------------------


async def executing(conn: Any) -> None:
    await conn.execute("select pg_sleep(60)")


async def streaming(conn: Any) -> None:
    """Rows have come, and more are to come."""
    await conn.fetch(
        "select repeat('x', 9000), pg_sleep(0.02) from generate_series(1, 9999)"
    )


async def many(conn: Any) -> None:
    await conn.executemany("select pg_sleep($1)", [[0.05]] * 1000)


async def script(conn: Any) -> None:
    await conn.execute("insert into t values (1); select pg_sleep(60); select 1")


async def writing(conn: Any) -> None:
    await conn.execute("insert into t select 1 from pg_sleep(60)")


async def in_a_transaction(conn: Any) -> None:
    """The next statement of an open transaction is the first to know."""
    async with conn.transaction():
        await conn.execute("insert into t values (1)")
        while not conn.closed:
            await asyncio.sleep(0.01)
        await conn.execute("insert into t values (2)")


async def committing(conn: Any) -> None:
    """The COMMIT is under way: its trigger sleeps."""
    async with conn.transaction():
        await conn.execute("insert into slow values (1)")


async def waiting_for_a_lock(conn: Any) -> None:
    async with conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(1)")
        await conn.execute("select pg_sleep(60)")


async def portal(conn: Any) -> None:
    async with conn.transaction():
        core = conn._core
        sql = "select n from generate_series(1, 100) n"
        opened = await core.open_portal("p", sql, None, 10, False)
        while not conn.closed:
            await asyncio.sleep(0.01)
        await core.fetch_portal("p", opened.statement, 10, False)


async def idle(conn: Any) -> None:
    while not conn.closed:
        await asyncio.sleep(0.01)
    await conn.execute("select 1")


async def timed_out(conn: Any) -> None:
    """The driver's own timeout is there for what the server does not end."""
    await conn.execute("select pg_sleep(60)", timeout=50)


class Phase(NamedTuple):
    work: Callable[[Any], Awaitable[None]]
    outcomes: set[str | None]  # where the server says nothing final


UNKNOWN, NOTHING = {"in_doubt", "failed"}, {"not_sent", None}

PHASES = {
    "executing": Phase(executing, UNKNOWN),
    "streaming": Phase(streaming, UNKNOWN),
    "executemany": Phase(many, UNKNOWN),
    "script": Phase(script, UNKNOWN),
    "writing": Phase(writing, UNKNOWN),
    "in a transaction": Phase(in_a_transaction, NOTHING),
    "committing": Phase(committing, {"in_doubt"}),
    # Who holds the lock may be ended first: the other goes on to what is not sent then.
    "waiting for a lock": Phase(waiting_for_a_lock, UNKNOWN | {"not_sent"}),
    "waiting for the lock": Phase(waiting_for_a_lock, UNKNOWN | {"not_sent"}),
    "portal": Phase(portal, NOTHING),
    "idle": Phase(idle, NOTHING),
    "with a timeout": Phase(timed_out, UNKNOWN),
}


async def lost(conn: Any, phase: Phase) -> tuple[Any, float]:
    """The error of a phase, and when it came."""
    try:
        with pytest.raises(pgasync.Error) as caught:
            await phase.work(conn)
        return caught.value, time.monotonic()
    finally:
        assert conn.closed
        await conn.close()


async def under_way(server: Server) -> None:
    """All phases but the idle one have begun."""
    sql = (
        "select count(*) || ' ' || count(*) filter (where query = 'COMMIT') "
        "from pg_stat_activity where application_name = 'faults' "
        "and (state = 'active' or state like 'idle in transaction%')"
    )
    deadline = time.monotonic() + SERVICE_S
    wanted = f"{len(PHASES) - 1} 1"
    while (await away(lambda: server.psql(sql))).strip() != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.15)


# --- what ends the server ----------------------------------------------------


def kill(server: Server) -> None:
    server.kill()


def crash_of_one(server: Server) -> None:
    """One backend is killed: the postmaster ends all others and recovers."""
    sql = "select pid from pg_stat_activity where query like '%pg_sleep(60)%'"
    pid = next(int(pid) for pid in server.psql(sql).split() if int(pid) != os.getpid())
    os.kill(pid, signal.SIGKILL)


def immediate_shutdown(server: Server) -> None:
    server.shut_down(fast=False)


def fast_shutdown(server: Server) -> None:
    server.shut_down(fast=True)


def terminate_all(server: Server) -> None:
    server.psql(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'faults'"
    )


class End(NamedTuple):
    fault: Callable[[Server], None]
    sqlstates: set[str | None]  # of the last words


ENDS = {
    "kill -9": End(kill, {None, "57P01"}),  # backends may notice before they are hit
    "crash of one backend": End(crash_of_one, {None, "57P02"}),
    "immediate shutdown": End(immediate_shutdown, {"57P01", "57P02"}),
    "fast shutdown": End(fast_shutdown, {"57P01"}),
    "pg_terminate_backend": End(terminate_all, {"57P01"}),
}


def words_of(error: Any) -> set[str | None]:
    """The SQLSTATE of an error or of what it came of."""
    return {getattr(each, "sqlstate", None) for each in (error, error.__cause__)}


@pytest.mark.parametrize("name", ENDS)
async def test_every_phase(victim: Server, name: str) -> None:
    """A session in each of its phases when the server ends it."""
    await away(victim.start)
    end = ENDS[name]
    conns = [
        await pgasync.connect(victim.dsn, autocommit=True, application_name="faults")
        for _ in PHASES
    ]
    tasks = {
        phase: asyncio.ensure_future(lost(conn, PHASES[phase]))
        for phase, conn in zip(PHASES, conns, strict=True)
    }
    await under_way(victim)
    assert not any(task.done() for task in tasks.values())
    await away(lambda: end.fault(victim))
    ended = time.monotonic()
    done, _ = await asyncio.wait({*tasks.values()}, timeout=NOTICED_S)
    hanging = [phase for phase, task in tasks.items() if task not in done]
    assert not hanging
    for phase, task in tasks.items():
        error, when = task.result()
        assert isinstance(error, pgasync.OperationalError), (phase, error)
        assert when < ended + NOTICED_S
        assert error.outcome in PHASES[phase].outcomes, (phase, error.outcome)
        said = words_of(error) - {None}
        assert said <= end.sqlstates, (phase, error)
        if None not in end.sqlstates:
            assert said, f"{phase}: the last words are lost: {error!r}"
    await service_again(victim)


async def service_again(server: Server) -> None:
    """Connects fail properly until the server is back, and then one works."""
    starting = asyncio.ensure_future(away(server.start))
    deadline = time.monotonic() + SERVICE_S
    refused = 0
    while True:
        try:
            conn = await pgasync.connect(server.dsn, autocommit=True)
        except pgasync.OperationalError as error:
            refused += 1
            assert error.sqlstate in (None, "57P03", "57P01", "57P02")
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        else:
            break
    assert await conn.fetchval("select 5") == 5
    await conn.close()
    await starting


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_network_ends_every_phase(victim: Server, how: str) -> None:
    """The same by the network: the server says nothing."""
    await away(victim.start)
    with Proxy(str(victim.socket_dir), victim.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conns = [
            await pgasync.connect(dsn, autocommit=True, application_name="faults")
            for _ in PHASES
        ]
        tasks = {
            phase: asyncio.ensure_future(lost(conn, PHASES[phase]))
            for phase, conn in zip(PHASES, conns, strict=True)
        }
        await under_way(victim)
        proxy.cut(how)
        done, _ = await asyncio.wait({*tasks.values()}, timeout=NOTICED_S)
        assert [phase for phase, task in tasks.items() if task not in done] == []
        for phase, task in tasks.items():
            error, _ = task.result()
            assert isinstance(error, errors.ConnectionLost), (phase, error)
            assert error.outcome in PHASES[phase].outcomes, (phase, error.outcome)
    await away(lambda: terminate_sleepers(victim))


def terminate_sleepers(server: Server) -> None:
    server.psql(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where backend_type = 'client backend' and pid <> pg_backend_pid()"
    )


# --- refusals ----------------------------------------------------------------


async def test_too_many_connections() -> None:
    """53300 by a real server; room again, service again."""
    limits = {"max_connections": "4", "superuser_reserved_connections": "1"}
    server = await away(lambda: Server(18, settings=limits))
    try:
        await away(lambda: server.psql("create role guest login"))
        dsn = server.dsn_for(user="guest")
        conns = []
        with pytest.raises(pgasync.OperationalError) as caught:
            while len(conns) < 5:
                conns.append(await pgasync.connect(dsn, autocommit=True))
        assert caught.value.sqlstate == "53300"
        assert isinstance(caught.value, pgasync.OperationalError)
        assert len(conns) == 3
        await conns.pop().close()
        deadline = time.monotonic() + SERVICE_S
        while len(conns) < 3:
            assert time.monotonic() < deadline
            with contextlib.suppress(errors.TooManyConnections):
                conns.append(await pgasync.connect(dsn, autocommit=True))
        assert await conns[-1].fetchval("select 1") == 1
        for conn in conns:
            await conn.close()
    finally:
        await away(server.stop)


async def test_starting_up(victim: Server) -> None:
    """57P03 while the server recovers from a crash: it says so, or nobody listens
    yet, and at last it serves."""
    await away(victim.start)
    await away(victim.kill)
    starting = asyncio.ensure_future(away(victim.start))
    states = set()
    deadline = time.monotonic() + SERVICE_S
    while True:
        try:
            conn = await pgasync.connect(victim.dsn)
        except pgasync.OperationalError as error:
            states.add(error.sqlstate)
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        else:
            break
    await conn.close()
    await starting
    assert states <= {None, "57P03"}
    assert states


# --- the server's own timeouts -----------------------------------------------


async def become_closed(conn: Any) -> None:
    deadline = time.monotonic() + NOTICED_S
    while not conn.closed:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_idle_session_timeout(connect: Callable[..., Any]) -> None:
    """The session is ended while idle: the next statement says why."""
    conn = await connect(autocommit=True)
    ended: list[Any] = []
    conn.add_termination_listener(ended.append)
    await conn.execute("set idle_session_timeout = '50ms'")
    await become_closed(conn)
    with pytest.raises(errors.ConnectionLost) as caught:
        await conn.fetchval("select 1")
    assert "57P05" in words_of(caught.value)
    assert "idle-session timeout" in str(caught.value)
    assert ended == [conn]


async def test_idle_in_transaction_session_timeout(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table t (n int)")
    await conn.execute("set idle_in_transaction_session_timeout = '50ms'")
    with pytest.raises(errors.ConnectionLost) as caught:
        async with conn.transaction():
            await conn.execute("insert into t values (1)")
            await become_closed(conn)
            await conn.execute("insert into t values (2)")
    assert "25P03" in words_of(caught.value)


async def test_idle_in_transaction_at_commit(connect: Callable[..., Any]) -> None:
    """A COMMIT after the session's end was not sent: nothing is in doubt."""
    conn = await connect()
    await conn.execute("create temporary table t (n int)")
    await conn.execute("set idle_in_transaction_session_timeout = '50ms'")
    await become_closed(conn)
    with pytest.raises(errors.ConnectionLost) as caught:
        await conn.commit()
    assert "25P03" in words_of(caught.value)
    assert caught.value.outcome in ("not_sent", None)


async def test_transaction_timeout(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    await conn.execute("set transaction_timeout = '80ms'")
    with pytest.raises(pgasync.OperationalError) as caught:
        async with conn.transaction():
            await conn.execute("select pg_sleep(30)")
    assert "25P04" in words_of(caught.value)
    assert caught.value.outcome == "failed"
    assert conn.closed


async def test_statement_timeout(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    await conn.execute("set statement_timeout = '50ms'")
    for _ in range(3):
        with pytest.raises(errors.QueryCanceled) as caught:
            await conn.execute("select pg_sleep(30)")
        assert caught.value.outcome == "failed"
        assert await conn.fetchval("select 1") == 1


async def test_lock_timeout(conn: Any, connect: Callable[..., Any]) -> None:
    other = await connect(autocommit=True)
    await other.execute("set lock_timeout = '50ms'")
    async with conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(4711)")
        with pytest.raises(errors.LockNotAvailable) as caught:
            await other.execute("select pg_advisory_xact_lock(4711)")
        assert caught.value.sqlstate == "55P03"
        assert caught.value.outcome == "failed"
        assert await other.fetchval("select 2") == 2


async def test_deadlock(conn: Any, connect: Callable[..., Any]) -> None:
    """One of the two goes on, the other is told to try again."""
    other = await connect(autocommit=True)

    async def take(own: Any, first: int, second: int) -> str:
        try:
            async with own.transaction():
                await own.execute("select pg_advisory_xact_lock($1)", [first])
                await asyncio.sleep(0.1)
                await own.execute("select pg_advisory_xact_lock($1)", [second])
        except errors.DeadlockDetected as error:
            assert error.retryable
            return "deadlock"
        return "done"

    results = await asyncio.gather(take(conn, 1001, 1002), take(other, 1002, 1001))
    assert sorted(results) == ["deadlock", "done"]
    for each in (conn, other):
        assert await each.fetchval("select 3") == 3


async def test_stopped_server(victim: Server) -> None:
    """A server that stands still (SIGSTOP) is waited for as long as was allowed."""
    await away(victim.start)
    conn = await pgasync.connect(victim.dsn, autocommit=True, cancel_timeout=0.3)
    pids = [victim.pid, *children_of(victim.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(pgasync.QueryTimeout):
            await conn.fetchval("select 1", timeout=0.2)
        with pytest.raises(errors.ConnectionLost):
            await conn.fetchval("select 2")
        assert time.monotonic() - started < 2
        with pytest.raises(errors.ConnectError):
            await pgasync.connect(victim.dsn, connect_timeout=0.3)
        await conn.close()
        assert time.monotonic() - started < 3
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    async with pgasync.connect(victim.dsn) as again:
        assert await again.fetchval("select 3") == 3


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """All descriptors that this process may have are taken."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("local", [False, True])
async def test_no_descriptors(server: Any, local: bool) -> None:
    """EMFILE at the connect: a ConnectError with its cause, and nothing is left."""
    dsn = server.dsn if local else server.tcp_dsn
    failure: Any = None
    with no_descriptors():
        try:
            await pgasync.connect(dsn)
        except pgasync.Error as error:
            failure = error
    assert isinstance(failure, errors.ConnectError)
    assert isinstance(failure.__cause__, OSError)
    assert failure.__cause__.errno == errno.EMFILE
    async with pgasync.connect(dsn, autocommit=True) as conn:
        assert await conn.fetchval("select 1") == 1


async def test_no_descriptors_for_a_cancel(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A CancelRequest that cannot be sent: logged once, and the connection is given up
    in time."""
    conn = await pgasync.connect(server.dsn, autocommit=True, cancel_timeout=0.3)
    task = asyncio.ensure_future(conn.execute("select pg_sleep(3)"))
    await asyncio.sleep(0.05)
    with no_descriptors():
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0.1)
    with pytest.raises(errors.ConnectionLost):
        await conn.fetchval("select 1")
    assert conn.closed
    assert len(caplog.records) == 1
    assert "no CancelRequest reached" in caplog.text
