"""The engine: arguments, the pool, transaction modes, streaming, lost connections."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc, pool
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)

import dsns
import pgasync
from pgasync import conninfo, errors
from pgasync.sqlalchemy.adapter import Connection, ServerSideCursor
from pgasync.sqlalchemy.dialect import PGDialect_pgasync

MakeEngine = Callable[..., AsyncEngine]
SQLALCHEMY_2_0_43 = hasattr(DefaultDialect(), "skip_autocommit_rollback")
SQLALCHEMY_2_1 = sa.__version__.startswith("2.1")


async def show(conn: AsyncConnection, name: str) -> Any:
    return await conn.scalar(sa.text(f"show {name}"))


async def adapted(conn: AsyncConnection) -> Connection:
    connection = (await conn.get_raw_connection()).dbapi_connection
    assert isinstance(connection, Connection)
    return connection


async def pid(conn: AsyncConnection) -> int:
    return int(await conn.scalar(sa.text("select pg_backend_pid()")))


async def kill(dsn: str, victim: int) -> None:
    async with pgasync.connect(dsn) as conn:
        await conn.execute("select pg_terminate_backend($1, 5000)", [victim])


# Arguments


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (
            "u:p%40w@h:5433/d",
            {"user": "u", "password": "p@w", "host": "h", "port": 5433, "dbname": "d"},
        ),
        (
            "h/d?sslmode=disable&connect_timeout=3",
            {"host": "h", "dbname": "d", "sslmode": "disable", "connect_timeout": "3"},
        ),
        ("/d?host=a:1&host=b:2", {"dbname": "d", "host": "a,b", "port": "1,2"}),
        ("/d?host=a,b&port=7,8", {"dbname": "d", "host": "a,b", "port": "7,8"}),
        ("/d?host=a&host=b", {"dbname": "d", "host": "a,b"}),
        ("/d?host=%2Fvar%2Frun", {"dbname": "d", "host": "/var/run"}),
        ("/d?host=/var/run:7", {"dbname": "d", "host": "/var/run", "port": "7"}),
        ("/d?host=/var/run&port=7", {"dbname": "d", "host": "/var/run", "port": "7"}),
        ("%2Fvar%2Frun/d", {"dbname": "d", "host": "/var/run"}),
        ("[fe80::1%25eth0]:7/d", {"dbname": "d", "host": "fe80::1%eth0", "port": 7}),
        ("/?host=[::1]:1&host=[::2]&host=::3", {"host": "::1,::2,::3", "port": "1,,"}),
        ("/?host=[::1]:1,b", {"host": "::1,b", "port": "1,"}),
        ("/?host=a&host=b&port=7&port=8", {"host": "a,b", "port": "7,8"}),
        ("a,b:7", {"host": "a,b", "port": 7}),
        (
            "/?host=a&hostaddr=10.0.0.1&host=b&hostaddr=10.0.0.2&port=7",
            {"host": "a,b", "hostaddr": "10.0.0.1,10.0.0.2", "port": "7"},
        ),
        ("", {}),
    ],
)
def test_connect_arguments(url: str, wanted: dict[str, Any]) -> None:
    dialect = PGDialect_pgasync()
    given = make_url(f"postgresql+pgasync://{url}")
    positional, keywords = dialect.create_connect_args(given)
    assert (list(positional), dict(keywords)) == ([], wanted)


def test_ports_in_two_places() -> None:
    url = make_url("postgresql+pgasync:///?host=a:1&host=b&port=2")
    with pytest.raises(exc.ArgumentError, match="port="):
        PGDialect_pgasync().create_connect_args(url)


@pytest.mark.parametrize("keyword", dsns.SHOWN)
def test_every_keyword_in_the_url(keyword: str) -> None:
    """It means what it means in a DSN."""
    value = dsns.SHOWN[keyword][0]
    query = {"hostaddr": "127.0.0.1", "sslmode": "require", keyword: value}
    if value == "system":
        del query["sslmode"]
    url = URL.create("postgresql+pgasync", query=query)
    parsed = make_url(url.render_as_string(hide_password=False))
    arguments = PGDialect_pgasync().create_connect_args(parsed)[1]
    dsn = " ".join(f"{name}='{given}'" for name, given in query.items())
    environ = {"HOME": "/"}
    assert conninfo.parse(None, arguments, environ) == conninfo.parse(dsn, {}, environ)


async def test_keywords_in_the_url_and_in_connect_args(make_engine: MakeEngine) -> None:
    engine = make_engine(
        "application_name=from_url&command_timeout=30"
        "&prepared_statement_cache_size=0&max_cached_statement_lifetime=5",
        connect_args={
            "server_settings": {"work_mem": "5MB"},
            "prepared_statement_name_func": lambda: "never asked",
            "timeout": 20,
        },
    )
    async with engine.connect() as conn:
        assert await show(conn, "application_name") == "from_url"
        assert await show(conn, "work_mem") == "5MB"
        core = (await adapted(conn))._core
        assert core.cached_statements == 0


async def test_an_unknown_keyword(make_engine: MakeEngine) -> None:
    with pytest.raises(exc.InterfaceError, match="applicaton_name"):
        async with make_engine("applicaton_name=x").connect():
            pass


async def test_async_creator(make_engine: MakeEngine, dsn: str) -> None:
    made = []

    async def creator() -> pgasync.Connection:
        made.append(await pgasync.connect(dsn, application_name="created"))
        return made[-1]

    engine = make_engine(url="postgresql+pgasync://", async_creator=creator)
    async with engine.connect() as conn:
        assert await show(conn, "application_name") == "created"
        raw = await conn.get_raw_connection()
        assert raw.driver_connection is made[0]


@pytest.mark.parametrize(
    ("address", "wrapper"),
    [
        ("postgresql+pgasync://127.0.0.1:1/d", exc.OperationalError),
        ("postgresql+pgasync:///d?host=/nowhere", exc.OperationalError),
    ],
)
async def test_connect_errors_are_wrapped(
    make_engine: MakeEngine, address: str, wrapper: type[Exception]
) -> None:
    with pytest.raises(wrapper) as caught:
        async with make_engine(url=address).connect():
            pass
    assert isinstance(caught.value.orig, pgasync.ConnectError)


async def test_unknown_database(make_engine: MakeEngine, url: str) -> None:
    elsewhere = make_url(url).set(database="nowhere").render_as_string(False)
    with pytest.raises(exc.ProgrammingError) as caught:
        async with make_engine(url=elsewhere).connect():
            pass
    assert isinstance(caught.value.orig, errors.InvalidCatalogName)


# The dialect


async def test_what_the_dialect_learns(
    make_engine: MakeEngine, server: Any, schema: str
) -> None:
    engine = make_engine()
    async with engine.connect() as conn:
        dialect: Any = conn.dialect
        raw = await conn.get_raw_connection()
        reported = raw.driver_connection.info.parameters["server_version"]
    assert ".".join(map(str, dialect.server_version_info)) == reported.split(" ")[0]
    assert dialect.default_schema_name == schema
    assert dialect.default_isolation_level == "READ COMMITTED"
    assert dialect._backslash_escapes is False
    assert dialect.supports_statement_cache
    assert isinstance(engine.pool, pool.AsyncAdaptedQueuePool)
    if SQLALCHEMY_2_1:
        version = tuple(int(part) for part in pgasync.__version__.split("."))
        assert tuple(dialect.dbapi_version)[:3] == version


async def test_the_driver_connection(engine: AsyncEngine) -> None:
    """The async interface is within reach, in the session's own transaction."""
    async with engine.connect() as conn:
        raw = await conn.get_raw_connection()
        driver = raw.driver_connection
        assert isinstance(driver, pgasync.Connection)
        await conn.execute(sa.text("create table t (n int)"))
        await driver.executemany("insert into t values ($1)", [(1,), (2,)])
        assert await conn.scalar(sa.text("select sum(n) from t")) == 3

        def sync(connection: sa.Connection) -> Any:
            inner: Any = connection.connection.dbapi_connection
            return inner.run_async(lambda c: c.fetchval("select max(n) from t"))

        assert await conn.run_sync(sync) == 2


async def test_compiled_statements_are_cached(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        core = (await adapted(conn))._core
        statement = sa.select(sa.literal(1, sa.Integer))
        for _ in range(3):
            await conn.execute(statement)
        before = core.cached_statements
        await conn.execute(sa.select(sa.literal(2, sa.Integer)))
        assert core.cached_statements == before


@pytest.mark.parametrize("ddl", ["construct", "text", "script"])
async def test_prepared_statements_survive_ddl(engine: AsyncEngine, ddl: str) -> None:
    """Inside a transaction, where a statement cannot be tried once more."""
    everything = sa.text("select * from shape where 0 < :n")
    drop = sa.schema.DDL("alter table shape drop column b")
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table shape (a int, b int)"))
        for _ in range(2):
            assert list((await conn.execute(everything, {"n": 1})).keys()) == ["a", "b"]
        if ddl == "construct":
            await conn.execute(drop)
        elif ddl == "text":
            await conn.execute(sa.text("alter table shape drop column b"))
        else:
            await conn.exec_driver_sql("alter table shape drop column b; select 1")
        assert list((await conn.execute(everything, {"n": 1})).keys()) == ["a"]


async def test_ddl_of_another_connection(make_engine: MakeEngine) -> None:
    engine = make_engine(pool_size=2)
    everything = sa.text("select * from shape")
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(sa.text("create table shape (a int, b int)"))
        await one.commit()
        await two.execute(everything)
        await two.rollback()
        await one.execute(sa.text("alter table shape drop column a"))
        await one.commit()
        await two.execute(sa.text("select 1"))  # a transaction is open
        assert list((await two.execute(everything)).keys()) == ["b"]


async def test_ddl_that_fails(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execute(sa.text("create table shape (a int)"))
        await conn.commit()
        with pytest.raises(exc.ProgrammingError):
            await conn.execute(sa.text("alter table nowhere add b int"))
        with pytest.raises(exc.InternalError) as caught:
            await conn.execute(sa.text("select * from shape"))
        assert isinstance(caught.value.orig, errors.InFailedSqlTransaction)
        await conn.rollback()
        assert (await conn.execute(sa.text("select * from shape"))).all() == []


# How transactions begin


@pytest.mark.parametrize(
    "level", ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
)
async def test_isolation_levels(engine: AsyncEngine, level: str) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level=level)
        assert await show(conn, "transaction_isolation") == level.lower()
        assert await conn.get_isolation_level() == level
        await conn.rollback()
        assert await show(conn, "transaction_isolation") == level.lower()
    async with engine.connect() as conn:  # the same connection, reset
        assert await show(conn, "transaction_isolation") == "read committed"


async def test_autocommit(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(sa.text("create table auto (n int)"))
        assert not (await adapted(conn))._core.in_transaction
        await conn.execute(sa.text("vacuum auto"))  # refused in a transaction
        await conn.rollback()
        assert await conn.scalar(sa.text("select count(*) from auto")) == 0
        connection = await adapted(conn)
        assert connection.autocommit
        assert conn.dialect.detect_autocommit_setting(connection)
    async with engine.connect() as conn:
        assert not (await adapted(conn)).autocommit


async def test_autocommit_of_the_driver_survives(make_engine: MakeEngine) -> None:
    engine = make_engine("autocommit=true")
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="SERIALIZABLE")
        assert not (await adapted(conn)).autocommit
    async with engine.connect() as conn:
        assert (await adapted(conn)).autocommit


async def test_level_of_the_engine(make_engine: MakeEngine) -> None:
    engine = make_engine(isolation_level="REPEATABLE READ")
    for _ in range(2):
        async with engine.connect() as conn:
            assert await show(conn, "transaction_isolation") == "repeatable read"
            await conn.rollback()
            await conn.execution_options(isolation_level="SERIALIZABLE")
            assert await show(conn, "transaction_isolation") == "serializable"


async def test_the_servers_default_level_is_left_alone(make_engine: MakeEngine) -> None:
    """The session's default changes after the engine has looked at it."""
    engine = make_engine(pool_size=1)
    async with engine.connect() as conn:
        await conn.execute(
            sa.text("set session characteristics as transaction isolation level"
                    " repeatable read")
        )  # fmt: skip
        await conn.commit()
        await conn.execution_options(isolation_level="SERIALIZABLE")
        assert await show(conn, "transaction_isolation") == "serializable"
    async with engine.connect() as conn:
        assert await show(conn, "transaction_isolation") == "repeatable read"


async def test_readonly_and_deferrable(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(
            isolation_level="SERIALIZABLE",
            postgresql_readonly=True,
            postgresql_deferrable=True,
        )
        with pytest.raises(exc.InternalError) as caught:
            await conn.execute(sa.text("create table t (n int)"))
        assert isinstance(caught.value.orig, errors.ReadOnlySqlTransaction)
        await conn.rollback()
        assert await show(conn, "transaction_deferrable") == "on"
        connection = await adapted(conn)
        assert conn.dialect.get_readonly(connection)
        assert conn.dialect.get_deferrable(connection)
    async with engine.connect() as conn:
        assert await show(conn, "transaction_read_only") == "off"
        assert await show(conn, "transaction_deferrable") == "off"


async def test_read_only_by_default(make_engine: MakeEngine) -> None:
    """As the server has it, unless postgresql_readonly says True or False; after the
    check-in as before."""
    defaults = {
        "default_transaction_read_only": "on",
        "default_transaction_deferrable": "on",
    }
    engine = make_engine(pool_size=1, connect_args={"server_settings": defaults})
    for _ in range(2):
        async with engine.connect() as conn:
            assert await show(conn, "transaction_read_only") == "on"
            assert await show(conn, "transaction_deferrable") == "on"
            assert await conn.scalar(sa.text("select pg_is_in_recovery()")) is False
            await conn.rollback()
            await conn.execution_options(
                postgresql_readonly=False, postgresql_deferrable=False
            )
            assert await show(conn, "transaction_read_only") == "off"
            assert await show(conn, "transaction_deferrable") == "off"


async def test_options_of_the_engine(make_engine: MakeEngine) -> None:
    """Two engines on one pool, each with its own way to begin."""
    engine = make_engine(pool_size=1)
    reader = engine.execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )
    writer = engine.execution_options(isolation_level="AUTOCOMMIT")
    for _ in range(2):
        async with reader.connect() as conn:
            assert await show(conn, "transaction_isolation") == "repeatable read"
            assert await show(conn, "transaction_read_only") == "on"
        async with writer.connect() as conn:
            assert not (await adapted(conn))._core.in_transaction
            assert await show(conn, "transaction_read_only") == "off"
        async with engine.connect() as conn:
            assert await show(conn, "transaction_isolation") == "read committed"
            assert (await adapted(conn))._core.in_transaction


@pytest.mark.skipif(not SQLALCHEMY_2_0_43, reason="new in 2.0.43")
async def test_skip_autocommit_rollback(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy asks for the mode, and calls no rollback() in autocommit."""
    rolled_back = []
    rollback = Connection.rollback

    def heard(self: Connection) -> None:
        rolled_back.append(self.autocommit)
        rollback(self)

    monkeypatch.setattr(Connection, "rollback", heard)
    engine = make_engine(isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    async with engine.connect():
        pass
    rolled_back.clear()
    async with engine.connect() as conn:
        await conn.execute(sa.text("select 1"))
    assert rolled_back == []
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="SERIALIZABLE")
        rolled_back.clear()
        await conn.execute(sa.text("select 1"))
    assert rolled_back[0] is False


@pytest.mark.parametrize("level", ["read_uncommitted", "Serializable", "autocommit"])
async def test_spellings_of_levels(make_engine: MakeEngine, level: str) -> None:
    engine = make_engine(isolation_level=level)
    async with engine.connect() as conn:
        found = await conn.get_isolation_level()
    is_auto = level == "autocommit"
    assert found == ("READ COMMITTED" if is_auto else level.upper().replace("_", " "))


@pytest.mark.skipif(not SQLALCHEMY_2_0_43, reason="older ones leave it open")
async def test_an_unknown_level(make_engine: MakeEngine) -> None:
    with pytest.raises(exc.ArgumentError, match="READ UNCOMMITTED"):
        async with make_engine(isolation_level="CHAOS").connect():
            pass


async def test_level_of_a_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        level = sa.text("show transaction_isolation")
        assert await session.scalar(level) == "serializable"
        await session.commit()
        assert await session.scalar(level) == "read committed"


# Streaming

NUMBERS = sa.text("select n, n * 2 as twice from generate_series(1, 1000) n")


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT"])
async def test_stream(engine: AsyncEngine, level: str) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level=level)
        async with conn.stream(NUMBERS) as result:
            assert list(result.keys()) == ["n", "twice"]
            assert await result.fetchone() == (1, 2)
            assert await result.fetchmany(3) == [(2, 4), (3, 6), (4, 8)]
            rest = await result.all()
        assert rest == [(n, n * 2) for n in range(5, 1001)]
        async with conn.stream(NUMBERS) as result:
            assert [n async for n in result.scalars()] == list(range(1, 1001))
        assert await conn.scalar(sa.text("select 1")) == 1


async def test_stream_is_pulled(engine: AsyncEngine) -> None:
    """The server makes rows as they are asked for."""
    async with engine.connect() as conn:
        await conn.execute(sa.text("create temporary sequence made"))
        statement = sa.text("select nextval('made') from generate_series(1, 100000)")
        async with conn.stream(statement) as result:
            await result.fetchmany(10)
        assert await conn.scalar(sa.text("select last_value from made")) < 1000


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT"])
async def test_early_exit_from_a_stream(engine: AsyncEngine, level: str) -> None:
    """The portal is closed, its transaction too where it was opened for it."""
    portals = "select count(*) from pg_cursors where name like 'sqlalchemy%'"
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level=level)
        async with conn.stream(NUMBERS) as result:
            assert await result.fetchone() == (1, 2)
            assert await conn.scalar(sa.text(portals)) == 1
        assert await conn.scalar(sa.text(portals)) == 0
        core = (await adapted(conn))._core
        assert core.in_transaction is (level != "AUTOCOMMIT")


async def test_streams_side_by_side(engine: AsyncEngine) -> None:
    async with engine.connect() as conn, conn.stream(NUMBERS) as one:
        async with conn.stream(NUMBERS) as two:
            pairs = [(await one.fetchone(), await two.fetchone()) for _ in range(500)]
        assert all(first == second for first, second in pairs)
        assert len(await one.all()) == 500


async def test_yield_per(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        streaming = await conn.stream(NUMBERS, execution_options={"yield_per": 300})
        sizes = [len(part) async for part in streaming.partitions(300)]
        assert sizes == [300, 300, 300, 100]


async def test_stream_with_parameters_and_errors(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        statement = sa.text("select 6 / (3 - n) from generate_series(1, :n) n")
        async with conn.stream(statement, {"n": 2}) as result:
            assert (await result.scalars().all()) == [3, 6]
        with pytest.raises(exc.DataError):
            async with conn.stream(statement, {"n": 3}):
                pass
        with pytest.raises(exc.DataError, match="cannot send"):
            async with conn.stream(statement, {"n": object()}):
                pass
        assert not (await adapted(conn))._core.in_transaction
        assert await conn.scalar(sa.text("select 1")) == 1


FAILS_LATE = sa.text("select n, 1 / (500 - n) from generate_series(1, 1000) n")


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT"])
async def test_error_in_the_middle_of_a_stream(
    engine: AsyncEngine, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level=level)
        seen = 0
        with pytest.raises(exc.DataError):
            async with conn.stream(FAILS_LATE) as result:
                async for row in result:
                    seen = row.n
        assert 0 < seen < 500
        await conn.rollback()
        assert await conn.scalar(sa.text("select 1")) == 1
        assert (await adapted(conn))._core.in_transaction is (level != "AUTOCOMMIT")
    assert caplog.records == []


async def test_a_stream_ends_with_its_transaction(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        result = await conn.stream(NUMBERS)
        assert await result.fetchone() == (1, 2)
        await conn.commit()
        with pytest.raises(exc.ProgrammingError) as caught:
            await result.all()
        assert isinstance(caught.value.orig, errors.InvalidCursorName)


async def test_autocommit_beside_streams(engine: AsyncEngine) -> None:
    """The streams share a transaction, which the last one of them commits; what runs
    beside them is in it."""
    auto = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with auto.connect() as conn:
        core = (await adapted(conn))._core
        await conn.execute(sa.text("create table beside (n int)"))
        async with conn.stream(NUMBERS) as one:
            await one.fetchone()
            async with conn.stream(NUMBERS) as two:
                await two.fetchone()
                await one.close()
                await conn.execute(sa.text("insert into beside values (1)"))
                assert len(await two.all()) == 999
        assert not core.in_transaction
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select count(*) from beside")) == 1


@pytest.mark.parametrize("how", ["collected", "closed", "kept"])
async def test_autocommit_behind_a_stream_that_was_left(
    make_engine: MakeEngine, how: str
) -> None:
    """What was written behind it stays."""
    engine = make_engine(isolation_level="AUTOCOMMIT", pool_size=1)
    async with engine.connect() as conn:
        await conn.execute(sa.text("create table behind (n int)"))
        cursor = (await adapted(conn)).cursor(server_side=True)

        def execute(sync: sa.Connection) -> None:
            cursor.execute("select generate_series(1, 1000)")

        await conn.run_sync(execute)
        core = (await adapted(conn))._core
        assert core.in_transaction
        if how == "closed":
            cursor.close()  # without a greenlet
        if how == "collected":
            del cursor
            gc.collect()
        await conn.execute(sa.text("insert into behind values (1)"))
        assert core.in_transaction is (how == "kept")
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select count(*) from behind")) == 1


async def test_stream_of_a_writing_statement(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table written (n int)"))
        insert = "insert into written select generate_series(1, 300) returning n"
        streamed = await conn.stream_scalars(sa.text(insert))
        assert len(await streamed.all()) == 300
        assert await conn.scalar(sa.text("select count(*) from written")) == 300


async def test_execute_of_a_stream(engine: AsyncEngine) -> None:
    """SQLAlchemy refuses it; run_sync() has it."""
    statement = NUMBERS.execution_options(yield_per=100)

    def some(sync: sa.Connection) -> int:
        result = sync.execute(statement)
        for row in result:
            if row.n == 150:
                break
        result.close()
        return int(sync.scalar(sa.text("select count(*) from pg_cursors")) or 0)

    async with engine.connect() as conn:
        with pytest.raises(exc.InvalidRequestError, match="stream"):
            await conn.execute(statement)
        assert await conn.run_sync(some) == 1  # that of this statement


async def test_a_stream_has_no_executemany(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        cursor = (await adapted(conn)).cursor(server_side=True)
        assert isinstance(cursor, ServerSideCursor)
        with pytest.raises(pgasync.NotSupportedError):
            cursor.executemany("select $1::int", [(1,)])


# Lost connections


async def test_pre_ping_replaces_the_dead(make_engine: MakeEngine, dsn: str) -> None:
    engine = make_engine(pool_pre_ping=True, pool_size=1)
    async with engine.connect() as conn:
        first = await pid(conn)
    await kill(dsn, first)
    async with engine.connect() as conn:
        assert await pid(conn) != first


async def test_disconnect_while_idle(make_engine: MakeEngine, dsn: str) -> None:
    """In SQLAlchemy's own pool the first statement fails, which then starts afresh.
    (For ours: test_pool.py.)"""
    engine = make_engine(pool_size=2, poolclass=pool.AsyncAdaptedQueuePool)
    async with engine.connect() as one, engine.connect() as two:
        first, second = await pid(one), await pid(two)
    await kill(dsn, first)
    await kill(dsn, second)
    with pytest.raises(exc.DBAPIError) as caught:
        async with engine.connect() as conn:
            await pid(conn)
    assert caught.value.connection_invalidated
    async with engine.connect() as one, engine.connect() as two:
        assert {first, second}.isdisjoint({await pid(one), await pid(two)})


async def test_disconnect_in_a_statement(engine: AsyncEngine, dsn: str) -> None:
    async with engine.connect() as conn:
        first = await pid(conn)
        sleeping = asyncio.ensure_future(conn.execute(sa.text("select pg_sleep(60)")))
        await asyncio.sleep(0.05)
        await kill(dsn, first)
        with pytest.raises(exc.OperationalError) as caught:
            await sleeping
        assert caught.value.connection_invalidated
        assert isinstance(caught.value.orig, pgasync.ConnectionLost)
        await conn.rollback()
        assert await pid(conn) != first


def from_server(sqlstate: str, severity: str = "") -> pgasync.Error:
    fields = {"C": sqlstate, "M": "message", **({"V": severity} if severity else {})}
    return errors.from_fields(fields, None, "failed")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (pgasync.ConnectionLost("gone"), True),
        (from_server("57P01"), True),
        (from_server("08006", "FATAL"), True),
        (from_server("08006", "ERROR"), False),
        (from_server("57P03"), True),
        (from_server("08006"), True),
        (from_server("23505"), False),
        (from_server("57014"), False),
        (pgasync.DataError("does not fit"), False),
        (OSError("not of ours"), False),
    ],
    ids=str,
)
def test_is_disconnect(error: Exception, lost: bool) -> None:
    assert PGDialect_pgasync().is_disconnect(error, None, None) is lost


async def test_command_timeout(make_engine: MakeEngine) -> None:
    engine = make_engine("command_timeout=0.1")
    sleep = sa.text("select pg_sleep(30)")
    async with engine.connect() as conn:
        with pytest.raises(exc.OperationalError) as caught:
            await conn.execute(sleep)
        assert isinstance(caught.value.orig, pgasync.QueryTimeout)
    async with engine.connect() as conn:
        with pytest.raises(exc.OperationalError) as caught:
            await conn.stream(sleep)
        assert isinstance(caught.value.orig, pgasync.QueryTimeout)
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select 1")) == 1


async def test_invalidate(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        driver = (await conn.get_raw_connection()).driver_connection
        first = await pid(conn)
        await conn.invalidate()
        assert driver.closed
        await conn.rollback()
        assert await pid(conn) != first


async def test_forgotten_connection(engine: AsyncEngine) -> None:
    """Collected without a greenlet: closed at once, with SQLAlchemy's warning."""
    conn = await engine.connect()
    driver = (await conn.get_raw_connection()).driver_connection
    await conn.execute(sa.text("select 1"))
    with pytest.warns(exc.SAWarning, match="non-checked-in connection"):
        del conn
        gc.collect()
    assert driver.closed
    async with engine.connect() as conn:
        assert await conn.scalar(sa.text("select 1")) == 1


def test_terminate_after_the_loop(dsn: str, url: str) -> None:
    """An engine that outlives its loop can still get rid of its connections."""
    engine = create_async_engine(url)
    held: list[Any] = []

    async def use() -> None:
        async with engine.connect() as conn:
            held.append(await adapted(conn))
            await conn.execute(sa.text("select 1"))

    asyncio.run(use())
    (connection,) = held
    connection.terminate()
    assert connection.is_closed()
    connection.terminate()  # again: nothing
    held.clear()


async def test_two_loops_in_turn(url: str) -> None:
    """dispose(close=False), as SQLAlchemy's manual says, then another loop."""
    engine = create_async_engine(url, poolclass=pool.NullPool)

    async def use() -> int:
        async with engine.connect() as conn:
            return int(await conn.scalar(sa.text("select 7")))

    assert await use() == 7
    assert await asyncio.to_thread(lambda: asyncio.run(use())) == 7


# Cancellation


@pytest.mark.parametrize("query", ["select 1", "select pg_sleep(0.02)"])
async def test_cancelled_anywhere(make_engine: MakeEngine, query: str) -> None:
    """After any number of turns of the loop: no connection stays checked out, the
    task ends cancelled, and the next use gets its own result."""
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=10)
    statement = sa.text(query)

    async def use() -> None:
        async with engine.connect() as conn:
            await conn.execute(statement)
            await conn.execute(statement)
            await conn.commit()

    for turns in range(25):
        task = asyncio.ensure_future(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text(f"select {turns}")) == turns
        assert engine.pool.checkedout() == 0


async def test_cancelled_in_a_statement(engine: AsyncEngine) -> None:
    """The pool gives up the connection; closing it stops the statement."""
    async with engine.connect() as conn:
        victim = await pid(conn)
        await conn.rollback()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(conn.execute(sa.text("select pg_sleep(60)")), 0.05)
    async with engine.connect() as conn:
        running = sa.text(
            "select count(*) from pg_stat_activity"
            " where pid = :victim and state = 'active'"
        )
        for _ in range(100):
            if await conn.scalar(running, {"victim": victim}) == 0:
                break
            await conn.rollback()  # statistics are read once in a transaction
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the statement still runs on the server")
