"""Transactions of a pool, each on a connection that it takes for itself."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from . import _core
from .connection import Connection
from .poolhandle import PoolConnection
from .runtransaction import On, Policy, Run, within
from .transaction import Transaction

R = TypeVar("R")


class Transacting:
    """Part of Pool."""

    acquire: Callable[..., _core.Acquiring]

    def transaction(
        self,
        *,
        isolation: str | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        settings: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[PoolConnection]:
        """`async with pool.transaction() as conn`: acquire() with `timeout` (s) and
        conn.transaction() in one. Commits on a clean exit, rolls back on an exception;
        see Connection.transaction()."""
        modes = isolation, readonly, deferrable, settings
        return self._transaction(modes, timeout)

    @asynccontextmanager
    async def _transaction(self, modes: tuple[Any, ...], timeout: float | None) -> Any:
        async with (
            self.acquire(timeout=timeout) as connection,
            Transaction(connection, *modes),
        ):
            yield connection

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
        """Runs `await fn(conn, *args)` in a transaction and gives its result, once it
        is committed. `fn` may run several times, each time from its beginning, in a new
        transaction: what it does beside the database should bear that.

        It is run again, up to `retries` times, after a serialization failure (40001) or
        a deadlock (40P01), or after what `on` names instead: SQLSTATEs, classes of
        them ("40"), exception classes; a function of the error decides alone. Besides
        after an InvalidCachedStatement, and after an error that is `transient` where
        nothing of the transaction is there, such as a lost connection before the
        commit. A commit whose connection was lost is in doubt and never repeated,
        unless `on` has "in_doubt" in it. Errors of acquire() are not repeated.

        Between two attempts there is a random pause of up to 20 ms, then 40 ms … 2 s.
        The last error has the others in its `__notes__`. QueryTimeout after `timeout`
        seconds for all attempts together.
        """
        modes = isolation, readonly, deferrable, settings

        def begin(connection: Connection) -> Transaction:
            return Transaction(connection, *modes)

        def call(connection: Connection) -> Awaitable[R]:
            return fn(connection, *args)

        run = Run(self.acquire, begin, call, Policy(retries, on))
        result: R = await within(run, timeout)
        return result
