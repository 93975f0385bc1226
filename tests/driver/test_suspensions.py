"""CancelledError at the k-th suspension of every public coroutine, k = 1 … the last:
delivered, never swallowed; the connection is usable afterwards or closed, and neither a
task nor a descriptor nor a backend is left.

How they are cut: steps.Cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import ssl
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
)
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import pgasync
from conftest import open_sockets
from pgasync import _core, errors
from steps import (
    HOWS,
    LIMIT_S,
    STEPS_MAX,
    Room,
    cut,
    fresh,
    nothing_left,
    numbers,
    usable,
)


@pytest.fixture(scope="module")
def cuts(summary: list[str]) -> Iterator[dict[str, int]]:
    """How many suspensions each coroutine was cut at."""
    counted: dict[str, int] = {}
    yield counted
    summary.append(
        f"cancelled at every suspension: {sum(counted.values())} cuts in "
        f"{len(counted)} coroutines"
    )


@pytest.fixture
async def room(dsn: str, connect: Callable[..., Any]) -> AsyncIterator[Room]:
    watcher = await connect(autocommit=True)
    room = Room(dsn, watcher, f"suspend_{random.getrandbits(40):x}")
    await watcher.execute(f"create table {room.name} (n int)")
    await watcher.execute(f"create type {room.name}_mood as enum ('fine', 'so so')")
    yield room
    await watcher.execute("set client_min_messages = warning")
    await watcher.execute(f"drop table {room.name}")
    await watcher.execute(f"drop type {room.name}_mood cascade")


# --- on an open connection ---------------------------------------------------

Work = Callable[[Room, Any], Coroutine[Any, Any, Any]]


async def lookup(room: Room, conn: Any) -> Any:
    """A type that the connection's catalog does not know: asked for in between."""
    await room.watcher.execute(f"create type {room.name}_{next(numbers)} as (n int)")
    kind = f"{room.name}_{next(numbers)}"
    await room.watcher.execute(f"create type {kind} as (n int, t text)")
    return await conn.fetchval(fresh(f"select row(1, 'x')::{kind}"))


async def lookup_in_a_value(room: Room, conn: Any) -> Any:
    """The same for a type that only a value names."""
    kind = f"{room.name}_{next(numbers)}"
    await room.watcher.execute(f"create type {kind} as enum ('a')")
    return await conn.fetchval(fresh(f"select row(1, 'a'::{kind})"))


async def inferred(room: Room, conn: Any) -> Any:
    """A parameter whose type only its value tells: parsed twice."""
    return await conn.fetchval(fresh("select pg_typeof($1)::text"), [7])


async def executemany(room: Room, conn: Any) -> None:
    sets = [[n] for n in range(200)]
    await conn.executemany(fresh(f"insert into {room.name} values ($1)"), sets)


async def script(room: Room, conn: Any) -> None:
    insert = f"insert into {room.name} values"
    await conn.execute(f"{insert} (1); {insert} (2); select {next(numbers)}")


async def prepared(room: Room, conn: Any) -> None:
    statement = await conn.prepare(fresh("select $1::int"))
    await statement.fetch([1])
    await statement.fetchrow([2])
    await statement.fetchval([3])


async def transaction(room: Room, conn: Any) -> None:
    async with conn.transaction():
        await conn.execute(f"insert into {room.name} values (1)")


async def savepoints(room: Room, conn: Any) -> None:
    async with conn.transaction():
        await conn.execute(f"insert into {room.name} values (1)")
        async with conn.transaction():
            await conn.execute(f"insert into {room.name} values (2)")
        try:
            async with conn.transaction():
                await conn.execute("select 1/0")
        except pgasync.DataError:
            pass
        async with conn.transaction():
            pass


async def transaction_by_hand(room: Room, conn: Any) -> None:
    outer, inner = conn.transaction(isolation="serializable"), conn.transaction()
    await outer.start()
    try:
        await inner.start()
        await conn.execute(f"insert into {room.name} values (1)")
        await inner.rollback()
        await outer.commit()
    except asyncio.CancelledError:
        conn._transactions.clear()
        raise


async def commits(room: Room, conn: Any) -> None:
    conn.autocommit = False
    await conn.execute(f"insert into {room.name} values (1)")
    await conn.commit()
    await conn.execute(f"insert into {room.name} values (2)")
    await conn.rollback()


async def portals(room: Room, conn: Any) -> None:
    core = conn._core
    core.begin("BEGIN")
    sql = fresh("select n from generate_series(1, 100) n")
    opened = await core.open_portal("p", sql, None, 10, False)
    assert len(opened.rows) == 10 and opened.suspended
    more = await core.fetch_portal("p", opened.statement, 20, False)
    assert len(more.rows) == 20
    await core.close_portal("p")
    await conn.commit()


async def stream(room: Room, conn: Any) -> None:
    sql = "select n, repeat('x', 100) from generate_series(1, 20000) n"
    assert len([row async for row in conn.stream(fresh(sql))]) == 20_000
    async for _ in conn.stream(sql):
        break
    await conn.fetchval("select 1")


async def stream_of_portals(room: Room, conn: Any) -> None:
    sql = "select n, repeat('x', 100) from generate_series(1, 5000) n"
    async with conn.transaction(), conn.stream(fresh(sql)) as rows:
        assert len([row async for row in rows]) == 5000
        await anext(conn.stream(sql))


async def close_idle(room: Room, conn: Any) -> None:
    await conn.close()


async def close_busy(room: Room, conn: Any) -> None:
    """With a statement that has to be stopped first."""
    sleeping = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    sleeping.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        await asyncio.sleep(0.01)
        await conn.close()
    finally:
        sleeping.cancel()
    await asyncio.wait({sleeping})


async def registering(room: Room, conn: Any) -> None:
    await conn.set_type_codec(f"{room.name}_mood", encoder=str, decoder=str)
    await conn.fetchval(fresh(f"select 'fine'::{room.name}_mood"))


async def timeouts(room: Room, conn: Any) -> None:
    await conn.fetchval(fresh("select 1"), timeout=5)
    with contextlib.suppress(pgasync.QueryTimeout):
        await conn.execute("select pg_sleep(30)", timeout=0.005)
    await conn.fetchval("select 2", timeout=5)


async def pipeline(room: Room, conn: Any) -> None:
    texts = [fresh("select 1"), "select 2", "select 3 from pg_sleep(0.005)"]
    assert await asyncio.gather(*map(conn.fetchval, texts)) == [1, 2, 3]


async def pipeline_block(room: Room, conn: Any) -> None:
    """Statements that are new, awaited inside, of types to be looked up, and slow."""
    insert = fresh(f"insert into {room.name} values ($1)")
    async with conn.pipeline() as p:
        p.execute(insert, [1])
        assert await p.fetchval(fresh("select 2")) == 2
        p.execute(fresh(f"create temp table {room.name}_t (n int)"))
        p.execute(fresh(f"insert into {room.name}_t values ($1)"), [1])
        await p.sync()
        mood = p.fetchval(fresh(f"select row(1, 'fine'::{room.name}_mood)"))
        p.fetchval("select 3 from pg_sleep(0.005)")
        p.execute(insert, [3])
    assert await mood == (1, "fine")


async def failing_pipeline(room: Room, conn: Any) -> None:
    with contextlib.suppress(pgasync.DataError):
        async with conn.pipeline() as p:
            await p.execute(f"insert into {room.name} values (1)")
            p.execute("select 1 / 0")
            p.execute(f"insert into {room.name} values (2)")
    with contextlib.suppress(LookupError):
        async with conn.pipeline() as p:
            await p.execute(f"insert into {room.name} values (1)")
            p.fetchval("select 3 from pg_sleep(0.005)")
            raise LookupError


async def cursors(room: Room, conn: Any) -> None:
    async with conn.cursor() as cursor:
        await cursor.execute(fresh("select n from generate_series(1, 3) n"))
        await cursor.fetchone()
        await cursor.executemany(f"insert into {room.name} values ($1)", [[1], [2]])


async def block(room: Room, conn: Any) -> None:
    conn.autocommit = False
    async with conn:
        await conn.execute(f"insert into {room.name} values (1)")


async def failed_block(room: Room, conn: Any) -> None:
    conn.autocommit = False
    try:
        async with conn:
            await conn.execute("select 1/0")
    except pgasync.DataError:
        pass


async def reset(room: Room, conn: Any) -> None:
    conn.autocommit = False
    await conn.execute("set work_mem = '1MB'")
    await conn.execute(f"insert into {room.name} values (1)")
    await conn.reset()


async def reset_busy(room: Room, conn: Any) -> None:
    stream = conn.stream("select generate_series(1, 1000000)")
    await stream.__anext__()
    await conn.reset()
    assert await conn.fetchval("select 1") == 1


WORKS: dict[str, Work] = {
    "execute": lambda room, conn: conn.execute(fresh("select $1::int"), [1]),
    "fetch": lambda room, conn: conn.fetch(fresh("select 1")),
    "fetchrow": lambda room, conn: conn.fetchrow(fresh("select 1, 2")),
    "fetchval": lambda room, conn: conn.fetchval("select 1 from pg_sleep(0.002)"),
    "write": lambda room, conn: conn.execute(f"insert into {room.name} values (0)"),
    "prepare": lambda room, conn: conn.prepare(fresh("select 1")),
    "lookup": lookup,
    "lookup in a value": lookup_in_a_value,
    "inferred": inferred,
    "executemany": executemany,
    "script": script,
    "prepared": prepared,
    "transaction": transaction,
    "savepoints": savepoints,
    "transaction by hand": transaction_by_hand,
    "commits": commits,
    "portals": portals,
    "stream": stream,
    "stream of portals": stream_of_portals,
    "close": close_idle,
    "close busy": close_busy,
    "registering": registering,
    "timeouts": timeouts,
    "pipeline": pipeline,
    "pipeline block": pipeline_block,
    "failing pipeline": failing_pipeline,
    "cursors": cursors,
    "block": block,
    "failed block": failed_block,
    "reset": reset,
    "reset busy": reset_busy,
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", WORKS)
async def test_connection(
    room: Room, cuts: dict[str, int], name: str, how: str
) -> None:
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    for step in range(1, STEPS_MAX):
        conn = await room.open()
        over = await cut(WORKS[name](room, conn), step, how)
        await usable(conn)
        await conn.close()
        await nothing_left(room, tasks, sockets)
        if over:
            break
    assert over, f"{name} suspends more than {STEPS_MAX} times"
    assert step > 1 or name == "close", "it never suspends"
    cuts[f"{name} {how}"] = step - 1


# What follows at once, while the server may still be busy with what was cut.


async def commit_behind_a_drain(room: Room, conn: Any) -> None:
    """The COMMIT waits until a statement that was given up has been stopped."""
    async with conn.transaction():
        await conn.execute(f"insert into {room.name} values (-1)")
        with contextlib.suppress(pgasync.QueryTimeout):
            await conn.execute("select pg_sleep(30)", timeout=0.005)


async def begin_behind_a_drain(room: Room, conn: Any) -> None:
    """Not even BEGIN has been sent."""
    with contextlib.suppress(pgasync.QueryTimeout):
        await conn.execute("select pg_sleep(30)", timeout=0.005)
    async with conn.transaction():
        pass


FOLLOWED: dict[str, Work] = {
    "transaction": transaction,
    "savepoints": savepoints,
    "script": script,
    "pipeline block": pipeline_block,
    "failing pipeline": failing_pipeline,
    "commit behind a drain": commit_behind_a_drain,
    "begin behind a drain": begin_behind_a_drain,
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("name", FOLLOWED)
async def test_what_follows_is_committed(
    room: Room, name: str, block: bool, how: str
) -> None:
    """A statement, or a transaction, right behind a transaction that was cut is one
    of its own."""
    count = f"select count(*) from {room.name} where n = $1"
    for step in range(1, STEPS_MAX):
        conn = await room.open()
        try:
            over = await cut(FOLLOWED[name](room, conn), step, how)
        except pgasync.TransactionRolledBack:
            over = True
        insert = f"insert into {room.name} values ($1)"
        token = 1000 + step  # the cut one may have been committed
        try:
            if block:
                async with conn.transaction():
                    await conn.execute(insert, [token])
            else:
                await conn.execute(insert, [token])
        except (pgasync.InterfaceError, pgasync.OperationalError):
            assert conn.closed
        else:
            assert await room.watcher.fetchval(count, [token]) == 1
            assert conn.info.transaction_status == "I"
        await conn.close()
        if over:
            break
    assert over and step > 1


# --- connecting --------------------------------------------------------------


async def slow_password() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return "scram secret"


def scram_dsn(server: Any, host: str = "localhost") -> str:
    return f"postgresql://scram_user@{host}:{server.port}/postgres"


CONNECTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "unix": lambda server: {"dsn": server.dsn},
    # A name to look up, a callable to await, SCRAM with a key to derive.
    "scram": lambda server: {"dsn": scram_dsn(server), "password": slow_password},
    "two hosts": lambda server: {
        "dsn": f"postgresql://scram_user@127.0.0.1:1,localhost:{server.port}/postgres",
        "password": slow_password,
    },
    "refused": lambda server: {"dsn": scram_dsn(server), "password": "wrong"},
}

ENCRYPTED: dict[str, Callable[[], dict[str, Any]]] = {
    "tls": lambda: {"sslmode": "require"},
    "tls preferred": lambda: {"sslmode": "prefer"},
    "tls at once": lambda: {"sslmode": "require", "sslnegotiation": "direct"},
    "tls by a context": lambda: {"ssl": anybody()},
    "tls verified": lambda: {"sslmode": "verify-full", "sslrootcert": "system"},
}


def anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def cut_connects(
    server: Any, keywords: Callable[[], dict[str, Any]], how: str
) -> int:
    """Cuts the connecting at each of its suspensions; returns how many there are."""
    async with pgasync.connect(server.dsn, autocommit=True) as watcher:
        own = f"connect_{random.getrandbits(40):x}"
        room = Room(server.dsn, watcher, own)
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        for step in range(1, STEPS_MAX):
            connecting = pgasync.connect(**keywords(), application_name=own)
            try:
                over = await cut(connecting, step, how)
            except (errors.InvalidPassword, errors.TLSError):
                over = True
            await nothing_left(room, tasks, sockets)
            if over:
                break
        assert over and step > 1
        return step - 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", CONNECTS)
async def test_connect(
    hba_server: Any, cuts: dict[str, int], name: str, how: str
) -> None:
    steps = await cut_connects(hba_server, lambda: CONNECTS[name](hba_server), how)
    cuts[f"connect {name} {how}"] = steps


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ENCRYPTED)
async def test_connect_encrypted(
    tls_server: Any, cuts: dict[str, int], name: str, how: str
) -> None:
    def keywords() -> dict[str, Any]:
        dsn = tls_server.tcp_dsn_for().replace("127.0.0.1", "localhost")
        return {"dsn": dsn, **ENCRYPTED[name]()}

    cuts[f"connect {name} {how}"] = await cut_connects(tls_server, keywords, how)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("name", ["fetchval", "savepoints", "script"])
async def test_connection_encrypted(
    tls_server: Any, cuts: dict[str, int], name: str, context: bool, how: str
) -> None:
    """As test_connection, with what a CancelRequest needs: another handshake."""
    keywords = {"ssl": anybody()} if context else {"sslmode": "require"}
    async with pgasync.connect(tls_server.dsn, autocommit=True) as watcher:
        own = f"suspend_{random.getrandbits(40):x}"
        await watcher.execute(f"create table {own} (n int)")
        room = Room(tls_server.tcp_dsn, watcher, own)
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        for step in range(1, STEPS_MAX):
            conn = await room.open(**keywords)
            over = await cut(WORKS[name](room, conn), step, how)
            await usable(conn)
            await conn.close()
            await nothing_left(room, tasks, sockets)
            if over:
                break
        await watcher.execute(f"drop table {own}")
    assert over
    cuts[f"tls {name} {context} {how}"] = step - 1


@pytest.mark.parametrize("how", HOWS)
async def test_connect_block(room: Room, how: str) -> None:
    """`async with connect(…)`, which commits and closes."""

    async def work() -> None:
        async with pgasync.connect(room.dsn, application_name=room.name) as conn:
            await conn.execute(f"insert into {room.name} values (1)")

    tasks, sockets = asyncio.all_tasks(), open_sockets()
    for step in range(1, STEPS_MAX):
        over = await cut(work(), step, how)
        await nothing_left(room, tasks, sockets)
        if over:
            break
    assert over and step > 2


# --- through SQLAlchemy ------------------------------------------------------


async def engine_transaction(engine: Any, table: str) -> None:
    async with engine.begin() as conn:
        await conn.execute(text(f"insert into {table} values (:n)"), {"n": 1})
        async with conn.begin_nested():
            await conn.execute(text(fresh("select 1").replace(":", "\\:")))


async def engine_connection(engine: Any, table: str) -> None:
    async with engine.connect() as conn:
        await conn.execute(text(f"insert into {table} values (1)"))
        await conn.commit()
        await conn.execute(text("select 1"))
        await conn.rollback()


async def engine_stream(engine: Any, table: str) -> None:
    async with engine.connect() as conn:
        sql = "select n from generate_series(1, 700) n"
        async with conn.stream(text(sql)) as rows:
            assert len([row async for row in rows]) == 700


async def engine_two(engine: Any, table: str) -> None:
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(text("select 1"))
        await two.execute(text("select 2"))


ENGINES: dict[str, Callable[[Any, str], Coroutine[Any, Any, None]]] = {
    "transaction": engine_transaction,
    "connection": engine_connection,
    "stream": engine_stream,
    "two connections": engine_two,
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ENGINES)
async def test_engine(room: Room, cuts: dict[str, int], name: str, how: str) -> None:
    """The pool keeps its accounts, and whatever it hands out later works."""
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    address = room.dsn.replace("postgresql://", "postgresql+pgasync://", 1)
    for step in range(1, STEPS_MAX):
        engine = create_async_engine(
            address, connect_args={"application_name": room.name}, pool_size=2
        )
        over = await cut(ENGINES[name](engine, room.name), step, how)
        deadline = time.monotonic() + LIMIT_S
        while engine.pool.checkedout():
            assert time.monotonic() < deadline, engine.pool.status()
            await asyncio.sleep(0.005)
        for token in range(3):
            async with engine.connect() as conn:
                sql = text("select cast(:n as int)")
                assert await conn.scalar(sql, {"n": token}) == token
        await cut(engine.dispose(), 1 if over else step, how)
        await engine.dispose()
        await nothing_left(room, tasks, sockets)
        if over:
            break
    assert over and step > 2
    cuts[f"engine {name} {how}"] = step - 1


async def test_nothing_is_kept(room: Room) -> None:
    """Many cuts leave no object of the core behind."""
    live = 0
    for step in range(1, 80):
        conn = await room.open()
        await cut(savepoints(room, conn), step % 8 + 1, HOWS[step % len(HOWS)])
        await usable(conn)
        await conn.close()
        del conn
        if step == 40:
            await asyncio.sleep(0.05)
            gc.collect()
            live = _core.live_objects()
    await room.empty()
    await asyncio.sleep(0.05)
    gc.collect()
    assert _core.live_objects() <= live + 2
