"""The dialect class: what SQLAlchemy asks of `postgresql+pgasync`."""

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqlalchemy import pool, types, util
from sqlalchemy.dialects.postgresql.base import (
    PGCompiler,
    PGDeferrableConnectionCharacteristic,
    PGDialect,
    PGExecutionContext,
    PGIdentifierPreparer,
    PGReadOnlyConnectionCharacteristic,
)
from sqlalchemy.dialects.postgresql.ranges import MultiRange, Range
from sqlalchemy.engine import URL

import pgasync

from .. import _core
from . import sessions
from .adapter import DBAPI, FIRST_ROWS, Connection, Cursor, getcurrent
from .pool import AnyLoopQueuePool
from .types import COLSPECS, with_text
from .url import connect_keywords

ISOLATION_LEVELS = (
    "AUTOCOMMIT",
    "READ COMMITTED",
    "READ UNCOMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
)
# What may be text in a section of a configuration file, beside what SQLAlchemy knows.
CONFIG_BOOLEANS = (
    "hide_parameters",
    "native_inet_types",
    "pool_pre_ping",
    "pool_use_lifo",
    "reset_session",
    "skip_autocommit_rollback",
)
# What SQLAlchemy has a str for, and that only without native_inet_types.
TEXT_TYPES = ("bit", "varbit", "money")
INET_TYPES = ("inet", "cidr")
# The server says good-bye: admin_shutdown, crash_shutdown, cannot_connect_now,
# database_dropped, idle_session_timeout.
GOODBYES = frozenset(("57P01", "57P02", "57P03", "57P04", "57P05"))


def give_cause(error: Any) -> None:
    """Programs that were written for asyncpg look for constraint_name and the like at
    `e.orig.__cause__`, where its dialect has the driver's error: ours, once more."""
    if error.__cause__ is None and getattr(error, "sqlstate", None) is not None:
        again = type(error)(*error.args)
        again.__dict__.update(error.__dict__)
        error.__cause__ = again


def quoted(text: str) -> str:
    """As a string constant."""
    return "'" + text.replace("'", "''") + "'"


class PGExecutionContext_pgasync(PGExecutionContext):  # noqa: N801
    """Server-side cursors are portals."""

    def create_default_cursor(self) -> Any:
        """Past the pool's proxy and Connection.cursor(): two calls less for every
        statement. Not where somebody has put one of his own in their place."""
        proxy: Any = self._dbapi_connection
        adapted: Connection = proxy.dbapi_connection
        if getattr(proxy, "__dict__", None) or type(adapted) is not Connection:
            return proxy.cursor()
        return adapted._core.cursor(Cursor, adapted, adapted._await, getcurrent)

    def create_server_side_cursor(self) -> Any:
        """Its first trip brings what is asked for at once by yield_per."""
        adapted: Any = self._dbapi_connection
        wanted = self.execution_options.get("yield_per")
        if isinstance(wanted, int) and wanted > FIRST_ROWS:
            return adapted.cursor(server_side=True, first=wanted)
        return adapted.cursor(server_side=True)


class ReadOnly(PGReadOnlyConnectionCharacteristic):
    """postgresql_readonly; without it the server's default holds, not READ WRITE."""

    def reset_characteristic(self, dialect: Any, dbapi_conn: Any) -> None:
        dialect.set_readonly(dbapi_conn, None)


class Deferrable(PGDeferrableConnectionCharacteristic):
    """postgresql_deferrable; the same."""

    def reset_characteristic(self, dialect: Any, dbapi_conn: Any) -> None:
        dialect.set_deferrable(dbapi_conn, None)


class PGDialect_pgasync(PGDialect):  # noqa: N801
    """`create_async_engine("postgresql+pgasync://user@host/database")`.

    The URL's query and `connect_args` take every keyword of pgasync.connect().
    """

    driver = "pgasync"
    is_async = True
    supports_statement_cache = True
    supports_server_side_cursors = True
    supports_sane_multi_rowcount = True
    has_terminate = True
    default_paramstyle = "numeric_dollar"
    supports_native_json_deserialization = True
    skip_autocommit_rollback = False  # create_engine() may say otherwise from 2.0.43 on
    dialect_injects_custom_json_deserializer = True

    execution_ctx_cls = PGExecutionContext_pgasync
    statement_compiler = PGCompiler
    preparer = PGIdentifierPreparer
    colspecs: ClassVar[dict[Any, Any]] = {  # type: ignore[misc]
        **PGDialect.colspecs,
        **COLSPECS,
    }

    connection_characteristics = util.immutabledict(
        {
            **PGDialect.connection_characteristics,
            "postgresql_readonly": ReadOnly(),
            "postgresql_deferrable": Deferrable(),
        }
    )
    engine_config_types = util.immutabledict(
        {**PGDialect.engine_config_types, **dict.fromkeys(CONFIG_BOOLEANS, util.asbool)}
    )

    def __init__(self, reset_session: bool = False, **keywords: Any) -> None:
        """`reset_session`: see docs/sqlalchemy.md; the rest is PGDialect's."""
        initialize: Any = super().__init__
        initialize(**keywords)
        self.reset_session = reset_session

    @classmethod
    def engine_created(cls, engine: Any) -> None:
        if engine.dialect.reset_session:
            sessions.install(engine)

    def type_descriptor(self, typeobj: Any) -> Any:
        base: Any = type(typeobj)
        is_decorator = isinstance(typeobj, types.TypeDecorator)  # BIT is one, of PG's
        if base.__module__.startswith("pgvector.") and not is_decorator:
            return typeobj.adapt(with_text(base))
        described: Any = super().type_descriptor
        return described(typeobj)

    @classmethod
    def import_dbapi(cls) -> Any:
        return DBAPI()

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        return AnyLoopQueuePool

    def retrieve_dbapi_version(self, dbapi: Any) -> Any:
        """Of the driver; asked for by SQLAlchemy 2.1."""
        only_in_2_1: Any = util
        return only_in_2_1.parse_version_string(dbapi.driver.__version__)

    def get_driver_connection(self, connection: Any) -> pgasync.Connection:
        driver: pgasync.Connection = connection._connection
        return driver

    # ---------------------------------------------------------- connecting

    def create_connect_args(self, url: URL) -> tuple[Sequence[str], dict[str, Any]]:
        return [], connect_keywords(url)

    def on_connect(self) -> Callable[[Any], None] | None:
        """The values that SQLAlchemy's types are about; no question to the server."""
        chained = super().on_connect()
        options: dict[str, Any] = {"range_type": Range, "multirange_type": MultiRange}
        if self._json_deserializer is not None:
            options["json_loads"] = self._json_deserializer
        text_types = list(TEXT_TYPES)
        if self._native_inet_types is False:
            text_types += INET_TYPES

        def connected(connection: Connection) -> None:
            connection.set_types(options, text_types)
            if chained is not None:
                chained(connection)

        return connected

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        """From what the server reported at its start, without a query."""
        reported = self._parameters(connection).get("server_version", "")
        match = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", reported)
        if match is None:
            base: Any = super()  # has no annotations
            version: tuple[int, ...] = base._get_server_version_info(connection)
            return version
        return tuple(int(part) for part in match.groups() if part is not None)

    def _set_backslash_escapes(self, connection: Any) -> None:
        reported = self._parameters(connection).get("standard_conforming_strings")
        self._backslash_escapes = reported == "off"

    def _parameters(self, connection: Any) -> dict[str, str]:
        core = connection.connection.dbapi_connection._core
        parameters: dict[str, str] = core.parameters
        return parameters

    # -------------------------------------------------- transactions, health

    def get_isolation_level_values(self, dbapi_connection: Any) -> Any:
        return ISOLATION_LEVELS

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        dbapi_connection.set_isolation_level(level)

    def reset_isolation_level(self, dbapi_conn: Any) -> None:
        """As it was when connected: the server's default, not a level by name."""
        if self._on_connect_isolation_level is None:
            dbapi_conn.set_isolation_level(None)
        else:
            base: Any = super()  # has no annotations
            base.reset_isolation_level(dbapi_conn)

    def detect_autocommit_setting(self, dbapi_connection: Any) -> bool:
        return bool(dbapi_connection.autocommit)

    def set_readonly(self, connection: Any, value: Any) -> None:
        connection.readonly = value

    def get_readonly(self, connection: Any) -> bool:
        return bool(connection.readonly)

    def set_deferrable(self, connection: Any, value: Any) -> None:
        connection.deferrable = value

    def get_deferrable(self, connection: Any) -> bool:
        return bool(connection.deferrable)

    do_execute = staticmethod(_core.cursor_execute)

    def do_begin(self, dbapi_connection: Any) -> None:
        """Sends nothing: BEGIN rides in front of the first statement."""
        dbapi_connection.dbapi_connection._begun = True

    def do_commit(self, dbapi_connection: Any) -> None:
        dbapi_connection.dbapi_connection.commit()

    def do_rollback(self, dbapi_connection: Any) -> None:
        adapted = dbapi_connection.dbapi_connection
        if not (self.skip_autocommit_rollback and adapted.autocommit):
            dbapi_connection.rollback()  # the proxy's, which SQLAlchemy's suite watches

    def do_ping(self, dbapi_connection: Any) -> bool:
        dbapi_connection.ping()
        return True

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """SQLAlchemy asks about every error. One that a function, or another server by
        way of a foreign table, raises in an open session ends nothing."""
        give_cause(e)
        if isinstance(e, pgasync.ConnectionLost):
            return True
        if connection is not None and connection.is_closed():
            return True
        sqlstate = getattr(e, "sqlstate", None) or ""
        if getattr(e, "severity", None) == "ERROR":
            return False
        return sqlstate in GOODBYES or sqlstate.startswith("08")

    # PREPARE TRANSACTION ends the transaction; what follows it runs outside of one.

    def do_prepare_twophase(self, connection: Any, xid: Any) -> None:
        connection.exec_driver_sql(f"PREPARE TRANSACTION {quoted(xid)}")

    def do_rollback_twophase(
        self,
        connection: Any,
        xid: Any,
        is_prepared: bool = True,
        recover: bool = False,
    ) -> None:
        self._end_twophase(connection, "ROLLBACK", xid, is_prepared)

    def do_commit_twophase(
        self,
        connection: Any,
        xid: Any,
        is_prepared: bool = True,
        recover: bool = False,
    ) -> None:
        self._end_twophase(connection, "COMMIT", xid, is_prepared)

    def _end_twophase(
        self, connection: Any, verb: str, xid: str, is_prepared: bool
    ) -> None:
        adapted: Connection = connection.connection.dbapi_connection
        if is_prepared:
            adapted.run_outside(f"{verb} PREPARED {quoted(xid)}")
        elif verb == "COMMIT":
            adapted.commit()
        else:
            adapted.rollback()


dialect = PGDialect_pgasync
