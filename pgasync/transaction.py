"""Transactions as blocks; a block inside another is a savepoint."""

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING

from .errors import ConnectionLost, Error, InterfaceError

if TYPE_CHECKING:
    from . import _core
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
    rolls back on an exception; start(), commit() and rollback() do it by hand."""

    def __init__(
        self,
        connection: "Connection",
        isolation: str | None,
        readonly: bool | None,
        deferrable: bool | None,
    ) -> None:
        self._connection = connection
        self._begin = begin_sql(isolation, readonly, deferrable)
        self._savepoint: str | None = None
        self._state = "new"  # → "started" → "committed" or "rolled back"

    async def start(self) -> None:
        """Begins. The BEGIN of the outermost one travels with the first statement;
        a savepoint is set at once. InterfaceError when started before."""
        if self._state != "new":
            raise InterfaceError(f"the transaction has been {self._state} already")
        core, stack = self._connection._core, self._connection._transactions
        if stack or core.in_transaction:
            if self._begin != "BEGIN":
                raise InterfaceError(
                    "a transaction inside another is a savepoint and cannot have "
                    "an isolation level, readonly or deferrable of its own"
                )
            self._savepoint = f"pgasync_{len(stack) + 1}"
            await self._command(f"SAVEPOINT {self._savepoint}")
        else:
            core.begin(self._begin)
        self._state = "started"
        stack.append(self)

    async def commit(self) -> None:
        """Commits, or releases the savepoint. TransactionRolledBack when the server
        rolled back instead, because a statement had failed."""
        self._finish("committed")
        if self._savepoint is None:
            await self._end(self._connection._core.commit())
            return
        try:
            await self._command(f"RELEASE SAVEPOINT {self._savepoint}")
        except Error:
            if not self._connection.closed:
                await self._undo(self._savepoint)
            raise

    async def rollback(self) -> None:
        """Rolls back, to the savepoint of a nested one."""
        self._finish("rolled back")
        try:
            if self._savepoint is None:
                await self._connection._core.rollback()
            else:
                await self._undo(self._savepoint)
        except Error:
            raise
        except BaseException:
            # Cancelled in between: nobody knows whether what should be undone is.
            self._connection._break(
                ConnectionLost("a rollback was interrupted; the connection is closed")
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
        if stack[-1:] != [self]:
            raise InterfaceError(
                "a transaction inside this one has not ended: transactions of a "
                "connection end in the reverse order of their start"
            )
        stack.pop()
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

    async def _undo(self, name: str) -> None:
        await self._connection._core.query(
            f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}"
        )

    async def _command(self, sql: str) -> None:
        core = self._connection._core
        if core.in_transaction:
            await core.query(sql)
        else:  # the outer BEGIN has not been sent: execute() puts it in front
            await self._connection._execute(sql, None)
