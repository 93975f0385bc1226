"""Errors: the class of SQLAlchemy, the fields of the server, and what is usable after."""

# ruff: noqa: E501 - statements, a line each

from __future__ import annotations

import asyncio
import contextlib
import pickle
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, text

from . import reasons as why
from .case import Run, add, case
from .side import Side

ALIKE = ""  # asyncpg's dialect has the same class

# What the server refuses: the same class in both.
ALIKE = """
    insert into item (id, name) values (99, null)
    insert into part values (1, 999)
    insert into item (name) values ('a')
    insert into item (id, name, price) values (99, 'z', -1)
    select 100::small
    insert into part values (1, 1, '[1,5)'), (2, 1, '[2,3)')
    with i as (insert into part values (1, 1)) delete from item
    selec 1
    select (
    select 'unclosed
    select nothing from item
    select 1::nothing
    select case when true then 1 else current_date end
    select nothing(1)
    select * from nothing
    create table item (a int)
    select array[]
    select id from item a, item b
    select name, count(*) from item
    alter table counted alter twice set default 1
    insert into counted (n, twice) values (1, 1)
    select lo_get(1)
"""
# The class of PEP 249; asyncpg's dialect has DBAPIError.
OTHERS = """
    DataError: select 1 / 0
    DataError: alter table item alter name type varchar(1) using name || 'x'
    DataError: select 2147483647 + 1
    DataError: select 'x'::date
    DataError: select '2024-02-30'::date
    DataError: select 'x'::int
    DataError: select 'glad'::mood
    DataError: set timezone = 'nowhere'
    DataError: set session authorization nobody_here
    DataError: select 'a' ~ '['
    ProgrammingError: select (select 1 union select 2)
    InternalError: vacuum keep
    InternalError: create index concurrently on item (name)
    DataError: set role nobody_here
    ProgrammingError: execute nothing
    InternalError: drop table item
    OperationalError: rollback to nothing
    ProgrammingError: fetch nothing
    ProgrammingError: alter database nothing reset all
    ProgrammingError: create table nothing.t (a int)
    OperationalError: select currval('unused')
    ProgrammingError: do $$ begin assert false, 'no'; end $$
    ProgrammingError: do $$ begin raise 'plain'; end $$
    OperationalError: select pg_sleep(5)
    NotSupportedError: select xmlparse(document '<a/>')
"""
CODES = (
    "03000 08000 08003 08006 08P01 09000 0A000 0B000 0F000 0L000 0P000 0Z000 20000"
    " 21000 22000 22012 22023 23000 23001 23502 23503 23505 23514 23P01 24000 25000"
    " 25006 25P02 25P03 26000 27000 28000 28P01 2B000 2BP01 2D000 2F000 34000 38000"
    " 39000 3B000 3D000 3F000 40000 40001 40002 40003 40P01 42000 42501 42601 42P01"
    " 44000 53000 53100 53200 53300 54000 54001 55000 55006 55P03 57000 57014 57P01"
    " 57P03 58000 58030 58P01 72000 F0000 HV000 P0000 P0001 P0002 P0003 P0004 XX000"
    " XX001 MY001"
).split()
OF_ASYNCPG = ("23", "42", "XX")


def refused(sql: str) -> Run:
    """The error, and the connection after it."""

    async def run(side: Side) -> Any:
        async with side.connect() as conn:
            await conn.execute(text("set local statement_timeout = 500"))
            try:
                await conn.exec_driver_sql(sql)
            except Exception as error:
                seen: Any = error
            else:
                seen = "no error"
            await conn.rollback()
            return seen, await conn.scalar(text("select 1")), conn.closed

    return run


for sql in ALIKE.strip().splitlines():
    add(sql.strip(), refused(sql.strip()), ours="(sqlalchemy ")
for line in OTHERS.strip().splitlines():
    kind, _, sql = line.strip().partition(": ")
    add(sql, refused(sql), why.CLASSES, f"(sqlalchemy {kind}")
for code in CODES:
    reason = "" if code[:2] in OF_ASYNCPG else why.CLASSES
    add(f"raised {code}", refused(f"select fail('{code}')"), reason, f"sqlstate {code}")
for code in ("01000", "02000"):
    sql = f"select fail('{code}')"
    add(f"raised {code}", refused(sql), why.UNWRAPPED, "sqlalchemy DatabaseError")


@case(why.CLASSES, "sqlalchemy InternalError, sqlstate 25P02")
async def in_a_failed_transaction(side: Side) -> Any:
    async with side.connect() as conn:
        with contextlib.suppress(exc.DBAPIError):
            await conn.execute(text("select 1 / 0"))
        try:
            await conn.execute(text("select 1"))
        except exc.DBAPIError as error:
            return error


@case(why.ROLLED_BACK, "OperationalError")
async def committing_a_failed_transaction(side: Side) -> Any:
    async with side.connect() as conn:
        with contextlib.suppress(exc.DBAPIError):
            await conn.execute(text("select 1 / 0"))
        await conn.commit()
        return await conn.scalar(text("select 1"))


@case()
async def in_a_savepoint(side: Side) -> Any:
    async with side.connect() as conn:
        await conn.execute(text("insert into keep values (1, 'a')"))
        try:
            async with conn.begin_nested():
                await conn.execute(text("insert into keep values (1, 'b')"))
        except exc.IntegrityError as error:
            return error, (await conn.execute(text("select * from keep"))).all()


@case(why.CLASSES, "DataError")
async def in_the_middle_of_an_executemany(side: Side) -> Any:
    async with side.connect() as conn:
        insert = text("insert into keep values (:n, (1 / :m)::text)")
        try:
            await conn.execute(insert, [{"n": n, "m": 3 - n} for n in range(6)])
        except exc.DBAPIError as error:
            await conn.rollback()
            count = text("select count(*) from keep")
            return error, await conn.scalar(count)


@case(why.CLASSES, "DataError")
async def in_the_middle_of_a_stream(side: Side) -> Any:
    seen = []
    async with side.connect() as conn:
        try:
            result = await conn.stream(
                text("select 100 / (120 - i) from generate_series(1, 1000) i")
            )
            async for row in result:
                seen.append(row[0])
        except exc.DBAPIError as error:
            await conn.rollback()
            return error, len(seen), await conn.scalar(text("select 1"))


@case()
async def at_the_commit(side: Side) -> Any:
    """A deferred constraint."""
    async with side.connect() as conn:
        await conn.execute(text("set constraints all deferred"))
        await conn.execute(text("insert into part values (1, 999)"))
        try:
            await conn.commit()
        except exc.DBAPIError as error:
            return error, await conn.scalar(text("select count(*) from part"))


@case()
async def what_programs_ask_of_an_error(side: Side) -> Any:
    async with side.connect() as conn:
        try:
            await conn.execute(
                text("insert into item (name) values (:name)"), {"name": "a"}
            )
        except exc.IntegrityError as error:
            orig: Any = error.orig
            return (
                orig.sqlstate,
                orig.pgcode,
                orig.__cause__.constraint_name,
                orig.__cause__.table_name,
                orig.__cause__.sqlstate,
                orig.__cause__.detail,
                getattr(error, "driver_exception", orig.__cause__).constraint_name,
                "duplicate key value violates unique" in str(error),
                "UniqueViolation" in str(error.orig.__cause__.__class__),
                "item_name" in str(orig),
                error.statement,
                error.params if isinstance(error.params, dict) else len(error.params),
                error.code,
                isinstance(orig, conn.dialect.dbapi.IntegrityError),
                isinstance(orig, conn.dialect.dbapi.Error),
                isinstance(orig, conn.dialect.dbapi.OperationalError),
            )


@case(why.DIAG, "('item_name', 'item', 'Key (name)=(a) already exists.', '23505'")
async def what_programs_for_psycopg_ask_of_it(side: Side) -> Any:
    async with side.connect() as conn:
        try:
            await conn.execute(text("insert into item (name) values ('a')"))
        except exc.IntegrityError as error:
            diag = error.orig.diag  # type: ignore[union-attr]
            names = "constraint_name table_name message_detail sqlstate message_primary"
            return tuple(getattr(diag, name) for name in names.split())


@case()
async def pickled(side: Side) -> Any:
    async with side.connect() as conn:
        try:
            await conn.execute(text("select * from nothing"))
        except exc.DBAPIError as error:
            again = pickle.loads(pickle.dumps(error))
            return type(again), again.statement, type(again.orig).__mro__[-3:]


@case(why.DETAIL, "DETAIL")
async def its_text(side: Side) -> Any:
    async with side.connect() as conn:
        try:
            await conn.execute(text("insert into item (name) values ('a')"))
        except exc.DBAPIError as error:
            text_of_it = str(error)
            return (
                "DETAIL:  "
                if "DETAIL:  " in text_of_it
                else "DETAIL: " in text_of_it and "DETAIL"
            )


@case(why.CLASSES, "OperationalError, sqlstate 40001")
async def serialization_failure(side: Side) -> Any:
    engine = side.engine(isolation_level="REPEATABLE READ")
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("select * from item"))
        await other.execute(text("update item set price = 9 where name = 'a'"))
        await other.commit()
        try:
            await one.execute(text("update item set price = 8 where name = 'a'"))
        except exc.DBAPIError as error:
            return error
        finally:
            await one.rollback()
            await one.execute(text("update item set price = 1.5 where name = 'a'"))
            await one.commit()


@case(why.CLASSES, "OperationalError, sqlstate 40P01")
async def deadlock(side: Side) -> Any:
    lock = text("select pg_advisory_xact_lock(:key)")
    async with side.connect() as one, side.connect() as other:
        await one.execute(text("set local deadlock_timeout = '10s'"))
        await other.execute(text("set local deadlock_timeout = '50ms'"))
        await one.execute(lock, {"key": 1})
        await other.execute(lock, {"key": 2})
        first = asyncio.ensure_future(one.execute(lock, {"key": 2}))
        try:
            await other.execute(lock, {"key": 1})
        except exc.DBAPIError as error:
            error.orig.detail = None  # process numbers
            error.orig.__cause__ and setattr(error.orig.__cause__, "detail", None)
            await other.rollback()
            await first
            return error


@case(why.CLASSES, "OperationalError, sqlstate 55P03")
async def nowait(side: Side) -> Any:
    lock = text("select * from item where name = 'a' for update nowait")
    async with side.connect() as one, side.connect() as other:
        await one.execute(lock)
        try:
            await other.execute(lock)
        except exc.DBAPIError as error:
            return error


@case(why.CLASSES, "InternalError, sqlstate 25006")
async def in_a_transaction_that_only_reads(side: Side) -> Any:
    async with side.connect(postgresql_readonly=True) as conn:
        try:
            await conn.execute(text("insert into keep values (1)"))
        except exc.DBAPIError as error:
            return error


@case(why.CLASSES, "OperationalError, sqlstate 57014")
async def cancelled_by_another(side: Side) -> Any:
    async with side.connect() as one, side.connect() as other:
        pid = await one.scalar(text("select pg_backend_pid()"))
        sleep = asyncio.ensure_future(one.execute(text("select pg_sleep(10)")))
        await asyncio.sleep(0.1)
        await other.execute(text("select pg_cancel_backend(:pid)"), {"pid": pid})
        try:
            await sleep
        except exc.DBAPIError as error:
            await one.rollback()
            return error, await one.scalar(text("select 1"))


@case(why.LAST_WORDS, "OperationalError, sqlstate 57P01, pgcode 57P01, disconnected")
async def terminated_by_another(side: Side) -> Any:
    engine = side.engine()
    async with engine.connect() as one, engine.connect() as other:
        pid = await one.scalar(text("select pg_backend_pid()"))
        sleep = asyncio.ensure_future(one.execute(text("select pg_sleep(10)")))
        await asyncio.sleep(0.1)
        await other.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
        try:
            await sleep
        except exc.DBAPIError as error:
            seen = [error, one.invalidated]
            await one.rollback()
            seen.append(await one.scalar(text("select 1")))
            return seen


@case(why.LAST_WORDS, "OperationalError, sqlstate 57P01, pgcode 57P01, disconnected")
async def terminated_while_idle(side: Side) -> Any:
    engine = side.engine()
    async with engine.connect() as one, engine.connect() as other:
        pid = await one.scalar(text("select pg_backend_pid()"))
        await other.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
        await asyncio.sleep(0.1)
        try:
            await one.execute(text("select 1"))
        except exc.DBAPIError as error:
            return error, one.invalidated


@case()
async def the_pool_after_a_disconnect(side: Side) -> Any:
    engine = side.engine(pool_size=2)
    async with engine.connect() as one:
        await one.execute(text("select 1"))
        raw = await one.get_raw_connection()
        raw.driver_connection.terminate()
        try:
            await one.execute(text("select 1"))
        except exc.DBAPIError as error:
            seen = [error.connection_invalidated]
    async with engine.connect() as one:
        return seen, await one.scalar(text("select 1")), engine.pool.checkedout()


@case(why.TIMEOUTS, "OperationalError")
async def command_timeout(side: Side) -> Any:
    engine = side.engine(connect_args={"command_timeout": 0.2})
    async with engine.connect() as conn:
        try:
            await conn.execute(text("select pg_sleep(5)"))
        except Exception as error:
            return error


@case()
async def wait_for(side: Side) -> Any:
    engine = side.engine()
    async with engine.connect() as conn:
        try:
            await asyncio.wait_for(conn.execute(text("select pg_sleep(5)")), 0.2)
        except Exception as error:
            return error, conn.invalidated


@case()
async def two_statements_at_once(side: Side) -> Any:
    engine = side.engine(isolation_level="AUTOCOMMIT")
    async with engine.connect() as conn:
        results = await asyncio.gather(
            *(conn.scalar(text(f"select {n} from pg_sleep(0.05)")) for n in (1, 2)),
            return_exceptions=True,
        )
        return tuple(results)


@case()
async def too_few_parameters(side: Side) -> Any:
    async with side.connect() as conn:
        return await conn.execute(text("select :a, :b"), {"a": 1})


@case(why.CLIENT_COUNT, "ProgrammingError")
async def too_few_for_the_driver(side: Side) -> Any:
    async with side.connect() as conn:
        return await conn.exec_driver_sql("select $1::int, $2::int", (1,))


@case(why.CLIENT_COUNT, "ProgrammingError")
async def too_many_for_the_driver(side: Side) -> Any:
    async with side.connect() as conn:
        return await conn.exec_driver_sql("select $1::int", (1, 2))


@case(why.MANY, "ProgrammingError")
async def beyond_65535_parameters(side: Side) -> Any:
    async with side.connect() as conn:
        marks = ", ".join(f"${n}::int" for n in range(1, 65537))
        return await conn.exec_driver_sql(f"select {marks}", tuple(range(65536)))


@case(why.LENIENT, "CursorResult")
async def of_an_undecided_type(side: Side) -> Any:
    async with side.connect() as conn:
        return await conn.execute(text("select :x is null"), {"x": None})


@case()
async def rows_of_no_rows(side: Side) -> Any:
    async with side.connect() as conn:
        result = await conn.execute(text("create temp table t (a int)"))
        return result.all()


@case()
async def events_of_errors(side: Side) -> Any:
    seen: list[Any] = []
    engine = side.engine()

    def heard(context: Any) -> None:
        seen.append(context.is_disconnect)
        seen.append(type(context.sqlalchemy_exception).__name__)
        seen.append(context.original_exception.sqlstate)

    sa.event.listen(engine.sync_engine, "handle_error", heard)
    async with engine.connect() as conn:
        with contextlib.suppress(exc.DBAPIError):
            await conn.execute(text("select * from nothing"))
    return seen


@case()
async def a_terminated_one_in_the_pool_with_pre_ping(side: Side) -> Any:
    engine = side.engine(pool_pre_ping=True)
    async with engine.connect() as conn:
        pid = await conn.scalar(text("select pg_backend_pid()"))
    async with side.connect() as other:
        await other.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
    await asyncio.sleep(0.1)
    async with engine.connect() as conn:
        return await conn.scalar(text("select pg_backend_pid()")) != pid
