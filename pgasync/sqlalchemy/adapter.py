"""A synchronous face on the C core for SQLAlchemy, which runs in a greenlet.

`await_only` hands an awaitable to the task outside of the greenlet. The core's
operations are such awaitables, so that a statement takes no coroutine at all: rows
stay the exact tuples, the description and the count what the core made of them.
"""

import asyncio
import contextlib
import functools
import inspect
import itertools
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

import pgasync

from .. import _core
from ..settings import Settings
from .url import driver_keywords

try:
    from greenlet import getcurrent as getcurrent  # type: ignore[import-untyped]
except ImportError:  # SQLAlchemy says what to install, when it is needed
    getcurrent = object

log = logging.getLogger("pgasync")

_T = TypeVar("_T")

CLOSE_TIMEOUT = 2.0  # s, for a connection that the pool throws away
FIRST_ROWS = 50  # of a server-side cursor, with its opening
TURNS = 2  # of a loop: one to ask for what there is, one to read it
MORE_ROWS = 250  # at least, with each further trip

_portal_names = (f"sqlalchemy_{n}" for n in itertools.count(1))


def _needs_greenlet() -> None:
    """MissingGreenlet where nothing could wait, before anything is sent."""
    if not getattr(getcurrent(), "__sqlalchemy_greenlet_provider__", False):
        nothing: Any = None
        await_only(nothing)


def _await_within(connection: pgasync.Connection, operation: _core.Operation) -> Any:
    """The operation's result, within the connection's limit."""
    return await_only(connection._wait(operation))


def as_text(value: Any) -> str:
    """What str() makes of it; asyncpg's BitString, which is no str, as its digits."""
    if hasattr(value, "as_string"):
        return str(value.as_string()).replace(" ", "")
    return str(value)


class Cursor(_core.Cursor):
    """A PEP 249 cursor over rows that have all arrived; the core's, made by
    Connection.cursor()."""

    server_side = False
    lastrowid = None

    __slots__ = ()

    _adapted: "Connection"

    def _run_script(self, operation: str) -> None:
        """What execute() leaves to Python: several statements in one text."""
        script = self._adapted._connection._script(operation, None, False, False)
        self._take(await_only(script)[-1])

    def executemany(self, operation: str, seq_of_parameters: Sequence[Any]) -> None:
        """Runs a statement for every set of parameters in one flight."""
        _needs_greenlet()
        sent = self._core.executemany(operation, seq_of_parameters)
        self._take(self._adapted._await(sent))

    def setinputsizes(self, *sizes: Any) -> None:
        """Nothing: the server says what the types are."""

    def nextset(self) -> None:
        """There is one result set."""

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ServerSideCursor(Cursor):
    """A portal: its rows are fetched as they are asked for.

    A portal lives as long as its transaction. In autocommit the first one opens a
    transaction, the last one to be closed commits it.
    """

    server_side = True

    __slots__ = ("_first", "_more", "_name", "_statement")

    _first: int
    _name: str | None
    _statement: Any
    _more: bool

    def _start(self, first: int) -> "ServerSideCursor":
        self._first = first
        self._name = self._statement = None
        self._more = False
        return self

    def execute(self, operation: str, parameters: Any = None) -> None:
        """Opens the portal, with its first rows."""
        _needs_greenlet()
        self._name = name = next(_portal_names)
        self._adapted._begin_stream(name)
        result = self._adapted._await(
            self._core.open_portal(name, operation, parameters, self._first, False)
        )
        self._statement = result.statement
        self._more = result.suspended
        self._take(result)
        self.rowcount = -1

    def executemany(self, operation: str, seq_of_parameters: Sequence[Any]) -> None:
        """A portal has one set of parameters."""
        raise pgasync.NotSupportedError("a server-side cursor has no executemany()")

    def _fetch(self, at_least: int) -> None:
        """More rows behind those that are left; 0: all of them."""
        if not self._more or self._name is None:
            return
        _needs_greenlet()
        limit = max(at_least, MORE_ROWS) if at_least else 0
        result = self._adapted._await(
            self._core.fetch_portal(self._name, self._statement, limit, False)
        )
        self._more = result.suspended
        self._rows = [*super().fetchall(), *(result.rows or ())]

    def fetchone(self) -> Any:
        """The next row, None behind the last."""
        if not self._left:
            self._fetch(1)
        return super().fetchone()

    def __next__(self) -> Any:
        if not self._left:
            self._fetch(1)
        return super().__next__()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows, fewer at the end."""
        wanted = self.arraysize if size is None else size
        missing = wanted - self._left
        if missing > 0:
            self._fetch(missing)
        return super().fetchmany(wanted)

    def fetchall(self) -> list[Any]:
        """The rows not yet fetched."""
        self._fetch(0)
        return super().fetchall()

    def close(self) -> None:
        """Closes the portal, where there is a greenlet to do it in."""
        super().close()
        operation = self._end()
        if operation is not None and in_greenlet():
            await_only(operation)

    def __del__(self) -> None:
        """Of a stream that was left: what ends it is sent, and not waited for."""
        with contextlib.suppress(Exception):
            self._end()

    def _end(self) -> _core.Operation | None:
        """Sends what ends the portal, if anything does but its transaction."""
        name, self._name = self._name, None
        more, self._more = self._more, False
        if name is None or self._core.closed:
            return None
        if name in self._adapted._streams:
            return self._adapted._end_stream(name)
        if more and self._core.transaction_status == "T":
            return self._core.close_portal(name)
        return None


class Connection(AdaptedConnection):
    """What SQLAlchemy takes for a DBAPI connection."""

    __slots__ = (
        "_autocommit",
        "_await",
        "_begun",
        "_core",
        "_deferrable",
        "_isolation",
        "_process",
        "_readonly",
        "_streams",
        "dbapi",
    )

    # The user's view: driver_connection. AdaptedConnection has a protocol here,
    # which asks for a PEP 249 connection.
    _connection: pgasync.Connection  # type: ignore[assignment]

    def __init__(self, dbapi: "DBAPI", connection: pgasync.Connection) -> None:
        self.dbapi = dbapi
        self._connection = connection
        self._core: _core.Connection = connection._core
        self._await: Callable[[Any], Any] = await_only
        if connection._timeout is not None:
            self._await = functools.partial(_await_within, connection)
        self._autocommit = connection.autocommit
        self._isolation: str | None = None
        self._process = os.getpid()
        self._readonly: bool | None = None
        self._deferrable: bool | None = None
        # Portals in a transaction that is there for them, in autocommit.
        self._streams: set[str] = set()
        self._begun = False  # SQLAlchemy is in a transaction; maybe not the server yet

    def set_types(self, options: dict[str, Any], text_types: Sequence[str]) -> None:
        """Before the first statement: the core's options, and types that come as text
        unless the user has registered something for them."""
        self._core.configure(options)
        typelink = self._connection._link.typelink
        for name in text_types:
            if name not in typelink.registry:
                typelink.registry.set_type_codec(name, encoder=as_text)
        typelink.reset()

    def cursor(self, server_side: bool = False, first: int = FIRST_ROWS) -> Cursor:
        """A cursor; `server_side` streams, `first` rows at first."""
        make = self._core.cursor
        if server_side:
            return make(ServerSideCursor, self, self._await, getcurrent)._start(first)
        return make(Cursor, self, self._await, getcurrent)

    def execute(self, operation: str, parameters: Any = None) -> Cursor:
        """A cursor that has run the statement."""
        cursor = self.cursor()
        cursor.execute(operation, parameters)
        return cursor

    def run_async(self, fn: Callable[[Any], Awaitable[_T]]) -> _T:
        """What `fn` makes of the driver's connection.

        In a transaction of SQLAlchemy's it belongs to that. Outside of one, as in a
        `connect` event, each statement of `fn` is a transaction: there is nothing of
        SQLAlchemy's to commit it, and the rollback of a check-in does not undo it.
        """
        core = self._core
        if self._begun or core.autocommit or core.in_transaction:
            return await_only(fn(self._connection))
        core.autocommit = True
        try:
            return await_only(fn(self._connection))
        finally:
            if not core.closed:
                if core.in_transaction:
                    await_only(core.rollback())
                core.autocommit = False

    def await_(self, awaitable: Awaitable[_T]) -> _T:
        """The same of something awaitable, as asyncpg's dialect has it."""
        return self.run_async(lambda _connection: awaitable)

    def set_local(self, settings: Mapping[str, object]) -> None:
        """Settings of the transaction that is about to begin, as those of
        pgasync.Connection.transaction(settings=…): they travel with its BEGIN and end
        with it. For a `begin` event. A second call takes the place of the first.
        InterfaceError in a transaction that has begun, and in AUTOCOMMIT."""
        core = self._core
        if core.autocommit:
            raise pgasync.InterfaceError(
                "set_local() in AUTOCOMMIT: there is no transaction whose settings "
                "these could be"
            )
        core.begin(Settings(settings).behind(core.begin_sql))

    def _forget_settings(self) -> None:
        """A transaction that has sent nothing has ended: its settings with it."""
        if self._core.settings_due and not self._core.closed:
            self._core.rollback()  # which is done already, as nothing is sent

    def _begin_stream(self, name: str) -> None:
        core = self._core
        if core.autocommit and not core.in_transaction:
            core.begin("BEGIN")
            self._streams.clear()
            self._streams.add(name)
        elif self._streams:
            self._streams.add(name)

    def _end_stream(self, name: str) -> _core.Operation | None:
        """The end of the transaction with the last one."""
        self._streams.discard(name)
        return None if self._streams else self._end_streams()

    def _end_streams(self) -> _core.Operation:
        self._streams.clear()
        core = self._core
        return core.commit() if core.transaction_status == "T" else core.rollback()

    def commit(self) -> None:
        """Commits; nothing is sent when no transaction was begun."""
        self._begun = False
        if self._core.in_transaction:
            _needs_greenlet()
            self._streams.clear()
            await_only(self._core.commit())
        else:
            self._forget_settings()

    def rollback(self) -> None:
        """Rolls back; nothing is sent when no transaction was begun. One whose
        connection is lost is rolled back by the server: that is no error here."""
        self._begun = False
        if self._core.in_transaction:
            _needs_greenlet()
            try:  # costs nothing, which contextlib.suppress does not
                if self._streams:  # each statement beside them was to stand for itself
                    await_only(self._end_streams())
                else:
                    await_only(self._core.rollback())
            except pgasync.ConnectionLost:
                pass
        else:
            self._forget_settings()

    def ping(self) -> None:
        """One empty message: no transaction, no statement."""
        await_only(self._core.query(""))

    def run_outside(self, sql: str) -> None:
        """Runs `sql` (no parameters) outside of any transaction."""
        _needs_greenlet()
        self.rollback()
        await_only(self._core.query(sql))

    def close(self) -> None:
        """Ends the session. Waits only for what still runs, and needs no greenlet."""
        if self._core.pending and self._may_wait():
            await_only(self._connection.close())
        else:
            self._connection.terminate()

    def terminate(self) -> None:
        """Ends the session of a connection that the pool throws away, also from
        where there is no greenlet and no loop."""
        if self.closed or not self._core.pending or not self._may_wait():
            self._connection.terminate()
            return
        try:
            await_only(
                asyncio.shield(
                    asyncio.ensure_future(self._connection.close(timeout=CLOSE_TIMEOUT))
                )
            )
        except asyncio.CancelledError:
            self._connection.terminate()
            raise
        except (pgasync.Error, OSError, TimeoutError):
            self._connection.terminate()

    def _may_wait(self) -> bool:
        """Whether there is a greenlet to wait in, whose coroutine is not being closed
        by the garbage collector or by close()."""
        return in_greenlet() and not isinstance(sys.exc_info()[1], GeneratorExit)

    @property
    def dbapi_connection(self) -> "Connection":
        """Itself: what a pool's proxy has by this name."""
        return self

    # ------------------------------------------------- how transactions begin

    @property
    def closed(self) -> bool:
        """Whether the session is over, or its process's parent's."""
        return self._core.closed or self._process != os.getpid()

    def is_closed(self) -> bool:
        """The same, as a method."""
        return self.closed

    def has_ended(self) -> bool:
        """The same, of an idle connection that the pool gives out. One that another
        loop has watched, or none since its asyncio.run() ended, is looked at: what
        came meanwhile is read in this loop's next turns."""
        core = self._core
        if core.at_home:
            return False
        if not self.closed and in_greenlet():
            loop = asyncio.get_running_loop()
            if core.loop is not loop:
                with contextlib.suppress(pgasync.Error):  # busy: its user is told
                    core.adopt()
                for _ in range(TURNS):
                    await_only(asyncio.sleep(0))
        return self.closed

    def stop_listening(self) -> None:
        """Whoever gets the connection next must not hear what it listened to."""
        channels = self._connection._channels
        if channels is None or channels.idle:
            return
        if channels.names:
            log.warning(
                "a connection was given back while it listened to %s; it does not any "
                "more: keep it checked out, or use pgasync.listen()",
                ", ".join(map(repr, channels.names)),
            )
        if self.closed or not self._may_wait():
            self._connection.terminate()
        else:
            await_only(channels.reset())

    @property
    def autocommit(self) -> bool:
        """Whether each statement is a transaction."""
        return self._core.autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._core.autocommit = value

    def set_isolation_level(self, level: str | None) -> None:
        """Of the transactions from now on. None: what there was at the connect."""
        self.rollback()
        self._core.autocommit = (
            self._autocommit if level is None else level == "AUTOCOMMIT"
        )
        self._isolation = None if level == "AUTOCOMMIT" else level
        self._set_begin()

    @property
    def readonly(self) -> bool | None:
        """Whether transactions begin READ ONLY or READ WRITE; None: as the session's
        default_transaction_read_only says."""
        return self._readonly

    @readonly.setter
    def readonly(self, value: bool | None) -> None:
        self._readonly = value
        self._set_begin()

    @property
    def deferrable(self) -> bool | None:
        """Whether transactions begin DEFERRABLE or NOT DEFERRABLE; None: as the
        session's default_transaction_deferrable says."""
        return self._deferrable

    @deferrable.setter
    def deferrable(self, value: bool | None) -> None:
        self._deferrable = value
        self._set_begin()

    def _set_begin(self) -> None:
        words = ["BEGIN"]
        if self._isolation is not None:
            words.append(f"ISOLATION LEVEL {self._isolation}")
        if self._readonly is not None:
            words.append("READ ONLY" if self._readonly else "READ WRITE")
        if self._deferrable is not None:
            words.append("DEFERRABLE" if self._deferrable else "NOT DEFERRABLE")
        self._core.begin_sql = " ".join(words)


class DBAPI:
    """What SQLAlchemy takes for a PEP 249 module: pgasync's own names, and a
    connect() for the greenlet."""

    __name__ = pgasync.__name__
    apilevel = pgasync.apilevel
    threadsafety = pgasync.threadsafety
    paramstyle = pgasync.paramstyle
    driver = pgasync
    version = pgasync.__version__

    Warning = pgasync.Warning
    Error = pgasync.Error
    InterfaceError = pgasync.InterfaceError
    DatabaseError = pgasync.DatabaseError
    DataError = pgasync.DataError
    OperationalError = pgasync.OperationalError
    IntegrityError = pgasync.IntegrityError
    InternalError = pgasync.InternalError
    ProgrammingError = pgasync.ProgrammingError
    NotSupportedError = pgasync.NotSupportedError
    STRING = pgasync.STRING
    BINARY = pgasync.BINARY
    NUMBER = pgasync.NUMBER
    DATETIME = pgasync.DATETIME
    ROWID = pgasync.ROWID
    Binary = staticmethod(pgasync.Binary)

    def connect(self, *args: Any, **keywords: Any) -> Connection:
        """pgasync.connect()'s keywords, those of url.ELSEWHERE, and async_creator_fn,
        in which SQLAlchemy passes the engine's async_creator. Raises InterfaceError
        when that gives no pgasync.Connection."""
        creator = keywords.pop("async_creator_fn", None)
        if creator is None:
            opened = pgasync.connect(*args, **driver_keywords(keywords))
            return Connection(self, await_only(opened))
        given = creator(*args, **keywords)
        if inspect.isawaitable(given):
            given = await_only(given)
        if not isinstance(given, pgasync.Connection):
            raise pgasync.InterfaceError(
                "async_creator is a function, async or not, that gives a new "
                f"pgasync.Connection, not a {type(given).__name__}"
            )
        return Connection(self, given)
