"""Connection.copy(): any COPY between the server and the client.

PostgreSQL documentation, COPY.
"""

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from . import _core, copysql
from .copyin import CopyIn, CopyingIn, Progress, give_up
from .copyout import CopyingOut, Reader, Rows, discover
from .copywrite import Writer
from .errors import InterfaceError, QueryTimeout
from .settings import make_due

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Copy", "Copying"]


class Copy:
    """A COPY of any text: `async with connection.copy(…) as copy`.

    The block writes the data of COPY … FROM STDIN, which are there when it has ended;
    when it ends with an exception, none of them.

    It reads those of COPY … TO STDOUT: `async for data in copy` and read() give bytes,
    rows() the rows of `(FORMAT binary)`. What is not read is not wanted: a block that
    ends before the data do cancels the COPY. In a transaction, which would fail with
    it, the rest is read first, as far as that takes less than 1 MiB and 50 ms.
    """

    def __init__(
        self,
        connection: "Connection",
        sql: str,
        timeout: float | None,
        progress: Progress | None,
    ) -> None:
        self._connection = connection
        self._core = connection._core
        self._sql = sql
        self._text = copysql.parse(sql)
        self._timeout = connection._timeout if timeout is None else timeout
        self._progress = progress
        self._operation: _core.Operation | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._ended = False

    # ------------------------------------------------------------------ data in

    async def write(self, data: Any) -> None:
        """Data of COPY FROM in its format, cut anywhere: bytes, or `str`, sent in
        UTF-8. Returns when there is room for more. Raises what the server says of
        earlier data."""
        await self._writing().write(data)

    async def write_row(self, row: Any) -> None:
        """One row of COPY FROM in its format: a tuple, a list, or a mapping by column.
        The values are what parameters of the columns' types may be; a value that can
        only be sent as text is a DataError in a binary COPY. The first row of a COPY
        with HEADER puts the columns' names in front."""
        await self._writing().write_row(row)

    def set_types(self, types: Iterable[int | str]) -> None:
        """The types of what write_row() takes, by name ("int4", "text[]") or OID, where
        they are not those of the table's columns. Before the first row. Or those of
        what rows() gives, in place of those that the server has told."""
        if self._text.inward:
            self._writing().set_types(types)
        else:
            self._reading().set_types(types)

    def _writing(self) -> Writer:
        if self._writer is None or self._ended:
            raise InterfaceError(
                "a COPY … TO STDOUT is read, not written"
                if self._operation is not None and not self._ended
                else "a COPY is written inside of its block: async with …copy() as c"
            )
        return self._writer

    # ----------------------------------------------------------------- data out

    async def read(self) -> bytes:
        """The next data of COPY TO, as they come: cut anywhere. b"" at the end."""
        return await self._reading().read()

    def rows(self, *, row_factory: Callable[..., Any] | None = None) -> Rows:
        """The rows of a COPY TO in the binary format, for `async for`: values by the
        codecs that queries use, rows as the connection's or by `row_factory`.

        The types of the columns were asked for before the COPY began, unless
        set_types() says what they are. NotSupportedError for another format, and for a
        type without a known binary form: copy a query that casts it to text.
        """
        return self._reading().rows(row_factory)

    def __aiter__(self) -> "Copy":
        self._reading()
        return self

    async def __anext__(self) -> bytes:
        data = await self._reading().read()
        if not data:
            raise StopAsyncIteration
        return data

    def _reading(self) -> Reader:
        if self._reader is None or self._ended:
            raise InterfaceError(
                "a COPY … FROM STDIN is written, not read"
                if self._operation is not None and not self._ended
                else "a COPY is read inside of its block: async with …copy() as c"
            )
        return self._reader

    # ------------------------------------------------------------------- result

    @property
    def rowcount(self) -> int:
        """Rows that were copied, once the block has ended; -1 before."""
        return -1 if self._operation is None else self._operation.rowcount

    @property
    def statusmessage(self) -> str | None:
        """The server's, as "COPY 3", once the block has ended."""
        return None if self._operation is None else self._operation.statusmessage

    # -------------------------------------------------------------------- block

    async def __aenter__(self) -> "Copy":
        if self._operation is not None:
            raise InterfaceError("a COPY runs once: call copy() again")
        connection, columns = self._connection, None
        if self._text.inward:
            columns = await Writer.look(connection, self._text)
        else:
            described = await discover(connection, self._sql)
        await make_due(self._core)
        self._operation = operation = self._core.copy(self._sql)
        self._limit(operation)
        try:
            await self._core.copy_started(operation)
        except BaseException as error:
            self._stop_timer()
            await give_up(self._core, operation, error)
            raise
        if self._text.inward:
            copy = CopyIn(self._core, operation, self._progress)
            self._writer = Writer(connection, copy, self._text, columns)
        else:
            self._reader = Reader(connection, operation, described, self._progress)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        operation = self._operation
        assert operation is not None
        try:
            if error is not None:
                await give_up(self._core, operation, error)
            elif self._writer is not None:
                await self._end(self._writer, operation)
            elif self._reader is not None:
                await self._reader.leave()
        finally:
            self._ended = True
            self._stop_timer()

    async def _end(self, writer: Writer, operation: _core.Operation) -> None:
        try:
            await writer.end()
        except BaseException as error:
            await give_up(self._core, operation, error)
            raise

    def _limit(self, operation: _core.Operation) -> None:
        if self._timeout is not None:
            late = QueryTimeout(
                f"the COPY did not end within {self._timeout:g} s, and was given up"
            )
            loop = operation.get_loop()
            self._timer = loop.call_later(self._timeout, operation.expire, late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Copying(CopyingIn, CopyingOut):
    """The methods of a Connection that are about COPY."""

    def copy(
        self,
        sql: str,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Copy:
        """Any COPY between server and client, as a block: `async with
        connection.copy("COPY t FROM STDIN") as copy: await copy.write(b"1\\n")`.

        It has no parameters: the server does not allow them in a COPY. Inside of the
        block this task can run nothing else on the connection, and other tasks wait.
        `timeout`: seconds, for the whole block (command_timeout if it is not given);
        `progress(bytes, rows)`: as in copy_to_table(). ProgrammingError for a text that
        is no such COPY.
        """
        return Copy(cast("Connection", self), sql, timeout, progress)
