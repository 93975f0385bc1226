"""Each way a connection ends or is in trouble: what SQLAlchemy is told, what becomes of
the pool; pools of each class."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc, orm, pool
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.util import greenlet_spawn

import pgasync
from dialect.flights import FlightCounter
from pgasync import errors

MakeEngine = Callable[..., AsyncEngine]
ONE = sa.text("select 1")


async def pid(conn: AsyncConnection) -> int:
    return int(await conn.scalar(sa.text("select pg_backend_pid()")))


async def driver(conn: AsyncConnection) -> pgasync.Connection:
    connection = (await conn.get_raw_connection()).driver_connection
    assert isinstance(connection, pgasync.Connection)
    return connection


async def terminate(conn: AsyncConnection, dsn: str) -> None:
    async with pgasync.connect(dsn) as other:
        await other.execute("select pg_terminate_backend($1, 5000)", [await pid(conn)])


async def close(conn: AsyncConnection, dsn: str) -> None:
    await (await driver(conn)).close()


async def drop(conn: AsyncConnection, dsn: str) -> None:
    (await driver(conn)).terminate()


def setting(name: str) -> Callable[[AsyncConnection, str], Any]:
    async def set_it(conn: AsyncConnection, dsn: str) -> None:
        await conn.execute(sa.text(f"set {name} = '20ms'"))
        if name == "idle_session_timeout":
            await conn.commit()
        ended = await driver(conn)
        while not ended.closed:
            await asyncio.sleep(0.01)

    set_it.__name__ = name
    return set_it


ENDS = [
    (terminate, exc.OperationalError, "57P01"),
    (setting("idle_session_timeout"), exc.OperationalError, "57P05"),
    (
        setting("idle_in_transaction_session_timeout"),
        exc.OperationalError,
        "25P03",
    ),
    (close, exc.InterfaceError, None),
    (drop, exc.InterfaceError, None),
]


@pytest.mark.parametrize(
    ("end", "wrapper", "sqlstate"), ENDS, ids=[end.__name__ for end, *_ in ENDS]
)
async def test_the_end_of_a_connection(
    make_engine: MakeEngine, dsn: str, end: Any, wrapper: Any, sqlstate: str | None
) -> None:
    """The error is that of a disconnect: the idle ones of the pool are left too, and
    the same AsyncConnection connects anew after a rollback."""
    engine = make_engine(pool_size=3)
    async with engine.connect() as conn:
        async with engine.connect() as idle:
            other = await pid(idle)
        first = await pid(conn)
        await end(conn, dsn)
        with pytest.raises(wrapper) as caught:
            await conn.execute(ONE)
        assert caught.value.connection_invalidated
        assert caught.value.orig.sqlstate == sqlstate
        await conn.rollback()
        assert await pid(conn) not in (first, other)
    async with engine.connect() as conn:
        assert await pid(conn) != other


@pytest.mark.parametrize("ending", ["commit", "rollback", "begin_nested", "close"])
@pytest.mark.parametrize("seen", [True, False])
async def test_a_network_that_breaks(
    make_engine: MakeEngine,
    counted_url: str,
    flights: FlightCounter,
    ending: str,
    seen: bool,
) -> None:
    """Under each call of a connection: an error of a disconnect, or nothing where there
    is nothing to be lost; no slot of the pool is."""
    engine = make_engine(url=counted_url, pool_size=1, max_overflow=0, pool_timeout=5)
    conn = await engine.connect()
    await conn.execute(ONE)
    held = await driver(conn)
    await flights.cut()
    while seen and not held.closed:
        await asyncio.sleep(0)
    try:
        if ending in ("rollback", "close"):
            await getattr(conn, ending)()
        else:
            with pytest.raises(exc.DBAPIError) as caught:
                await getattr(conn, ending)()
            assert caught.value.connection_invalidated
    finally:
        await conn.close()
    async with engine.connect() as conn:
        assert await conn.scalar(ONE) == 1


async def test_one_connection_used_by_several_tasks(engine: AsyncEngine) -> None:
    """Each statement has its own result, and its own error."""
    async with engine.connect() as conn:
        await conn.execute(ONE)
        asked = [conn.scalar(sa.text(f"select {n}")) for n in range(20)]
        assert await asyncio.gather(*asked) == list(range(20))
        asked.clear()
        failing = [conn.scalar(sa.text(f"select {n} / {n}")) for n in (1, 0, 2)]
        done = await asyncio.gather(*failing, return_exceptions=True)
        assert done[0] == 1
        assert isinstance(done[1], exc.DataError)
        assert isinstance(done[2], exc.InternalError)  # the transaction has failed
        await conn.rollback()
        assert await conn.scalar(ONE) == 1


async def test_command_timeout_of_many(make_engine: MakeEngine) -> None:
    engine = make_engine("command_timeout=0.1")
    sleep = sa.text("select pg_sleep(:n)")
    async with engine.connect() as conn:
        with pytest.raises(exc.OperationalError) as caught:
            await conn.execute(sleep, [{"n": 30}, {"n": 30}])
        assert isinstance(caught.value.orig, pgasync.QueryTimeout)
    async with engine.connect() as conn:
        assert await conn.scalar(ONE) == 1


# Rows that are gone


@pytest.mark.parametrize("verb", ["update", "delete"])
async def test_stale_batches(engine: AsyncEngine, verb: str) -> None:
    """executemany counts: the ORM sees that a row of many was not there."""

    class Base(orm.DeclarativeBase):
        pass

    class Thing(Base):
        __tablename__ = "thing"
        id = sa.Column(sa.Integer, primary_key=True)
        n = sa.Column(sa.Integer)
        __mapper_args__ = {"confirm_deleted_rows": True}  # noqa: RUF012

    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        session.add_all(Thing(n=n) for n in range(5))
        await session.commit()
        things = (await session.scalars(sa.select(Thing))).all()
        await session.execute(sa.text("delete from thing where id = 3"))
        for thing in things:
            if verb == "update":
                thing.n = 7
            else:
                await session.delete(thing)
        if verb == "update":
            with pytest.raises(StaleDataError, match=r"5 row\(s\); 4 were matched"):
                await session.flush()
        else:
            with pytest.warns(exc.SAWarning, match=r"5 row\(s\); 4 were matched"):
                await session.flush()
        await session.rollback()


# Two phases


async def test_two_phases_of_a_session(engine: AsyncEngine, schema: str) -> None:
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table phases (n int)"))
    insert = sa.text("insert into phases values (1)")
    async with AsyncSession(engine, twophase=True) as session:
        await session.execute(insert)
        await session.commit()
        await session.execute(insert)
        await session.rollback()
        await session.execute(insert)
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select count(*) from phases")) == 1


@pytest.mark.parametrize("verb", ["commit", "rollback"])
@pytest.mark.parametrize("recover", [True, False])
async def test_recovered_phases(
    engine: AsyncEngine, schema: str, verb: str, recover: bool
) -> None:
    """By another connection, which is itself in a transaction; names are quoted."""
    name = f"{schema}' {verb}"

    def prepare(sync: sa.Connection) -> None:
        sync.execute(sa.text("create table phases (n int)"))
        sync.commit()
        transaction = sync.begin_twophase(name)
        sync.execute(sa.text("insert into phases values (1)"))
        transaction.prepare()
        sync.invalidate()

    def end(sync: sa.Connection) -> None:
        assert name in sync.recover_twophase()
        getattr(sync, f"{verb}_prepared")(name, recover=recover)
        assert name not in sync.recover_twophase()

    async with engine.connect() as conn:
        await conn.run_sync(prepare)
    async with engine.connect() as conn:
        await conn.run_sync(end)
        count = await conn.scalar(sa.text("select count(*) from phases"))
        assert count == (1 if verb == "commit" else 0)


# Pools


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"poolclass": pool.NullPool}, False),
        ({"poolclass": pool.StaticPool}, True),
        ({"poolclass": pool.AsyncAdaptedQueuePool, "pool_size": 2}, True),
        ({"poolclass": pool.AsyncAdaptedQueuePool, "pool_pre_ping": True}, True),
        ({"pool_size": 0}, True),
        ({"pool_size": 1, "max_overflow": 0}, True),
        ({"pool_size": 1, "max_overflow": -1}, True),
        ({"pool_use_lifo": True}, True),
        ({"pool_recycle": 0}, False),
        ({"pool_recycle": 3600}, True),
        ({"pool_reset_on_return": "commit"}, True),
        ({"pool_reset_on_return": "rollback"}, True),
        ({"pool_reset_on_return": None}, True),
        ({"pool_logging_name": "mine", "logging_name": "mine"}, True),
    ],
    ids=str,
)
async def test_pools(
    make_engine: MakeEngine, options: dict[str, Any], same: bool
) -> None:
    engine = make_engine(**options)
    seen = []
    for _ in range(2):
        async with engine.connect() as conn:
            seen.append(await pid(conn))
            await conn.commit()
        await asyncio.sleep(0.01)  # what is to be recycled is older than that
    assert (seen[0] == seen[1]) is same


@pytest.mark.parametrize(
    ("reset", "count"), [("commit", 1), ("rollback", 0), (None, 1)]
)
async def test_reset_on_return(
    make_engine: MakeEngine, reset: str | None, count: int
) -> None:
    """With None the transaction stays open, and the next user is in it."""
    engine = make_engine(pool_size=1, pool_reset_on_return=reset)
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table kept (n int)"))
    conn = await engine.connect()
    (await driver(conn)).autocommit = False
    await (await driver(conn)).execute("insert into kept values (1)")
    await conn.close()
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select count(*) from kept")) == count
        await conn.rollback()


async def test_a_full_pool(make_engine: MakeEngine) -> None:
    engine = make_engine(pool_size=1, max_overflow=1, pool_timeout=0.05)
    async with engine.connect(), engine.connect():
        with pytest.raises(exc.TimeoutError, match="overflow 1 reached"):
            await engine.connect()
    async with engine.connect() as conn:
        assert await conn.scalar(ONE) == 1


async def test_a_raw_connection(engine: AsyncEngine) -> None:
    """PEP 249 in a greenlet: a transaction begins with the first statement."""
    proxy = await engine.raw_connection()

    def use() -> list[Any]:
        cursor = proxy.cursor()
        cursor.execute("create table raw (n int)")
        proxy.commit()
        cursor.execute("insert into raw values ($1)", (1,))
        proxy.rollback()
        cursor.executemany("insert into raw values ($1)", [(2,), (3,)])
        proxy.commit()
        cursor.execute("select n from raw order by n")
        found = list(cursor.fetchall())
        cursor.close()
        return found

    assert await greenlet_spawn(use) == [(2,), (3,)]
    await greenlet_spawn(proxy.close)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_dispose_while_in_use(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await engine.dispose()
        held = await driver(conn)
        assert await conn.scalar(ONE) == 1
    assert held.closed
    async with engine.connect() as conn:
        assert await conn.scalar(ONE) == 1


async def test_no_warning_of_ones_own(engine: AsyncEngine) -> None:
    """Everyday use warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="SERIALIZABLE")
            await conn.execute(ONE)
        with pytest.raises(exc.ProgrammingError) as caught:
            async with engine.begin() as conn:
                await conn.execute(sa.text("select * from nowhere"))
    assert isinstance(caught.value.orig, errors.UndefinedTable)
