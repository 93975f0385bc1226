"""LISTEN and NOTIFY on one connection (PostgreSQL documentation, NOTIFY)."""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from . import inbox, pooler
from .errors import ConnectionLost, Error, InterfaceError
from .inbox import QUEUE_SIZE, Inbox
from .sql import quote_identifier
from .timeouts import helper_task

if TYPE_CHECKING:
    from .connection import Connection
    from .link import Link

log = logging.getLogger("pgasync")

CHANNEL_BYTES_MAX = 63  # NAMEDATALEN - 1


class Notification(NamedTuple):
    """A NOTIFY of some session."""

    channel: str
    payload: str
    pid: int
    """Of the server process that has sent it: `connection.info.backend_pid` when it
    was this session itself."""

    @property
    def is_gap(self) -> bool:
        """False; see pgasync.listen()."""
        return False


class Receiver(Protocol):
    """What is told of notifications: it must only store and schedule."""

    def put(self, notification: Notification, /) -> None: ...
    def end(self, error: BaseException | None, /) -> None:
        """The connection has ended; None: it was closed. From any thread."""


def check_channel(name: str) -> str:
    """InterfaceError unless it can be the name of a channel."""
    if not isinstance(name, str):
        raise InterfaceError(f"a channel's name is a str, not a {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InterfaceError(f"channel {name!r}: {error}") from error
    if size == 0 or "\0" in name:
        raise InterfaceError(f"channel {name!r}: a name is not empty and has no NUL")
    if size > CHANNEL_BYTES_MAX:
        raise InterfaceError(
            f"channel {name!r} has {size} bytes; a name has {CHANNEL_BYTES_MAX} at "
            "most, and PostgreSQL would cut the rest off"
        )
    return name


def check_channels(names: Iterable[str]) -> tuple[str, ...]:
    """Each of them once."""
    channels = tuple(dict.fromkeys(map(check_channel, names)))
    if not channels:
        raise InterfaceError("listen() needs the name of a channel at least")
    return channels


def commands(word: str, names: Iterable[str]) -> str:
    """LISTEN "a"; LISTEN "b" …"""
    return "; ".join(f"{word} {quote_identifier(name)}" for name in names)


class Channels:
    """Who listens to what on one connection."""

    def __init__(self, connection: "Connection") -> None:
        self.callbacks: dict[tuple[str, Any], Callback] = {}
        self._core = connection._core
        self._receivers: dict[str, dict[Receiver, None]] = {}
        # What the server sends although nobody listens any more: UNLISTEN was not
        # possible then. Such notifications are dropped.
        self._unwanted: set[str] = set()

    @property
    def idle(self) -> bool:
        """Whether the server has nothing to send."""
        return not self._receivers and not self._unwanted

    @property
    def names(self) -> list[str]:
        """The channels that somebody listens to."""
        return [*self._receivers]

    def deliver(self, pid: int, channel: str, payload: str) -> None:
        """To all who listen; runs no code of others."""
        receivers = self._receivers.get(channel)
        if receivers is not None:
            # What the class's own __new__ does, in half of the time.
            notification = tuple.__new__(Notification, (channel, payload, pid))
            for receiver in receivers:
                receiver.put(notification)

    def end(self, error: BaseException | None) -> None:
        """The connection has ended: by close(), when `error` is not a loss."""
        if not isinstance(error, ConnectionLost):
            error = None
        channels, self._receivers = self._receivers, {}
        self._unwanted.clear()
        self.callbacks.clear()
        for receiver in {r: None for of in channels.values() for r in of}:
            receiver.end(error)

    def leave(self, core: Any) -> None:
        """The connection goes back to its pool, which has the server send nothing any
        more; `core` takes the place of its own."""
        if self.names:
            log.warning(
                "a connection was given back while it listened to %s; it does not any "
                "more: keep it, or use pool.listen()",
                ", ".join(map(repr, self.names)),
            )
        self._core = core
        self.end(None)

    async def listen(self, names: Iterable[str], receiver: Receiver) -> None:
        """Adds a receiver, whom nothing escapes that is sent after this returns.
        InterfaceError in a transaction: LISTEN would take effect with its end."""
        names = [*names]
        self._check_no_transaction(names)
        for name in names:
            self._receivers.setdefault(name, {})[receiver] = None
        try:
            await self._core.query(commands("LISTEN", names))
            await self._unlisten_unwanted()
            pooler.warn_listener(self._core)
        except BaseException:
            self._unwanted.update(self._forget(names, receiver))
            raise

    async def unlisten(self, names: Iterable[str], receiver: Receiver) -> None:
        """Removes a receiver; UNLISTEN of what nobody else listens to. Inside a
        transaction, and where that fails, it is sent some other time."""
        self._unwanted.update(self._forget(names, receiver))
        await self._unlisten_unwanted()

    async def reset(self) -> None:
        """Ends every receiver, and UNLISTEN of everything."""
        for name, function in [*self.callbacks]:
            self.drop(name, function)
        for name in self._receivers:
            self._unwanted.add(name)
        receivers, self._receivers = self._receivers, {}
        for receiver in {r: None for of in receivers.values() for r in of}:
            receiver.end(None)
        await self._unlisten_unwanted()

    def _check_no_transaction(self, names: list[str]) -> None:
        if self._in_transaction():
            raise InterfaceError(
                f"cannot listen to {', '.join(map(repr, names))} inside a transaction, "
                "where LISTEN takes effect when it is committed and not at all when it "
                "is rolled back: end it first, or listen on another connection"
            )

    def _in_transaction(self) -> bool:
        """Also inside a block that has sent nothing yet. What is asked for outside of
        another task's block is sent behind it."""
        core = self._core
        return core.in_transaction if core.block is None else core.admits()

    def _forget(self, names: Iterable[str], receiver: Receiver) -> list[str]:
        """The channels that nobody listens to any more."""
        left = []
        for name in names:
            receivers = self._receivers.get(name)
            if receivers is not None and receiver in receivers:
                del receivers[receiver]
                if not receivers:
                    del self._receivers[name]
                    left.append(name)
        return left

    def drop(self, name: str, function: Any) -> "Callback | None":
        """Takes a callback out, which is not called any more."""
        receiver = self.callbacks.pop((name, function), None)
        if receiver is not None:
            receiver.active = False
        return receiver

    async def _unlisten_unwanted(self) -> None:
        names = [name for name in self._unwanted if name not in self._receivers]
        if not names:
            self._unwanted.clear()
            return
        if self._core.closed or self._in_transaction():
            return
        self._unwanted.clear()
        try:
            await self._core.query(commands("UNLISTEN", names))
        except BaseException as error:
            if not self._core.closed:
                self._unwanted.update(names)
            if not isinstance(error, Error):
                raise


class Notifications:
    """Made by Connection.listen(): `async with` it, then `async for` or get().

    Several tasks may read: each notification goes to one of them.
    """

    def __init__(
        self,
        connection: "Connection",
        channels: Iterable[str],
        queue_size: int,
        overflow: str,
    ) -> None:
        self._connection = connection
        self._channels = check_channels(channels)
        size = inbox.check_size(queue_size)
        self._inbox = Inbox(size, inbox.check_policy(overflow))
        self._entered = False

    @property
    def channels(self) -> tuple[str, ...]:
        """The names listened to."""
        return self._channels

    @property
    def dropped(self) -> int:
        """How many notifications there was no room for."""
        return self._inbox.dropped

    @property
    def waiting(self) -> int:
        """How many notifications are in the queue."""
        return len(self._inbox)

    async def __aenter__(self) -> "Notifications":
        if self._entered:
            raise InterfaceError("this listen() was entered before: make another one")
        self._entered = True
        registry = self._connection._listening()
        try:
            await registry.listen(self._channels, self._inbox)
        except BaseException:
            self._inbox.end(None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inbox.end(None)
        self._inbox.clear()
        if not self._connection.closed:
            registry = self._connection._listening()
            await registry.unlisten(self._channels, self._inbox)

    def __aiter__(self) -> "Notifications":
        return self

    async def __anext__(self) -> Notification:
        items = self._inbox
        if len(items):
            notification: Notification = items.take()
        else:
            self._check_entered()
            notification = await items.get(None)
        return notification

    async def get(self, *, timeout: float | None = None) -> Notification:
        """The next notification.

        Raises TimeoutError when none came within `timeout` seconds (0: none is there),
        ConnectionLost, NotificationOverflow, and InterfaceError when the connection or
        the block was closed; always after what had come before.
        """
        self._check_entered()
        deadline = deadline_of(timeout)
        try:
            notification: Notification = await self._inbox.get(deadline)
        except StopAsyncIteration:
            raise InterfaceError(
                "the listening has ended: its connection or its block was closed"
            ) from None
        return notification

    def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> "Notifies":
        """An async iterator that ends after `timeout` seconds in all, or after
        `stop_after` notifications; the listening goes on."""
        self._check_entered()
        return Notifies(self._inbox, timeout, stop_after)

    def _check_entered(self) -> None:
        if not self._entered:
            raise InterfaceError("listen() begins with `async with`")

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._channels))
        return f"<pgasync.Notifications {names} waiting={self.waiting}>"


def deadline_of(timeout: float | None) -> float | None:
    """As a time of the loop's clock."""
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


class Notifies:
    """Some of what comes; see Notifications.notifies()."""

    def __init__(
        self, items: Inbox, timeout: float | None, stop_after: int | None
    ) -> None:
        if stop_after is not None and stop_after < 0:
            raise InterfaceError(f"stop_after={stop_after!r} is negative")
        self._inbox = items
        self._timeout = timeout
        self._left = stop_after
        self._deadline: float | None = None

    def __aiter__(self) -> "Notifies":
        return self

    async def __anext__(self) -> Any:
        if self._left == 0:
            raise StopAsyncIteration
        if self._deadline is None:
            self._deadline = deadline_of(self._timeout)
        try:
            item = await self._inbox.get(self._deadline)
        except TimeoutError:
            raise StopAsyncIteration from None
        if self._left is not None:
            self._left -= 1
        return item


class Callback:
    """A listener of add_listener(): called in the loop's next turn."""

    def __init__(
        self, connection: "Connection", channel: str, function: Callable[..., object]
    ) -> None:
        self.function = function
        self.active = True
        self._connection = connection
        self._link: Link = connection._link
        self._context = contextvars.copy_context()

    def put(self, notification: Notification) -> None:
        self._link.loop.call_soon(self._call, notification, context=self._context)

    def _call(self, notification: Notification) -> None:
        if not self.active:
            return  # removed meanwhile
        try:
            self._called(notification)
        except Exception as error:
            self._report("raised", error)

    def _called(self, notification: Notification) -> Any:
        return self.function(
            self._connection,
            notification.pid,
            notification.channel,
            notification.payload,
        )

    def _report(self, what: str, error: Exception | None) -> None:
        """To the loop's exception handler."""
        context: dict[str, Any] = {
            "message": f"pgasync: the listener {self.function!r} {what}"
        }
        if error is not None:
            context["exception"] = error
        self._link.loop.call_exception_handler(context)

    def end(self, error: BaseException | None) -> None:
        pass  # there are termination listeners for that


class AsyncCallback(Callback):
    """The same for `async def`: one call after the other, in order."""

    def __init__(
        self, connection: "Connection", channel: str, function: Callable[..., object]
    ) -> None:
        super().__init__(connection, channel, function)
        self._inbox = Inbox(QUEUE_SIZE, "drop_newest")
        self._started = False
        self._task: asyncio.Task[None] | None = None

    def put(self, notification: Notification) -> None:
        dropped = self._inbox.dropped
        self._inbox.put(notification)
        if self._inbox.dropped == 1 and dropped == 0:
            self._link.loop.call_soon(self._report_full)
        if not self._started:
            self._started = True
            self._link.loop.call_soon(self._start, context=self._context)

    def _start(self) -> None:
        """A task of its own context, with what there is to do."""
        try:
            self._task = helper_task(self._link.loop, self._run())
        except BaseException:
            self._started = False
            raise

    async def _run(self) -> None:
        try:
            while len(self._inbox) and self.active:
                notification = self._inbox.take()
                try:
                    await self._called(notification)
                except Exception as error:
                    self._report("raised", error)
        finally:
            self._task = None
            self._started = False

    def _report_full(self) -> None:
        self._report(
            f"is too slow: {QUEUE_SIZE} notifications wait for it, and what comes now "
            "is dropped",
            None,
        )


def is_async(function: Callable[..., object]) -> bool:
    """Whether a call of it has to be awaited."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class Listening:
    """The methods of a Connection that are about notifications."""

    _channels: Channels | None = None

    def listen(
        self,
        *channels: str,
        queue_size: int = QUEUE_SIZE,
        overflow: str = "error",
    ) -> Notifications:
        """`async with connection.listen("jobs") as notifications: async for n in
        notifications: n.channel, n.payload, n.pid`.

        `channels`: names as they are, at most 63 bytes each; psql's `LISTEN Jobs`
        listens to "jobs". When `queue_size` notifications (or 16 million characters)
        wait, `overflow` says what happens: "error" (NotificationOverflow when the
        others have been read), "drop_oldest" or "drop_newest" (counted in `dropped`).

        LISTEN is sent on entry, UNLISTEN on exit when nobody else on this connection
        listens to the channel. InterfaceError in a transaction. A lost connection is
        ConnectionLost for who reads, after what had come; pgasync.listen() connects
        again instead. PostgreSQL documentation, LISTEN.
        """
        return Notifications(_whole(self), channels, queue_size, overflow)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Sends a notification: at once in autocommit, else with the transaction's
        commit. `payload`: at most 7999 bytes. PostgreSQL documentation, pg_notify."""
        check_channel(channel)
        connection = _whole(self)
        await connection.fetchval("select pg_notify($1, $2)", (channel, payload))

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        """Has `callback(connection, pid, channel, payload)` called for every
        notification of the channel, in the loop's next turn. One that is an `async
        def` is awaited, a call after the other. What it raises goes to the loop's
        exception handler. Adding it twice is adding it once. As in asyncpg."""
        if not callable(callback):
            raise InterfaceError(f"{callback!r} is not callable")
        registry = self._listening()
        name = check_channel(channel)
        if (name, callback) in registry.callbacks:
            return
        kind = AsyncCallback if is_async(callback) else Callback
        receiver = kind(_whole(self), name, callback)
        registry.callbacks[name, callback] = receiver
        try:
            await registry.listen((name,), receiver)
        except BaseException:
            registry.drop(name, callback)
            raise

    async def remove_listener(
        self, channel: str, callback: Callable[..., object]
    ) -> None:
        """Undoes add_listener(); nothing happens when it was not added. UNLISTEN when
        nobody else on this connection listens to the channel."""
        registry = self._channels
        if registry is None:
            return
        receiver = registry.drop(channel, callback)
        if receiver is not None:
            await registry.unlisten((channel,), receiver)

    async def reset_listeners(self) -> None:
        """Ends everything that listens on this connection, callbacks and blocks, and
        has the server send nothing any more."""
        if self._channels is not None:
            await self._channels.reset()

    def _listening(self) -> Channels:
        connection = _whole(self)
        if connection.closed:
            connection._raise_closed()
        if self._channels is None:
            self._channels = Channels(connection)
        return self._channels


def _whole(connection: Listening) -> "Connection":
    return cast("Connection", connection)
