"""PEP 249's cursor, with `await` where the PEP's method may wait."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import chain, repeat
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _core, many
from .errors import ConnectionLost, InterfaceError, ProgrammingError

if TYPE_CHECKING:
    from .connection import Connection

Description = tuple[tuple[Any, ...], ...]


class Cursor:
    """Runs statements and hands out their rows, which it holds already.

    Made by Connection.cursor() and Connection.execute(). Cursors of one
    connection are not isolated from each other. `row_factory` (settable) says what
    rows are, None: what the connection's is; see pgasync.rows.
    """

    __slots__ = (
        "_begin",
        "_closed",
        "_connection",
        "_end",
        "_position",
        "_results",
        "_rows",
        "_runs",
        "_sizes",
        "arraysize",
        "description",
        "row_factory",
        "rowcount",
        "statusmessage",
    )

    def __init__(
        self, connection: "Connection", row_factory: Callable[..., Any] | None = None
    ) -> None:
        self._connection = connection
        self.row_factory = row_factory
        self.arraysize = 1  # rows that fetchmany() gives
        self._closed = False
        self._clear()

    def _clear(self) -> None:
        self._results: list[_core.Operation] = []  # of a script, those to come
        self._runs: list[tuple[int, int, int]] = []  # of executemany()
        self._sizes: Iterator[int] | None = None  # rows of the sets to come
        self._rows: list[Any] | None = None
        self._position = self._begin = self._end = 0  # in _rows, of this result
        self.description: Description | None = None
        self.rowcount = -1
        self.statusmessage: str | None = None

    def _load(self, operation: _core.Operation) -> None:
        self._rows = rows = operation.rows
        self._position = self._begin = 0
        self._end = 0 if rows is None else len(rows)
        self.description = operation.description
        self.rowcount = operation.rowcount
        self.statusmessage = operation.statusmessage

    @property
    def connection(self) -> "Connection":
        """The Connection that made the cursor."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def rownumber(self) -> int | None:
        """The index of the next row in the result, None without a result."""
        return None if self._rows is None else self._position - self._begin

    @property
    def rowcounts(self) -> tuple[int, ...]:
        """After executemany(): the number of rows of each set of parameters."""
        return tuple(
            chain.from_iterable(repeat(count, times) for count, _, times in self._runs)
        )

    async def execute(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> "Cursor":
        """Runs one statement, or a script without parameters (see nextset()).

        `params`: a sequence for `$1, $2 …`, a mapping for `:name`. `timeout` in
        seconds, then QueryTimeout. `row_factory` is for this call. Returns the cursor
        itself.
        """
        self._check_open()
        self._clear()
        connection = self._connection
        if row_factory is None:
            row_factory = self.row_factory
        try:
            operation = connection._execute(sql, params, row_factory)
            if timeout is None and connection._timeout is None:
                await operation
            else:
                await connection._wait(operation, timeout)
            self._load(operation)
        except _core.MultipleStatements:
            self._results = await connection._script(
                sql, timeout, row_factory, row_factory
            )
            self._results.reverse()
            self._load(self._results.pop())
        except ConnectionLost as error:
            if not await connection._revived(error):
                raise
            await self.execute(sql, params, row_factory=row_factory, timeout=timeout)
        return self

    async def executemany(
        self,
        sql: str,
        seq_of_params: many.Sets,
        *,
        returning: bool = False,
        timeout: float | None = None,
    ) -> "Cursor":
        """Runs the statement for every set of parameters: of a list, or any iterable or
        async iterable, from which sets are taken as fast as the server takes them.

        In autocommit all sets are one transaction: when one fails, a value cannot be
        sent, or the iterable raises, nothing is kept. The error's `set_index` tells the
        set, from 0. `rowcount` is the sum, `rowcounts` has one number a set. With
        `returning` the rows are kept: nextset() and results() go from set to set.
        `timeout` in seconds, then QueryTimeout. Returns the cursor itself.
        """
        self._check_open()
        self._clear()
        factory: Any = False  # for rows that nobody gets
        if returning:
            factory = self.row_factory
            if factory is None:
                factory = self._connection._row_factory
        connection = self._connection
        run = partial(many.execute, connection, sql, seq_of_params)
        try:
            operation = await run(returning, factory, timeout)
        except ConnectionLost as error:
            again = isinstance(seq_of_params, (list, tuple))
            if not again or not await connection._revived(error):
                raise
            operation = await run(returning, factory, timeout)
        self._load(operation)
        self._runs = operation.runs
        if returning:
            self._sizes = (size for _, size, times in self._runs for _ in range(times))
            self._end = next(self._sizes, 0)
        return self

    async def fetchone(self) -> Any:
        """The next row, None when there is none left (with rows.scalar also a NULL)."""
        rows = self._fetchable()
        if self._position >= self._end:
            return None
        self._position += 1
        return rows[self._position - 1]

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows, `arraysize` of them unless told."""
        rows, begin = self._fetchable(), self._position
        size = self.arraysize if size is None else size
        if size < 0:
            raise InterfaceError(f"fetchmany: the size is {size}")
        self._position = min(self._end, begin + size)
        return rows[begin : self._position]

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, begin = self._fetchable(), self._position
        self._position = self._end
        return rows[begin : self._end]

    async def nextset(self) -> bool | None:
        """Goes on to the result of the next statement of a script or of the next set
        of executemany(returning=True); None after the last."""
        self._check_open()
        if self._sizes is not None:
            size = next(self._sizes, None)
            if size is None:
                return None
            self._position = self._begin = self._end
            self._end += size
            return True
        if not self._results:
            return None
        self._load(self._results.pop())
        return True

    async def results(self) -> AsyncIterator["Cursor"]:
        """The cursor itself, once for each result from the current one on: those of a
        script's statements, or of the sets of executemany(returning=True)."""
        if self._rows is None and self._sizes is None and not self._results:
            return
        yield self
        while await self.nextset():
            yield self

    def setinputsizes(self, sizes: object) -> None:
        """Does nothing: the server tells the types of parameters."""
        self._check_open()

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing: values come whole."""
        self._check_open()

    async def close(self) -> None:
        """Forgets the result; further use raises InterfaceError."""
        self._clear()
        self._closed = True

    async def __aenter__(self) -> "Cursor":
        self._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        rows = self._fetchable()
        if self._position >= self._end:
            raise StopAsyncIteration
        self._position += 1
        return rows[self._position - 1]

    def _check_open(self) -> None:
        if self._closed:
            raise InterfaceError("the cursor is closed")

    def _fetchable(self) -> list[Any]:
        self._check_open()
        if self._rows is None:
            raise ProgrammingError(
                "there are no rows to fetch: "
                + (
                    "nothing was executed"
                    if self.statusmessage is None
                    else f"the last statement ({self.statusmessage}) returns none"
                )
            )
        return self._rows
