"""Several statements under one Sync: `async with conn.pipeline() as p`.

PostgreSQL documentation, "Pipelining" (protocol flow) and "Pipeline Mode" (libpq).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Generator
from contextvars import ContextVar
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from . import _core
from . import sql as lexer
from ._core import MODE_RESULT, MODE_ROW, MODE_ROWS, MODE_VALUE
from .cursor import Cursor
from .errors import (
    Error,
    InterfaceError,
    PipelineAborted,
    ProgrammingError,
    QueryTimeout,
)

if TYPE_CHECKING:
    from .connection import Connection
    from .link import Link

T = TypeVar("T")
R = TypeVar("R")

TURN = 256  # statements handed over before the loop's other tasks have their turn
AHEAD = 50  # new statements that are described in one flight,
LOOKED_AT = 1000  # out of so many of the queue
ALONE = ("42P18", "42P08", "42P05")
"""Errors of a description that is tried again when nothing else is in flight."""
PLAIN = ("select", "insert", "update", "delete", "merge", "values", "with", "table")
"""Statements that leave the meaning of those behind them alone."""

entered: ContextVar[tuple["Pipeline", ...]] = ContextVar(
    "pgasync.pipelines", default=()
)


class PipelineResult(Generic[T]):
    """What a statement of a pipeline will give: await it, once it is needed.

    Inside the block that sends everything asked for so far, and waits for this one
    answer; behind the block it is there. It may be awaited again, by one task at a
    time. Raises what the statement failed with, or PipelineAborted when it did not run
    because one before it had failed. Who cancels the await gives the statement up; if
    it has been sent, and nobody awaits another result, the server is told to stop, and
    the rest of the segment is aborted.
    """

    __slots__ = (
        "_error",
        "_mode",
        "_operation",
        "_params",
        "_pipeline",
        "_row_factory",
        "_seen",
        "_sql",
    )

    def __init__(
        self, pipeline: "Pipeline", sql: str, params: Any, mode: int, row_factory: Any
    ) -> None:
        self._pipeline = pipeline
        self._sql = sql
        self._params = params
        self._mode = mode
        self._row_factory = row_factory
        self._operation: _core.Operation | None = None
        self._error: BaseException | None = None  # instead of an operation
        self._seen = False  # it has raised its error

    def done(self) -> bool:
        """Whether the answer is there."""
        return self._error is not None or (
            self._operation is not None and self._operation.done()
        )

    def __await__(self) -> Generator[Any, None, T]:
        return self._get().__await__()

    async def _get(self) -> T:
        if not self.done():
            try:
                await self._pipeline._flush()
            except asyncio.CancelledError as error:
                self._give_up(error)
                self._seen = True
                raise
        try:
            if self._error is not None:
                raise self._error.with_traceback(None)
            assert self._operation is not None
            pipeline = self._pipeline
            value = await pipeline._connection._wait(self._operation, pipeline._timeout)
        except BaseException:
            self._seen = True
            raise
        if self._mode == MODE_RESULT:
            cursor = Cursor(pipeline._connection, self._row_factory)
            cursor._load(value)
            value = cursor
        return value  # type: ignore[no-any-return]

    def _submit(self, core: _core.Connection) -> None:
        try:
            self._operation = core.pipe(
                self._sql, self._params, self._mode, self._row_factory
            )
        except Exception as error:
            self._error = error

    def _give_up(self, why: BaseException) -> None:
        """It has not been answered, and nobody waits for that."""
        if self.done():
            return
        operation = self._operation
        late = PipelineAborted(
            f"given up, as the pipeline was ended by {type(why).__name__}"
        )
        late.query = self._sql
        late.__cause__ = why
        if operation is None:
            self._error = late
        else:
            late.outcome = "in_doubt" if operation.sent else "not_sent"
            operation.expire(late)

    def _unseen(self) -> BaseException | None:
        """The error that nobody has been told of."""
        if self._seen or not self.done():
            return None
        if self._operation is None or self._operation.cancelled():
            return self._error
        return self._operation.exception()


class Pipeline:
    """Made by Connection.pipeline(). The methods queue a statement and return at once
    with its PipelineResult; `params` and `row_factory` as for Connection's.

    The queue is sent when one of its results is awaited, by sync(), and at the end of
    the block. What is sent up to a sync() is one segment: outside of a transaction an
    implicit transaction, which is committed as a whole or not at all. After a statement
    that has failed nothing more of its segment runs. sync() and the end of the block
    raise the first error of the segment that no await has raised. While a segment is
    under way, what other tasks ask of the connection waits; a statement of this task
    that is not the pipeline's raises InterfaceError. A block that an exception leaves
    undoes what it has sent, outside of a transaction, and does not send the rest.
    """

    def __init__(self, connection: "Connection", timeout: float | None) -> None:
        self._connection = connection
        self._core = connection._core
        self._link = connection._link
        self._timeout = timeout
        self._state = "new"  # → "open" → "ended"
        self._queue: deque[PipelineResult[Any]] = deque()  # not handed to the core
        self._segment: list[PipelineResult[Any]] = []  # since the last sync()
        self._opened = False  # the core has begun a segment for it
        self._lock = asyncio.Lock()  # who hands over

    # --------------------------------------------------------------- statements

    def execute(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
    ) -> PipelineResult[Cursor]:
        """Queues a statement; its result is a cursor that holds the rows."""
        return self._add(sql, params, MODE_RESULT, row_factory)

    @overload
    def fetch(
        self, sql: str, params: object = None, *, row_factory: None = None
    ) -> PipelineResult[list[Any]]: ...
    @overload
    def fetch(
        self, sql: str, params: object = None, *, row_factory: type[dict[str, Any]]
    ) -> PipelineResult[list[dict[str, Any]]]: ...
    @overload
    def fetch(
        self, sql: str, params: object = None, *, row_factory: Callable[..., R]
    ) -> PipelineResult[list[R]]: ...
    def fetch(
        self, sql: str, params: object = None, *, row_factory: Any = None
    ) -> PipelineResult[Any]:
        """Queues a statement; its result is the list of its rows."""
        return self._add(sql, params, MODE_ROWS, row_factory)

    @overload
    def fetchrow(
        self, sql: str, params: object = None, *, row_factory: None = None
    ) -> PipelineResult[Any]: ...
    @overload
    def fetchrow(
        self, sql: str, params: object = None, *, row_factory: type[dict[str, Any]]
    ) -> PipelineResult[dict[str, Any] | None]: ...
    @overload
    def fetchrow(
        self, sql: str, params: object = None, *, row_factory: Callable[..., R]
    ) -> PipelineResult[R | None]: ...
    def fetchrow(
        self, sql: str, params: object = None, *, row_factory: Any = None
    ) -> PipelineResult[Any]:
        """Queues a statement; its result is the first row, or None."""
        return self._add(sql, params, MODE_ROW, row_factory)

    def fetchval(self, sql: str, params: object = None) -> PipelineResult[Any]:
        """Queues a statement; its result is the first column of the first row, or
        None."""
        return self._add(sql, params, MODE_VALUE, False)

    def _add(
        self, sql: str, params: object, mode: int, row_factory: Any
    ) -> PipelineResult[Any]:
        self._check_open()
        if not isinstance(sql, str):
            raise ProgrammingError(
                f"the SQL text must be a str, not {sql!r} ({type(sql).__name__})"
            )
        if isinstance(params, list):
            params = tuple(params)  # as it is now
        elif params is not None and not isinstance(params, tuple):
            sql, params = lexer.resolve(sql, params)
        elif params is None and ";" in sql[:-1] and self._link.is_script(sql):
            raise ProgrammingError(
                "a pipeline takes one statement at a time: several are in the text"
            )
        if row_factory is None:
            row_factory = self._connection._row_factory
        result = PipelineResult[Any](self, sql, params, mode, row_factory)
        self._queue.append(result)
        self._segment.append(result)
        return result

    # ------------------------------------------------------------------ segments

    async def sync(self, *, timeout: float | None = None) -> None:
        """Sends what is queued and ends the segment: outside of a transaction it is
        committed then. Raises the first error of it that no await has raised. `timeout`
        in seconds: then what still runs is cancelled, and QueryTimeout raised."""
        self._check_open()
        await self._end(self._timeout if timeout is None else timeout)

    async def _end(self, timeout: float | None) -> None:
        segment: list[PipelineResult[Any]] | None = None
        try:
            async with self._lock:
                await self._hand_over(timeout)
                segment, self._segment = self._segment, []
                if self._opened:
                    await self._sync(timeout)
        except BaseException as error:
            await self._undo(self._segment if segment is None else segment, error)
            raise
        for result in segment:
            if (unseen := result._unseen()) is not None:
                result._seen = True
                raise unseen.with_traceback(None)

    async def _sync(self, timeout: float | None) -> None:
        operation = self._core.sync(False)
        try:
            await self._connection._wait(operation, timeout)
        finally:
            self._opened = not (operation.sent or _has_run(operation))

    async def _undo(
        self, segment: list[PipelineResult[Any]], why: BaseException
    ) -> None:
        """Gives up what has not been answered, and ends the segment that is open; one
        that is an implicit transaction is rolled back."""
        for result in segment:
            result._give_up(why)
        self._queue = deque(result for result in self._queue if not result.done())
        if not self._opened:
            return
        self._opened = False
        with contextlib.suppress(Error):  # lost is rolled back
            operation = self._core.sync(True)
            ended = asyncio.Event()
            operation.add_done_callback(lambda _: ended.set())
            await ended.wait()  # to cancel that leaves the operation alone

    # ------------------------------------------------------------------- sending

    async def _flush(self) -> None:
        """Sends what is queued, and asks for its answers."""
        if self._state == "ended":
            return
        async with self._lock:
            await self._hand_over(self._timeout)
            if self._opened and not self._core.closed:
                self._core.pipe_flush()

    async def _hand_over(self, timeout: float | None) -> None:
        """Gives the queue to the core, as fast as the server takes it. Each wait for
        that is bounded by `timeout`."""
        core, wait = self._core, self._connection._wait
        if self._queue and not self._opened and not core.closed:
            await self._look_ahead(timeout)
            await self._begin(timeout)
        count = 0
        while self._queue:
            result = self._queue.popleft()
            if result.done():
                continue  # given up
            result._submit(core)
            count += 1
            if core.crowded:
                await wait(core.drain(), timeout)
            elif count % TURN == 0:
                await asyncio.sleep(0)

    async def _look_ahead(self, timeout: float | None) -> None:
        """Has new statements described in one flight, in front of the segment. That
        costs nothing if it fails, where no transaction is open."""
        core = self._core
        if not core.autocommit or core.in_transaction or core.block is not None:
            return
        texts: dict[str, Any] = {}
        for result in islice(self._queue, LOOKED_AT):
            if not result._sql.lstrip(" \t\r\n(").lower().startswith(PLAIN):
                break  # those behind may need what it makes
            texts.setdefault(result._sql, result._params or ())
            if len(texts) == AHEAD:
                break
        asked = core.foresee([*texts.items()])
        refused = await self._described(asked, timeout)
        for known, state in zip(texts.items(), refused, strict=False):
            if state in ALONE:
                await self._described(core.foresee([known]), timeout)

    async def _described(
        self, operations: list[_core.Operation], timeout: float | None
    ) -> list[str | None]:
        """Waits for descriptions: the SQLSTATE of each that was refused, whose error is
        said when its turn comes."""
        states: list[str | None] = []
        try:
            for operation in operations:
                state = None
                try:
                    await self._connection._wait(operation, timeout)
                except QueryTimeout:
                    raise
                except Error as error:
                    state = error.sqlstate
                states.append(state)
        except BaseException:
            for operation in operations:  # or the server would not be told to stop
                operation.cancel()
            raise
        return states

    async def _begin(self, timeout: float | None) -> None:
        """Waits until the connection is the segment's."""
        turn = self._core.segment()
        try:
            await self._connection._wait(turn, timeout)
        except Error:
            if not self._core.closed:
                raise
            return  # every statement says it
        finally:
            self._opened = _has_run(turn)
        if self._state == "ended":
            error = InterfaceError("the pipeline has ended")
            await self._undo(self._segment, error)
            raise error

    # --------------------------------------------------------------------- block

    def _check_open(self) -> None:
        if self._state != "open":
            raise InterfaceError(
                "the pipeline was not entered: use it in `async with`"
                if self._state == "new"
                else "the pipeline has ended"
            )

    async def __aenter__(self) -> "Pipeline":
        if self._state != "new":
            raise InterfaceError("a pipeline is entered once")
        around = [pipeline for pipeline in entered.get() if pipeline._state == "open"]
        if any(pipeline._core is self._core for pipeline in around):
            raise InterfaceError(
                "a pipeline is open here already: use that, or end its block first"
            )
        self._core.adopt()
        self._core.pipelines += 1
        self._state = "open"
        entered.set((*around, self))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "ending"
        try:
            if error is None:
                await self._end(self._timeout)
            else:
                self._state = "ended"
                await self._undo(self._segment, error)
        finally:
            self._state = "ended"
            self._core.pipelines -= 1
            entered.set(tuple(x for x in entered.get() if x is not self))


def _has_run(operation: _core.Operation) -> bool:
    """Whether it is done, and was not given up before."""
    return (
        operation.done() and not operation.cancelled() and operation.exception() is None
    )


def check(link: "Link") -> None:
    """A request is about to be made on a connection with pipelines. InterfaceError
    where it would wait for one of them, which waits for it."""
    for pipeline in entered.get():
        unsent = pipeline._queue or pipeline._opened
        if pipeline._link is link and pipeline._state == "open" and unsent:
            raise InterfaceError(
                "this is inside of a pipeline, whose statements come first: use the "
                "pipeline's own methods, or `await pipeline.sync()` before"
            )
