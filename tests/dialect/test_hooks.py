"""What programs hook into: keywords, creators, events, subclasses, configuration."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, exc, pool
from sqlalchemy.dialects import registry
from sqlalchemy.engine import make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    async_engine_from_config,
    create_async_engine,
)
from sqlalchemy.util import await_only, greenlet_spawn

import pgasync
from pgasync import errors
from pgasync.sqlalchemy.adapter import Connection
from pgasync.sqlalchemy.dialect import PGDialect_pgasync
from pgasync.sqlalchemy.url import driver_keywords
from servers import ROLES

MakeEngine = Callable[..., AsyncEngine]
ONE = sa.text("select 1")


async def show(conn: AsyncConnection, name: str) -> Any:
    return await conn.scalar(sa.text(f"show {name}"))


async def pid(conn: AsyncConnection) -> int:
    return int(await conn.scalar(sa.text("select pg_backend_pid()")))


async def kill(dsn: str, victim: int) -> None:
    async with pgasync.connect(dsn) as conn:
        await conn.execute("select pg_terminate_backend($1, 5000)", [victim])


# Keywords


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"prepared_statement_cache_size": 0}, {"statement_cache_size": 0}),
        ({"prepared_statement_cache_size": None}, {}),
        (
            {"prepared_statement_cache_size": 500, "statement_cache_size": 0},
            {"statement_cache_size": 0},
        ),
        ({"prepared_statement_name_func": lambda: "x"}, {}),
        ({"max_cacheable_statement_size": 0}, {}),
        (
            {"direct_tls": True, "ssl": "require"},
            {"sslnegotiation": "direct", "ssl": "require"},
        ),
        ({"direct_tls": False}, {}),
        ({"dbname": "of the URL", "database": "x"}, {"database": "x"}),
        ({"loop": None}, {}),
        ({"prepare_threshold": None}, {"prepared_statements": "unnamed"}),
        ({"prepare_threshold": 5}, {}),
        ({"anything": 1}, {"anything": 1}),
    ],
)
def test_keywords_of_other_dialects(
    given: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert driver_keywords(given) == {"naive_datetimes": "local", **wanted}


@pytest.mark.parametrize(
    ("query", "connect_args", "message"),
    [
        ("sslmod=require", {}, "'sslmod'; did you mean 'sslmode'"),
        ("", {"comand_timeout": 3}, "'comand_timeout'; did you mean 'command_timeout'"),
        (
            "",
            {"prepared_statement_cache_siz": 0},
            "'prepared_statement_cache_siz'; "
            "did you mean 'prepared_statement_cache_size'",
        ),
        ("", {"record_class": dict}, "unknown connection keyword 'record_class'"),
        ("statement_cache_size=many", {}, "statement_cache_size is a number from 0"),
        ("", {"autocommit": "maybe"}, "autocommit is True or False"),
    ],
)
async def test_wrong_keywords(
    make_engine: MakeEngine, query: str, connect_args: dict[str, Any], message: str
) -> None:
    with pytest.raises(exc.InterfaceError, match=message):
        async with make_engine(query, connect_args=connect_args).connect():
            pass


# What async_creator gives


async def test_creators(make_engine: MakeEngine, dsn: str) -> None:
    """An async function, or one that gives what can be awaited, or the connection."""
    ready = await pgasync.connect(dsn)

    def opened() -> pgasync.Connection:
        return ready

    for creator in (lambda: pgasync.connect(dsn), opened):
        engine = make_engine(url="postgresql+pgasync://", async_creator=creator)
        async with engine.connect() as conn:
            assert await conn.scalar(ONE) == 1
        await engine.dispose()
    assert ready.closed


@pytest.mark.parametrize("given", [None, 3, object()], ids=repr)
@pytest.mark.parametrize("is_async", [True, False])
async def test_creators_of_something_else(
    make_engine: MakeEngine, given: Any, is_async: bool
) -> None:
    async def later() -> Any:
        return given

    creator = later if is_async else lambda: given
    engine = make_engine(url="postgresql+pgasync://", async_creator=creator)
    with pytest.raises(exc.InterfaceError, match=f"not a {type(given).__name__}"):
        async with engine.connect():
            pass
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_creator_that_fails(make_engine: MakeEngine) -> None:
    """Its own error is the user's; that of the driver is SQLAlchemy's."""

    for raised, wanted in (
        (errors.ConnectError("no token"), exc.OperationalError),
        (ValueError("no token"), ValueError),
    ):

        async def fails(error: Exception = raised) -> Any:
            raise error

        engine = make_engine(url="postgresql+pgasync://", async_creator=fails)
        with pytest.raises(wanted, match="no token"):
            async with engine.connect():
                pass


# Events


async def test_pool_events(engine: AsyncEngine) -> None:
    """In order, with the adapter's connection and the driver's within reach."""
    seen: list[str] = []
    names = "first_connect connect checkout reset checkin invalidate close".split()

    def listen(name: str) -> None:
        def heard(connection: Any, *rest: Any) -> None:
            if connection is None:  # invalidated
                seen.append(f"{name} of None")
                return
            assert isinstance(connection, Connection)
            assert isinstance(connection.driver_connection, pgasync.Connection)
            seen.append(name)

        event.listen(engine.sync_engine, name, heard)

    for name in names:
        listen(name)
    async with engine.connect() as conn:
        await conn.execute(ONE)
    assert seen == ["first_connect", "connect", "checkout", "reset", "checkin"]
    seen.clear()
    async with engine.connect() as conn:
        await conn.invalidate()
    assert seen == ["checkout", "invalidate", "close", "checkin of None"]


async def test_tokens(hba_server: Any) -> None:
    """`do_connect` changes the keywords at every connect; a token may be awaited."""
    role, secret = "scram_user", ROLES["scram_user"]
    tokens = iter(["stale", secret, secret])
    url = make_url(hba_server.tcp_dsn_for(user=role, password=""))
    url = url.set(drivername="postgresql+pgasync")
    engine = create_async_engine(url, poolclass=pool.NullPool)

    async def fetch_token() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    @event.listens_for(engine.sync_engine, "do_connect")
    def provide(dialect: Any, record: Any, args: Any, keywords: Any) -> None:
        keywords["password"] = await_only(fetch_token())

    with pytest.raises(exc.OperationalError) as caught:
        async with engine.connect():
            pass
    assert isinstance(caught.value.orig, errors.InvalidPassword)
    for _ in range(2):
        async with engine.connect() as conn:
            assert await conn.scalar(sa.text("select current_user")) == role
    assert next(tokens, None) is None


async def test_password_function(hba_server: Any) -> None:
    """Without an event: the driver asks an async function at every connect."""
    url = make_url(hba_server.tcp_dsn_for(user="scram_user", password=""))
    asked = []

    async def fetch_token() -> str:
        asked.append(None)
        return ROLES["scram_user"]

    engine = create_async_engine(
        url.set(drivername="postgresql+pgasync"),
        connect_args={"password": fetch_token},
        poolclass=pool.NullPool,
    )
    for _ in range(2):
        async with engine.connect() as conn:
            assert await conn.scalar(ONE) == 1
    assert len(asked) == 2


async def test_do_connect_may_connect(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, keywords: Any) -> Any:
        return dialect.connect(*args, application_name="itself", **keywords)

    async with engine.connect() as conn:
        assert await show(conn, "application_name") == "itself"


async def test_setting_up_in_connect(make_engine: MakeEngine) -> None:
    """By run_async(), or by a cursor in autocommit as SQLAlchemy's manual does it:
    neither is taken back by the rollback of a check-in."""
    engine = make_engine(pool_size=2)

    async def prepare(driver: pgasync.Connection) -> None:
        await driver.execute("set work_mem = '7MB'")
        await driver.set_type_codec("numeric", encoder=str, decoder=float)
        async with driver.transaction():
            await driver.execute("set temp_buffers = '8MB'")

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        connection.run_async(prepare)
        driver = connection.driver_connection
        connection.await_(driver.execute("set maintenance_work_mem = '9MB'"))
        autocommit = connection.autocommit
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("set session application_name = 'set up'")
        cursor.close()
        connection.autocommit = autocommit

    async with engine.connect(), engine.connect():
        pass
    async with engine.connect() as one, engine.connect() as two:
        for conn in (one, two, one):
            assert await show(conn, "work_mem") == "7MB"
            assert await show(conn, "temp_buffers") == "8MB"
            assert await show(conn, "maintenance_work_mem") == "9MB"
            assert await show(conn, "application_name") == "set up"
            assert await conn.scalar(sa.text("select 1.5")) == 1.5
            await conn.rollback()


async def test_run_async_in_a_transaction(engine: AsyncEngine) -> None:
    """It belongs to SQLAlchemy's, which the server need not know of yet."""

    def insert(sync: sa.Connection) -> None:
        adapted: Any = sync.connection.dbapi_connection
        adapted.run_async(lambda driver: driver.execute("insert into runs values (1)"))

    count = sa.text("select count(*) from runs")
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table runs (n int)"))
    async with engine.connect() as conn:
        transaction = await conn.begin()
        await conn.run_sync(insert)
        await transaction.rollback()
        assert await conn.scalar(count) == 0
        await conn.rollback()
        async with conn.begin():
            await conn.run_sync(insert)
        assert await conn.scalar(count) == 1


async def test_run_async_outside_of_a_transaction(make_engine: MakeEngine) -> None:
    """There is nothing to commit it, and the check-in does not undo it: as often as
    the connection is taken from the pool."""
    engine = make_engine(pool_size=1)
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table runs (n int)"))

    @event.listens_for(engine.sync_engine, "checkout")
    def checkout(connection: Any, record: Any, proxy: Any) -> None:
        connection.run_async(
            lambda driver: driver.execute("insert into runs values (1)")
        )

    for n in range(1, 4):
        async with engine.connect() as conn:
            assert not (await conn.get_raw_connection()).dbapi_connection.autocommit
            count = sa.text("select count(*) from runs")
            assert await conn.scalar(count) == n


async def test_run_async_leaves_no_transaction(engine: AsyncEngine) -> None:
    async def fails(driver: pgasync.Connection) -> None:
        await driver.execute("begin")
        await driver.execute("select 1/0")

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        with pytest.raises(pgasync.DataError):
            connection.run_async(fails)
        assert not connection.autocommit

    async with engine.connect() as conn:
        assert await conn.scalar(ONE) == 1


async def test_checkout_refuses(engine: AsyncEngine) -> None:
    """DisconnectionError: the pool connects anew."""
    pids: list[int] = []

    @event.listens_for(engine.sync_engine, "checkout")
    def once(connection: Any, record: Any, proxy: Any) -> None:
        pids.append(connection.driver_connection.info.backend_pid)
        if len(pids) == 1:
            raise exc.DisconnectionError("try again")

    async with engine.connect() as conn:
        assert await pid(conn) == pids[1] != pids[0]


async def test_statements_rewritten(engine: AsyncEngine) -> None:
    """before_cursor_execute with retval=True; after_cursor_execute sees the cursor."""
    counts = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute", retval=True)
    def comment(
        conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: Any
    ) -> tuple[str, Any]:
        return f"/* tagged {many} */ {statement}", parameters

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def count(conn: Any, cursor: Any, *rest: Any) -> None:
        counts.append(cursor.rowcount)

    running = sa.text("select query from pg_stat_activity where pid = pg_backend_pid()")
    async with engine.connect() as conn:
        assert str(await conn.scalar(running)).startswith("/* tagged False */ select")
        await conn.execute(sa.text("create temp table t (n int)"))
        insert = sa.text("insert into t values (:n)")
        await conn.execute(insert, [{"n": 1}, {"n": 2}])
    assert counts[-1] == 2


async def test_handle_error(make_engine: MakeEngine, dsn: str) -> None:
    engine = make_engine(pool_size=1, pool_pre_ping=True)
    seen: list[Any] = []

    class NotThereError(Exception):
        pass

    @event.listens_for(engine.sync_engine, "handle_error")
    def heard(context: Any) -> Exception | None:
        original = context.original_exception
        seen.append((type(original), context.is_disconnect, context.is_pre_ping))
        if isinstance(original, errors.UndefinedTable):
            return NotThereError()
        if isinstance(original, errors.DivisionByZero):
            context.is_disconnect = True
        return None

    async with engine.connect() as conn:
        with pytest.raises(NotThereError):
            await conn.execute(sa.text("select * from nowhere"))
        await conn.rollback()
        first = await pid(conn)
        with pytest.raises(exc.DataError) as caught:
            await conn.execute(sa.text("select 1/0"))
        assert caught.value.connection_invalidated
    async with engine.connect() as conn:
        second = await pid(conn)
        assert second != first
    async with engine.connect() as conn:  # killed while it is out: no ping is due
        await kill(dsn, second)
        with pytest.raises(exc.OperationalError):
            await conn.execute(ONE)
    assert seen == [
        (errors.UndefinedTable, False, False),
        (errors.DivisionByZero, False, False),
        (pgasync.ConnectionLost, True, False),
    ]


async def test_a_ping_that_fails(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the end of the connection: is_disconnect() knows the server's goodbyes."""
    engine = make_engine(pool_size=1, pool_pre_ping=True)
    seen = []

    @event.listens_for(engine.sync_engine, "handle_error")
    def heard(context: Any) -> None:
        seen.append((type(context.original_exception), context.is_pre_ping))

    def ping(self: Connection) -> None:
        raise errors.from_fields({"C": "57P01", "M": "leave"}, None, "failed")

    async with engine.connect() as conn:
        first = await pid(conn)
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "ping", ping)
        async with engine.connect() as conn:
            assert await pid(conn) != first
    assert seen == [(errors.AdminShutdown, True)]


# Subclasses


class TracingDialect(PGDialect_pgasync):
    supports_statement_cache = True
    driver = "tracing"

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.seen: list[str] = []

    def do_execute(self, *args: Any, **keywords: Any) -> None:
        self.seen.append("execute")
        super().do_execute(*args, **keywords)

    def do_executemany(self, *args: Any, **keywords: Any) -> None:
        self.seen.append("executemany")
        super().do_executemany(*args, **keywords)

    def do_execute_no_params(self, *args: Any, **keywords: Any) -> None:
        self.seen.append("no_params")
        super().do_execute_no_params(*args, **keywords)

    def on_connect(self) -> Callable[[Any], None]:
        inherited = super().on_connect()
        assert inherited is not None

        def connected(connection: Any) -> None:
            inherited(connection)
            connection.run_async(lambda driver: driver.execute("set work_mem='9MB'"))

        return connected

    def connect(self, *args: Any, **keywords: Any) -> Any:
        return super().connect(*args, application_name=self.driver, **keywords)


async def test_a_dialect_of_ones_own(
    make_engine: MakeEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("tracing_dialect")
    module.TracingDialect = TracingDialect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tracing_dialect", module)
    registry.register("postgresql.tracing", "tracing_dialect", "TracingDialect")
    engine = make_engine(url=url.replace("+pgasync", "+tracing"))
    async with engine.connect() as conn:
        dialect: Any = conn.dialect
        assert isinstance(dialect, TracingDialect)
        dialect.seen.clear()
        await conn.execute(sa.text("create temp table t (n int)"))
        await conn.execute(sa.text("insert into t values (:n)"), [{"n": 1}, {"n": 2}])
        await conn.execution_options(no_parameters=True)
        found = await conn.exec_driver_sql("select 'a%' like '%' from t")
        assert found.scalars().all() == [True, True]
        assert dialect.seen == ["execute", "executemany", "no_params"]
        assert await show(conn, "work_mem") == "9MB"
        assert await show(conn, "application_name") == "tracing"
        range_of = sa.text("select int4range(1, 2)")
        assert str(await conn.scalar(range_of)) == "[1,2)"


# Engines


async def test_nothing_is_sent_outside_of_a_greenlet(engine: AsyncEngine) -> None:
    """Where nothing can wait, an error is all that happens."""
    async with engine.connect() as conn:
        await conn.execute(sa.text("create table written (n int)"))
        await conn.commit()
        adapted = (await conn.get_raw_connection()).dbapi_connection
        insert = "insert into written values ($1)"
        await conn.exec_driver_sql(insert, (1,))
        for use in (
            adapted.commit,
            adapted.rollback,
            functools.partial(adapted.cursor().execute, insert, (2,)),
            functools.partial(adapted.cursor().executemany, insert, [(3,)]),
            functools.partial(adapted.cursor(server_side=True).execute, "select 1"),
            functools.partial(adapted.run_outside, "drop table written"),
            functools.partial(conn.sync_connection.exec_driver_sql, insert, (4,)),
        ):
            with pytest.raises(exc.MissingGreenlet):
                use()
            assert adapted._core.in_transaction
        written = await conn.exec_driver_sql("select n from written")
        assert written.all() == [(1,)]
        await conn.rollback()
        assert (await conn.exec_driver_sql("select n from written")).all() == []


async def test_another_cursor(engine: AsyncEngine) -> None:
    """What stands in front of cursor() is not passed by."""
    async with engine.connect() as conn:
        proxy = await conn.get_raw_connection()
        made: list[Any] = []

        def make() -> Any:
            made.append(proxy.dbapi_connection.cursor())
            return made[-1]

        proxy.cursor = make  # type: ignore[method-assign]
        assert await conn.scalar(ONE) == 1
        assert len(made) == 1


async def test_a_sync_engine(url: str) -> None:
    """create_engine() works where SQLAlchemy has its greenlet; elsewhere its error
    says so."""
    engine = sa.create_engine(url)
    with pytest.raises(exc.MissingGreenlet), engine.connect():
        pass

    def use() -> Any:
        with engine.connect() as conn:
            return conn.scalar(ONE)

    assert await greenlet_spawn(use) == 1
    await greenlet_spawn(engine.dispose)


async def test_an_engine_from_a_file(url: str) -> None:
    """Everything is text there."""
    settings = {
        "url": url,
        "pool_size": "5",
        "max_overflow": "3",
        "pool_timeout": "7",
        "pool_recycle": "50",
        "pool_pre_ping": "false",
        "pool_use_lifo": "true",
        "hide_parameters": "on",
        "native_inet_types": "no",
        "skip_autocommit_rollback": "true",
        "isolation_level": "SERIALIZABLE",
    }
    if not hasattr(DefaultDialect(), "skip_autocommit_rollback"):
        del settings["skip_autocommit_rollback"]  # new in 2.0.43
    named = {f"db.{name}": value for name, value in settings.items()}
    engine = async_engine_from_config(named, prefix="db.")
    queue: Any = engine.pool
    assert (queue.size(), queue._max_overflow, queue._timeout) == (5, 3, 7)
    assert (queue._recycle, queue._pre_ping, queue._pool.use_lifo) == (50, False, True)
    assert engine.sync_engine.hide_parameters is True
    async with engine.connect() as conn:
        assert await conn.get_isolation_level() == "SERIALIZABLE"
        assert await conn.scalar(sa.text("select inet '10.0.0.1'")) == "10.0.0.1"
    await engine.dispose()


async def test_logs_show_no_secret(url: str) -> None:
    """Neither the password, nor parameters with hide_parameters."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    loggers = [logging.getLogger(name) for name in ("sqlalchemy", "pgasync")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        secret = make_url(url).set(password="s3cr3t")
        engine = create_async_engine(secret, hide_parameters=True)
        async with engine.connect() as conn:
            await conn.execute(sa.text("select cast(:v as text)"), {"v": "pa77ram"})
            with pytest.raises(exc.DataError) as caught:
                await conn.execute(sa.text("select 1 / :v"), {"v": 0})
            shown = [repr(conn), repr(await conn.get_raw_connection())]
        shown += [repr(engine), str(engine.url), repr(engine.url), repr(engine.pool)]
        await engine.dispose()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
    shown += [written.getvalue(), str(caught.value)]
    assert "select cast($1 as text)" in written.getvalue()
    assert not any("s3cr3t" in text or "pa77ram" in text for text in shown)
    assert "hide_parameters" in str(caught.value)
