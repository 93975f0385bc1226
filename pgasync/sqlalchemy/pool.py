"""The engine's pool: SQLAlchemy's own, waiting in any event loop.

SQLAlchemy's AsyncAdaptedQueuePool waits in an asyncio.Queue, which belongs to the first
loop that has to wait there. Connections here move from loop to loop, so that one engine
serves asyncio.run() called twice, a loop for each test, and loops in several threads.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import Empty, Full, QueueCommon


class Waiter:
    """Somebody in some loop who waits for an item."""

    __slots__ = ("future", "given", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.given: list[Any] = []

    def wake(self) -> None:
        """RuntimeError when the loop is closed."""
        self.loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


SLOT: Any = object()  # in place of an item: the right to make one


class AnyLoopQueue(QueueCommon[Any]):
    """A queue for the greenlets of any loop; the longest waiter is served first.

    A waiter may be given SLOT: `take_slot` says whether there is one to take, and
    `free_slot` is called with one that nobody waits for.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self.take_slot: Callable[[], bool] = bool
        self.free_slot: Callable[[], object] = bool
        self._items: deque[Any] = deque()
        self._waiters: deque[Waiter] = deque()
        self._lock = threading.RLock()  # the collector may put() inside of a get()

    def empty(self) -> bool:
        return not self._items

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self._items)

    def qsize(self) -> int:
        return len(self._items)

    def put_nowait(self, item: Any) -> None:
        self.put(item)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Never waits: the pool takes a full queue for an answer."""
        with self._lock:
            while self._waiters:
                waiter = self._waiters.popleft()
                waiter.given.append(item)
                try:
                    waiter.wake()
                except RuntimeError:
                    waiter.given.clear()
                else:
                    return
            if item is SLOT:
                self.free_slot()
                return
            if 0 < self.maxsize <= len(self._items):
                raise Full
            self._items.append(item)

    def take(self) -> Any:
        """An item, None when there is none. Needs no lock: where there is an item,
        nobody waits."""
        try:
            return self._items.pop() if self.use_lifo else self._items.popleft()
        except IndexError:
            return None

    def get_nowait(self) -> Any:
        item = self.take()
        if item is None:
            raise Empty
        return item

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block:
            return self.get_nowait()
        item = self.take()
        return item if item is not None else await_only(self._wait(timeout))

    async def _wait(self, timeout: float | None) -> Any:
        with self._lock:
            item = self.take()
            if item is not None:
                return item
            if self.take_slot():
                return SLOT
            waiter = Waiter()
            self._waiters.append(waiter)
        try:
            await asyncio.wait({waiter.future}, timeout=timeout)
        except BaseException:
            if self._leave(waiter):
                self.put_nowait(waiter.given[0])
            raise
        if self._leave(waiter):
            return waiter.given[0]
        raise Empty

    def _leave(self, waiter: Waiter) -> bool:
        """Whether the waiter was given something; if not, it waits no more."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            return bool(waiter.given)


class AnyLoopLock:
    """A lock for the greenlets of any loop."""

    def __init__(self) -> None:
        self._token = AnyLoopQueue()
        self._token.put(True)

    def __enter__(self) -> None:
        self._token.get()

    def __exit__(self, *error: object) -> None:
        self._token.put(True)


class AnyLoopQueuePool(AsyncAdaptedQueuePool):
    """AsyncAdaptedQueuePool, for every event loop of the process, which gives out no
    connection that is known to be closed: the event loop sees the end of an idle one
    when it comes, so that this takes no ping. In a forked child all are."""

    _queue_class = AnyLoopQueue

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._first_run = AnyLoopLock()
        queue: Any = self._pool
        queue.take_slot = self._inc_overflow
        queue.free_slot = super()._dec_overflow

    def _dec_overflow(self) -> Any:
        """A slot that was to get a connection, and did not, goes to the longest
        waiter: SQLAlchemy's would go on waiting for a connection to be returned."""
        self._pool.put_nowait(SLOT)
        return True

    def _do_get(self) -> Any:
        queue: Any = self._pool
        record = queue.take()
        if record is None:
            record = super()._do_get()
        if record is SLOT:
            try:
                return self._create_connection()
            except BaseException:
                self._dec_overflow()
                raise
        connection: Any = record.dbapi_connection
        if connection is not None:
            try:
                if connection.has_ended() is True:  # not of a mock
                    record.invalidate()
            except BaseException:  # of a listener, or cancelled
                self._do_return_conn(record)
                raise
        return record

    def _do_return_conn(self, record: Any) -> None:
        connection: Any = record.dbapi_connection
        if connection is not None:
            try:
                connection.stop_listening()
            except BaseException:  # cancelled
                connection._connection.terminate()
                super()._do_return_conn(record)
                raise
        super()._do_return_conn(record)

    def dispose(self) -> None:
        """What is still in use is closed when it is returned, and not left to the
        garbage collector."""
        itself: Any = self  # returning one costs nothing more before
        itself._do_return_conn = self._return_to_disposed
        super().dispose()

    def _return_to_disposed(self, record: Any) -> None:
        super()._do_return_conn(record)
        super().dispose()

    def _create_connection(self) -> Any:
        """SQLAlchemy lets one greenlet at a time run the listeners of a new connection,
        until that has worked once: by an asyncio.Lock, which belongs to one loop."""
        for event in (self.dispatch.connect, self.dispatch.first_connect):
            if event:
                listeners: Any = event.for_modify(self.dispatch)
                if not isinstance(listeners._exec_once_mutex, AnyLoopLock):
                    listeners._exec_once_mutex = self._first_run
        return super()._create_connection()
