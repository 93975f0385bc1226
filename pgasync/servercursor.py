"""Cursors of the server: it keeps the rows, and gives them as they are asked for.

PostgreSQL: SQL commands DECLARE, FETCH, MOVE.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from .cursor import Cursor
from .errors import (
    Error,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    QueryTimeout,
)
from .many import Sets

if TYPE_CHECKING:
    from .connection import Connection

NAME_BYTES_MAX = 63  # NAMEDATALEN - 1: SQL cuts longer names, the protocol does not


def checked_name(name: object) -> str:
    """A name that SQL and the protocol take for the same. ProgrammingError."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ProgrammingError(f"{name!r} is not a name for a cursor")
    length = len(name.encode("utf-8", "surrogatepass"))
    if length > NAME_BYTES_MAX:
        raise ProgrammingError(
            f"the cursor's name {name!r} has {length} bytes, "
            f"and {NAME_BYTES_MAX} is the most"
        )
    return name


class ServerCursor(Cursor):
    """A cursor of the server, made by Connection.cursor(name).

    Its rows are fetched as they are asked for: one by fetchone(), `size` by
    fetchmany(), all by fetchall(), `itersize` at a time by `async for`. It lives in a
    transaction, `withhold` beyond it; close() ends it. `scrollable` makes scroll() go
    both ways; None leaves that to the server, which knows what is easy, False
    forbids it.

    Without an execute() it is the cursor that something else has opened by that name,
    such as a function: its rows can be fetched.
    """

    __slots__ = (
        "_before",
        "_exhausted",
        "_factory",
        "_opened",
        "_quoted",
        "_statement",
        "_token",
        "itersize",
        "name",
        "scrollable",
        "withhold",
    )

    def __init__(
        self,
        connection: "Connection",
        name: str,
        scrollable: bool | None,
        withhold: bool,
        row_factory: Callable[..., Any] | None = None,
    ) -> None:
        self._token = object()
        self._opened = False  # by this object
        self.name = checked_name(name)
        self._quoted = '"' + name.replace('"', '""') + '"'
        self.scrollable = scrollable
        self.withhold = withhold
        self.itersize = 100  # rows a trip of `async for`
        super().__init__(connection, row_factory)

    def _clear(self) -> None:
        super()._clear()
        self._statement: _core.Statement | None = None
        self._factory: Any = None
        # How many rows are in front of those in `_rows`, which the server has given
        # ahead; None: unknown.
        self._before: int | None = None
        self._exhausted = False

    @property
    def rownumber(self) -> int | None:
        """The index of the next row in the result, None when it is not known."""
        return None if self._before is None else self._before + self._position

    # ---------------------------------------------------------------- opening

    async def execute(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> "ServerCursor":
        """Opens the cursor for a query; no rows are fetched yet. What it was opened for
        before is closed.

        InterfaceError in autocommit outside of a transaction, unless `withhold`;
        DuplicateCursor when another cursor of this name is open. Parameters and
        `timeout` as in Connection.execute(). Returns the cursor itself.
        """
        self._check_open()
        self._check_transaction()
        self._drop()
        self._clear()
        connection = self._connection
        try:
            declare = connection._execute(self._declaration(sql), params, False)
        except _core.MultipleStatements:
            raise ProgrammingError(
                "a server-side cursor is for one query, and the text holds several "
                "statements"
            ) from None
        columns = connection._core.describe_portal(self.name, sql)
        await self._both(declare, columns, timeout)
        self._described(columns)
        self._factory = row_factory
        self._before = 0
        self.statusmessage = declare.statusmessage
        return self

    def _declaration(self, sql: object) -> str:
        if not isinstance(sql, str):
            raise ProgrammingError(
                f"the SQL text must be a str, not {sql!r} ({type(sql).__name__})"
            )
        scroll = {None: "", True: "SCROLL ", False: "NO SCROLL "}[self.scrollable]
        hold = "WITH HOLD " if self.withhold else ""
        return f"DECLARE {self._quoted} {scroll}CURSOR {hold}FOR {sql}"

    def _check_transaction(self) -> None:
        core = self._connection._core
        inside = core.in_transaction or self._connection._transactions
        if not self.withhold and core.autocommit and not inside:
            raise InterfaceError(
                "a server-side cursor lives in a transaction, and the connection is in "
                "autocommit: open it inside `async with connection.transaction()`, or "
                "with withhold=True, or read the rows by connection.stream()"
            )

    async def _both(
        self,
        declare: _core.Operation,
        columns: _core.Operation,
        timeout: float | None,
    ) -> None:
        """Both are under way; when the first one fails, so does the other."""
        wait = self._connection._wait
        try:
            await wait(declare, timeout)
        except BaseException as error:
            if isinstance(error, QueryTimeout) or not isinstance(error, Error):
                columns.cancel()  # the server stops what all have given up
            else:
                with contextlib.suppress(Error):
                    await columns
            raise
        self._connection._server_cursors[self.name] = self._token
        self._opened = True
        await wait(columns, timeout)

    def _described(self, columns: _core.Operation) -> None:
        self._statement = columns.statement
        self.description = columns.description
        self._rows = []

    async def _ready(self) -> None:
        """The cursor is open; one of somebody else's is described first."""
        self._check_open()
        if self._statement is None:
            columns = self._connection._core.describe_portal(self.name, self._quoted)
            self._described(await self._connection._wait(columns))

    async def executemany(
        self,
        sql: str,
        seq_of_params: Sets,
        *,
        returning: bool = False,
        timeout: float | None = None,
    ) -> "ServerCursor":
        """NotSupportedError: a cursor has one set of parameters."""
        raise NotSupportedError("a server-side cursor has no executemany()")

    # --------------------------------------------------------------- fetching

    async def _fetch(self, count: int | None) -> list[Any]:
        """The next `count` rows behind those that are here, None: all of them."""
        await self._ready()
        if self._exhausted:
            return []
        assert self._statement is not None
        amount = "ALL" if count is None else f"FORWARD {count}"
        factory = self._factory or self.row_factory or self._connection._row_factory
        operation = self._connection._core.fetch_cursor(
            f"FETCH {amount} FROM {self._quoted}", self._statement, factory
        )
        result = await self._moved(operation)
        self._statement = result.statement
        self.statusmessage = result.statusmessage
        rows: list[Any] = result.rows or []
        self._exhausted = count is None or len(rows) < count
        return rows

    async def _moved(self, operation: _core.Operation) -> _core.Operation:
        """An operation after whose failure nobody knows where the cursor stands."""
        try:
            await self._connection._wait(operation)
        except BaseException:
            if operation.sent:
                self._before, self._rows, self._position = None, [], 0
                self._exhausted = False
            raise
        return operation

    def _ahead(self) -> int:
        """How many rows are here that were not handed out."""
        return len(self._rows or ()) - self._position

    async def _take(self, count: int | None, fetch: int | None) -> list[Any]:
        """`count` rows (None: all), of those that are here and of `fetch` more."""
        if count is None or self._ahead() < count:
            more = await self._fetch(fetch)
            self._rows = [*(self._rows or ())[self._position :], *more]
            self._advance(self._position)
            self._position = 0
        rows = self._rows or []
        begin, self._position = self._position, len(rows)
        if count is not None and begin + count < len(rows):
            self._position = begin + count
            return rows[begin : self._position]
        self._rows, self._position = [], 0  # nobody keeps what was handed out
        self._advance(len(rows))
        return rows[begin:] if begin else rows

    def _advance(self, count: int) -> None:
        if self._before is not None:
            self._before += count

    async def fetchone(self) -> Any:
        """The next row, None behind the last."""
        self._check_open()
        rows = await self._take(1, 1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows, `arraysize` of them unless told; fewer at the end."""
        self._check_open()
        size = self.arraysize if size is None else size
        if size < 0:
            raise InterfaceError(f"fetchmany: the size is {size}")
        return await self._take(size, size - self._ahead())

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        self._check_open()
        return await self._take(None, None)

    async def __anext__(self) -> Any:
        self._check_open()
        if self.itersize < 1:
            raise InterfaceError(f"itersize is {self.itersize}; at least 1 is needed")
        rows = self._rows
        if not rows or self._position >= len(rows):
            rows = await self._fetch(self.itersize)
            if not rows:
                raise StopAsyncIteration
            self._advance(len(self._rows or ()))
            self._rows, self._position = rows, 0
        self._position += 1
        return rows[self._position - 1]

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Moves by `value` rows, or in the mode "absolute" to the one with that index.

        IndexError when that is outside of the result, NotSupportedError backwards
        when the cursor is not scrollable.
        """
        await self._ready()
        if mode not in ("relative", "absolute"):
            raise ProgrammingError(f"scroll: {mode!r} is neither relative nor absolute")
        target = value
        if mode == "relative":
            if self.rownumber is None:
                await self._move(f"RELATIVE {value}", None)
                return
            target += self.rownumber
        if target < 0:
            raise IndexError(f"scroll: there is no row {target}")
        if self._before is None:
            await self._move(f"ABSOLUTE {target}", target)
            return
        last = self._before + len(self._rows or ())
        if self._before <= target <= last:
            self._position = target - self._before
        elif target > last:
            await self._move(f"FORWARD {target - last}", target, target - last)
        elif self.scrollable is False:
            raise NotSupportedError(
                f"the cursor {self.name!r} does not go back: "
                "open it with scrollable=True"
            )
        else:
            await self._move(f"ABSOLUTE {target}", target)

    async def _move(self, how: str, target: int | None, rows: int = 1) -> None:
        """`rows` is what the server says when the target exists."""
        core = self._connection._core
        result = await self._moved(core.query(f"MOVE {how} FROM {self._quoted}"))
        self.statusmessage = result.statusmessage
        self._before, self._rows, self._position = target, [], 0
        self._exhausted = False
        if result.rowcount != rows and target != 0:
            self._before = None
            raise IndexError(f"scroll: there is no row for MOVE {how}")

    # ------------------------------------------------------------------ ending

    async def close(self) -> None:
        """Closes the cursor, here and at the server."""
        if not self._closed:
            stolen = self._statement is not None and not self._opened
            await super().close()
            closing = self._drop(stolen)
            if closing is not None:
                await self._connection._wait(closing)

    def _lives(self) -> bool:
        """Whether the server may still have what this object has opened; forgets it."""
        cursors = self._connection._server_cursors
        opened, self._opened = self._opened, False
        if not opened or cursors.get(self.name) is not self._token:
            return False  # another one of the name has taken its place
        del cursors[self.name]
        core = self._connection._core
        return self.withhold or (core.in_transaction and core.transaction_status == "T")

    def _drop(self, stolen: bool = False) -> _core.Operation | None:
        """Sends what closes it; that is no error where there is nothing to close."""
        core = self._connection._core
        if (self._lives() or stolen) and not core.closed:
            return core.close_portal(self.name)
        return None

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is None or not self.withhold or not self._lives():
            return
        core = connection._core
        if core.closed:
            return
        warnings.warn(
            f"the cursor {self.name!r} WITH HOLD was never closed: the server keeps "
            "its rows until then",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        with contextlib.suppress(Exception):
            if core.at_home:
                core.close_portal(self.name)
