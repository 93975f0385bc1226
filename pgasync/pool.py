"""A pool of connections: what programs call. See poolkeeper.py for how it works."""

import logging
import warnings
from collections.abc import Generator
from math import inf
from types import TracebackType
from typing import Any

from . import conninfo
from .connection import Connection
from .errors import InterfaceError, PoolClosed, PoolTimeout
from .poolhandle import PoolConnection, settled
from .poolkeeper import Hook, Keeper, close_core
from .poolstate import PoolState, check_limit
from .poolstats import PoolStats, stats_of
from .pooltransaction import Transacting
from .poolwork import Work

log = logging.getLogger("pgasync.pool")

CLOSE_TIMEOUT = 10.0  # s


class Pool(Transacting, Work):
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

    connection = Keeper.acquire  # psycopg's name

    async def getconn(self, timeout: float | None = None) -> PoolConnection:
        """acquire() by psycopg's name."""
        return await self.acquire(timeout=timeout)

    async def putconn(self, connection: Connection) -> None:
        """release() by psycopg's name."""
        await self.release(connection)

    async def release(self, connection: Connection) -> None:
        """Takes a connection back: a transaction that is open is rolled back, what
        still runs is stopped. Goes on when the caller is cancelled. InterfaceError when
        it is not of this pool, or was given back already."""
        if getattr(connection, "_pool", None) is not self:
            raise InterfaceError(f"{connection!r} is not a connection of this pool")
        assert isinstance(connection, PoolConnection)
        connection._moving = False
        if connection._member is None:
            if connection._left:
                return  # it was closed, which has freed its place
            raise InterfaceError("the connection was given back to its pool already")
        cleaning = self._give_back(connection)
        if cleaning is not None:
            await settled(cleaning)

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
        """The same as drain(), for credentials or settings that have changed: a
        `password` that is a function is asked for every connection anew."""
        self.drain()

    async def expire_connections(self) -> None:
        """The same by asyncpg's name."""
        self.drain()

    def get_size(self) -> int:
        """How many connections are open; asyncpg's name, see stats()."""
        return self._state.size()

    def get_idle_size(self) -> int:
        """How many of them nobody uses; asyncpg's name."""
        return len(self._state.idle)

    def get_min_size(self) -> int:
        """The floor; asyncpg's name."""
        return self._state.min_size

    def get_max_size(self) -> int:
        """The limit; asyncpg's name."""
        return self._state.max_size

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
    pool.close()`; without either it opens when it is first used. It belongs to the
    event loop that uses it first.

    `min_size` connections are kept open, up to `max_size` are opened when tasks wait
    for one. One is closed when it is `max_lifetime` seconds old (10 % more or less; 0:
    never), when it was idle for `max_idle` seconds and is more than the floor (0:
    never), or after `max_uses` acquires (0: never). acquire() waits for `timeout`
    seconds (None: for ever); when `max_waiting` tasks wait already, the next one gets
    TooManyWaiting (0: no limit). A connection that was idle for `check_after` seconds
    (None: never) is asked by an empty query whether it is still there; whether the
    other side has closed it is looked at every time.

    Hooks are coroutine functions of the connection, which is in autocommit then:
    `init` runs once for a new connection, `check` before each acquire (False or an
    exception: the connection is closed, and the next one tried), `setup` before each
    acquire (its exception goes to who acquires), `reset` at each release. What a hook
    fails for is closed and replaced. Each has `timeout` seconds.

    asyncpg's names max_inactive_connection_lifetime and max_queries stand for max_idle
    and max_uses. All other keywords are connect()'s; `autocommit` is what connections
    are acquired with. Raises InterfaceError for what it does not understand.
    """
    max_idle = keywords.pop("max_inactive_connection_lifetime", max_idle)
    max_uses = keywords.pop("max_queries", max_uses)
    state = PoolState(
        min_size,
        max_size,
        max_waiting=check_limit("max_waiting", max_waiting, int),
        max_idle=check_limit("max_idle", max_idle),
        max_lifetime=check_limit("max_lifetime", max_lifetime),
        max_uses=check_limit("max_uses", max_uses, int),
    )
    for name, seconds in (("timeout", timeout), ("check_after", check_after)):
        if seconds is not None:
            check_limit(name, seconds)
    hooks = _hooks(init=init, setup=setup, check=check, reset=reset)
    return Pool(conninfo.parse(dsn, keywords), state, timeout, check_after, hooks)


def _hooks(**given: Hook | None) -> dict[str, Hook]:
    hooks = {name: hook for name, hook in given.items() if hook is not None}
    for name, hook in hooks.items():
        if not callable(hook):
            raise InterfaceError(f"{name}={hook!r} is no coroutine function")
    return hooks
