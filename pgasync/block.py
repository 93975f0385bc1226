"""Whose turn it is: while a transaction() block is open, its connection works for the
block alone. See docs/transactions.md for the rule, csrc/driver/block.h for the queue.
"""

import asyncio
import contextlib
import weakref
from typing import Any

from . import _core
from .errors import QueryTimeout

Task = asyncio.Task[Any]


class Block:
    """A block as tasks see it: entered by its owner, and by what the owner starts
    inside of it, which inherits the context variable `_core.blocks`."""

    __slots__ = ("_core", "_loop", "_owner", "_waiters", "_watched", "ended")

    def __init__(self, core: _core.Connection) -> None:
        task = asyncio.current_task()
        self._core: _core.Connection | None = core
        self._loop = asyncio.get_running_loop()
        # Weak: a task that nothing holds can be collected, block and all.
        self._owner = None if task is None else weakref.ref(task, self._collected)
        self._waiters: list[asyncio.Future[None]] = []
        self._watched = False
        self.ended = False

    # ------------------------------------------------------- beside other tasks

    def enter(self) -> _core.Operation:
        """Waits until the connection is the block's. An await that fails, in whatever
        way, must be followed by leave()."""
        assert self._core is not None
        return self._core.enter_block(self)

    def move(self, core: _core.Connection) -> None:
        """To another connection, where nothing has been asked yet: that of the block
        is closed, and nothing had been asked there either."""
        self._core = core
        core.enter_block(self)

    def mark(self) -> None:
        """From here on the running context is inside."""
        entered = _core.blocks.get()
        _core.blocks.set((*(block for block in entered if not block.ended), self))

    def leave(self) -> None:
        """The block has ended: others have their turn. May be called again."""
        self.ended = True
        core, self._core = self._core, None  # contexts may hold the block for long
        if core is not None:
            core.leave_block(self)
        self._wake()
        owner = None if self._owner is None else self._owner()
        if self._watched and owner is not None:  # it may live long
            owner.remove_done_callback(self._abandoned)

    def admits(self) -> bool:
        """Whether the running task is inside though its context does not say so: the
        owner in another context, or whoever comes when the owner is gone. Called by
        the core, which keeps others out; they get their turn when the owner ends."""
        owner = self._running_owner()
        if owner is None:
            if self._is_here():
                self._abandoned()
            return True
        if owner is asyncio.current_task():
            return True
        if self._is_here():
            self._watch(owner)
        return False

    def _is_here(self) -> bool:
        """Whether it is the connection's loop that runs: another thread may ask."""
        core = self._core
        return core is not None and core.loop is asyncio.get_running_loop()

    def _running_owner(self) -> Task | None:
        owner = None if self._owner is None else self._owner()
        if owner is None or owner.done() or owner.get_loop().is_closed():
            return None
        return owner

    def _watch(self, owner: Task) -> None:
        if not self._watched:
            self._watched = True
            owner.add_done_callback(self._abandoned)

    def _abandoned(self, _owner: Task | None = None) -> None:
        """The owner is gone; it may not have left the block."""
        if self._core is not None:
            self._core.leave_block(self)
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    def _collected(self, _owner: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._abandoned)

    # ------------------------------------------------- beside tasks of one block

    async def wait_beside(self, timeout: float | None) -> None:
        """Until this one has ended, or its owner has. QueryTimeout after `timeout`
        seconds."""
        owner = self._running_owner()
        if self.ended or owner is None:
            return
        future = self._loop.create_future()
        self._waiters.append(future)
        self._watch(owner)
        timer = None
        if timeout is not None:
            late = QueryTimeout(
                f"another task's transaction() block did not end within {timeout:g} s"
            )
            timer = self._loop.call_later(timeout, _fail, future, late)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()

    def in_the_way(self) -> bool:
        """Whether this one, the innermost, is a sibling's: of another task, which
        started inside the same outer block as the one that runs."""
        owner, entered = self._running_owner(), _core.blocks.get()
        if self.ended or owner is None or self in entered:
            return False
        # A task that owns what the caller is in may be waiting for the caller.
        return owner is not asyncio.current_task() and not any(
            block._running_owner() is owner for block in entered
        )


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
