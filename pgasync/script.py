"""Several statements in one text, in as few trips as their results allow.

Statements that return no rows go out in a row, as simple queries; those that may are
prepared, so that their rows come through the same codecs as all others. All of them
are in one transaction, in which nothing runs behind an error.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from . import _core
from . import sql as lexer
from .block import Block
from .errors import Error, QueryTimeout
from .settings import make_due

if TYPE_CHECKING:
    from .connection import Connection

FLIGHT = 100  # statements that are on their way at once

# By the first word. What is in neither goes alone, as it may end the transaction.
DATA = frozenset({"insert", "update", "delete", "merge"})
SCHEMA = frozenset(
    "alter analyze comment create drop grant import lock notify reassign refresh reset"
    " revoke security set truncate".split()
)
ROWS = frozenset({"explain", "select", "show", "table", "values", "with"})


def kind_of(statement: str) -> str:
    """ "rows", "data", "schema" or "alone"."""
    word = lexer.first_word(statement)
    if word in ROWS:
        return "rows"
    if word in DATA:
        return "rows" if "returning" in statement.lower() else "data"
    return "schema" if word in SCHEMA else "alone"


class Script:
    """One run. `timeout` is for the whole of it, `last` the row factory of the last
    statement."""

    def __init__(
        self,
        connection: "Connection",
        sql: str,
        timeout: float | None,
        row_factory: Any,
        last: Any,
    ) -> None:
        self._connection = connection
        self._core = connection._core
        self._statements = lexer.split(sql)
        self._kinds = [kind_of(statement) for statement in self._statements]
        self._factories = [row_factory] * (len(self._statements) - 1) + [last]
        self._timeout = connection._timeout if timeout is None else timeout
        self._loop = asyncio.get_running_loop()
        self._deadline = (
            None if self._timeout is None else self._loop.time() + self._timeout
        )
        self._results: list[_core.Operation] = []
        self._pending: list[_core.Operation] = []

    async def run(self) -> list[_core.Operation]:
        """The result of each statement. In autocommit all are one transaction, during
        which the connection works for nobody else."""
        core, connection = self._core, self._connection
        block, own, begins = Block(core), False, False
        try:
            if core.block is None or not core.admits():
                await self._wait(block.enter())
                block.mark()
            begins = not core.in_transaction and not connection._transactions
            if begins:
                own = core.autocommit
                if own or not core.settings_due:
                    core.begin("BEGIN" if own else core.begin_sql)
            await self._run_all(own)
        except BaseException as error:
            await self._give_up(error)
            if not core.closed and (own or (begins and not core.in_transaction)):
                await connection._rollback_quietly()
            raise
        finally:
            block.leave()
        return self._results

    async def _run_all(self, own: bool) -> None:
        await make_due(self._core)
        simple = "alone" not in self._kinds
        schema = False  # what is under way may change what rows are made of
        for statement, kind, factory in zip(
            self._statements, self._kinds, self._factories, strict=True
        ):
            if kind == "alone" or len(self._pending) >= FLIGHT or not simple:
                await self._settle()
            if kind == "rows" and schema:
                await self._settle()
                schema = False
            if kind in ("rows", "alone"):
                operation = self._connection._execute(statement, None, factory)
            else:
                operation = self._core.query(statement)
            schema = schema or kind == "schema"
            self._results.append(operation)
            self._pending.append(operation)
        if not own:
            await self._settle()
            return
        if "rows" in self._kinds or not simple:
            await self._settle()  # a row that cannot be decoded undoes it all
        self._pending.append(self._core.commit())
        await self._settle()

    async def _settle(self) -> None:
        """Waits for what is under way."""
        while self._pending:
            await self._wait(self._pending[0])
            self._pending.pop(0)

    async def _wait(self, operation: _core.Operation) -> None:
        left = None
        if self._deadline is not None:
            left = max(0.0, self._deadline - self._loop.time())
        try:
            await self._connection._wait(operation, left)
        except QueryTimeout:
            raise QueryTimeout(
                f"the statements did not end within {self._timeout:g} s"
            ) from None

    async def _give_up(self, error: BaseException) -> None:
        """What is behind an error fails as well, at once; the rest is given up."""
        pending, self._pending = self._pending[1:], []
        stopped = not isinstance(error, Error) or isinstance(error, QueryTimeout)
        for operation in pending:
            if stopped:
                operation.cancel()
            else:
                with contextlib.suppress(Error):
                    await operation
