"""What a pool gives out: a light Connection around one of its cores."""

import asyncio
import warnings
from collections.abc import Generator
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from .connection import Connection
from .errors import InterfaceError
from .poolstate import Member

if TYPE_CHECKING:
    from .poolkeeper import Keeper

Where = tuple[CodeType, int] | None  # a function, and the place in its bytecode


class Returned:
    """Takes the core's place in a connection that was given back."""

    closed = True
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


class PoolConnection(Connection):
    """A Connection that a pool has lent; see Pool.acquire(). close() and terminate()
    close it for good, and the pool opens another."""

    def __init__(self, pool: "Keeper", member: Member) -> None:
        core = member.resource
        super().__init__(core, core.link)
        self._pool = pool
        self._member: Member | None = member

    def terminate(self) -> None:
        """Closes the socket now, and frees the place in the pool."""
        member = self._member
        if member is not None:
            super().terminate()
            self._member = None
            self._pool._closed_by_holder(member)

    async def close(self, *, timeout: float | None = 10.0) -> None:
        """Ends the session, and frees the place in the pool; see Connection.close()."""
        if self._member is not None:
            await super().close(timeout=timeout)

    def _let_go(self) -> None:
        """From here on every use is an error."""
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

    def __del__(self) -> None:
        member = getattr(self, "_member", None)
        if member is None:
            return
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


class Acquiring:
    """What Pool.acquire() returns: to be awaited, or entered by `async with`."""

    __slots__ = ("_handle", "_pool", "_timeout", "_where")

    def __init__(self, pool: "Keeper", timeout: float | None, where: Where) -> None:
        self._pool = pool
        self._timeout = timeout
        self._where = where
        self._handle: PoolConnection | None = None

    def __await__(self) -> Generator[Any, Any, PoolConnection]:
        return self._pool._acquire(self._timeout, self._where).__await__()

    async def __aenter__(self) -> PoolConnection:
        if self._handle is not None:
            raise InterfaceError("this acquire() was entered before: call it again")
        self._handle = handle = await self._pool._acquire(self._timeout, self._where)
        return handle

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._handle is not None
        await finish(self._handle, error)
