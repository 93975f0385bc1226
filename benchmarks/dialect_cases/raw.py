"""The driver's own connection: what asyncpg's users call at driver_connection."""

# ruff: noqa: E501 - calls, a line each

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import event, literal, select, text
from sqlalchemy.dialects import postgresql as pg

from . import reasons as why
from .case import Run, add, case, group
from .side import Side

Act = Callable[[Any], Awaitable[Any]]


def of(act: Act) -> Run:
    """What comes of it at a driver's connection, and what SQLAlchemy's can do then."""

    async def run(side: Side) -> Any:
        engine = side.engine()
        async with engine.connect() as conn:
            connection = (await conn.get_raw_connection()).driver_connection
            try:
                seen = await act(connection)
            except Exception as error:
                seen = type(error)
            return seen, await conn.scalar(text("select 1"))

    return run


async def copy_records(connection: Any) -> Any:
    records = [(1, "a"), (2, None)]
    return await connection.copy_records_to_table("keep", records=records)


async def copy_to(connection: Any) -> Any:
    import io

    return await connection.copy_to_table("keep", source=io.BytesIO(b"1\ta\n"))


async def copy_from(connection: Any) -> Any:
    import io

    return await connection.copy_from_query("select 1", output=io.BytesIO())


async def listen(connection: Any) -> Any:
    await connection.add_listener("channel", print)
    return await connection.remove_listener("channel", print)


async def transaction(connection: Any) -> Any:
    async with connection.transaction():
        await connection.execute("insert into keep values (1)")
        async with connection.transaction():
            await connection.execute("insert into keep values (2)")
    return await connection.fetchval("select count(*) from keep")


async def transaction_options(connection: Any) -> Any:
    async with connection.transaction(isolation="serializable", readonly=True):
        return await connection.fetchval("show transaction_isolation")


async def started(connection: Any) -> Any:
    transaction = connection.transaction()
    await transaction.start()
    await transaction.rollback()


async def prepared(connection: Any) -> Any:
    statement = await connection.prepare("select $1::int + 1")
    return await statement.fetchval(1)


async def prepared_with_a_list(connection: Any) -> Any:
    statement = await connection.prepare("select 1 + 1")
    return await statement.fetchval()


async def iterated(connection: Any) -> Any:
    async with connection.transaction():
        return [row[0] async for row in connection.cursor("select 1")]


async def codec(connection: Any) -> Any:
    await connection.set_type_codec(
        "mood",
        schema="side_by_side",
        encoder=str.lower,
        decoder=str.upper,
        format="text",
    )
    return await connection.fetchval("select 'ok'::mood")


async def binary_codec(connection: Any) -> Any:
    await connection.set_type_codec(
        "citext",
        schema="public",
        encoder=str.encode,
        decoder=bytes.decode,
        format="binary",
    )
    return await connection.fetchval("select 'A'::citext")


async def codec_of_nothing(connection: Any) -> Any:
    await connection.set_type_codec("nothing", encoder=str, decoder=str)


async def reset_codec(connection: Any) -> Any:
    await codec(connection)
    await connection.reset_type_codec("mood", schema="side_by_side")
    return await connection.fetchval("select 'ok'::mood")


async def notices(connection: Any) -> Any:
    seen: list[str] = []

    def heard(connection: Any, message: Any) -> None:
        seen.append(message.message)

    add = getattr(connection, "add_log_listener", None)
    (add or connection.add_notice_listener)(heard)
    await connection.fetchval("select told()")
    return seen


async def ended(connection: Any) -> Any:
    connection.add_termination_listener(print)
    connection.remove_termination_listener(print)


def call(sql: str, *parameters: Any, method: str = "fetch", **keywords: Any) -> Act:
    async def act(connection: Any) -> Any:
        found = await getattr(connection, method)(sql, *parameters, **keywords)
        if isinstance(found, list):
            return [tuple(row) for row in found]
        return tuple(found) if hasattr(found, "keys") else found

    return act


def attribute(name: str) -> Act:
    async def act(connection: Any) -> Any:
        return isinstance(getattr(connection, name)(), object)

    return act


# (name, what is called, why it differs, pgasync's outcome)
CALLS: list[tuple[str, Act, str, str]] = [
    ("fetch", call("select 1, 'a' union all select 2, null"), "", ""),
    ("fetchrow", call("select 1 as a, 2 as b", method="fetchrow"), why.TUPLES, "Row(a=1"),
    ("fetchrow of none", call("select 1 where false", method="fetchrow"), "", ""),
    ("fetchval", call("select 5", method="fetchval"), "", ""),
    ("fetchval with a timeout", call("select 5", method="fetchval", timeout=5), "", ""),
    ("fetchval of a column", call("select 5, 6", method="fetchval", column=1), why.API, "TypeError"),
    ("parameters one by one", call("select $1::int", 5), why.PARAMETERS, "ProgrammingE"),
    ("two of them", call("select $1::int, $2::int", 5, 6), why.PARAMETERS, "TypeError"),
    ("execute", call("create temp table t (a int)", method="execute"), why.STATUS, "Cursor"),
    ("executemany", call("insert into keep values ($1)", [(1,), (2,)], method="executemany"), why.STATUS, "Cursor"),
    ("copy_records_to_table", copy_records, "", ""),
    ("copy_to_table", copy_to, "", ""),
    ("copy_from_query", copy_from, "", ""),
    ("add_listener", listen, "", ""),
    ("transaction", transaction, "", "(2, 1)"),
    ("transaction's options", transaction_options, "", "serializable"),
    ("transaction.start()", started, "", "(None, 1)"),
    ("prepare, parameters one by one", prepared, why.PARAMETERS, "ProgrammingError"),
    ("prepare", prepared_with_a_list, "", "(2, 1)"),
    ("cursor(sql)", iterated, why.API, "InvalidCursorName"),
    ("set_type_codec", codec, "", "'OK'"),
    ("set_type_codec in binary", binary_codec, "", "'A'"),
    ("set_type_codec of no type", codec_of_nothing, why.API, "UndefinedObject"),
    ("reset_type_codec", reset_codec, "", "'ok'"),
    ("notices", notices, "", "'and again'"),
    ("add_termination_listener", ended, "", ""),
    ("get_server_pid", attribute("get_server_pid"), why.API, "AttributeError"),
    ("get_server_version", attribute("get_server_version"), why.API, "AttributeError"),
    ("get_settings", attribute("get_settings"), why.API, "AttributeError"),
    ("is_in_transaction", attribute("is_in_transaction"), why.API, "AttributeError"),
    ("is_closed", attribute("is_closed"), why.API, "AttributeError"),
]  # fmt: skip

with group("driver_connection"):
    for name, act, reason, ours in CALLS:
        add(name, of(act), reason, ours)

    @case(why.TUPLES, "Row(a=1, b='x')")
    async def inside_of_sqlalchemys_transaction(side: Side) -> Any:
        async with side.connect() as conn:
            await conn.execute(text("create temp table own (a int, b text)"))
            await conn.execute(text("insert into own values (1, 'x')"))
            connection = (await conn.get_raw_connection()).driver_connection
            row = await connection.fetchrow("select * from own")
            return row, row["a"], row[1], len(row)

    @case(why.ONE_TRANSACTION, "0")
    async def a_write_before_sqlalchemys_first_statement(side: Side) -> Any:
        async with side.engine().connect() as conn:
            connection = (await conn.get_raw_connection()).driver_connection
            await connection.execute("insert into keep values (1)")
        async with side.connect() as conn:
            return await conn.scalar(text("select count(*) from keep"))

    @case()
    async def a_write_and_a_commit(side: Side) -> Any:
        async with side.engine().begin() as conn:
            connection = (await conn.get_raw_connection()).driver_connection
            await connection.execute("insert into keep values (1)")
        async with side.connect() as conn:
            return await conn.scalar(text("select count(*) from keep"))

    @case()
    async def a_write_in_autocommit(side: Side) -> Any:
        async with side.engine(isolation_level="AUTOCOMMIT").connect() as conn:
            connection = (await conn.get_raw_connection()).driver_connection
            await connection.execute("insert into keep values (1)")
        async with side.connect() as conn:
            return await conn.scalar(text("select count(*) from keep"))

    @case(why.AWAIT, "'9MB'", "2.1")
    async def set_in_a_connect_event(side: Side) -> Any:
        engine = side.engine(pool_size=1)

        @event.listens_for(engine.sync_engine, "connect")
        def connected(adapted: Any, record: Any) -> None:
            connection = adapted.driver_connection
            adapted.await_(connection.execute("set work_mem = '9MB'"))

        for _ in range(2):
            async with engine.connect() as conn:
                seen = await conn.scalar(text("show work_mem"))
        return seen

    @case(why.TUPLES, "TypeError")
    async def dict_of_a_row(side: Side) -> Any:
        """_asdict() makes it here, or row_factory=dict."""
        async with side.connect() as conn:
            connection = (await conn.get_raw_connection()).driver_connection
            return dict(await connection.fetchrow("select 1 as a"))

    @case()
    async def a_codec_is_for_sqlalchemy_too(side: Side) -> Any:
        async with side.engine().connect() as conn:
            connection = (await conn.get_raw_connection()).driver_connection
            await connection.set_type_codec(
                "json",
                schema="pg_catalog",
                encoder=str,
                decoder=lambda data: f"read {data}",
                format="text",
            )
            return await conn.scalar(select(literal({"a": 1}, pg.JSON)))

    @case()
    async def raw_connection_of_the_engine(side: Side) -> Any:
        pooled = await side.shared.raw_connection()
        try:
            cursor = pooled.cursor()
            cursor.close()
            return await pooled.driver_connection.fetchval("select 3")
        finally:
            pooled.close()
