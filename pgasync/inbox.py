"""A bounded queue of notifications that wait to be read, and those who wait for it."""

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from .errors import Error, InterfaceError, NotificationOverflow

if TYPE_CHECKING:
    from .notifications import Notification

# More than one turn of the event loop can bring: who keeps up loses nothing.
QUEUE_SIZE = 32_768
PAYLOADS_MAX = 16 * 1024 * 1024  # characters
POLICIES = ("error", "drop_oldest", "drop_newest")


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def check_size(queue_size: int) -> int:
    """InterfaceError unless it is a positive number."""
    if not isinstance(queue_size, int) or queue_size < 1:
        raise InterfaceError(f"queue_size={queue_size!r} is not a positive integer")
    return queue_size


def check_policy(overflow: str, allowed: tuple[str, ...] = POLICIES) -> str:
    """InterfaceError unless it is one of them."""
    if overflow not in allowed:
        names = ", ".join(map(repr, allowed))
        raise InterfaceError(f"overflow={overflow!r} is not one of {names}")
    return overflow


class Inbox:
    """At most `size` notifications, and PAYLOADS_MAX characters of payloads.

    put() and end() run no code of others, and end() may come from any thread.
    `overflow` says what put() does when it is full:

        "error"        nothing more is taken in; when all that is there has been
                       read, NotificationOverflow is raised
        "drop_oldest"  the longest waiting one gives way
        "drop_newest"  it is not taken in
    """

    def __init__(self, size: int, overflow: str) -> None:
        self.size = size
        self.overflow = overflow
        self.dropped = 0
        self.ended = False  # nothing more will come
        self._error: BaseException | None = None  # why
        self._items: deque[Any] = deque()
        self._held = 0  # characters of payloads
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, notification: "Notification") -> None:
        """Takes a notification in, if there is room or some is made."""
        if self.ended or self._is_full():
            self._refuse(notification)
            return
        self._items.append(notification)
        self._held += len(notification.payload)
        if self._waiters:
            self._wake_one()

    def _is_full(self) -> bool:
        return len(self._items) >= self.size or self._held >= PAYLOADS_MAX

    def _add(self, item: Any) -> None:
        self._items.append(item)
        self._held += len(item.payload)
        if self._waiters:
            self._wake_one()

    def _refuse(self, notification: "Notification") -> None:
        if self.ended:
            self.dropped += isinstance(self._error, NotificationOverflow)
        elif self.overflow == "drop_oldest":
            while self._is_full() and len(self._items) > self._oldest():
                self._drop(self._oldest())
            self._add(notification)
        else:
            self.dropped += 1
            if self.overflow == "error":
                self.end(NotificationOverflow("the queue is full"))

    def _oldest(self) -> int:
        """The index of the first that may be dropped."""
        return 0

    def _drop(self, index: int) -> None:
        self._held -= len(self._items[index].payload)
        del self._items[index]
        self.dropped += 1

    def end(self, error: BaseException | None) -> None:
        """Nothing more will come: readers get what is there, then `error` or, without
        one, the end. Only the first call counts."""
        if not self.ended:
            self._error = error
            self.ended = True
            while self._waiters:
                self._wake_one()

    def clear(self) -> None:
        """Forgets what has not been read."""
        self._items.clear()
        self._held = 0

    def _wake_one(self) -> None:
        with contextlib.suppress(IndexError):
            waiter = self._waiters.popleft()
            while waiter.done():
                waiter = self._waiters.popleft()
            loop = waiter.get_loop()
            if loop is asyncio._get_running_loop():
                waiter.set_result(None)
            else:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_set, waiter)

    def take(self) -> Any:
        """The next item; IndexError when there is none now."""
        item = self._items.popleft()
        self._held -= len(item.payload)
        return item

    async def get(self, deadline: float | None) -> Any:
        """The next item. Raises TimeoutError when there is none by `deadline` (a time
        of the loop's clock), why nothing more comes, or StopAsyncIteration."""
        while not self._items:
            if self.ended:
                self._raise_end()
            await self._wait(deadline)
        return self.take()

    async def _wait(self, deadline: float | None) -> None:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        timer = None
        if deadline is not None:
            timer = loop.call_at(deadline, _set, waiter)
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and self._items:
                self._wake_one()  # it was this reader's turn: the next one's now
            raise
        finally:
            if timer is not None:
                timer.cancel()
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
        if self._items or self.ended:
            return
        if deadline is not None and loop.time() >= deadline:
            raise TimeoutError("no notification came in time")

    def _raise_end(self) -> None:
        error = self._error
        if error is None:
            raise StopAsyncIteration
        if isinstance(error, NotificationOverflow):
            raise self._overflowed()
        if not isinstance(error, Error):
            raise error
        again = type(error)(*error.args)
        again.__dict__.update(error.__dict__)
        raise again from error

    def _overflowed(self) -> NotificationOverflow:
        error = NotificationOverflow(
            f"{self.dropped} notifications were dropped: the queue was full "
            f"({self.size}); read them faster, give a larger queue_size, or an "
            "overflow policy that drops"
        )
        error.dropped = self.dropped
        return error
