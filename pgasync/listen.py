"""A listener that survives: a connection of its own, made anew when it is lost."""

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from random import uniform
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple

from . import conninfo, inbox
from .connect import open_connection
from .connection import Connection
from .errors import ConnectError, ConnectionLost, Error, InterfaceError, TLSError
from .inbox import QUEUE_SIZE, Inbox
from .notifications import Notification, Notifies, check_channels, deadline_of
from .timeouts import Expired, helper_task, signalled, until

log = logging.getLogger("pgasync")

POLICIES = ("gap", *inbox.POLICIES)
PING_INTERVAL = 30.0  # s
PING_TIMEOUT = 10.0  # s
BACKOFF = (0.1, 15.0)  # s
REFUSAL_TIMEOUT = 60.0  # s
# Invalid authorization, no such database, no permission: to ask again rarely helps.
_REFUSALS = ("28", "3D", "42")
_DOUBLINGS_MAX = 30


class Gap(NamedTuple):
    """Notifications may have been missed here: look for what they were about."""

    reason: str
    since: datetime.datetime
    """When the server was last heard of, or the queue was full: by this machine's
    clock, in UTC. What is missing was sent after that, or was on its way then."""
    attempts: int
    """How often it took to connect; 0 when the queue was full instead."""

    @property
    def is_gap(self) -> bool:
        """True: it is no Notification."""
        return True

    @property
    def payload(self) -> str:
        """Empty."""
        return ""


class GapInbox(Inbox):
    """An Inbox that also holds gaps, which are never dropped.

    A further policy, "gap": from when it is full until all that is there has been read
    nothing is taken in, and a Gap says so.
    """

    def __init__(self, size: int, overflow: str) -> None:
        super().__init__(size, overflow)
        self._missed = 0  # since it was full
        self._missed_since = _now()

    def put_gap(self, gap: Gap) -> None:
        """Also when it is full; one that was going to tell of that is a part of it."""
        if self.ended:
            return
        if self._missed:
            gap = gap._replace(since=min(gap.since, self._missed_since))
            self._missed = 0
        last = self._items[-1] if self._items else None
        if isinstance(last, Gap) and self._is_full():
            self._items[-1] = gap._replace(
                since=last.since, attempts=last.attempts + gap.attempts
            )
        else:
            self._add(gap)

    def take(self) -> Any:
        item = super().take()
        if self._missed and not self._items:
            reason = (
                f"{self._missed} notifications were dropped: the queue was full "
                f"({self.size})"
            )
            self._missed = 0
            self._add(Gap(reason, self._missed_since, 0))
        return item

    def _is_full(self) -> bool:
        return self._missed > 0 or super()._is_full()

    def _refuse(self, notification: Notification) -> None:
        if self.overflow == "gap" and not self.ended:
            if self._missed == 0:
                self._missed_since = _now()
            self._missed += 1
        super()._refuse(notification)

    def _oldest(self) -> int:
        """Behind a gap, which stands for what is dropped there, too."""
        return int(len(self._items) > 0 and self._items[0].is_gap)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class _Session:
    """What one connection brings. Until LISTEN has been answered it is held back: the
    gap comes first, and who looks then must miss nothing that is sent later."""

    def __init__(self, connection: Connection, items: GapInbox) -> None:
        self.connection = connection
        self.ended = False
        self.error: BaseException | None = None
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._held: list[Notification] | None = []
        self.begun = self.heard = monotonic()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def put(self, notification: Notification) -> None:
        self.heard = monotonic()
        if self._held is None:
            self._items.put(notification)
        elif len(self._held) < self._items.size:
            self._held.append(notification)
        else:  # of no honest server
            why = ConnectionLost("LISTEN was answered by a flood of notifications")
            self._loop.call_soon(self.connection._break, why)

    def end(self, error: BaseException | None) -> None:
        self.ended, self.error = True, error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._set_lost)

    def _set_lost(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def begin(self, gap: Gap | None) -> None:
        """LISTEN has been answered."""
        held, self._held = self._held or [], None
        self.heard = monotonic()
        if gap is not None:
            self._items.put_gap(gap)
        for notification in held:
            self._items.put(notification)

    def drop(self) -> None:
        """Closes the connection; nothing is waited for."""
        self.connection._break(ConnectionLost("the listener was closed"))


class Listener:
    """Notifications of some channels, whatever becomes of the connection.

    `connect` makes a connection that is the listener's own. For the rest, and how to
    use it, see pgasync.listen(), which gives one.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *channels: str,
        queue_size: int = QUEUE_SIZE,
        overflow: str = "gap",
        ping_interval: float | None = PING_INTERVAL,
        ping_timeout: float = PING_TIMEOUT,
        backoff: tuple[float, float] = BACKOFF,
        reconnect_timeout: float | None = None,
        refusal_timeout: float | None = REFUSAL_TIMEOUT,
    ) -> None:
        self._connect = connect
        self._channels = check_channels(channels)
        size = inbox.check_size(queue_size)
        self._inbox = GapInbox(size, inbox.check_policy(overflow, POLICIES))
        self._ping_interval = _limit("ping_interval", ping_interval)
        self._ping_timeout = _seconds("ping_timeout", ping_timeout)
        self._pauses = _checked_pauses(backoff)
        self._reconnect_timeout = _limit("reconnect_timeout", reconnect_timeout)
        self._refusal_timeout = _limit("refusal_timeout", refusal_timeout)
        self._entered = False
        self._short = 0  # sessions in a row that hardly lived
        self._session: _Session | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The names listened to."""
        return self._channels

    @property
    def connected(self) -> bool:
        """Whether it listens now, as far as is known."""
        return self._session is not None

    @property
    def dropped(self) -> int:
        """How many notifications there was no room for."""
        return self._inbox.dropped

    @property
    def waiting(self) -> int:
        """How many notifications and gaps are in the queue."""
        return len(self._inbox)

    async def __aenter__(self) -> "Listener":
        """Connects; raises what connect() raises, or the server to LISTEN."""
        if self._entered:
            raise InterfaceError("this listener was entered before: make another one")
        self._entered = True
        try:
            session = await self._open()
        except BaseException:
            self._inbox.end(None)
            raise
        session.begin(None)
        self._session = session
        loop = asyncio.get_running_loop()
        self._keeper = helper_task(loop, self._keep(session))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection, or stops connecting; readers get what is in the queue,
        then the end. May be called again, and from another task."""
        self._entered = True
        self._inbox.end(None)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._session is not None:  # of a keeper that had not begun
            self._session.drop()
            self._session = None

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> Notification | Gap:
        self._check_entered()
        item: Notification | Gap = await self._inbox.get(None)
        return item

    async def get(self, *, timeout: float | None = None) -> Notification | Gap:
        """The next notification or gap. Raises TimeoutError when none came within
        `timeout` seconds, InterfaceError after aclose(), and why the listener has given
        up (ConnectError, the class of a refusal, NotificationOverflow)."""
        self._check_entered()
        deadline = deadline_of(timeout)
        try:
            item: Notification | Gap = await self._inbox.get(deadline)
        except StopAsyncIteration:
            raise InterfaceError("the listener was closed") from None
        return item

    def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> Notifies:
        """An async iterator that ends after `timeout` seconds in all, or after
        `stop_after` items; the listening goes on."""
        self._check_entered()
        return Notifies(self._inbox, timeout, stop_after)

    def _check_entered(self) -> None:
        if not self._entered:
            raise InterfaceError("listen() begins with `async with`")

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._channels))
        state = "connected" if self.connected else "not connected"
        return f"<pgasync.Listener {names} {state} waiting={self.waiting}>"

    # ------------------------------------------------------------ the connection

    async def _keep(self, session: _Session) -> None:
        """The keeper's task: ends when the listener does, or has to give up."""
        try:
            while True:
                try:
                    await self._watch(session)
                finally:
                    self._session = None
                    session.drop()
                session = await self._reconnect(session)
                self._session = session
        except asyncio.CancelledError:
            self._inbox.end(None)
            raise
        except BaseException as error:
            self._inbox.end(error)
            if not isinstance(error, Exception):
                raise

    async def _watch(self, session: _Session) -> None:
        """Until the connection is lost. It is asked after `ping_interval` of silence
        whether it is still there."""
        while not session.ended:
            if self._ping_interval is None:
                await asyncio.wait({session.lost})
                continue
            left = session.heard + self._ping_interval - monotonic()
            if left > 0:
                await signalled(session.lost, left)
                continue
            connection = session.connection
            try:
                with self._limited(connection, "a ping"):
                    await connection._core.query("")
            except Error as error:
                connection._break(ConnectionLost(f"a ping failed: {error}"))
            else:
                session.heard = monotonic()

    @contextlib.contextmanager
    def _limited(self, connection: Connection, what: str) -> Iterator[None]:
        """Ends the connection when it takes too long."""
        timeout = self._ping_timeout
        late = ConnectionLost(f"the server did not answer {what} within {timeout:g} s")
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout, connection._break, late)
        try:
            yield
        finally:
            timer.cancel()

    async def _open(self) -> _Session:
        """A connection that listens."""
        connection = await self._connect()
        session = _Session(connection, self._inbox)
        try:
            with self._limited(connection, "LISTEN"):
                registry = connection._listening()
                await registry.listen(self._channels, session)
        except BaseException:
            session.drop()
            raise
        return session

    async def _reconnect(self, old: _Session) -> _Session:
        """The next session, which has told of the gap before it."""
        loop = asyncio.get_running_loop()
        since = _now() - datetime.timedelta(seconds=monotonic() - old.heard)
        reason = str(old.error or "the connection was closed")
        log.warning("listener: %s; connecting again", reason)
        await self._pause_between(old)
        attempt = _Attempts(self._reconnect_timeout, self._refusal_timeout, loop.time())
        while True:
            attempt.count += 1
            try:
                session = await until(attempt.deadline, self._open(), _Session.drop)
                break
            except (Error, OSError, Expired) as error:
                pause = _pause(self._pauses, attempt.count)
                attempt.failed(error, loop.time(), pause)
            await asyncio.sleep(pause)
        session.begin(Gap(reason, since, attempt.count))
        log.info("listener: listens again, after %d attempts", attempt.count)
        return session

    async def _pause_between(self, old: _Session) -> None:
        """Where sessions end as soon as they have begun, one after the other."""
        if monotonic() - old.begun > self._pauses[1]:
            self._short = 0
        elif self._short > 0:
            await asyncio.sleep(_pause(self._pauses, self._short))
        self._short += 1


class _Attempts:
    """To connect again: how many, and when to give up (times of the loop's clock)."""

    def __init__(
        self, limit: float | None, refusal_limit: float | None, begin: float
    ) -> None:
        self.count = 0
        self.deadline = None if limit is None else begin + limit
        self._limit = limit
        self._refusal_limit = refusal_limit
        self._refused: float | None = None  # since when
        self._said = ""

    def failed(self, error: Exception, now: float, pause: float) -> None:
        """Raises when there is no use, or no time, for another one after `pause`."""
        if isinstance(error, InterfaceError):
            raise error  # wrong use, which goes on being wrong
        next_one = now + pause
        refused = _is_refusal(error)
        if not refused:
            self._refused = None
        elif self._refused is None:
            self._refused = now
        if refused or str(error) != self._said:
            self._said = str(error)
            log.warning("listener: attempt %d: %s", self.count, error or "timed out")
        limit = self._refusal_limit
        if refused and limit is not None and next_one >= (self._refused or 0) + limit:
            raise error
        if self.deadline is not None and next_one >= self.deadline:
            raise ConnectError(
                f"no connection came about within {self._limit:g} s, in {self.count} "
                f"attempts: {self._said or error}"
            ) from error


def _is_refusal(error: Exception) -> bool:
    state = getattr(error, "sqlstate", None) or ""
    return isinstance(error, TLSError) or state[:2] in _REFUSALS


def _pause(pauses: tuple[float, float], count: int) -> float:
    """Twice as long each time, up to the longest; never at the same time as others."""
    first, longest = pauses
    doubled: float = first * 2 ** min(count - 1, _DOUBLINGS_MAX)
    return min(longest, doubled) * uniform(0.5, 1)


def _checked_pauses(backoff: tuple[float, float]) -> tuple[float, float]:
    first, longest = backoff
    if not 0 < first <= longest:
        raise InterfaceError(
            f"backoff={backoff!r} is not the first and the longest pause in seconds"
        )
    return first, longest


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not value > 0:
        raise InterfaceError(f"{name}={value!r} is not a positive number of seconds")
    return value


def _limit(name: str, value: float | None) -> float | None:
    return None if value is None else _seconds(name, value)


def listen(
    dsn: str | None = None,
    *channels: str,
    queue_size: int = QUEUE_SIZE,
    overflow: str = "gap",
    ping_interval: float | None = PING_INTERVAL,
    ping_timeout: float = PING_TIMEOUT,
    backoff: tuple[float, float] = BACKOFF,
    reconnect_timeout: float | None = None,
    refusal_timeout: float | None = REFUSAL_TIMEOUT,
    **keywords: Any,
) -> Listener:
    """Listens on a connection of its own, which is made anew when it is lost.

    `async with pgasync.listen(dsn, "jobs") as events: async for event in events`: an
    event is a Notification or a Gap, `event.is_gap`. After an interruption, of whatever
    kind, and listening again, there is one Gap: what was sent meanwhile is not known,
    what is sent from now on is not lost.

    `dsn` and `keywords` are those of connect(); of several hosts it is the primary,
    unless target_session_attrs says otherwise. Entering the block raises what
    connect() raises. Later a lost connection is made again at once, then after pauses
    that double from the first to the second number of `backoff` (s), for
    `reconnect_timeout` seconds (None: for ever); then ConnectError is raised. A server
    that refuses (wrong password, no such database, TLS) is asked for
    `refusal_timeout` seconds. Each new reason is in the log.

    After `ping_interval` seconds of silence (None: never) the server is asked whether
    it is there, and has `ping_timeout` seconds to answer. `queue_size` notifications
    wait to be read; when there are more, `overflow` says what happens: "gap" (they are
    dropped, and a Gap says so), or as in Connection.listen().
    """
    config = conninfo.parse(dsn, keywords)
    if len(config.hosts) > 1 and config.target_session_attrs == "any":
        config = replace(config, target_session_attrs="primary")
    return Listener(
        lambda: open_connection(config),
        *channels,
        queue_size=queue_size,
        overflow=overflow,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        backoff=backoff,
        reconnect_timeout=reconnect_timeout,
        refusal_timeout=refusal_timeout,
    )
