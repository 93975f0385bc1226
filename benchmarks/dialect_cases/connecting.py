"""URLs, connect_args, options of the engine and events."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, literal, select, text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from . import reasons as why
from .case import Run, add, case, group
from .side import Side

FACTS = text(
    "select current_user, current_database(), current_setting('application_name'),"
    " (select ssl from pg_stat_ssl where pid = pg_backend_pid()),"
    " inet_server_port() is null"
)
Parts = Callable[[Side], dict[str, Any]]


async def facts(engine: AsyncEngine) -> Any:
    async with engine.connect() as conn:
        return (await conn.execute(FACTS)).one()


def given(make: Parts, query: str = "") -> Run:
    """connect_args as `make` gives them, over parts of the URL under "url"."""

    async def run(side: Side) -> Any:
        arguments = make(side)
        url = side.url(**arguments.pop("url", {}))
        if query:
            url = make_url(url.render_as_string(False) + query)
        return await facts(side.plain_engine(url, connect_args=arguments))

    return run


def fixed(**values: Any) -> Parts:
    return lambda side: dict(values)


def setting_of(name: str, value: Any) -> Run:
    async def run(side: Side) -> Any:
        arguments = {"server_settings": {name: value}}
        async with side.plain_engine(connect_args=arguments).connect() as conn:
            return await conn.scalar(text(f"show {name}"))

    return run


with group("server_settings"):
    for name, value in (
        ("application_name", "cases"),
        ("application_name", "ö"),
        ("search_path", "side_by_side, public"),
        ("timezone", "Asia/Tokyo"),
        ("jit", "off"),
        ("statement_timeout", "5s"),
        ("statement_timeout", "5000"),
        ("idle_in_transaction_session_timeout", "60s"),
        ("lock_timeout", "1s"),
        ("work_mem", "5MB"),
        ("default_transaction_isolation", "serializable"),
        ("datestyle", "German"),
        ("intervalstyle", "iso_8601"),
        ("extra_float_digits", "0"),
        ("bytea_output", "escape"),
        ("my.own", "x"),
        ("tcp_keepalives_idle", "30"),
    ):
        add(f"{name}={value}", setting_of(name, value))
    for name, value in (("statement_timeout", 5000), ("jit", False)):
        add(
            f"{name} of a {type(value).__name__}",
            setting_of(name, value),
            why.CONNECT,
            "InterfaceError",
            "2.0",
        )
    unknown = setting_of("no_such_setting", "x")
    add("unknown", unknown, why.CONNECT, "ProgrammingError", "2.0")
    add("bad value", setting_of("jit", "x"), why.CLASSES, "DataError")

with group("connect_args"):
    for name, arguments in (
        ("none", {}),
        ("timeout", {"timeout": 5}),
        ("timeout None", {"timeout": None}),
        ("command_timeout", {"command_timeout": 60}),
        ("command_timeout of a float", {"command_timeout": 1.5}),
        ("command_timeout None", {"command_timeout": None}),
        ("statement_cache_size=0", {"statement_cache_size": 0}),
        ("statement_cache_size", {"statement_cache_size": 500}),
        ("prepared_statement_cache_size=0", {"prepared_statement_cache_size": 0}),
        ("prepared_statement_cache_size", {"prepared_statement_cache_size": 500}),
        (
            "no cache at all",
            {"prepared_statement_cache_size": 0, "statement_cache_size": 0},
        ),
        (
            "prepared_statement_name_func",
            {"prepared_statement_name_func": lambda: f"s_{os.urandom(4).hex()}"},
        ),
        ("max_cached_statement_lifetime", {"max_cached_statement_lifetime": 0}),
        ("max_cacheable_statement_size", {"max_cacheable_statement_size": 0}),
        ("ssl=False", {"ssl": False}),
        ("ssl=None", {"ssl": None}),
        ("ssl=disable", {"ssl": "disable"}),
        ("ssl=prefer", {"ssl": "prefer"}),
        ("ssl=allow", {"ssl": "allow"}),
        ("target_session_attrs=any", {"target_session_attrs": "any"}),
        ("target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
        ("target_session_attrs=primary", {"target_session_attrs": "primary"}),
        (
            "target_session_attrs=prefer-standby",
            {"target_session_attrs": "prefer-standby"},
        ),
        ("direct_tls=False", {"direct_tls": False}),
        ("krbsrvname", {"krbsrvname": "postgres"}),
        ("gsslib", {"gsslib": "gssapi"}),
        ("user", {"user": "postgres"}),
        ("database", {"database": "template1"}),
    ):
        add(name, given(fixed(**arguments)))

    for name, arguments, reason, ours in (
        (
            "ssl=True of a server without",
            {"ssl": True},
            why.CONNECT,
            "OperationalError",
        ),
        (
            "ssl=require of one without",
            {"ssl": "require"},
            why.CONNECT,
            "OperationalErr",
        ),
        (
            "target_session_attrs=standby",
            {"target_session_attrs": "standby"},
            why.CONNECT,
            "OperationalError",
        ),
        ("unknown keyword", {"nothing": 1}, why.WRONG_KEYWORD, "InterfaceError"),
        ("timeout of a word", {"timeout": "x"}, why.WRONG_KEYWORD, "InterfaceError"),
        ("wrong password", {"password": "x"}, why.CONNECT, "OperationalError"),
        ("unknown user", {"user": "nobody_here"}, why.CONNECT, "OperationalError"),
        ("unknown database", {"database": "nowhere"}, why.CONNECT, "ProgrammingError"),
        ("nothing listens", {"port": 1}, why.CONNECT, "OperationalError"),
        ("no such host", {"host": "nowhere.invalid"}, why.CONNECT, "OperationalError"),
        (
            "no such socket",
            {"host": "/nowhere", "port": 5432},
            why.CONNECT,
            "OperationalError",
        ),
    ):
        add(name, given(fixed(**arguments)), reason, ours)

    for name in ("target_session_attrs", "ssl"):
        run = given(fixed(**{name: "x"}))
        add(f"{name}=x", run, why.CONNECT, "InterfaceError", "2.0")
    add("sockets", given(lambda side: {"host": side.place.socket_dir}))
    add(
        "list of hosts",
        given(
            lambda side: {
                "host": ["127.0.0.1", "localhost"],
                "port": [1, side.place.port],
            }
        ),
    )
    add("list of hosts, one port", given(fixed(host=["127.0.0.1", "localhost"])))
    add(
        "password as a function",
        given(lambda side: {"password": lambda: side.place.password}),
    )

    @case()
    async def password_as_a_coroutine_function(side: Side) -> Any:
        async def token() -> str:
            await asyncio.sleep(0)
            return side.place.password

        return await facts(side.plain_engine(connect_args={"password": token}))

    @case()
    async def dsn(side: Side) -> Any:
        place = side.place
        url = f"postgresql://postgres:{place.password}@127.0.0.1:{place.port}/template1"
        empty = URL.create(f"postgresql+{side.dialect}")
        return await facts(side.plain_engine(empty, connect_args={"dsn": url}))

    @case()
    async def passfile(side: Side) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "pass")
            path.touch(mode=0o600)
            path.write_text(f"*:*:*:postgres:{side.place.password}\n")
            url = side.url(password=None)
            return await facts(
                side.plain_engine(url, connect_args={"passfile": str(path)})
            )

    @case()
    async def loop(side: Side) -> Any:
        arguments = {"loop": asyncio.get_running_loop()}
        return await facts(side.plain_engine(connect_args=arguments))

    @case("pgasync has a connection class of its own", "InterfaceError")
    async def connection_class(side: Side) -> Any:
        import asyncpg

        class Mine(asyncpg.Connection):  # type: ignore[misc]
            pass

        return await facts(side.plain_engine(connect_args={"connection_class": Mine}))

    @case(
        "rows are tuples; row_factory is for the driver without SQLAlchemy",
        "InterfaceE",
    )
    async def record_class(side: Side) -> Any:
        import asyncpg

        class Mine(asyncpg.Record):  # type: ignore[misc]
            pass

        return await facts(side.plain_engine(connect_args={"record_class": Mine}))

    @case(why.CONNECT, "False")
    async def timeout_while_connecting(side: Side) -> Any:
        async def mute(reader: Any, writer: Any) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        engine = side.plain_engine(side.url(port=port), connect_args={"timeout": 0.2})
        try:
            return await facts(engine)
        except Exception as error:
            return "an error", isinstance(error, (TimeoutError, asyncio.TimeoutError))
        finally:
            server.close()


def tls(arguments: Parts, query: str = "") -> Run:
    """On the server that has TLS."""

    def make(side: Side) -> dict[str, Any]:
        made = arguments(side)
        place = side.place
        made["url"] = {"port": place.tls_port, "host": made.pop("address", "localhost")}
        return made

    return given(make, query)


def trusting(side: Side) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=side.place.authority)


def of_postgresql(side: Side) -> ssl.SSLContext:
    """One that may begin before any word of PostgreSQL's protocol."""
    context = trusting(side)
    context.set_alpn_protocols(["postgresql"])
    return context


def unverified(side: Side) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


with group("tls"):
    for value in (None, False, "disable", "allow", "prefer", "require"):
        add(f"ssl={value!r}", tls(fixed(ssl=value)))
    for value in ("verify-ca", "verify-full", True):
        add(f"ssl={value!r}", tls(fixed(ssl=value)), why.CONNECT, "OperationalError")
    add("context", tls(lambda side: {"ssl": trusting(side)}))
    add(
        "context of an address",
        tls(lambda side: {"ssl": trusting(side), "address": "127.0.0.1"}),
    )
    add("unverified context", tls(lambda side: {"ssl": unverified(side)}))
    add(
        "context that trusts others",
        tls(lambda side: {"ssl": ssl.create_default_context()}),
        why.CONNECT,
        "OperationalError",
    )
    add("direct_tls", tls(lambda s: {"ssl": of_postgresql(s), "direct_tls": True}))
    for value in ("disable", "prefer", "require"):
        add(f"?ssl={value}", tls(fixed(), f"?ssl={value}"))
    add(
        "?ssl=verify-full", tls(fixed(), "?ssl=verify-full"), why.CONNECT, "Operational"
    )
    add("?ssl=true", tls(fixed(), "?ssl=true"), why.IN_THE_URL, "True")
    add("?sslmode=require", tls(fixed(), "?sslmode=require"), why.IN_THE_URL, "True")

with group("url"):
    for query in (
        "?prepared_statement_cache_size=0",
        "?prepared_statement_cache_size=500",
        "?ssl=disable",
        "?target_session_attrs=any",
        "?user=postgres",
        "?command_timeout=5",
        "?database=template1",
    ):
        add(query, given(fixed(), query))
    for query in (
        "?application_name=x",
        "?statement_cache_size=0",
        "?timeout=5",
        "?connect_timeout=5",
        "?sslmode=disable",
        "?options=-c%20work_mem%3D5MB",
        "?max_cached_statement_lifetime=5",
    ):
        add(query, given(fixed(), query), why.IN_THE_URL, "Row(")
    add("unknown", given(fixed(), "?nothing=1"), why.WRONG_KEYWORD, "InterfaceError")

    @case()
    async def sockets(side: Side) -> Any:
        place = side.place
        url = f"postgresql+{side.dialect}://postgres@/postgres?host={place.socket_dir}"
        return await facts(side.plain_engine(f"{url}&port={place.port}"))

    @case(why.PLACES, "Row(")
    async def sockets_and_a_port_behind(side: Side) -> Any:
        place = side.place
        url = f"postgresql+{side.dialect}://postgres@/postgres?host={place.socket_dir}"
        return await facts(side.plain_engine(f"{url}:{place.port}"))

    @case(why.PLACES, "Row(")
    async def sockets_in_the_place_of_the_host(side: Side) -> Any:
        place = side.place
        url = side.url(host=place.socket_dir.replace("/", "%2F"))
        return await facts(side.plain_engine(url.render_as_string(False)))

    @case()
    async def hosts(side: Side) -> Any:
        place = side.place
        url = f"postgresql+{side.dialect}://postgres:{place.password}@/postgres"
        return await facts(
            side.plain_engine(f"{url}?host=127.0.0.1:1&host=127.0.0.1:{place.port}")
        )

    @case("as with libpq, a host without a port has 5432", "OperationalError")
    async def hosts_without_ports(side: Side) -> Any:
        url = f"postgresql+{side.dialect}://postgres@/postgres"
        return await facts(
            side.plain_engine(f"{url}?host=nowhere.invalid&host=n.invalid")
        )

    @case()
    async def one_host_in_the_query(side: Side) -> Any:
        place = side.place
        url = f"postgresql+{side.dialect}://postgres:{place.password}@/postgres"
        return await facts(side.plain_engine(f"{url}?host=127.0.0.1:{place.port}"))

    @case()
    async def quoted_password(side: Side) -> Any:
        password = "p@ss:/?#[]%é &"
        async with side.shared.begin() as conn:
            await conn.execute(text("drop role if exists quoted"))
            await conn.execute(text(f"create role quoted login password '{password}'"))
        try:
            url = side.url(username="quoted", password=password)
            return await facts(side.plain_engine(url.render_as_string(False)))
        finally:
            await side.tidy()
            async with side.shared.begin() as conn:
                await conn.execute(text("drop role quoted"))

    @case()
    async def variables_of_the_environment(side: Side) -> Any:
        place = side.place
        wanted = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(place.port),
            "PGUSER": "postgres",
            "PGPASSWORD": place.password,
            "PGDATABASE": "template1",
        }
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            return await facts(side.plain_engine(f"postgresql+{side.dialect}://"))
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


with group("engine"):

    @case()
    async def json_functions(side: Side) -> Any:
        engine = side.engine(
            json_serializer=lambda value: json.dumps({"wrapped": value}),
            json_deserializer=lambda data: (
                "read",
                json.loads(data, parse_float=Decimal),
            ),
        )
        async with engine.connect() as conn:
            seen = []
            for kind in (pg.JSON, pg.JSONB):
                seen.append(await conn.scalar(select(literal({"a": 1.5}, kind))))
            seen.append(await conn.scalar(text("select '{\"a\": 1}'\\:\\:jsonb")))
            return seen

    @case()
    async def json_deserializer_is_given(side: Side) -> Any:
        engine = side.engine(json_deserializer=lambda data: type(data).__name__)
        async with engine.connect() as conn:
            return await conn.scalar(select(literal({}, pg.JSONB)))

    @case()
    async def native_inet_types(side: Side) -> Any:
        seen = []
        for native in (None, False, True):
            given = {} if native is None else {"native_inet_types": native}
            async with side.engine(**given).connect() as conn:
                sql = "select '10.0.0.1'::inet, '10.0.0.0/8'::cidr, $1::inet"
                try:
                    seen.append((await conn.exec_driver_sql(sql, ("::1",))).one())
                except Exception as error:
                    seen.append(error)
        return seen

    @case()
    async def isolation_level(side: Side) -> Any:
        async with side.engine(isolation_level="SERIALIZABLE").connect() as conn:
            return await conn.scalar(text("show transaction isolation level"))

    @case()
    async def execution_options(side: Side) -> Any:
        engine = side.engine(execution_options={"isolation_level": "AUTOCOMMIT"})
        async with engine.connect() as conn:
            return conn.sync_connection.get_execution_options()["isolation_level"]

    @case()
    async def query_cache_size(side: Side) -> Any:
        return await facts(side.engine(query_cache_size=0))

    @case(why.NAMES, "1]")
    async def paramstyle(side: Side) -> Any:
        seen = [side.shared.dialect.paramstyle, side.shared.dialect.dbapi.paramstyle]
        try:
            async with side.engine(paramstyle="named").connect() as conn:
                seen.append(await conn.scalar(text("select cast(:x as int)"), {"x": 1}))
        except Exception as error:
            seen.append(error)
        return seen

    @case()
    async def schema_translate_map(side: Side) -> Any:
        table = sa.Table("item", sa.MetaData(), sa.Column("name", sa.Text), schema="x")
        async with side.connect(schema_translate_map={"x": "side_by_side"}) as conn:
            return (await conn.execute(select(table).order_by("name"))).all()

    @case()
    async def what_the_dialect_says(side: Side) -> Any:
        async with side.connect() as conn:
            dialect = conn.dialect
            names = (
                "name is_async server_version_info default_schema_name"
                " default_isolation_level implicit_returning supports_statement_cache"
                " supports_native_enum supports_native_boolean supports_native_uuid"
                " supports_sane_rowcount supports_server_side_cursors insert_returning"
                " update_returning delete_returning use_insertmanyvalues"
                " max_identifier_length positional has_terminate"
                " supports_identity_columns"
            ).split()
            return {name: getattr(dialect, name) for name in names}

    @case(why.STALE, "True")
    async def supports_sane_multi_rowcount(side: Side) -> Any:
        return side.shared.dialect.supports_sane_multi_rowcount

    @case()
    async def async_creator(side: Side) -> Any:
        place = side.place

        async def creator() -> Any:
            module = __import__(side.dialect)
            return await module.connect(
                host=place.host,
                port=place.port,
                user=place.user,
                password=place.password,
                database="template1",
                server_settings={"application_name": "created"},
            )

        return await facts(side.plain_engine(async_creator=creator))


with group("event"):

    @case(why.TUPLES, "[[(1, 'a')], (5), 1], '7MB'")
    async def connect(side: Side) -> Any:
        seen: list[Any] = []
        engine = side.engine()

        @event.listens_for(engine.sync_engine, "connect")
        def connected(dbapi_connection: Any, record: Any) -> None:
            cursor = dbapi_connection.cursor()
            cursor.execute("set work_mem = '7MB'")
            cursor.execute("select 1, 'a'")
            seen.append(cursor.fetchall())
            cursor.execute("select $1::int", (5,))
            seen.append(cursor.fetchone())
            seen.append(cursor.rowcount)
            cursor.close()
            dbapi_connection.commit()

        async with engine.connect() as conn:
            return seen, await conn.scalar(text("show work_mem"))

    @case()
    async def autocommit_in_connect(side: Side) -> Any:
        engine = side.engine()

        @event.listens_for(engine.sync_engine, "connect", insert=True)
        def connected(dbapi_connection: Any, record: Any) -> None:
            before = dbapi_connection.autocommit
            dbapi_connection.autocommit = True
            cursor = dbapi_connection.cursor()
            cursor.execute("set session search_path = pg_catalog")
            cursor.close()
            dbapi_connection.autocommit = before

        async with engine.connect() as conn:
            return await conn.scalar(text("show search_path"))

    @case()
    async def run_async_in_connect(side: Side) -> Any:
        engine = side.engine()

        @event.listens_for(engine.sync_engine, "connect")
        def connected(dbapi_connection: Any, record: Any) -> None:
            dbapi_connection.run_async(lambda c: c.execute("set work_mem = '9MB'"))

        async with engine.connect() as conn:
            return await conn.scalar(text("show work_mem"))

    @case(why.AWAIT, "('decoded', {'a': 1})", "2.1")
    async def json_codecs_in_connect(side: Side) -> Any:
        """As Litestar's SQLAlchemy plugin sets them for asyncpg."""
        engine = side.engine(json_serializer=lambda value: json.dumps(value))

        @event.listens_for(engine.sync_engine, "connect")
        def connected(dbapi_connection: Any, record: Any) -> None:
            def encode(value: Any) -> bytes:
                return b"\x01" + (value if isinstance(value, bytes) else value.encode())

            dbapi_connection.await_(
                dbapi_connection.driver_connection.set_type_codec(
                    "jsonb",
                    encoder=encode,
                    decoder=lambda data: ("decoded", json.loads(data[1:])),
                    schema="pg_catalog",
                    format="binary",
                )
            )

        async with engine.connect() as conn:
            return await conn.scalar(select(literal({"a": 1}, pg.JSONB)))

    @case()
    async def do_connect(side: Side) -> Any:
        engine = side.plain_engine(side.url(password="from a token"))

        @event.listens_for(engine.sync_engine, "do_connect")
        def connecting(dialect: Any, record: Any, args: Any, keywords: Any) -> None:
            keywords["password"] = side.place.password
            keywords.setdefault("server_settings", {})["application_name"] = "event"

        return await facts(engine)

    @case()
    async def of_the_pool(side: Side) -> Any:
        seen: list[str] = []
        engine = side.engine(pool_size=1)
        for name in (
            "first_connect",
            "connect",
            "checkout",
            "checkin",
            "reset",
            "close",
        ):
            event.listen(
                engine.sync_engine, name, lambda *rest, name=name: seen.append(name)
            )
        async with engine.connect() as conn:
            await conn.execute(text("select 1"))
        async with engine.begin() as conn:
            await conn.execute(text("select 1"))
        await engine.dispose()
        return seen

    @case()
    async def of_statements(side: Side) -> Any:
        seen: list[Any] = []
        engine = side.engine()

        @event.listens_for(engine.sync_engine, "before_cursor_execute", retval=True)
        def before(conn: Any, cursor: Any, sql: Any, given: Any, *rest: Any) -> Any:
            seen.append((sql, given, rest[1]))
            return sql + " -- traced", given

        async with engine.connect() as conn:
            await conn.execute(text("select cast(:a as int)"), {"a": 1})
            await conn.execute(text("select 1"))
            await conn.execute(
                text("insert into keep values (:a, :b)"),
                [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
            )
        return seen

    @case()
    async def of_transactions(side: Side) -> Any:
        seen: list[str] = []
        engine = side.engine()
        for name in ("begin", "commit", "rollback", "savepoint", "release_savepoint"):
            event.listen(
                engine.sync_engine, name, lambda *rest, name=name: seen.append(name)
            )
        async with engine.begin() as conn, conn.begin_nested():
            await conn.execute(text("select 1"))
        return seen
