"""SQLAlchemy's promises about cancellation, at every suspension of what users write:
no connection is leaked and no slot of the pool lost, the task ends cancelled, the next
use works, and what was committed is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine.default import DefaultDialect as Dialect
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.pool import NullPool

import servers
from certificates import Certificates
from dialect.cuts import (
    HOWS,
    Close,
    Closed,
    Cut,
    From,
    Room,
    Row,
    Work,
    Write,
    make_table,
    needs_safe_sqlalchemy,
    run,
    usable,
)
from tlsservers import MAJOR, MISSING, TlsServer

pytestmark = [
    needs_safe_sqlalchemy,
    pytest.mark.filterwarnings("error::sqlalchemy.exc.SAWarning"),
]


INSERT = sa.insert(Row)


class Boom(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def cheap_collections() -> Iterator[None]:
    """What is there before the tests need not be looked at by each collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def open_room(
    watcher: Any, schema: str, make: Callable[..., AsyncEngine]
) -> Room:
    await make_table(watcher, schema)
    await watcher.execute(f"insert into {schema}.cut (token, n) values (0, 1)")
    room = Room(watcher, f"cut_{random.getrandbits(40):x}", schema, make)
    asyncio.get_running_loop().set_exception_handler(room.complain)
    return room


@pytest.fixture
async def room(
    connect: Callable[..., Any], schema: str, make_engine: Callable[..., AsyncEngine]
) -> AsyncIterator[Room]:
    room = await open_room(await connect(autocommit=True), schema, make_engine)
    yield room
    gc.collect()
    assert room.complaints == []


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[TlsServer]:
    if not servers.installed(MAJOR):
        pytest.skip(MISSING)
    with TlsServer(certificates, servers.HBA_DEFAULT) as server:
        server.show(certificates.server["good"], servers.HBA_DEFAULT)
        yield server


@pytest.fixture
async def tls_room(
    tls_server: TlsServer, connect: Callable[..., Any]
) -> AsyncIterator[Room]:
    watcher = await connect(tls_server.tcp_dsn, autocommit=True)
    schema = f"tls_{random.getrandbits(40):x}"
    await watcher.execute(f"create schema {schema}")
    made: list[AsyncEngine] = []

    def make(connect_args: dict[str, Any], **keywords: Any) -> AsyncEngine:
        connect_args["server_settings"]["search_path"] = schema
        address = tls_server.tcp_dsn.replace("postgresql:", "postgresql+pgasync:")
        keywords["connect_args"] = {**connect_args, "sslmode": "require"}
        made.append(create_async_engine(address, **keywords))
        return made[-1]

    room = await open_room(watcher, schema, make)
    yield room
    for engine in made:
        await engine.dispose()
    gc.collect()
    assert room.complaints == []


# ------------------------------------------------- what users write


async def insert(conn: AsyncConnection, write: Write) -> None:
    for n in range(write.rows):
        await conn.execute(INSERT, {"token": write.token, "n": n})


async def core(engine: AsyncEngine, write: Write) -> None:
    async with engine.connect() as conn:
        await insert(conn, write)
        write.began_commit = True
        await conn.commit()
        write.committed = True


async def by_hand(engine: AsyncEngine, write: Write) -> None:
    conn = await engine.connect()
    try:
        await insert(conn, write)
        write.began_commit = True
        await conn.commit()
        write.committed = True
    finally:
        await conn.close()


async def begin(engine: AsyncEngine, write: Write) -> None:
    async with engine.begin() as conn:
        await insert(conn, write)
        write.began_commit = True
    write.committed = True


async def session(engine: AsyncEngine, write: Write) -> None:
    async with AsyncSession(engine) as session:
        first = await session.get(Row, 1)
        assert first is not None
        for n in range(write.rows):
            session.add(Row(token=write.token, n=n))
        await session.flush()
        write.began_commit = True
        await session.commit()
        write.committed = True


async def session_begin(engine: AsyncEngine, write: Write) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([Row(token=write.token, n=n) for n in range(write.rows)])
        write.began_commit = True
    write.committed = True


SERIES = sa.text("select n, repeat('x', 1000) from generate_series(1, 400) n")


async def stream(engine: AsyncEngine, write: Write) -> None:
    async with engine.connect() as conn, conn.stream(SERIES) as result:
        seen = 0
        async for row in result:
            assert row.n == seen + 1
            seen += 1
            if seen == 60:
                break
        await result.fetchmany(300)


async def stream_autocommit(engine: AsyncEngine, write: Write) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        async with conn.stream(SERIES) as result:
            await result.fetchone()
            await result.fetchmany(100)


async def failed(engine: AsyncEngine, write: Write) -> None:
    with pytest.raises(Boom):
        async with engine.begin() as conn:
            await insert(conn, write)
            raise Boom


async def failed_statement(engine: AsyncEngine, write: Write) -> None:
    with pytest.raises(exc.DBAPIError):
        async with engine.begin() as conn:
            await insert(conn, write)
            await conn.execute(sa.text("select 1/0"))


async def savepoints(engine: AsyncEngine, write: Write) -> None:
    async with engine.begin() as conn:
        async with conn.begin_nested():
            await insert(conn, write)
        with pytest.raises(Boom):
            async with conn.begin_nested():
                await insert(conn, write)
                raise Boom
        write.began_commit = True
    write.committed = True


async def autocommit(engine: AsyncEngine, write: Write) -> None:
    write.whole = False
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        write.began_commit = True
        await insert(conn, write)
        write.committed = True


async def stuck(engine: AsyncEngine, write: Write) -> None:
    """The server would be busy for long. (Not for ever: a CancelRequest may come before
    the statement has begun, and the connection is gone before it is sent again.)"""
    async with engine.connect() as conn:
        await insert(conn, write)
        raw: Any = (await conn.get_raw_connection()).driver_connection
        asyncio.get_running_loop().call_later(0.02, raw.cancel)
        with pytest.raises(exc.OperationalError):
            await conn.execute(sa.text("select pg_sleep(3)"))


async def executemany(engine: AsyncEngine, write: Write) -> None:
    write.rows = 50
    async with engine.begin() as conn:
        await conn.execute(INSERT, [{"token": write.token, "n": n} for n in range(50)])
        write.began_commit = True
    write.committed = True


async def waiting(engine: AsyncEngine, write: Write) -> None:
    """The pool has one connection, which another task has, and a third one is behind
    us in the queue."""

    async def hold(turns: int) -> None:
        async with engine.connect() as conn:
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await conn.scalar(sa.text("select 7")) == 7

    holder = asyncio.ensure_future(hold(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ours = asyncio.ensure_future(asyncio.sleep(0))
    ours.add_done_callback(lambda _: behind.append(asyncio.ensure_future(hold(0))))
    behind: list[asyncio.Task[None]] = []
    try:
        await core(engine, write)
    finally:
        await asyncio.wait({holder, ours})
        await asyncio.gather(holder, *behind)


async def timed_out(engine: AsyncEngine, write: Write) -> None:
    """As waiting(), but nobody gives the connection back in time."""
    async with engine.connect():
        with pytest.raises(exc.TimeoutError):
            await engine.connect()


async def two_at_once(engine: AsyncEngine, write: Write) -> None:
    """Both make a connection, the first of the engine."""

    async def other() -> None:
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text("select 5")) == 5

    beside = asyncio.ensure_future(other())
    try:
        await core(engine, write)
    finally:
        await beside


async def second_of_two(engine: AsyncEngine, write: Write) -> None:
    """The other way round: ours waits for its turn to set a connection up."""

    async def other() -> None:
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text("select 5")) == 5

    beside = asyncio.ensure_future(other())
    try:
        await asyncio.sleep(0)
        await core(engine, write)
    finally:
        await asyncio.wait({beside})


async def dependency(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """As users of FastAPI write it."""
    async with AsyncSession(engine) as session:
        try:
            yield session
            await session.commit()
        except BaseException:
            await session.rollback()
            raise


async def request(engine: AsyncEngine, write: Write) -> None:
    """As FastAPI runs it."""
    async with contextlib.AsyncExitStack() as stack:
        opened = contextlib.asynccontextmanager(dependency)(engine)
        session = await stack.enter_async_context(opened)
        session.add_all([Row(token=write.token, n=n) for n in range(write.rows)])
        write.began_commit = True
    write.committed = True


async def two_phase(engine: AsyncEngine, write: Write) -> None:
    async with AsyncSession(engine, twophase=True) as session:
        session.add_all([Row(token=write.token, n=n) for n in range(write.rows)])
        await session.flush()
        write.began_commit = True
        await session.commit()
        write.committed = True


CREATED = sa.MetaData()
sa.Table("made", CREATED, sa.Column("id", sa.Integer, primary_key=True))


async def create_all(engine: AsyncEngine, write: Write) -> None:
    async with engine.begin() as conn:
        await conn.run_sync(CREATED.create_all)
        await insert(conn, write)
        write.began_commit = True
    write.committed = True
    async with engine.begin() as conn:
        await conn.run_sync(CREATED.drop_all)


async def dispose(engine: AsyncEngine, write: Write) -> None:
    """With one connection in the pool and one in use."""
    async with engine.connect() as conn:
        async with engine.connect():
            pass
        await insert(conn, write)
        await engine.dispose()
        write.began_commit = True
        await conn.commit()
        write.committed = True
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select 3")) == 3


async def ended_while_closing(engine: AsyncEngine, write: Write) -> None:
    """invalidate(): SQLAlchemy closes the connection, with a statement in flight."""
    async with engine.connect() as conn:
        await insert(conn, write)
        await conn.invalidate()


@dataclass
class Scenario:
    work: Work
    cold: bool = False  # each run makes its own connections
    new: bool = False  # … and they are the first of their engine
    keywords: dict[str, Any] = field(default_factory=dict)


ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}
TWO: dict[str, Any] = {"pool_size": 1, "max_overflow": 1}

SCENARIOS = {
    "core": Scenario(core, keywords=ONE),
    "by hand": Scenario(by_hand, keywords=ONE),
    "begin": Scenario(begin, keywords=ONE),
    "session": Scenario(session, keywords=ONE),
    "session begin": Scenario(session_begin, keywords=ONE),
    "stream": Scenario(stream, keywords=ONE),
    "stream in autocommit": Scenario(stream_autocommit, keywords=ONE),
    "pre-ping": Scenario(core, keywords={**ONE, "pool_pre_ping": True}),
    "no pool": Scenario(core, keywords={"poolclass": NullPool}),
    "overflow": Scenario(waiting, keywords=TWO),
    "connecting": Scenario(core, cold=True, keywords=ONE),
    "first connection": Scenario(core, new=True, keywords=ONE),
    "two first ones": Scenario(two_at_once, new=True, keywords=TWO),
    "second first one": Scenario(second_of_two, new=True, keywords=TWO),
    "waiting": Scenario(waiting, keywords=ONE),
    "request": Scenario(request, keywords=ONE),
    "two-phase": Scenario(two_phase, keywords=ONE),
    "waiting for the first": Scenario(waiting, new=True, keywords=ONE),
    "timed out": Scenario(timed_out, keywords={**ONE, "pool_timeout": 0.001}),
    "failed": Scenario(failed, keywords=ONE),
    "failed statement": Scenario(failed_statement, keywords=ONE),
    "savepoints": Scenario(savepoints, keywords=ONE),
    "autocommit": Scenario(autocommit, keywords=ONE),
    "stuck": Scenario(stuck, keywords=ONE),
    "executemany": Scenario(executemany, keywords=ONE),
    "create_all": Scenario(create_all, keywords=ONE),
    "dispose": Scenario(dispose, keywords=TWO),
    "invalidate": Scenario(ended_while_closing, keywords=ONE),
}


if "skip_autocommit_rollback" in inspect.signature(Dialect.__init__).parameters:
    keywords = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    SCENARIOS["never rolled back"] = Scenario(
        stream_autocommit, keywords={**ONE, **keywords}
    )


class Sweep:
    """Runs a scenario again and again, cut at one point after the other."""

    def __init__(self, room: Room, scenario: Scenario) -> None:
        self.room = room
        self.scenario = scenario
        self.engine = room.engine(**scenario.keywords)
        self.cuts = 0

    async def once(self, points: Container[int], how: str) -> int:
        """Cut at `points`; the number of suspensions there were."""
        scenario, room = self.scenario, self.room
        if scenario.new:
            await self.engine.dispose()
            self.engine = room.engine(**scenario.keywords)
        elif scenario.cold:
            await self.engine.dispose()
        write = Write(next(room.tokens))
        cut = Cut(scenario.work(self.engine, write), points, how)
        task = await run(cut)
        if cut.asked:
            assert task.cancelled(), f"the cancel was swallowed: {task!r}"
            self.cuts += 1
        else:
            task.result()
        found = await room.settled(self.engine, token=write.token)
        if scenario.work is two_phase:
            await self.forget_prepared(write)
        write.check(found)
        await usable(self.engine, write.token)
        return cut.steps

    async def forget_prepared(self, write: Write) -> None:
        """What is prepared waits for whoever manages the transactions: us."""
        watcher = self.room.watcher
        for row in await watcher.fetch("select gid from pg_prepared_xacts"):
            await watcher.execute(f"rollback prepared '{row[0]}'")
            assert write.began_commit and not write.committed

    async def everywhere(self, how: str) -> int:
        """At each suspension; their number."""
        step = 1
        while await self.once({step}, how) >= step:
            step += 1
        return step - 1

    async def twice(self, first: int, how: str) -> None:
        """At `first` and at each that comes after it."""
        second = first + 1
        while await self.once({first, second}, how) >= second:
            second += 1


@pytest.fixture(scope="module")
def cuts(summary: list[str]) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()
    yield counted
    summary.append(
        f"dialect, cancelled at every suspension: {counted.total()} cuts in "
        f"{len(counted)} pieces of work"
    )


@pytest.mark.parametrize("name", SCENARIOS)
async def test_cut(room: Room, cuts: Counter[str], name: str) -> None:
    """At each suspension, in two ways; and at all that come after it, too, in all. On
    uvloop, which has the same tasks, once and in one way."""
    sweep = Sweep(room, SCENARIOS[name])
    ours = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    for how in ("soon", "done") if ours else ("done",):
        steps = await sweep.everywhere(how)
        assert steps > 1
    for first, how in zip(range(1, ours * steps + 1), itertools.cycle(HOWS)):
        await sweep.once(From(first), how)
        await sweep.once({first, first + random.randrange(1, 5)}, how)
    cuts[name] += sweep.cuts


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
@pytest.mark.parametrize("name", ["core", "session", "waiting", "connecting"])
async def test_cut_eager_tasks(room: Room, cuts: Counter[str], name: str) -> None:
    """Tasks that begin to run where they are made, those of SQLAlchemy and the driver
    among them."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    sweep = Sweep(room, SCENARIOS[name])
    for how in HOWS:
        steps = await sweep.everywhere(how)
        assert steps > 1
    for first in range(1, steps + 1):
        await sweep.once(From(first), "soon")
    cuts[f"{name}, eager"] += sweep.cuts


async def test_cut_over_tls(tls_room: Room, cuts: Counter[str]) -> None:
    """Each run makes its connection, and shakes hands."""
    sweep = Sweep(tls_room, SCENARIOS["connecting"])
    for how in HOWS:
        steps = await sweep.everywhere(how)
    for first in range(1, steps + 1):
        await sweep.once(From(first), "soon")
    cuts["connecting over TLS"] += sweep.cuts


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_cut_twice(room: Room, cuts: Counter[str], name: str, how: str) -> None:
    """At each pair of suspensions, and from each on."""
    sweep = Sweep(room, SCENARIOS[name])
    for first in range(1, 1 + await sweep.everywhere(how)):
        await sweep.twice(first, how)
        await sweep.once(From(first), how)
    cuts[name] += sweep.cuts


# --------------------------------------- what stops a task that then goes on

Act = Callable[[], object]
Driven = Callable[[Act], Cut]  # the work, to be cut by that


async def by_timeout(driven: Driven) -> Cut:
    timeout = asyncio.timeout(None)  # type: ignore[attr-defined,unused-ignore]
    over = False

    def expire() -> None:
        if not over:
            timeout.reschedule(0)

    cut = driven(expire)
    with contextlib.suppress(TimeoutError):
        try:
            async with timeout:
                await cut
        finally:
            over = True
    assert timeout.expired() == cut.stopped
    task: Any = asyncio.current_task()
    assert task.cancelling() == 0
    return cut


async def by_sibling(driven: Driven) -> Cut:
    """Another task of the group fails."""
    failing = asyncio.get_running_loop().create_future()

    async def sibling() -> None:
        await failing
        raise Boom

    cut = driven(lambda: failing.done() or failing.set_result(None))

    async def work() -> None:
        await cut
        failing.cancel()

    try:
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined,unused-ignore]
            group.create_task(sibling())
            group.create_task(work())
    except Exception as error:
        assert [*map(type, error.exceptions)] == [Boom]  # type: ignore[attr-defined]
    return cut


async def by_scope(driven: Driven) -> Cut:
    """anyio cancels again in each turn of the loop, until the scope is left: that is
    what becomes of a request whose client is gone."""
    with anyio.CancelScope() as scope:
        cut = driven(scope.cancel)
        await cut
    assert scope.cancelled_caught == cut.stopped
    return cut


STOPS = [by_scope]
if sys.version_info >= (3, 11):
    STOPS += [by_timeout, by_sibling]


@pytest.mark.parametrize("name", ["core", "request", "stream", "waiting", "connecting"])
@pytest.mark.parametrize("stop", STOPS)
async def test_stopped(room: Room, cuts: Counter[str], stop: Any, name: str) -> None:
    """The task goes on, as if it had never been cancelled."""
    scenario = SCENARIOS[name]
    engine = room.engine(**scenario.keywords)
    step, over = 0, False
    while not over:
        step += 1
        if scenario.cold:
            await engine.dispose()
        write = Write(next(room.tokens))
        work = scenario.work(engine, write)
        cut = await stop(partial(Cut, work, {step}, HOWS[step % len(HOWS)]))
        await asyncio.sleep(0)
        write.check(await room.settled(engine, token=write.token))
        await usable(engine, write.token)
        over = cut.steps < step
    cuts[f"{name} {stop.__name__}"] = step
    assert step > 3


@pytest.mark.parametrize("name", ["core", "session", "connecting"])
async def test_tiny_deadlines(room: Room, name: str) -> None:
    """asyncio.wait_for() with what is hardly enough, or not."""
    scenario = SCENARIOS[name]
    engine = room.engine(**scenario.keywords)
    started = time.monotonic()
    await scenario.work(engine, Write(next(room.tokens)))
    takes = time.monotonic() - started
    ends: Counter[str] = Counter()
    for turn in range(40):
        if scenario.cold:
            await engine.dispose()
        write = Write(next(room.tokens))
        work = scenario.work(engine, write)
        try:
            await asyncio.wait_for(work, 1.5 * takes * turn / 40)
        except asyncio.TimeoutError:
            ends["timed out"] += 1
        else:
            ends["done"] += 1
        write.check(await room.settled(engine, token=write.token))
    await usable(engine, 5)
    assert ends["timed out"] > 0


# ------------------------------------------------------- coroutines that are closed


async def plain(engine: AsyncEngine, write: Write) -> None:
    conn = await engine.connect()
    await insert(conn, write)
    await conn.execute(sa.text("select pg_sleep(0.01)"))
    write.began_commit = True
    await conn.commit()
    write.committed = True
    await conn.close()


@pytest.mark.filterwarnings("default::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("cold", [False, True])
async def test_closed_coroutine(room: Room, cold: bool) -> None:
    """Nothing can be awaited any more. What is left is closed all the same, by the
    driver or by the collector, and what runs at the server is stopped."""
    engine = room.engine(**ONE)
    step, over = 1, False
    while not over:
        if cold:
            await engine.dispose()
        write = Write(next(room.tokens))
        cut = Close(plain(engine, write), {step}, "at")
        try:
            await cut
        except Closed:
            pass
        else:
            over = True
        del cut
        gc.collect()
        write.check(await room.settled(engine, token=write.token))
        await usable(engine, write.token)
        step += 1
    assert step > 5


# ------------------------------------------------------------- what is never closed


async def conn_left(engine: AsyncEngine) -> None:
    conn = await engine.connect()
    await conn.execute(sa.text("select 1"))


async def session_left(engine: AsyncEngine) -> None:
    session = AsyncSession(engine)
    await session.get(Row, 1)


async def stream_left(engine: AsyncEngine) -> None:
    conn = await engine.connect()
    result = await conn.stream(SERIES)
    await result.fetchone()


LEFT = pytest.mark.parametrize("left", [conn_left, session_left, stream_left])
POOLS = pytest.mark.parametrize("keywords", [ONE, {"poolclass": NullPool}])


@LEFT
@POOLS
async def test_collected(room: Room, left: Any, keywords: dict[str, Any]) -> None:
    """SQLAlchemy warns; the session ends and the slot is free."""
    engine = room.engine(**keywords)
    with pytest.warns(exc.SAWarning, match="garbage collector"):
        await left(engine)
        gc.collect()
    await room.settled(engine)
    await usable(engine, 9)
    await room.settled(engine)


async def test_generator_left(room: Room) -> None:
    """The loop closes an asynchronous generator that nobody holds any more."""
    engine = room.engine(**ONE)

    async def leave() -> None:
        opened = dependency(engine)
        session = await opened.__anext__()
        await session.get(Row, 1)

    await leave()
    gc.collect()
    await asyncio.sleep(0.01)
    await room.settled(engine)
    await usable(engine, 3)


def new_loop_of(running: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    if isinstance(running, asyncio.SelectorEventLoop):
        return asyncio.SelectorEventLoop()
    return type(running)()


def run_in(loop: asyncio.AbstractEventLoop, main: Any) -> None:
    """As asyncio.run(): what still runs when `main` is over is cancelled."""
    try:
        loop.run_until_complete(main)
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert [task for task in tasks if not task.cancelled()] == []
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("name", ["session", "stream", "connecting"])
async def test_loop_ends(room: Room, name: str) -> None:
    """asyncio.run() ends in the middle, one turn of its loop later each time. The
    engine goes on in the next loop. The task in which SQLAlchemy closes a connection
    may be cancelled before its first step: then the collector gives it back."""
    scenario = SCENARIOS[name]
    engine = room.engine(**scenario.keywords)
    loop = asyncio.get_running_loop()
    turns, over = 0, False
    while not over:
        write = Write(next(room.tokens))

        async def main(turns: int = turns, write: Write = write) -> bool:
            if scenario.cold:
                await engine.dispose()
            task = asyncio.ensure_future(scenario.work(engine, write))
            for _ in range(turns):
                await asyncio.sleep(0)
            return task.done()

        def run_it(main: Any = main) -> None:
            run_in(new_loop_of(loop), main())

        await asyncio.to_thread(run_it)
        gc.collect()
        write.check(await room.settled(engine, token=write.token))
        over = turns > 25 or write.committed
        turns += 1
    assert turns > 5
    await usable(engine, 4)


@pytest.mark.parametrize("how", ["close", "drop"])
async def test_loop_closed_with_a_connection_out(room: Room, how: str) -> None:
    """Given back in another loop, it serves there; dropped, it is closed."""
    engine = room.engine(**ONE)
    loop = new_loop_of(asyncio.get_running_loop())
    held: list[AsyncConnection] = []

    async def take() -> None:
        held.append(await engine.connect())
        await held[0].execute(sa.text("select 1"))

    def in_thread() -> None:
        loop.run_until_complete(take())
        loop.close()

    await asyncio.to_thread(in_thread)
    assert (await room.look(0))[0] == ["idle in transaction"]
    if how == "close":
        await held.pop().close()
        assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    else:
        with pytest.warns(exc.SAWarning, match="garbage collector"):
            held.clear()
            gc.collect()
    await room.settled(engine)
    await usable(engine, 8)
