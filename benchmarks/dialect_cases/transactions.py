"""Transactions, isolation, streams, the pool."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import sqlalchemy as sa
from sqlalchemy import pool, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from . import look
from . import reasons as why
from .case import Run, add, case, group
from .constructs import KEEP
from .side import Side

COUNT = select(sa.func.count()).select_from(KEEP)
ISOLATION = text("show transaction isolation level")
READ_ONLY = text("select current_setting('transaction_read_only')")
DEFERRABLE = text("select current_setting('transaction_deferrable')")
NUMBERS = text("select i, 'row ' || i from generate_series(1, 1000) i")


def insert(key: int) -> Any:
    return KEEP.insert().values(id=key, t="x")


def level_of(level: str) -> Run:
    """A level by every way there is, and what is left of it at the next checkout."""

    async def run(side: Side) -> Any:
        seen: list[Any] = []
        engine = side.engine(pool_size=1, max_overflow=0)
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level=level)
            seen.append(await conn.scalar(ISOLATION))
            seen.append(await conn.get_isolation_level())
        async with engine.connect() as conn:
            seen.append(await conn.scalar(ISOLATION))
            seen.append(conn.sync_connection.default_isolation_level)
        async with engine.execution_options(isolation_level=level).connect() as conn:
            seen.append(await conn.scalar(ISOLATION))
        whole = side.engine(isolation_level=level)
        async with whole.connect() as conn:
            seen.append(await conn.scalar(ISOLATION))
            raw = await conn.get_raw_connection()
            seen.append(bool(raw.dbapi_connection.autocommit))
        async with AsyncSession(engine) as session:
            conn = await session.connection(
                execution_options={"isolation_level": level}
            )
            seen.append(await session.scalar(ISOLATION))
        return seen

    return run


with group("isolation"):
    for level in (
        "AUTOCOMMIT",
        "READ COMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
        "SERIALISABLE",
    ):
        add(level, level_of(level))
    add(
        "READ UNCOMMITTED",
        level_of("READ UNCOMMITTED"),
        "a level that PostgreSQL knows, as psycopg does",
        "'read uncommitted'",
    )

    @case()
    async def in_a_transaction(side: Side) -> Any:
        async with side.connect() as conn:
            await conn.execute(text("select 1"))
            return await conn.execution_options(isolation_level="SERIALIZABLE")

    @case()
    async def of_the_server(side: Side) -> Any:
        settings = {"default_transaction_isolation": "repeatable read"}
        engine = side.engine(connect_args={"server_settings": settings})
        async with engine.connect() as conn:
            first = await conn.scalar(ISOLATION)
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="SERIALIZABLE")
            second = await conn.scalar(ISOLATION)
        async with engine.connect() as conn:
            return first, second, await conn.scalar(ISOLATION)

    @case()
    async def readonly_and_deferrable(side: Side) -> Any:
        seen: list[Any] = []
        engine = side.engine(pool_size=1, max_overflow=0)
        async with engine.connect() as conn:
            await conn.execution_options(
                isolation_level="SERIALIZABLE",
                postgresql_readonly=True,
                postgresql_deferrable=True,
            )
            seen.append((await conn.execute(READ_ONLY)).scalar())
            seen.append(await conn.scalar(DEFERRABLE))
        async with engine.connect() as conn:
            seen.append(await conn.scalar(READ_ONLY))
            seen.append(await conn.scalar(DEFERRABLE))
        return seen

    @case()
    async def a_session_that_only_reads(side: Side) -> Any:
        settings = {"default_transaction_read_only": "on"}
        engine = side.engine(connect_args={"server_settings": settings})
        async with engine.connect() as conn:
            return await conn.scalar(READ_ONLY)


with group("transaction"):

    @case()
    async def begin_commits(side: Side) -> Any:
        async with side.shared.begin() as conn:
            await conn.execute(insert(1))
        async with side.connect() as conn:
            seen = await conn.scalar(COUNT)
        return seen

    @case()
    async def begin_rolls_back(side: Side) -> Any:
        try:
            async with side.shared.begin() as conn:
                await conn.execute(insert(1))
                raise KeyError
        except KeyError:
            async with side.connect() as conn:
                return await conn.scalar(COUNT)

    @case()
    async def as_one_goes(side: Side) -> Any:
        seen = []
        async with side.connect() as conn:
            seen.append(conn.in_transaction())
            await conn.execute(insert(1))
            seen.append(conn.in_transaction())
            await conn.rollback()
            seen.append(conn.in_transaction())
            seen.append(await conn.scalar(COUNT))
            await conn.rollback()
            async with conn.begin():
                await conn.execute(insert(2))
            seen.append(await conn.scalar(COUNT))
        return seen

    @case()
    async def savepoints(side: Side) -> Any:
        async with side.connect() as conn:
            await conn.execute(insert(1))
            outer = await conn.begin_nested()
            await conn.execute(insert(2))
            inner = await conn.begin_nested()
            await conn.execute(insert(3))
            await inner.rollback()
            seen = [await conn.scalar(COUNT)]
            await outer.commit()
            seen.append(await conn.scalar(COUNT))
            third = await conn.begin_nested()
            await conn.execute(insert(4))
            await third.rollback()
            return seen, await conn.scalar(COUNT)

    @case()
    async def two_phase_of_the_sync_api(side: Side) -> Any:
        def run(conn: Any) -> Any:
            seen = []
            tx = conn.begin_twophase("first ' xid")
            conn.execute(insert(1))
            tx.prepare()
            tx.commit()
            tx = conn.begin_twophase("second")
            conn.execute(insert(2))
            tx.prepare()
            seen.append(conn.recover_twophase())
            tx.rollback()
            tx = conn.begin_twophase("third")
            conn.execute(insert(3))
            tx.rollback()
            seen.append([row[0] for row in conn.execute(select(KEEP.c.id))])
            conn.rollback()
            return seen

        try:
            async with side.connect() as conn:
                return await conn.run_sync(run)
        finally:  # whatever is left would lock the table
            async with side.connect(isolation_level="AUTOCOMMIT") as conn:
                left = await conn.scalars(text("select gid from pg_prepared_xacts"))
                for gid in left.all():
                    quoted = gid.replace("'", "''")
                    await conn.exec_driver_sql(f"rollback prepared '{quoted}'")

    @case()
    async def autocommit(side: Side) -> Any:
        async with side.connect(isolation_level="AUTOCOMMIT") as conn:
            await conn.execute(insert(1))
            seen = [conn.in_transaction()]
            await conn.rollback()
            seen.append(await conn.scalar(COUNT))
            await conn.rollback()
            async with conn.begin():
                await conn.execute(insert(2))
            seen.append(await conn.scalar(COUNT))
            await conn.execute(text("vacuum keep"))
            await conn.execute(text("create database made_by_a_case"))
            await conn.execute(text("drop database made_by_a_case"))
            await conn.execute(text("create index concurrently on keep (t)"))
        return seen

    @case(why.CLASSES, "InternalError, sqlstate 25P01")
    async def savepoint_in_autocommit(side: Side) -> Any:
        async with side.connect(isolation_level="AUTOCOMMIT") as conn:
            await conn.begin_nested()

    @case()
    async def sql_of_ones_own(side: Side) -> Any:
        """BEGIN and COMMIT as text, in autocommit."""
        async with side.connect(isolation_level="AUTOCOMMIT") as conn:
            await conn.execute(text("begin"))
            await conn.execute(insert(1))
            await conn.execute(text("rollback"))
            seen = [await conn.scalar(COUNT)]
            await conn.execute(text("begin isolation level serializable"))
            seen.append(await conn.scalar(ISOLATION))
            await conn.execute(text("commit"))
            return seen

    @case(
        "whether there is a transaction is the server's word, whatever ended the last",
        "1",
    )
    async def a_commit_as_text(side: Side) -> Any:
        engine = side.engine(poolclass=pool.NullPool)
        async with engine.connect() as conn:
            await conn.execute(insert(1))
            await conn.execute(text("commit"))
            await conn.execute(insert(2))
            await conn.rollback()
            seen = await conn.scalar(COUNT)
        return seen

    @case()
    async def a_procedure_that_commits(side: Side) -> Any:
        async with side.connect(isolation_level="AUTOCOMMIT") as conn:
            await conn.execute(text("call commits()"))
            return await conn.scalar(COUNT)

    @case()
    async def nothing_is_begun_before_a_statement(side: Side) -> Any:
        engine = side.engine()
        async with engine.connect() as conn, engine.connect() as other:
            pid = await conn.scalar(text("select pg_backend_pid()"))
            await conn.rollback()
            await conn.begin()
            query = text("select state from pg_stat_activity where pid = :pid")
            return await other.scalar(query, {"pid": pid})

    @case()
    async def sessionmaker(side: Side) -> Any:
        make = async_sessionmaker(side.shared, expire_on_commit=False)
        async with make() as session, session.begin():
            await session.execute(insert(1))
            async with session.begin_nested():
                await session.execute(insert(2))
        async with make.begin() as session:
            seen = await session.scalar(COUNT)
        return seen


with group("stream"):

    @case()
    async def rows(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(NUMBERS)
            described = look.codes(result._real_result.cursor.description)
            count = result._real_result.rowcount
            rows = [row async for row in result]
            return described, count, len(rows), rows[0], rows[-1], list(result.keys())

    @case()
    async def partitions(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(NUMBERS)
            return [len(part) async for part in result.partitions(300)]

    @case()
    async def parts(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(NUMBERS)
            first = await result.fetchone()
            some = await result.fetchmany(5)
            more = await result.scalars().fetchmany(3)
            rest = await result.fetchall()
            return first, some, more, len(rest), rest[0], await result.fetchone()

    @case()
    async def of_fetchmany_alone(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(NUMBERS)
            return [
                len(await result.fetchmany(n)) for n in (1, 49, 50, 51, 500, 900, 1)
            ]

    @case()
    async def yield_per(side: Side) -> Any:
        async with side.connect(yield_per=100) as conn:
            result = await conn.stream(NUMBERS)
            seen = 0
            async for row in result.scalars():
                seen += row
            return seen

    @case()
    async def of_execute(side: Side) -> Any:
        async with side.connect() as conn:
            return await conn.execute(
                NUMBERS, execution_options={"stream_results": True}
            )

    @case()
    async def left_early(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(NUMBERS)
            async for row in result:
                if row[0] == 3:
                    break
            await result.close()
            return await conn.scalar(text("select 1"))

    @case()
    async def two_at_once(side: Side) -> Any:
        async with side.connect() as conn:
            one, two = await conn.stream(NUMBERS), await conn.stream(NUMBERS)
            seen = [await one.fetchone(), await two.fetchone(), await one.fetchone()]
            return seen, await conn.scalar(text("select 5")), len(await two.fetchall())

    @case()
    async def scalars(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream_scalars(text("select generate_series(1, 120)"))
            return await result.all()

    @case()
    async def without_rows(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(text("select 1 where false"))
            return await result.all(), await conn.scalar(text("select 1"))

    @case()
    async def unique_and_mappings(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(
                text("select i % 3 as a from generate_series(1, 9) i")
            )
            return [dict(row) async for row in result.unique().mappings()]

    @case(
        "the transaction that a portal needs is opened for it, and ended with it",
        "1000",
    )
    async def in_autocommit(side: Side) -> Any:
        async with side.connect(isolation_level="AUTOCOMMIT") as conn:
            result = await conn.stream(NUMBERS)
            return len(await result.all())

    @case(why.UNWRAPPED, "sqlalchemy ProgrammingError, sqlstate 34000")
    async def over_a_commit(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(NUMBERS)
            await result.fetchone()
            await conn.commit()
            return await result.fetchmany(200)

    @case()
    async def of_an_insert(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.stream(insert(1).returning(KEEP.c.t))
            return await result.all()


with group("pool"):

    @case()
    async def classes(side: Side) -> Any:
        engine = side.engine()
        null = side.engine(poolclass=pool.NullPool)
        queue = side.engine(poolclass=pool.AsyncAdaptedQueuePool, pool_size=1)
        seen = []
        for one in (engine, null, queue):
            async with one.connect() as conn:
                seen.append(await conn.scalar(text("select 1")))
        return (
            seen,
            isinstance(engine.pool, pool.AsyncAdaptedQueuePool),
            type(null.pool),
        )

    @case()
    async def exhausted(side: Side) -> Any:
        engine = side.engine(pool_size=1, max_overflow=0, pool_timeout=0.1)
        async with engine.connect():
            try:
                async with engine.connect():
                    pass
            except Exception as error:
                return error

    @case()
    async def reused(side: Side) -> Any:
        engine = side.engine(pool_size=1)
        pids = set()
        for _ in range(3):
            async with engine.connect() as conn:
                pids.add(await conn.scalar(text("select pg_backend_pid()")))
        return len(pids), engine.pool.status().partition("Current Overflow")[0]

    @case()
    async def recycled(side: Side) -> Any:
        engine = side.engine(pool_size=1, pool_recycle=0)
        pids = set()
        for _ in range(2):
            async with engine.connect() as conn:
                pids.add(await conn.scalar(text("select pg_backend_pid()")))
            await asyncio.sleep(0.01)
        return len(pids)

    @case()
    async def rollback_at_the_return(side: Side) -> Any:
        engine = side.engine(pool_size=1, max_overflow=0)
        async with engine.connect() as conn:
            await conn.execute(insert(1))
        async with engine.connect() as conn:
            return await conn.scalar(COUNT)

    @case()
    async def settings_outlive_the_return(side: Side) -> Any:
        engine = side.engine(pool_size=1, max_overflow=0)
        async with engine.connect() as conn:
            await conn.execute(text("set work_mem = '5MB'"))
            await conn.commit()
            await conn.execute(text("create temp table t as select 1 as a"))
            await conn.commit()
        async with engine.connect() as conn:
            return (
                await conn.scalar(text("show work_mem")),
                await conn.scalar(text("select a from t")),
            )

    @case()
    async def invalidated(side: Side) -> Any:
        engine = side.engine(pool_size=1)
        async with engine.connect() as conn:
            await conn.execute(text("select 1"))
            await conn.invalidate()
            seen = conn.invalidated
            await conn.rollback()
            return seen, await conn.scalar(text("select 1")), conn.invalidated

    @case()
    async def forgotten(side: Side) -> Any:
        """What the garbage collector finds: a warning, and the slot is free again."""
        engine = side.engine(pool_size=1, max_overflow=0, pool_timeout=1)
        conn = await engine.connect()
        await conn.execute(text("select 1"))
        del conn
        gc.collect()
        async with engine.connect() as conn:
            return await conn.scalar(text("select 1"))

    @case()
    async def disposed(side: Side) -> Any:
        engine = side.engine()
        conn = await engine.connect()
        await conn.execute(text("select 1"))
        await engine.dispose()
        seen = await conn.scalar(text("select 2"))
        await conn.invalidate()
        await conn.close()
        async with engine.connect() as conn:
            return seen, await conn.scalar(text("select 3"))

    @case()
    async def cancelled_in_a_statement(side: Side) -> Any:
        engine = side.engine(pool_size=1, max_overflow=0)

        async def sleep() -> None:
            async with engine.connect() as conn:
                await conn.execute(text("select pg_sleep(10)"))

        task = asyncio.ensure_future(sleep())
        await asyncio.sleep(0.1)
        task.cancel()
        (seen,) = await asyncio.gather(task, return_exceptions=True)
        async with engine.connect() as conn:
            return (
                type(seen),
                await conn.scalar(text("select 1")),
                engine.pool.checkedout(),
            )

    @case()
    async def many_tasks(side: Side) -> Any:
        engine = side.engine(pool_size=4, max_overflow=0)

        async def one(n: int) -> Any:
            async with engine.connect() as conn:
                return await conn.scalar(text("select cast(:n as int)"), {"n": n})

        return await asyncio.gather(*(one(n) for n in range(40)))
