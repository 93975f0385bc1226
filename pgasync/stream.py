"""Rows that are taken off the socket while the server makes them."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import InterfaceError, InvalidCursorName, ProgrammingError, QueryTimeout

if TYPE_CHECKING:
    from .connection import Connection

FIRST_ROWS = 32  # of a portal
CHUNK_BYTES = 256 * 1024  # of its later chunks
GROWTH = 8  # at most so many times the rows of the chunk before
ROWS_MAX = 100_000

OPEN_ALREADY = (
    "a stream is open on this connection, and this task would wait for ever: read the "
    "stream to its end or close it first (leave its block), use another connection, or "
    "open a transaction around both, in which statements may run between rows"
)

_numbers = itertools.count(1)


class Stream(_core.Stream):
    """The rows of a statement, for `async for`. Made by Connection.stream().

    Runs when the first row is asked for. `async with` closes it for certain; a loop
    that is left early closes it, too, once nobody holds it any more.
    """

    _operation: _core.Operation | None = None

    def __init__(
        self,
        connection: "Connection",
        sql: str | _core.Statement,
        params: object,
        row_factory: Callable[..., Any] | None,
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._params = params
        self._row_factory = row_factory
        self._timeout = timeout
        self._portal = f"pgasync_stream_{next(_numbers)}"
        self._limit = FIRST_ROWS
        self._state = "new"  # → "open" → "ended" or "closed"
        self._came = False  # something has: it is known whether there is a portal
        self._task: Any = None  # whose statements are refused meanwhile
        self._statement: _core.Statement | None = None

    # --------------------------------------------------------------------- rows

    async def _more(self) -> list[Any]:
        if self._state == "ended":
            return []
        if self._state == "closed":
            raise InterfaceError("the stream is closed")
        try:
            if self._operation is None:
                self._operation = self._start()
            rows: list[Any] = await self._take(self._operation)
            if rows:
                self._go_on(self._operation, len(rows))
            else:
                self._end("ended")
        except BaseException as error:
            self._end("closed")
            if isinstance(error, InvalidCursorName):
                raise InterfaceError(
                    "the transaction in which the stream was opened has ended: end it "
                    "after the loop, or read from a cursor that is declared WITH HOLD"
                ) from error
            raise
        return rows

    def _start(self) -> _core.Operation:
        connection = self._connection
        factory = self._row_factory
        if factory is None:
            factory = connection._row_factory
        self._row_factory = factory
        try:
            operation = connection._core.open_portal(
                self._portal, self._sql, self._params, FIRST_ROWS, factory, True
            )
        except _core.MultipleStatements:
            raise ProgrammingError(
                "stream() runs one statement, and the text holds several: run those "
                "before it with execute()"
            ) from None
        self._params = None
        self._state = "open"
        connection._link.streams.add(self)
        return operation

    async def _take(self, operation: _core.Operation) -> Any:
        connection = self._connection
        take = connection._core.take(operation)
        timeout = connection._timeout if self._timeout is None else self._timeout
        if timeout is None or take.done():
            return await take
        late = QueryTimeout(f"no row of the stream came within {timeout:g} s")
        timer = take.get_loop().call_later(timeout, take.expire, late)
        try:
            return await take
        finally:
            timer.cancel()

    def _go_on(self, operation: _core.Operation, rows: int) -> None:
        """Rows have come; of a portal the next ones are asked for."""
        self._came = True
        core = self._connection._core
        if operation.pulled:
            task = asyncio.current_task()
            if task is not self._task:
                self._release(core)
                self._task = core.claim(OPEN_ALREADY)
        elif operation.suspended and operation.exception() is None:
            a_row = max(operation.received // rows, 1)
            limit = min(CHUNK_BYTES // a_row, GROWTH * self._limit, ROWS_MAX)
            self._limit = max(limit, 1)
            statement = operation.statement
            assert statement is not None
            self._operation = core.fetch_portal(
                self._portal, statement, self._limit, self._row_factory
            )

    async def fetchmany(self, size: int) -> list[Any]:
        """The next `size` rows, fewer at the end, [] behind it."""
        rows = self._pop(size)
        while len(rows) < size and (more := await self._more()):
            self._push(more)
            rows += self._pop(size - len(rows))
        return rows

    def batches(self, size: int) -> "Batches":
        """The rows in lists of `size`, the last one may be shorter, for `async for`."""
        if size < 1:
            raise InterfaceError(f"batches of {size} rows")
        return Batches(self, size)

    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None:
        """PEP 249's description of the columns, once the first row has come."""
        operation = self._operation
        return None if operation is None else operation.description

    # ---------------------------------------------------------------------- end

    async def aclose(self) -> None:
        """Ends the stream: outside of a transaction the server is told to stop, inside
        of one its portal is closed. Does not wait for that; the connection's next
        statement does. May be called again."""
        if self._state != "ended":
            self._close()

    def _close(self) -> None:
        self._push([])
        self._end("closed")

    def _end(self, state: str) -> None:
        operation, was = self._operation, self._state
        self._state = state
        core = self._connection._core
        if was == "open" and operation is not None:
            self._connection._link.streams.discard(self)
            self._release(core)
            _leave(core, operation, self._portal, self._came)

    def _release(self, core: _core.Connection) -> None:
        if self._task is not None:
            core.release(self._task)
            self._task = None

    async def __aenter__(self) -> "Stream":
        if self._state == "closed":
            raise InterfaceError("the stream is closed")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        operation = self._operation
        if operation is None or self._state != "open":
            return
        core = self._connection._core
        if core.at_home:
            self._release(core)
            _leave(core, operation, self._portal, self._came)
        elif not core.closed:  # dropped in another thread, or behind the loop's back
            with contextlib.suppress(RuntimeError):  # the loop is closed
                core.loop.call_soon_threadsafe(
                    _leave, core, operation, self._portal, self._came, self._task
                )

    def __repr__(self) -> str:
        return f"<pgasync.Stream {self._state} of {self._connection!r}>"


class Batches:
    """Lists of rows. Made by Stream.batches()."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self._size = size

    def __aiter__(self) -> "Batches":
        return self

    async def __anext__(self) -> list[Any]:
        rows = await self._stream.fetchmany(self._size)
        if not rows:
            raise StopAsyncIteration
        return rows


def _leave(
    core: _core.Connection,
    operation: _core.Operation,
    portal: str,
    came: bool,
    task: Any = None,
) -> None:
    """What is left of a stream that nobody reads any more. A portal is closed, and what
    was asked of it ends by itself: a CancelRequest would fail the transaction."""
    if task is not None:
        core.release(task)
    if core.closed:
        return
    if came and not operation.pulled:
        with contextlib.suppress(InterfaceError):
            core.close_portal(portal)
    else:
        operation.expire(InterfaceError("the stream was closed"))
