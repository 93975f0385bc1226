"""What a pool gives out: a light Connection around one of its cores."""

import asyncio
import warnings
import weakref
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from . import _core
from .connection import Connection
from .errors import ConnectionLost, InterfaceError
from .notifications import Channels
from .poolstate import Member

if TYPE_CHECKING:
    from .poolkeeper import Keeper

REVIVALS_MAX = 3  # other cores for one acquire(), before its user hears of it

Where = tuple[CodeType, int] | None  # a function, and the place in its bytecode


class Returned:
    """Takes the core's place in a connection that was given back."""

    closed = True
    at_home = False
    in_transaction = False
    pending = 0
    lost_error = None

    def terminate(self, error: BaseException | None = None) -> None:
        """Nothing is left to be closed."""

    def __getattr__(self, name: str) -> NoReturn:
        raise given_back()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise given_back()


RETURNED: Any = Returned()


def given_back() -> InterfaceError:
    """The error of a connection that is used after its release."""
    return InterfaceError("the connection was given back to its pool: acquire another")


class Lazily:
    """An attribute that is made by a function when it is read for the first time."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, handle: Any, owner: type) -> Any:
        made = handle.__dict__[self._name] = self._make(handle)
        return made


class PoolConnection(_core.PoolHandle, Connection):
    """A Connection that a pool has lent; see Pool.acquire(). close() and terminate()
    close it for good, and the pool opens another."""

    # What most users do without is made when it is asked for: csrc/driver/lease.c makes
    # these objects, too.
    _transactions = Lazily(lambda self: [])
    _server_cursors = Lazily(lambda self: {})
    _notice_listeners = Lazily(lambda self: self._told({}))
    _termination_listeners = Lazily(lambda self: self._told({}))
    _revivals = 0
    _moving = False  # between two cores: False again when nobody wants the second

    def __init__(self, pool: "Keeper", member: Member) -> None:
        self._core = member.resource
        self._link = self._core.link
        self._pool = pool
        self._member = member
        self._timeout = pool._statement_timeout
        self._row_factory = pool._row_factory

    def _told(self, listeners: Any) -> Any:
        """From here on the connection is the one that its link tells of events."""
        self._link.wrapper = weakref.ref(self)
        self._engaged = True
        return listeners

    def _listening(self) -> Channels:
        channels = super()._listening()
        self._told(channels)
        return channels

    def terminate(self) -> None:
        """Closes the socket now, and frees the place in the pool."""
        member = self._member
        if member is not None:
            super().terminate()
            self._member = None
            self._pool._closed_by_holder(member)
        self._moving = False

    async def close(self, *, timeout: float | None = 10.0) -> None:
        """Ends the session, and frees the place in the pool; see Connection.close()."""
        self._moving = False
        if self._member is not None:
            await super().close(timeout=timeout)

    async def _revived(self, error: ConnectionLost) -> bool:
        """Takes the first request to another core, if it has not run, and nothing has
        run before it since acquire(): the program need not know."""
        member = self._member
        nested = len(self._transactions) > 1
        if not error._first or member is None or nested or not self._core.closed:
            return False
        self._revivals += 1
        if self._revivals > REVIVALS_MAX:
            return False
        if not await self._pool._exchange(self, member):
            return False
        for transaction in self._transactions:
            transaction._move()
        return True

    def _take(self, member: Member) -> None:
        """Another core in place of one that was lost."""
        lost, core = self._core, member.resource
        core.lend(lost.autocommit)
        core.begin_sql = lost.begin_sql
        self._core, self._link, self._member = core, core.link, member
        if self._engaged:
            core.link.wrapper = weakref.ref(self)
        if self._channels is not None:
            self._channels._core = core

    def _let_go(self) -> None:
        """From here on every use is an error."""
        if self._engaged:
            self._link.wrapper = None
        self._core, self._member = RETURNED, None
        channels = self._channels
        if channels is not None:
            channels.leave(RETURNED)

    async def __aenter__(self) -> "PoolConnection":
        if self._core is RETURNED:
            raise given_back()
        await super().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commits on a clean exit, rolls back on an exception, then gives it back."""
        await finish(self, error)

    def _raise_closed(self) -> None:
        if self._core is RETURNED:
            raise given_back()
        super()._raise_closed()

    def _collected(self) -> None:
        """It was not given back."""
        member = self._member
        where = place(member.where)
        at = f", acquired at {where}," if where else ""
        warnings.warn(
            f"{self!r}{at} was never given back to its pool",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        self._pool._forsaken(self, member)

    def __repr__(self) -> str:
        if self._core is RETURNED:
            return "<pgasync.PoolConnection given back>"
        return super().__repr__().replace("Connection", "PoolConnection", 1)


def place(where: Where) -> str:
    """`file:line` of a call."""
    if where is None:
        return ""
    code, offset = where
    line = next(
        (line for start, end, line in code.co_lines() if start <= offset < end), None
    )
    return f"{code.co_filename}:{line or code.co_firstlineno}"


async def finish(handle: PoolConnection, error: BaseException | None) -> None:
    """Ends what is open in the way of `async with`, and gives the connection back."""
    core, pool = handle._core, handle._pool
    handle._moving = False
    if handle._member is None:
        return  # it was released inside the block
    try:
        if error is None and core.in_transaction:  # lost with it: commit() says so
            await handle.commit()
    finally:
        if handle._member is not None:
            cleaning = pool._give_back(handle)
            if cleaning is not None:
                await settled(cleaning)


async def settled(task: "asyncio.Task[None]") -> None:
    """Waits for a task that goes on when the caller is cancelled."""
    await asyncio.wait({task})
