"""Transactions as blocks; a block inside another is a savepoint."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _core
from .block import Block
from .errors import ConnectionLost, Error, InterfaceError
from .settings import Settings

if TYPE_CHECKING:
    from .connection import Connection

ISOLATION_LEVELS = (
    "read uncommitted",
    "read committed",
    "repeatable read",
    "serializable",
)


def begin_sql(
    isolation: str | None, readonly: bool | None, deferrable: bool | None
) -> str:
    """BEGIN with its modes; None leaves one to the session's default."""
    modes = []
    if isolation is not None:
        level = isolation.lower().replace("_", " ")
        if level not in ISOLATION_LEVELS:
            raise InterfaceError(
                f"isolation {isolation!r} is not one of {', '.join(ISOLATION_LEVELS)}"
            )
        modes.append(f"ISOLATION LEVEL {level.upper()}")
    if readonly is not None:
        modes.append("READ ONLY" if readonly else "READ WRITE")
    if deferrable is not None:
        modes.append("DEFERRABLE" if deferrable else "NOT DEFERRABLE")
    return " ".join(["BEGIN", ", ".join(modes)]).strip()


class Transaction:
    """Made by Connection.transaction(). `async with` commits on a clean exit and
    rolls back on an exception; start(), commit() and rollback() do it by hand.

    While it is open the connection is its own: it belongs to the task that started it
    and to tasks that were started inside. What other tasks ask of the connection waits
    until the outermost block has ended, first come, first served.
    """

    def __init__(
        self,
        connection: "Connection",
        isolation: str | None,
        readonly: bool | None,
        deferrable: bool | None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._connection = connection
        self._begin = begin_sql(isolation, readonly, deferrable)
        self._settings = None if settings is None else Settings(settings)
        self._savepoint: str | None = None
        self._block: Block | None = None
        self._former: tuple[str, tuple[str | None, ...]] | None = None
        self._state = "new"  # → "started" → "committed" or "rolled back"

    async def start(self) -> None:
        """Begins, when it is this task's turn. The BEGIN of the outermost one travels
        with the first statement; a savepoint is set at once. InterfaceError when
        started before, QueryTimeout when the connection's command_timeout is over
        before other tasks' transactions are."""
        try:
            await self._start()
        except ConnectionLost as error:
            if not await self._connection._revived(error):
                raise
            await self._start()

    async def _start(self) -> None:
        if self._state != "new":
            raise InterfaceError(f"the transaction has been {self._state} already")
        self._state = "started"  # two tasks cannot start the same one
        stack = self._connection._transactions
        self._block = block = Block(self._connection._core)
        try:
            await self._wait_turn(block)
            inside = bool(stack)
            stack.append(self)
            await self._open(inside)
        except BaseException:
            self._state = "new"
            if self in stack:
                stack.remove(self)
            block.leave()
            raise
        block.mark()

    def _move(self) -> None:
        """The connection has another core, and has asked nothing there."""
        assert self._block is not None
        self._block.move(self._connection._core)
        self._begin_soon()

    async def _wait_turn(self, block: Block) -> None:
        """The outermost block waits for those of other tasks, an inner one for those
        of its siblings."""
        connection = self._connection
        core, stack = connection._core, connection._transactions
        if core.block is not None and core.admits() and core.block is not None:
            while (
                stack and (inner := stack[-1]._block) is not None and inner.in_the_way()
            ):
                await inner.wait_beside(connection._timeout)
            return
        turn = block.enter()
        if not turn.done():
            await connection._wait(turn)

    async def _open(self, inside: bool) -> None:
        core, stack = self._connection._core, self._connection._transactions
        if inside or core.in_transaction:
            if self._begin != "BEGIN":
                raise InterfaceError(
                    "a transaction inside another is a savepoint and cannot have "
                    "an isolation level, readonly or deferrable of its own"
                )
            self._savepoint = f"pgasync_{len(stack)}"
            await self._command(f"SAVEPOINT {self._savepoint}")
            await self._set_inside(self._savepoint)
        else:
            self._begin_soon()

    def _begin_soon(self) -> None:
        begin, settings = self._begin, self._settings
        self._connection._core.begin(settings.behind(begin) if settings else begin)

    async def _set_inside(self, savepoint: str) -> None:
        """Settings of a savepoint: they, too, end with it."""
        if not self._settings:
            return
        try:
            request = self._connection._execute
            made = await self._send(request, *self._settings.make(), tuple)
            self._former = self._settings.former(made.rows[0])
        except BaseException:
            if not self._connection.closed:
                await self._undo(savepoint)
            raise

    async def commit(self) -> None:
        """Commits, or releases the savepoint. TransactionRolledBack when the server
        rolled back instead, because a statement had failed."""
        self._finish("committed")
        with self._leaving():
            if self._savepoint is None:
                commit = self._send(self._connection._core.commit)
                self._leave()  # what others ask for goes behind it
                await self._end(commit)
                return
            try:
                await self._command(f"RELEASE SAVEPOINT {self._savepoint}")
            except Error:
                if not self._connection.closed:
                    await self._undo(self._savepoint)
                raise
            if self._former is not None:
                await self._send(self._connection._execute, *self._former, tuple)

    async def rollback(self) -> None:
        """Rolls back, to the savepoint of a nested one."""
        self._finish("rolled back")
        with self._leaving():
            try:
                if self._savepoint is None:
                    rollback = self._send(self._connection._core.rollback)
                    self._leave()
                    await rollback
                else:
                    await self._undo(self._savepoint)
            except Error:
                raise
            except BaseException:
                # Cancelled in between: nobody knows whether what should be undone is.
                self._connection._break(
                    ConnectionLost(
                        "a rollback was interrupted; the connection is closed"
                    )
                )
                raise

    async def __aenter__(self) -> "Transaction":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._state != "started":
            return  # ended by hand
        if error is None:
            await self.commit()
        elif self._connection.closed:
            self._finish("rolled back")
            self._leave()
        else:
            with contextlib.suppress(ConnectionLost):
                await self.rollback()  # lost is rolled back; the caller sees `error`

    def _finish(self, state: str) -> None:
        if self._state != "started":
            raise InterfaceError(
                "the transaction was not started"
                if self._state == "new"
                else f"the transaction has been {self._state} already"
            )
        stack = self._connection._transactions
        if stack[-1:] != [self] and not self._connection.closed:
            raise InterfaceError(
                "a transaction inside this one has not ended: transactions of a "
                "connection end in the reverse order of their start"
            )
        if self in stack:
            stack.remove(self)
        self._state = state

    async def _end(self, commit: "_core.Operation") -> None:
        try:
            await commit
        except BaseException:
            if not commit.sent:
                # Cancelled while it waited for an earlier statement to be stopped. Left
                # open, the transaction would swallow what comes after its block.
                self._connection._break(
                    ConnectionLost(
                        "a commit was interrupted before it was sent; the connection "
                        "is closed"
                    )
                )
            raise

    @contextlib.contextmanager
    def _leaving(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._block is not None:
            self._block.leave()

    async def _undo(self, name: str) -> None:
        sql = f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}"
        await self._send(self._connection._core.query, sql)

    async def _command(self, sql: str) -> None:
        core = self._connection._core
        if core.in_transaction:
            await self._send(core.query, sql)
        else:  # the outer BEGIN has not been sent: execute() puts it in front
            await self._send(self._connection._execute, sql, None)

    def _send(
        self, request: Callable[..., _core.Operation], *args: Any
    ) -> _core.Operation:
        """Whoever holds the transaction may end it, in whatever task and context: an
        async generator is finished in another one than it began in."""
        core = self._connection._core
        if core.admits():
            return request(*args)
        entered = _core.blocks.set((core.block,))
        try:
            return request(*args)
        finally:
            _core.blocks.reset(entered)
