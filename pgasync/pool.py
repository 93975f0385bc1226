"""A pool of connections: what programs call. See poolkeeper.py for how it works."""

import logging
import warnings
from collections.abc import Generator
from math import inf
from types import TracebackType
from typing import Any

from . import conninfo, many
from ._core import MODE_ROW, MODE_ROWS, MODE_VALUE, MultipleStatements
from .connection import Connection
from .cursor import Cursor
from .errors import ConnectionLost, InterfaceError, PoolClosed, PoolTimeout
from .poolhandle import PoolConnection, settled
from .poolkeeper import Hook, Keeper, close_core
from .poolstate import PoolState
from .poolstats import PoolStats, stats_of
from .pooltransaction import Transacting

log = logging.getLogger("pgasync.pool")

CLOSE_TIMEOUT = 10.0  # s


class Pool(Transacting, Keeper):
    """Connections that are opened once and used by many. Made by create_pool()."""

    async def open(self, *, timeout: float | None = None) -> "Pool":
        """Waits until `min_size` connections are open. Raises what connect() raises
        when the server refuses, PoolTimeout after `timeout` seconds (the pool's own
        unless told); the pool is closed then. One that is used without it opens itself.
        """
        self._enter()
        limit = self._timeout if timeout is None else timeout
        deadline = self._now() + limit
        state = self._state
        try:
            while state.size() < state.min_size and not state.closing:
                if state.hopeless and state.last_error is not None:
                    raise state.last_error
                if not await self._change(deadline):
                    raise PoolTimeout(
                        f"{state.size()} of {state.min_size} connections were opened "
                        f"within {limit:g} s"
                    ) from state.last_error
        except BaseException:
            self.terminate()
            raise
        if state.closing:
            raise PoolClosed("the pool is closed")
        return self

    def __await__(self) -> Generator[Any, Any, "Pool"]:
        return self.open().__await__()

    async def __aenter__(self) -> "Pool":
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -------------------------------------------------------------- connections

    async def release(self, connection: Connection) -> None:
        """Takes a connection back: a transaction that is open is rolled back, what
        still runs is stopped. Goes on when the caller is cancelled. InterfaceError when
        it is not of this pool, or was given back already."""
        if getattr(connection, "_pool", None) is not self:
            raise InterfaceError(f"{connection!r} is not a connection of this pool")
        assert isinstance(connection, PoolConnection)
        if connection._member is None:
            if connection._left:
                return  # it was closed, which has freed its place
            raise InterfaceError("the connection was given back to its pool already")
        cleaning = self._give_back(connection)
        if cleaning is not None:
            await settled(cleaning)

    # --------------------------------------------------------------- statements

    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """All rows of a statement, which runs in autocommit; see Connection.fetch().
        `timeout` (s), here and below, bounds the wait for a connection (PoolTimeout;
        the pool's own unless told) and then the statement (QueryTimeout)."""
        return await self._run_once(MODE_ROWS, sql, params, row_factory, timeout)

    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The first row of a statement, which runs in autocommit; None when it gives no
        rows."""
        return await self._run_once(MODE_ROW, sql, params, row_factory, timeout)

    async def fetchval(
        self, sql: str, params: object = None, *, timeout: float | None = None
    ) -> Any:
        """The first column of the first row, None when there are no rows; the statement
        runs in autocommit."""
        return await self._run_once(MODE_VALUE, sql, params, False, timeout)

    async def _run_once(
        self,
        mode: int,
        sql: str,
        params: object,
        row_factory: Any,
        timeout: float | None,
    ) -> Any:
        if timeout is not None or self._config.command_timeout is not None:
            return await self._run_in_handle(mode, sql, params, row_factory, timeout)
        if row_factory is None:
            row_factory = self._config.row_factory
        member = self._grab()
        if member is None:
            member, handle = await self._obtain(None, None)
            if handle is not None:
                handle._let_go()
        try:
            return await member.resource.execute(sql, params, mode, row_factory)
        except MultipleStatements:
            pass
        except ConnectionLost as error:
            if not error.safe_to_retry:
                raise
            log.info("a statement that has not run goes to another connection")
        finally:
            self._put(member)
        return await self._run_in_handle(mode, sql, params, row_factory, timeout)

    async def _run_in_handle(
        self,
        mode: int,
        sql: str,
        params: object,
        row_factory: Any,
        timeout: float | None,
    ) -> Any:
        async with self._autocommitting(timeout) as connection:
            if mode == MODE_VALUE:
                return await connection.fetchval(sql, params, timeout=timeout)
            call = connection.fetch if mode == MODE_ROWS else connection.fetchrow
            return await call(sql, params, row_factory=row_factory, timeout=timeout)

    async def execute(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs a statement in autocommit; the cursor holds its result."""
        async with self._autocommitting(timeout) as connection:
            return await connection.execute(
                sql, params, row_factory=row_factory, timeout=timeout
            )

    async def executemany(
        self,
        sql: str,
        seq_of_params: many.Sets,
        *,
        returning: bool = False,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs a statement for every set of parameters, as one transaction."""
        async with self._autocommitting(timeout) as connection:
            return await connection.executemany(
                sql,
                seq_of_params,
                returning=returning,
                row_factory=row_factory,
                timeout=timeout,
            )

    # ---------------------------------------------------------------- the whole

    @property
    def closed(self) -> bool:
        """Whether close() or terminate() was called."""
        return self._state.closing

    def stats(self) -> PoolStats:
        """What the pool is like now, and what it has counted so far."""
        return stats_of(self._state)

    def resize(
        self, *, min_size: int | None = None, max_size: int | None = None
    ) -> None:
        """Other limits from now on. Idle connections that are too many are closed at
        once, used ones when they are given back."""
        state = self._state
        state.resize(
            state.min_size if min_size is None else min_size,
            state.max_size if max_size is None else max_size,
        )
        self._settle()

    def drain(self) -> None:
        """Has every connection that is there now replaced: idle ones at once, used ones
        when they are given back."""
        self._state.drain()
        self._settle()

    def expire(self) -> None:
        """The same as drain()."""
        self.drain()

    async def close(self, *, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Gives out no more connections and waits until all have come back. After
        `timeout` seconds (None: never) who still holds one is named in the log, and the
        connections are closed all the same. May be called again."""
        state = self._state
        state.close()
        if self._loop is None:
            return
        self._enter()
        self._settle()
        for task in self._openings:
            task.cancel()
        deadline = inf if timeout is None else self._now() + timeout
        try:
            while state.members and await self._change(deadline):
                pass
        except BaseException:
            self.terminate()
            raise
        for member in state.holders():
            log.warning(
                "closing a connection that is held by %s", self._describe(member)
            )
        self.terminate()

    def terminate(self) -> None:
        """Closes all connections now, used ones too. Waits for nothing."""
        self._state.terminate()
        while self._state.doomed:
            close_core(self._state.doomed.pop().resource)
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        for task in (*self._openings, *self._cleanings):
            loop.call_soon_threadsafe(task.cancel)
        loop.call_soon_threadsafe(self._settle)

    def __repr__(self) -> str:
        state = self._state
        closed = " closed" if state.closing else ""
        return (
            f"<pgasync.Pool {self._config.user}@{self._config.hosts[0]}/"
            f"{self._config.dbname}{closed} size={state.size()} "
            f"idle={len(state.idle)} waiting={len(state.waiters)} "
            f"max_size={state.max_size}>"
        )

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is None or not state.members:
            return
        warnings.warn(
            f"{self!r} was never closed", ResourceWarning, stacklevel=2, source=self
        )
        for member in state.members:
            if member.resource is not None:
                close_core(member.resource)


def create_pool(
    dsn: str | None = None,
    *,
    min_size: int = 1,
    max_size: int = 10,
    max_lifetime: float = 3600.0,
    max_idle: float = 600.0,
    max_uses: int = 0,
    timeout: float | None = 30.0,
    max_waiting: int = 0,
    check_after: float | None = 60.0,
    init: Hook | None = None,
    setup: Hook | None = None,
    check: Hook | None = None,
    reset: Hook | None = None,
    **keywords: Any,
) -> Pool:
    """A pool of connections to one database.

    `async with create_pool(dsn) as pool`, or `pool = await create_pool(dsn)` and `await
    pool.close()`; without either it opens when it is first used.
    """
    state = PoolState(
        min_size,
        max_size,
        max_waiting=max_waiting,
        max_idle=max_idle,
        max_lifetime=max_lifetime,
        max_uses=max_uses,
    )
    given = {"init": init, "setup": setup, "check": check, "reset": reset}
    hooks = {name: hook for name, hook in given.items() if hook is not None}
    return Pool(conninfo.parse(dsn, keywords), state, timeout, check_after, hooks)
