"""The first statement on a connection that has ended meanwhile, and provably never ran,
goes to another one; everything else is an error. Nothing is ever executed twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgasync import errors, poolkeeper
from pgmock import MockServer, Peer, Proxy, Server, fields, message
from servers import Server as RealServer

MakePool = Callable[..., Any]
INSERT = "insert into stale_rows values ($1)"
BACKENDS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
 where application_name = 'stale' and pid <> pg_backend_pid()
"""


@pytest.fixture
async def table(conn: Any) -> AsyncIterator[Any]:
    """A connection outside of the pool, beside which the table is there."""
    await conn.execute("drop table if exists stale_rows")
    await conn.execute("create table stale_rows (n int, who text)")
    yield conn
    await conn.execute("drop table stale_rows")


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool does not look before it gives out: the race that always remains."""
    monkeypatch.setattr(poolkeeper, "LOOK_AFTER", 1e9)


async def rows(conn: Any) -> Any:
    return await conn.fetch("select n from stale_rows order by n", row_factory=scalar)


scalar = pgasync.rows.scalar


def terminate(server: Any) -> None:
    """All backends of the pool; the loop, which does not run, gets to know later."""
    server.psql(BACKENDS)


async def notice() -> None:
    """The loop has its turns."""
    await asyncio.sleep(0.05)


def small(make_pool: MakePool, **keywords: Any) -> Any:
    keywords.setdefault("application_name", "stale")
    return make_pool(min_size=1, max_size=1, timeout=20, **keywords)


async def by_fetch(conn: Any) -> None:
    assert await conn.fetch(INSERT + " returning n", [1], row_factory=scalar) == [1]


async def by_fetchrow(conn: Any) -> None:
    assert tuple(await conn.fetchrow(INSERT + " returning n", [1])) == (1,)


async def by_fetchval(conn: Any) -> None:
    assert await conn.fetchval(INSERT + " returning n", [1]) == 1


async def by_execute(conn: Any) -> None:
    assert (await conn.execute(INSERT, [1])).rowcount == 1


async def by_executemany(conn: Any) -> None:
    assert (await conn.executemany(INSERT, [[1]])).rowcount == 1


async def in_a_block(conn: Any) -> None:
    async with conn.transaction(isolation="serializable", settings={"a.b": "c"}):
        await conn.execute(INSERT, [1])
        assert await conn.fetchval("select current_setting('a.b')") == "c"
        assert await conn.fetchval("show transaction_isolation") == "serializable"


async def prepared(conn: Any) -> None:
    statement = await conn.prepare(INSERT)
    await statement.execute([1])


OF_THE_POOL = [by_fetch, by_fetchrow, by_fetchval, by_execute, by_executemany]
OF_A_HANDLE = [*OF_THE_POOL, in_a_block, prepared]


@pytest.mark.parametrize(
    ("call", "seen"), [*((call, False) for call in OF_THE_POOL), (by_fetch, True)]
)
async def test_terminated_while_idle(
    make_pool: MakePool, server: Any, table: Any, unseen: None, call: Any, seen: bool
) -> None:
    pool = small(make_pool)
    await pool.fetchval("select 1")
    terminate(server)
    if seen:
        await notice()
    await call(pool)
    assert await rows(table) == [1]
    await pool.close()
    stats = pool.stats()
    assert stats.acquired == stats.released and stats.opened == 2


@pytest.mark.parametrize(
    ("call", "seen"),
    [*((call, False) for call in OF_A_HANDLE), (by_execute, True), (in_a_block, True)],
)
async def test_terminated_while_held(
    make_pool: MakePool, server: Any, table: Any, call: Any, seen: bool
) -> None:
    pool = small(make_pool)
    async with pool.acquire() as conn:
        terminate(server)
        if seen:
            await notice()
        await call(conn)
        assert not conn.closed
        assert await conn.fetchval("select count(*) from stale_rows") == 1
    assert await rows(table) == [1]
    await pool.close()
    stats = pool.stats()
    assert stats.acquired == stats.released and stats.opened == 2


async def test_a_rollback_undoes_what_went_elsewhere(
    make_pool: MakePool, server: Any, table: Any
) -> None:
    pool = small(make_pool)
    with pytest.raises(ZeroDivisionError):
        async with pool.acquire() as conn:
            terminate(server)
            await conn.execute(INSERT, [1])
            raise ZeroDivisionError
    async with pool.acquire() as conn:
        terminate(server)
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await conn.execute(INSERT, [2])
                raise ZeroDivisionError
        await conn.execute(INSERT, [3])
    assert await rows(table) == [3]


async def test_the_second_statement_is_an_error(
    make_pool: MakePool, server: Any, table: Any
) -> None:
    pool = small(make_pool)
    conn = await pool.acquire()
    await conn.execute(INSERT, [1])
    terminate(server)
    with pytest.raises(errors.ConnectionLost) as caught:
        await conn.execute(INSERT, [2])
    assert caught.value.safe_to_retry
    with pytest.raises(errors.ConnectionLost):
        await conn.execute(INSERT, [3])
    await pool.release(conn)
    assert await rows(table) == []
    assert await pool.fetchval("select 1") == 1


async def test_nothing_goes_on_behind_a_statement_that_was_lost(
    make_pool: MakePool, server: Any, table: Any
) -> None:
    """A block whose first statement is in doubt does not go on elsewhere."""
    pool = small(make_pool)
    conn = await pool.acquire()
    with pytest.raises(errors.ConnectionLost):
        async with conn.transaction():
            running = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
            await notice()
            terminate(server)
            with pytest.raises(errors.ConnectionLost) as caught:
                await running
            assert not caught.value.safe_to_retry
            await conn.execute(INSERT, [1])
    await pool.release(conn)
    assert await rows(table) == []


async def test_setup_runs_again(make_pool: MakePool, server: Any, table: Any) -> None:
    pids = []

    async def setup(conn: Any) -> None:
        pids.append(conn.info.backend_pid)
        await conn.execute("set statement_timeout = '77s'")

    pool = small(make_pool, setup=setup)
    async with pool.acquire() as conn:
        terminate(server)
        assert await conn.fetchval("show statement_timeout") == "77s"
        assert conn.info.backend_pid == pids[-1]
    assert len({*pids}) == 2


async def test_many_at_once(make_pool: MakePool, server: Any, table: Any) -> None:
    """Every connection of a pool is lost, and every task is served."""
    pool = make_pool(min_size=5, max_size=5, timeout=20, application_name="stale")
    await pool

    async def work(number: int) -> None:
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute(INSERT, [number])

    for turn in range(3):
        held = [await pool.acquire() for _ in range(5)]
        for conn in held:
            await pool.release(conn)
        terminate(server)
        await asyncio.gather(*(work(20 * turn + n) for n in range(20)))
    assert await rows(table) == [*range(60)]
    await pool.close()


async def test_idle_session_timeout(
    make_pool: MakePool, table: Any, unseen: None
) -> None:
    pool = small(make_pool, server_settings={"idle_session_timeout": "60ms"})
    async with pool.acquire() as conn:
        time.sleep(0.3)
        await by_execute(conn)
    time.sleep(0.3)
    await by_fetchval(pool)
    assert await rows(table) == [1, 1]


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    with Proxy(str(server.socket_dir), server.port) as proxy:
        yield proxy


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("call", [by_execute, in_a_block])
async def test_cut_by_the_network(
    make_pool: MakePool, server: Any, table: Any, proxy: Proxy, how: str, call: Any
) -> None:
    """No word of the server: the end was there before anything was sent."""
    dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable"
    pool = small(make_pool, address=dsn)
    async with pool.acquire() as conn:
        proxy.cut(how)
        await asyncio.sleep(0.2)
        assert conn.closed
        await call(conn)
    proxy.cut(how)
    time.sleep(0.2)  # the pool looks by itself
    await by_fetchval(pool)
    assert await rows(table) == [1, 1]


async def test_reset_before_a_byte_has_left(
    make_pool: MakePool, table: Any, proxy: Proxy
) -> None:
    """The RST is there, the loop has not seen it: the write fails, which is proof."""
    dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable"
    pool = small(make_pool, address=dsn)
    async with pool.acquire() as conn:
        proxy.cut("rst")
        time.sleep(0.2)
        await by_execute(conn)
    assert await rows(table) == [1]


async def test_the_server_is_restarted(make_pool: MakePool, victim: RealServer) -> None:
    victim.psql("drop table if exists stale_rows; create table stale_rows (n int)")
    pool = small(make_pool, address=victim.dsn)
    for number in range(2):
        async with pool.acquire() as conn:
            victim.restart()
            if number:
                await notice()
            async with conn.transaction():
                await conn.execute(INSERT, [number])
        victim.restart()
        await pool.execute(INSERT, [number])
    assert await rows(pool) == [0, 0, 1, 1]
    await pool.close()


async def test_no_other_connection_to_be_had(
    make_pool: MakePool, server: Any, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error tells what is wrong, and the place in the pool is free."""
    pool = small(make_pool)
    conn = await pool.acquire()

    async def refused(_member: Any) -> Any:
        raise errors.ConnectError("no way")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_connect", refused)
        terminate(server)
        with pytest.raises(pgasync.OperationalError, match="no way") as caught:
            await conn.execute(INSERT, [1])
        assert isinstance(caught.value.__context__, errors.ConnectionLost)
        with pytest.raises(pgasync.Error):
            await conn.execute(INSERT, [1])
        await pool.release(conn)
    assert await pool.fetchval("select 1") == 1
    assert await rows(table) == []
    await pool.close()


async def test_it_does_not_go_on_for_ever(make_pool: MakePool) -> None:
    """A server that ends every session in place of an answer."""
    last = fields(S="FATAL", V="FATAL", C="57P01", M="the end", R="ProcessInterrupts")

    def script(peer: Peer) -> None:
        peer.startup()
        server = Server(peer, {})
        while True:
            tag, body = peer.recv()
            if b"lost" in body:
                break
            if out := server.reply(tag, body):
                peer.send(out)
        peer.send(message(b"E", last))
        peer.close()

    with MockServer(script) as server:
        pool = make_pool(server.dsn, min_size=1, max_size=1)
        with pytest.raises(errors.ConnectionLost) as caught:
            await pool.fetchval("select 1 /* lost */")
        assert caught.value.safe_to_retry
        assert 3 <= len(server.peers) <= 8
        pool.terminate()
    assert not server.failures


async def test_cancelled_while_another_is_opened(
    make_pool: MakePool, server: Any, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = small(make_pool)
    conn = await pool.acquire()
    connect = pool._connect
    gate = asyncio.Event()

    async def late(member: Any) -> Any:
        await gate.wait()
        return await connect(member)

    monkeypatch.setattr(pool, "_connect", late)
    terminate(server)
    task = asyncio.ensure_future(conn.execute(INSERT, [1]))
    await notice()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await pool.release(conn)
    assert await pool.fetchval("select count(*) from stale_rows") == 0
    await pool.close()
    assert pool.stats().size == 0


@pytest.mark.parametrize("how", ["release", "terminate", "close", "cancel"])
async def test_nobody_wants_the_other_one(
    make_pool: MakePool, server: Any, how: str
) -> None:
    """The holder is done with it while another connection is opened for its statement:
    that one goes back to the pool."""
    pool = small(make_pool)
    conn = await pool.acquire()
    terminate(server)
    await notice()
    asking = asyncio.ensure_future(conn.fetchval("select 1"))
    await asyncio.sleep(0)
    assert pool.stats().opening == 1
    if how == "release":
        await pool.release(conn)
    elif how == "terminate":
        conn.terminate()
    elif how == "close":
        await conn.close()
    else:
        asking.cancel()
    await asyncio.wait({asking})
    if how != "cancel":
        assert isinstance(asking.exception(), errors.ConnectionLost)
    await notice()
    assert conn.closed
    with pytest.raises(pgasync.Error):
        await conn.fetchval("select 1")
    stats = pool.stats()
    assert (stats.size, stats.used, stats.acquired) == (1, 0, stats.released)
    assert await pool.fetchval("select 2") == 2
