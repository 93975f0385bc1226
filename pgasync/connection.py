"""The connection that users hold. It owns the core object."""

import asyncio
import contextlib
import re
import warnings
import weakref
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from types import TracebackType
from typing import Any, TypeVar, overload

from . import _core, errors, many
from ._core import MODE_RESULT, MODE_ROW, MODE_ROWS, MODE_VALUE
from .copy import Copying
from .cursor import Cursor
from .errors import ConnectionLost, Error, InterfaceError, QueryTimeout
from .link import Link
from .notifications import Listening
from .pipeline import Pipeline
from .registry import Registry
from .reset import Resetting
from .rows import scalar
from .runtransaction import On, Policy, Run, within
from .script import Script
from .servercursor import ServerCursor
from .stream import Stream
from .trace import to_file
from .transaction import Transaction

MultipleStatements = _core.MultipleStatements
R = TypeVar("R")


class Connection(Listening, Copying, Resetting):
    """One session with a PostgreSQL server. Made by connect().

    Several tasks may use it at once: their statements run in the order in which
    they were sent, but for those that wait while another task is in a transaction()
    block. It belongs to one event loop at a time: an idle connection that is
    used from another one moves there, a busy one raises InterfaceError.

    `params` is a sequence for `$1, $2 …` or a mapping for `:name`; `timeout` (s)
    tells the server to stop and raises QueryTimeout. `row_factory` says what rows are,
    in place of the connection's; see pgasync.rows.
    """

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(self, core: _core.Connection, link: Link) -> None:
        self._core: _core.Connection = core
        self._link: Link = link
        self._timeout: float | None = link.config.command_timeout
        self._row_factory: Any = link.config.row_factory
        self._transactions: list[Transaction] = []
        self._server_cursors: dict[str, object] = {}  # what has opened which
        self._left: bool = False  # close() or terminate() was called
        self._notice_listeners: dict[Callable[..., object], None] = {}
        self._termination_listeners: dict[Callable[..., object], None] = {}
        link.wrapper = weakref.ref(self)

    # --------------------------------------------------------------- statements

    @overload
    def cursor(
        self, name: None = None, *, row_factory: Callable[..., Any] | None = None
    ) -> Cursor: ...
    @overload
    def cursor(
        self,
        name: str,
        *,
        scrollable: bool | None = None,
        withhold: bool = False,
        row_factory: Callable[..., Any] | None = None,
    ) -> ServerCursor: ...
    def cursor(
        self,
        name: str | None = None,
        *,
        scrollable: bool | None = None,
        withhold: bool = False,
        row_factory: Callable[..., Any] | None = None,
    ) -> Cursor:
        """A new PEP 249 cursor; with a name one of the server, see ServerCursor."""
        if self.closed:
            self._raise_closed()
        if name is not None:
            return ServerCursor(self, name, scrollable, withhold, row_factory)
        if scrollable is not None or withhold:
            raise InterfaceError(
                "scrollable and withhold are for a server-side cursor: cursor(name, …)"
            )
        return Cursor(self, row_factory)

    async def execute(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs a statement; the cursor returned holds its result."""
        return await Cursor(self, row_factory).execute(sql, params, timeout=timeout)

    async def executemany(
        self,
        sql: str,
        seq_of_params: many.Sets,
        *,
        returning: bool = False,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs a statement for every set of parameters; see Cursor.executemany()."""
        return await Cursor(self, row_factory).executemany(
            sql, seq_of_params, returning=returning, timeout=timeout
        )

    @overload
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: None = None,
        timeout: float | None = None,
    ) -> list[Any]: ...
    @overload
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: type[dict[str, Any]],
        timeout: float | None = None,
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., R],
        timeout: float | None = None,
    ) -> list[R]: ...
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """All rows of a statement."""
        if row_factory is None:
            row_factory = self._row_factory
        try:
            if timeout is None and self._timeout is None:
                return await self._core.execute(sql, params, MODE_ROWS, row_factory)
            operation = self._core.execute(sql, params, MODE_ROWS, row_factory)
            return await self._wait(operation, timeout)
        except MultipleStatements:
            return await self._script_rows(sql, timeout, row_factory)
        except ConnectionLost as error:
            if not await self._revived(error):
                raise
        return await self.fetch(sql, params, row_factory=row_factory, timeout=timeout)

    @overload
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: None = None,
        timeout: float | None = None,
    ) -> Any: ...
    @overload
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: type[dict[str, Any]],
        timeout: float | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., R],
        timeout: float | None = None,
    ) -> R | None: ...
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The first row of a statement, None when it gives no rows."""
        if row_factory is None:
            row_factory = self._row_factory
        try:
            if timeout is None and self._timeout is None:
                return await self._core.execute(sql, params, MODE_ROW, row_factory)
            operation = self._core.execute(sql, params, MODE_ROW, row_factory)
            return await self._wait(operation, timeout)
        except MultipleStatements:
            rows = await self._script_rows(sql, timeout, row_factory)
            return rows[0] if rows else None
        except ConnectionLost as error:
            if not await self._revived(error):
                raise
        return await self.fetchrow(
            sql, params, row_factory=row_factory, timeout=timeout
        )

    async def fetchval(
        self, sql: str, params: object = None, *, timeout: float | None = None
    ) -> Any:
        """The first column of the first row, None when there are no rows."""
        try:
            if timeout is None and self._timeout is None:
                return await self._core.execute(sql, params, MODE_VALUE, False)
            operation = self._core.execute(sql, params, MODE_VALUE, False)
            return await self._wait(operation, timeout)
        except MultipleStatements:
            rows = await self._script_rows(sql, timeout, scalar)
            return rows[0] if rows else None
        except ConnectionLost as error:
            if not await self._revived(error):
                raise
        return await self.fetchval(sql, params, timeout=timeout)

    def stream(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Stream:
        """The rows of a statement, for `async for`, read as fast as they are taken: a
        big result needs little memory. `timeout` (s) is for each wait for rows.

        Outside of a transaction the statement runs to its end, and the connection is
        the stream's meanwhile: statements of other tasks wait, those of this task raise
        InterfaceError. Inside of one the rows come in chunks (PostgreSQL's "Extended
        Query", a portal), and statements may run between them.
        """
        return Stream(self, sql, params, row_factory, timeout)

    async def prepare(
        self, sql: str, *, timeout: float | None = None
    ) -> "PreparedStatement":
        """Prepares a statement with `$n` parameters, to look at it or to run it."""
        try:
            statement = await self._wait(self._core.prepare(sql), timeout)
        except ConnectionLost as error:
            if not await self._revived(error):
                raise
            return await self.prepare(sql, timeout=timeout)
        return PreparedStatement(self, statement)

    async def _revived(self, error: ConnectionLost) -> bool:
        """Whether there is another session now, in which what failed may be asked as
        if nothing had happened: one of a pool, where nothing has run in the old one."""
        return False

    # -------------------------------------------------------------------- types

    async def set_type_codec(
        self,
        typename: str,
        *,
        schema: str | None = None,
        encoder: Callable[[Any], Any] | None = None,
        decoder: Callable[[Any], Any] | None = None,
        format: str = "text",  # noqa: A002
    ) -> None:
        """Python functions for a type's values; see TypeRegistry.set_type_codec().
        Raises UndefinedObject when the database has no such type."""
        registry = self._registry
        registry.set_type_codec(
            typename, schema=schema, encoder=encoder, decoder=decoder, format=format
        )
        await self._registered(schema, typename)

    async def register_enum(
        self,
        cls: type[Enum],
        typename: str | None = None,
        *,
        schema: str | None = None,
        mapping: Mapping[Any, str] | None = None,
    ) -> None:
        """An Enum class for an enum type; see TypeRegistry.register_enum()."""
        self._registry.register_enum(cls, typename, schema=schema, mapping=mapping)
        await self._registered(schema, typename or cls.__name__.lower())

    async def register_composite(
        self, cls: Any, typename: str | None = None, *, schema: str | None = None
    ) -> None:
        """A class for a composite type; see TypeRegistry.register_composite()."""
        self._registry.register_composite(cls, typename, schema=schema)
        await self._registered(schema, typename or cls.__name__.lower())

    async def reset_type_codec(
        self, typename: str, *, schema: str | None = None
    ) -> None:
        """Forgets what was registered for a type."""
        self._core.tainted |= _core.TAINT_DRIVER
        self._registry.reset_type_codec(typename, schema=schema)
        self._link.typelink.reset()

    @property
    def _registry(self) -> Registry:
        return self._link.typelink.registry

    async def _registered(self, schema: str | None, typename: str) -> None:
        """Looks the type up unless it is known, and puts its codec into use."""
        self._core.tainted |= _core.TAINT_DRIVER
        typelink = self._link.typelink
        if not typelink.known(schema, typename):
            found = await self._wait(
                self._core.look_up(typelink.query(schema, typename))
            )
            if not found:
                self._registry.reset_type_codec(typename, schema=schema)
                name = typename if schema is None else f"{schema}.{typename}"
                raise errors.UndefinedObject(
                    f"there is no type {name!r}; the catalog's spelling is needed, "
                    "without quotes"
                )
            typelink.found(self._core, found)
        typelink.reset()
        typelink.check(schema, typename)

    def _execute(
        self, sql: str | _core.Statement, params: object, row_factory: Any = None
    ) -> _core.Operation:
        """`row_factory` None: the connection's."""
        if row_factory is None:
            row_factory = self._row_factory
        return self._core.execute(sql, params, MODE_RESULT, row_factory)

    async def _wait(
        self, operation: _core.Operation, timeout: float | None = None
    ) -> Any:
        """The operation's result, within `timeout` or the connection's limit."""
        if timeout is None:
            timeout = self._timeout
            if timeout is None:
                return await operation
        loop = operation.get_loop()
        timer = loop.call_later(timeout, self._expire, operation, timeout)
        try:
            return await operation
        finally:
            timer.cancel()

    def _expire(self, operation: _core.Operation, timeout: float) -> None:
        reason = f"the statement did not end within {timeout:g} s"
        if not operation.sent and self._core.block is not None:
            reason = (
                f"another task's transaction() block did not end within {timeout:g} s: "
                "the statement, which waited for that, was not sent"
            )
        error = QueryTimeout(reason)
        error.outcome = "in_doubt" if operation.sent else "not_sent"
        operation.expire(error)

    async def _script_rows(
        self, sql: str, timeout: float | None, row_factory: Any
    ) -> list[Any]:
        """The rows of the last statement of a text."""
        results = await self._script(sql, timeout, False, row_factory)
        return results[-1].rows or []

    async def _script(
        self, sql: str, timeout: float | None, row_factory: Any, last: Any
    ) -> list[_core.Operation]:
        """Each statement of a text; in autocommit all of them in one transaction.

        `timeout` is for the whole of it, `last` the row factory of the last one.
        """
        return await Script(self, sql, timeout, row_factory, last).run()

    # ------------------------------------------------------------- transactions

    async def commit(self) -> None:
        """Commits; does nothing when no transaction is open. Raises
        TransactionRolledBack when the server answered with a rollback, InterfaceError
        inside a transaction() block. One of another task is waited for."""
        self._check_no_block("commit")
        await self._core.commit()

    async def rollback(self) -> None:
        """Rolls back; does nothing when no transaction is open. InterfaceError inside
        a transaction() block. One of another task is waited for."""
        self._check_no_block("rollback")
        await self._core.rollback()

    def transaction(
        self,
        *,
        isolation: str | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Transaction:
        """A block that is a transaction, or a savepoint inside one. The connection
        works for it alone until it ends: see Transaction.

        `isolation`: "read committed", "repeatable read", "serializable" …; `settings`:
        server parameters and their values, as SET LOCAL would make them, for the time
        of the block: {"app.user_id": 42, "role": "app_user"}. They travel with BEGIN.
        An error in one of them comes with the first statement, which then did not run.
        Values are str, int, float, bool, None (the session's default), Decimal, UUID or
        an Enum of those; InterfaceError for others and for impossible names.
        """
        return Transaction(self, isolation, readonly, deferrable, settings)

    async def run_transaction(
        self,
        fn: Callable[..., Awaitable[R]],
        *args: Any,
        retries: int = 3,
        on: On = None,
        isolation: str | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        settings: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> R:
        """Runs `await fn(conn, *args)` in a transaction() block, up to `retries` times
        more where that is the remedy, and gives its result; see Pool.run_transaction().
        A connection that is lost stays lost. InterfaceError inside a transaction."""
        if self._core.in_transaction or self._transactions:
            raise InterfaceError(
                "run_transaction() inside a transaction: a part of one cannot be run "
                "again by itself"
            )

        def begin(connection: Connection) -> Transaction:
            return Transaction(connection, isolation, readonly, deferrable, settings)

        def lend() -> contextlib.nullcontext[Connection]:
            return contextlib.nullcontext(self)

        def call(connection: Connection) -> Awaitable[R]:
            return fn(connection, *args)

        run = Run(lend, begin, call, Policy(retries, on), lambda: not self.closed)
        result: R = await within(run, timeout)
        return result

    def pipeline(self, *, timeout: float | None = None) -> Pipeline:
        """`async with conn.pipeline() as p:` sends several statements without waiting
        for each answer; outside of a transaction they are one. See Pipeline. `timeout`
        (s) bounds the await of a result and that of the block's end: QueryTimeout."""
        if self.closed:
            self._raise_closed()
        return Pipeline(self, self._timeout if timeout is None else timeout)

    def _check_no_block(self, what: str) -> None:
        if self._transactions and self._core.admits():
            raise InterfaceError(
                f"{what}() inside a transaction() block, which ends by itself"
            )

    async def _rollback_quietly(self) -> None:
        """After an error that the caller must see, whatever comes of this."""
        try:
            await self._core.rollback()
        except Error:
            pass
        except BaseException:
            self._break(
                ConnectionLost("a rollback was interrupted; the connection is closed")
            )
            raise

    @property
    def autocommit(self) -> bool:
        """Whether each statement is a transaction. Settable outside of one."""
        return self._core.autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._core.autocommit = value

    # --------------------------------------------------------------------- end

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by this side or the other."""
        return self._core.closed

    async def close(self, *, timeout: float | None = 10.0) -> None:
        """Ends the session: what still runs is cancelled, an open transaction is
        rolled back by the server. After `timeout` seconds the socket is closed
        without further waiting. May be called again.
        """
        core = self._core
        if core.closed:
            self.terminate()
            return
        if core.loop is not asyncio.get_running_loop():
            with contextlib.suppress(ConnectionLost):  # busy in a loop that is gone
                core.adopt()
        for stream in [*self._link.streams]:
            stream._close()
        try:
            if core.pending and not core.pipelines:
                await self._quiesce(timeout)
        finally:
            self.terminate()

    async def _quiesce(self, timeout: float | None) -> None:
        """Waits until every request in flight has had its answer."""
        core, timer = self._core, None
        core.end_block()
        core.starve(ConnectionLost("the connection was closed"))
        self._link.request_cancel(core)
        last = core.query("")
        if timeout is not None:
            late = ConnectionLost(
                f"the connection was closed; a statement ran {timeout:g} s longer"
            )
            timer = last.get_loop().call_later(timeout, core.terminate, late)
        try:
            await last
        except Error:
            pass  # the cancel may hit this one
        finally:
            if timer is not None:
                timer.cancel()

    def terminate(self) -> None:
        """Closes the socket now. Needs no loop, waits for nothing, never raises. Where
        its loop runs on, the server is asked to stop what still runs there."""
        self._left = True
        busy = self._core.pending > 0
        self._core.terminate()
        self._link.ended(self._core)
        if busy:
            self._link.forsake(self._core)

    def _break(self, error: ConnectionLost) -> None:
        self._core.terminate(error)
        self._link.ended(self._core)

    def cancel(self) -> None:
        """Asks the server to stop what runs now on this connection; its task gets
        QueryCanceled. Does not wait, and works from any thread. A statement that is
        sent right after may be hit instead; cancelling the task that awaits has no
        such gap."""
        if self._core.pending:
            self._link.request_cancel(self._core)

    def _raise_closed(self) -> None:
        error = self._core.lost_error
        if error is None:
            raise InterfaceError("the connection is closed")
        raise ConnectionLost(str(error)) from error

    async def __aenter__(self) -> "Connection":
        if self.closed:
            self._raise_closed()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commits on a clean exit, rolls back on an exception, then closes."""
        try:
            if error is None and not self._left and self._core.in_transaction:
                await self.commit()
            elif error is not None and not self.closed:
                self._transactions.clear()
                self._core.end_block()
                await self._rollback_quietly()
        finally:
            await self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and not core.closed:
            warnings.warn(
                f"{self!r} was never closed", ResourceWarning, stacklevel=2, source=self
            )
            core.terminate()

    def __repr__(self) -> str:
        config, address = self._link.config, self._link.address
        state = " closed" if self.closed else ""
        return (
            f"<pgasync.Connection {config.user}@{address.host}/{config.dbname}{state}>"
        )

    # ------------------------------------------------------------------- trace

    def trace(
        self, file: Any, *, timestamps: bool = True, regress: bool = False
    ) -> None:
        """Writes a line to `file`, of text or bytes, for each message sent or received
        from now on, as libpq's PQtrace does. It holds the values of parameters and
        rows; passwords, SCRAM data and cancel keys are masked. `regress` leaves out
        what differs from run to run, such as OIDs. Another trace() takes its place.

        `file` is written to while the connection works: what it raises ends the trace
        with a warning in the log, and a slow one slows everything down.
        """
        if self.closed:
            self._raise_closed()
        self._core.tainted |= _core.TAINT_DRIVER
        self._link.traced(self._core, to_file(file, timestamps, regress))

    def untrace(self) -> None:
        """Ends the trace, also one that PGASYNC_TRACE began. Does not close the file of
        trace()."""
        self._link.traced(self._core, None)

    # --------------------------------------------------------------- listeners

    @property
    def info(self) -> "ConnectionInfo":
        """What is known about the session."""
        return ConnectionInfo(self._core, self._link)

    def add_notice_listener(self, listener: Callable[..., object]) -> None:
        """Calls `listener(connection, notice)` for every notice of the server."""
        self._notice_listeners[_callable(listener)] = None

    def remove_notice_listener(self, listener: Callable[..., object]) -> None:
        """Undoes add_notice_listener()."""
        self._notice_listeners.pop(listener, None)

    def add_termination_listener(self, listener: Callable[..., object]) -> None:
        """Calls `listener(connection)` once, when the connection has ended."""
        self._termination_listeners[_callable(listener)] = None

    def remove_termination_listener(self, listener: Callable[..., object]) -> None:
        """Undoes add_termination_listener()."""
        self._termination_listeners.pop(listener, None)


class PreparedStatement:
    """A statement that the server has parsed. Made by Connection.prepare()."""

    def __init__(self, connection: Connection, statement: _core.Statement) -> None:
        self._connection = connection
        self._statement = statement

    @property
    def sql(self) -> str:
        """The statement's text."""
        return self._statement.sql

    @property
    def parameters(self) -> tuple[int, ...]:
        """The type OID of each parameter."""
        return self._statement.parameters

    @property
    def columns(self) -> tuple[tuple[Any, ...], ...]:
        """PEP 249's description of the result; empty when it returns no rows."""
        return self._statement.description or ()

    async def execute(
        self,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs it; the cursor returned holds the result."""
        cursor = Cursor(self._connection, row_factory)
        operation = self._connection._execute(self._statement, params, row_factory)
        cursor._load(await self._connection._wait(operation, timeout))
        return cursor

    @overload
    async def fetch(
        self,
        params: object = None,
        *,
        row_factory: None = None,
        timeout: float | None = None,
    ) -> list[Any]: ...
    @overload
    async def fetch(
        self,
        params: object = None,
        *,
        row_factory: type[dict[str, Any]],
        timeout: float | None = None,
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch(
        self,
        params: object = None,
        *,
        row_factory: Callable[..., R],
        timeout: float | None = None,
    ) -> list[R]: ...
    async def fetch(
        self,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """All rows."""
        return await self._run(params, MODE_ROWS, row_factory, timeout)

    @overload
    async def fetchrow(
        self,
        params: object = None,
        *,
        row_factory: None = None,
        timeout: float | None = None,
    ) -> Any: ...
    @overload
    async def fetchrow(
        self,
        params: object = None,
        *,
        row_factory: type[dict[str, Any]],
        timeout: float | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetchrow(
        self,
        params: object = None,
        *,
        row_factory: Callable[..., R],
        timeout: float | None = None,
    ) -> R | None: ...
    async def fetchrow(
        self,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The first row or None."""
        return await self._run(params, MODE_ROW, row_factory, timeout)

    async def fetchval(
        self, params: object = None, *, timeout: float | None = None
    ) -> Any:
        """The first column of the first row or None."""
        return await self._run(params, MODE_VALUE, False, timeout)

    def stream(
        self,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Stream:
        """The rows, for `async for`; see Connection.stream()."""
        return Stream(self._connection, self._statement, params, row_factory, timeout)

    async def explain(self, params: object = None, *, analyze: bool = False) -> str:
        """The plan as text. `analyze` runs the statement, with its effects."""
        option = "ANALYZE, " if analyze else ""
        text = f"EXPLAIN ({option}FORMAT TEXT) {self.sql}"
        return "\n".join(await self._connection.fetch(text, params, row_factory=scalar))

    async def _run(
        self, params: object, mode: int, row_factory: Any, timeout: float | None
    ) -> Any:
        connection = self._connection
        if row_factory is None:
            row_factory = connection._row_factory
        operation = connection._core.execute(self._statement, params, mode, row_factory)
        return await connection._wait(operation, timeout)


class ConnectionInfo:
    """What is known about a session, without asking the server."""

    def __init__(self, core: _core.Connection, link: Link) -> None:
        self._core = core
        self._link = link

    @property
    def backend_pid(self) -> int:
        """The server process, as pg_backend_pid(); 0 when a pooler gave none."""
        return self._core.backend_pid

    @property
    def server_version(self) -> int:
        """As in libpq: 180001 for 18.1, 0 when the server did not say."""
        text = self._core.parameters.get("server_version", "")
        match = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
        if match is None:
            return 0
        major, minor, patch = (int(part or 0) for part in match.groups())
        if major >= 10:
            return major * 10_000 + minor
        return major * 10_000 + minor * 100 + patch

    @property
    def protocol_version(self) -> int:
        """The version of the protocol, as in libpq's PQfullProtocolVersion: 30000 for
        3.0, 30002 for 3.2."""
        major, minor = divmod(self._core.protocol, 1 << 16)
        return major * 10_000 + minor

    @property
    def parameters(self) -> dict[str, str]:
        """What the server reported (ParameterStatus): TimeZone, server_version …"""
        return dict(self._core.parameters)

    @property
    def transaction_status(self) -> str:
        """Of the last answer: "I" idle, "T" in a transaction, "E" in a failed one."""
        return self._core.transaction_status

    @property
    def user(self) -> str:
        """The role that logged in."""
        return self._link.config.user

    @property
    def dbname(self) -> str:
        """The database."""
        return self._link.config.dbname

    @property
    def host(self) -> str:
        """The host name, or the directory of the Unix socket."""
        return self._link.address.host.host

    @property
    def port(self) -> int:
        """The port, part of the socket's name on a Unix socket."""
        return self._link.address.host.port

    @property
    def ssl(self) -> bool:
        """Whether the session is encrypted."""
        return self._link.transport.encrypted

    @property
    def ssl_version(self) -> str | None:
        """ "TLSv1.3" …; None without TLS."""
        return self._link.transport.version

    @property
    def ssl_cipher(self) -> str | None:
        """ "TLS_AES_256_GCM_SHA384" …; None without TLS."""
        return self._link.transport.cipher

    def __repr__(self) -> str:
        return (
            f"<pgasync.ConnectionInfo {self.user}@{self._link.address.host}/"
            f"{self.dbname} pid={self.backend_pid} status={self.transaction_status}>"
        )


def _callable(listener: Callable[..., object]) -> Callable[..., object]:
    if not callable(listener):
        raise InterfaceError(f"{listener!r} is not callable")
    return listener
