"""The I/O of a pool: opens, examines, tidies up and closes connections, as its state
(poolstate.py) says."""

import asyncio
import contextlib
import logging
import os
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

from . import _core, reset
from .connect import open_connection
from .conninfo import Config
from .errors import (
    ConnectError,
    ConnectionLost,
    Error,
    InterfaceError,
    OperationalError,
    PoolTimeout,
    TLSError,
)
from .poolhandle import RETURNED, PoolConnection, Where, finish, place
from .poolstate import GONE, IDLE, OPENING, Member, PoolState, Waiter
from .timeouts import helper_task, signalled, until

log = logging.getLogger("pgasync.pool")

Hook = Callable[[PoolConnection], Awaitable[object]]

LOOK_AFTER = 0.05  # s: after so much idleness the socket is looked at once more
PING_LIMIT = 5.0  # s
CLOCK_GRAIN = 0.002  # s: a timer may come so much early
BROKEN_MAX = 3  # connections in a row that were just opened, for one acquire
NEVER = 10.0 * 365 * 86400  # s
_TRANSIENT = ("57P01", "57P02", "57P03")


class QueuedTask(Waiter):
    """A task that waits for a connection."""

    __slots__ = ("deadline", "future", "limit")

    deadline: float
    limit: float  # s, the timeout that it was made of

    def __init__(self, now: float, future: "asyncio.Future[None]") -> None:
        super().__init__(now)
        self.future = future

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Keeper(_core.PoolBase):
    """What a Pool does behind its public methods."""

    def __init__(
        self,
        config: Config,
        state: PoolState,
        timeout: float | None,
        check_after: float | None,
        hooks: dict[str, Hook],
    ) -> None:
        self._config = replace(config, autocommit=True)
        self._autocommit = config.autocommit
        self._statement_timeout = config.command_timeout
        self._row_factory = config.row_factory
        self._handle_type = PoolConnection
        self._returned = RETURNED
        self._timeout = inf if timeout is None else timeout
        self._check_after = inf if check_after is None else check_after
        self._hooks = hooks
        self._hooked = "setup" in hooks or "check" in hooks
        self._resets = "reset" in hooks
        self._state = state
        self._loop = None
        self._now = float
        self._openings: set[asyncio.Task[None]] = set()
        self._cleanings: set[asyncio.Task[None]] = set()
        self._changed: asyncio.Future[None] | None = None  # for open() and close()
        self._timer: asyncio.TimerHandle | None = None
        self._late_timer: asyncio.TimerHandle | None = None  # of those who wait
        self._next_late = inf

    def _enter(self) -> None:
        """The pool belongs to the loop that uses it first."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
            self._pid = os.getpid()
            self._now = running.time
            self._monotonic = _counts_monotonic(running)
            self._settle()
        elif self._pid != os.getpid():
            raise InterfaceError(
                "the pool was opened before a fork and belongs to the parent process: "
                "make one in the child"
            )
        elif self._loop is not running:
            state = " (closed)" if self._loop.is_closed() else ""
            raise InterfaceError(
                f"the pool belongs to the event loop {self._loop!r}{state} and cannot "
                f"be used from {running!r}: make a pool for each loop"
            )

    # -------------------------------------------------------------- what is due

    def _settle(self) -> None:
        """Does what the state wants done. After every change of it but those that only
        hand a connection on."""
        state, loop = self._state, self._loop
        if loop is None:
            return
        while state.doomed:
            member = state.doomed.pop()
            log.info(
                "a connection was closed: %s; %d left", member.reason, state.size()
            )
            close_core(member.resource)
        for member in state.to_open(self._now()):
            try:
                task = self._spawn(self._openings, self._open(member))
                task.add_done_callback(partial(self._opened, member))
            except Exception as error:  # no memory for a task
                state.failed(member, error, self._now())
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._arm()

    def _arm(self) -> None:
        """Sets the timer for what is due next."""
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._state.next_due(self._now())
        if due != inf and not self._state.closing:
            due = min(due, self._now() + NEVER)
            self._timer = self._loop.call_at(due, _tick, weakref.ref(self))

    def _tick(self) -> None:
        self._state.tend(self._now())
        self._settle()

    def _spawn(
        self, tasks: "set[asyncio.Task[None]]", work: Coroutine[Any, Any, None]
    ) -> "asyncio.Task[None]":
        assert self._loop is not None
        try:
            task = helper_task(self._loop, work)
        except BaseException:
            work.close()
            raise
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _change(self, deadline: float) -> bool:
        """Waits for the next change of the pool's size; False when it is too late."""
        assert self._loop is not None
        if self._changed is None or self._changed.done():
            self._changed = self._loop.create_future()
        return await signalled(self._changed, min(deadline - self._now(), NEVER))

    # ------------------------------------------------------------------ opening

    async def _open(self, member: Member) -> None:
        """Opens a member's connection, in a task of its own."""
        state = self._state
        try:
            core = await self._connect(member)
        except Exception as error:
            permanent = not self._is_transient(error)
            state.failed(member, error, self._now(), permanent=permanent)
            log.warning("no connection was opened: %s", error or type(error).__name__)
        except BaseException:
            state.failed(member, None, self._now())
            self._settle()
            raise
        else:
            state.began(member, core, self._now())
            log.info("a connection was opened; %d now", state.size())
        self._settle()

    def _opened(self, member: Member, task: "asyncio.Task[None]") -> None:
        """One that is cancelled before its first step has done nothing at all."""
        if member.state == OPENING:
            self._state.failed(member, None, self._now())
            self._settle()

    async def _connect(self, member: Member) -> _core.Connection:
        connection = await open_connection(self._config)
        core = member.resource = connection._core
        connection._core = RETURNED
        loop = asyncio.get_running_loop()
        connection._link.on_end = partial(_ended, weakref.ref(self), loop, member)
        try:
            await self._initialize(member)
        except BaseException:
            close_core(core)
            raise
        return core

    async def _initialize(self, member: Member) -> None:
        """From then on the session is what each of its users finds."""
        core = member.resource
        settings_log: reset.SettingsLog = []
        if "init" in self._hooks:
            core.watch_settings(settings_log)
            handle = PoolConnection(self, member)
            try:
                await self._call("init", handle, inf)
            finally:
                handle._let_go()
            core.watch_settings(None)
        limit = self._now() + min(self._timeout, NEVER)
        await until(limit, reset.remember(core, settings_log))

    def _is_transient(self, error: Exception) -> bool:
        """Whether another attempt may well succeed: nobody is there, it starts or
        stops, it is full, or it is not of the kind that is wanted."""
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate is not None:
            return sqlstate[:2] in ("08", "53") or sqlstate in _TRANSIENT
        if isinstance(error, ConnectError) and not isinstance(error, TLSError):
            if error.failures:
                return any(map(self._is_transient, error.failures))
            if isinstance(error.__cause__, (OSError, EOFError, ConnectionLost)):
                return True
            return self._config.target_session_attrs != "any"
        return isinstance(error, (OSError, ConnectionLost))

    async def _call(self, name: str, handle: PoolConnection, deadline: float) -> Any:
        """Runs a hook, in autocommit. InterfaceError when it leaves something open."""
        result = await until(
            min(deadline, self._now() + min(self._timeout, NEVER)),
            _run(self._hooks[name], handle),
        )
        if not handle._core.at_rest and not handle.closed:
            raise InterfaceError(
                f"{name}= left a transaction open or a statement running on the "
                "connection: what it begins it has to end"
            )
        return result

    # ---------------------------------------------------------------- acquiring

    async def _lease(self, acquiring: _core.Acquiring) -> PoolConnection:
        """What acquire() is awaited for, where it cannot be had at once."""
        handle = await self._acquire(acquiring.timeout, acquiring.where)
        if acquiring.committing:
            handle._core.autocommit = True
        return handle

    async def _enter_lease(self, acquiring: _core.Acquiring) -> PoolConnection:
        """The same for `async with`."""
        acquiring.handle = handle = await self._lease(acquiring)
        return handle

    def _finish(
        self, handle: PoolConnection, error: BaseException | None
    ) -> Coroutine[Any, Any, None]:
        """The end of an `async with`, where something is in the way."""
        return finish(handle, error)

    async def _acquire(self, timeout: float | None, where: Where) -> PoolConnection:
        member, handle = self._grab(), None
        if member is None:
            member, handle = await self._obtain(timeout, where)
        if handle is None:
            handle = PoolConnection(self, member)
        member.holder = asyncio.current_task()
        member.where = where
        handle._core.lend(self._autocommit)
        return handle

    async def _exchange(self, handle: PoolConnection, lost: Member) -> bool:
        """Another connection for a handle whose own has ended, as acquire() gives it.
        Without one the handle is closed. False: its holder is done with it."""
        holder, where = lost.holder, lost.where
        handle._member, handle._left, handle._moving = None, True, True
        try:
            self._put(lost)
            member, spare = await self._obtain(None, where)
        finally:
            wanted, handle._moving = handle._moving, False
        if spare is not None:
            spare._let_go()
        if not wanted:
            self._put(member)
            return False
        member.holder, member.where = holder, where
        handle._left = False
        handle._take(member)
        log.info("the first statement since acquire() goes to another connection")
        return True

    def _grab(self) -> Member | None:
        """A connection that is there and needs no second look."""
        member: Member | None = self._take()
        if member is not None:
            return member
        if self._loop is not asyncio.get_running_loop():
            self._enter()
        if self._hooked:
            return None
        state = self._state
        member = state.take(self._now(), LOOK_AFTER)
        if member is None:
            return None
        if member.resource.closed:
            state.lost(member, "lost")
            return None
        state.acquired += 1
        return member

    async def _obtain(
        self, timeout: float | None, where: Where
    ) -> tuple[Member, PoolConnection | None]:
        """A connection that is fit for use, and the handle that its hooks have had."""
        state = self._state
        limit = self._timeout if timeout is None else timeout
        deadline = self._now() + limit
        again, broken = False, 0
        while True:
            member = state.take(self._now())
            if state.doomed:
                self._settle()
            if member is None:
                member = await self._wait(deadline, limit, again)
                if not self._hooked and not member.resource.closed:
                    state.acquired += 1
                    return member, None
            is_new = member.uses == 1
            handle = PoolConnection(self, member) if self._hooked else None
            error = self._look(member)
            if error is None:
                error = await self._examine(member, handle, deadline)
            if error is None:
                state.acquired += 1
                return member, handle
            again = True
            broken += is_new
            if broken >= BROKEN_MAX:
                raise OperationalError(
                    f"{broken} connections in a row were unfit as soon as they were "
                    f"opened: {error}"
                ) from error

    def _look(self, member: Member) -> Exception | None:
        """Whether the other side has closed it, as far as this side can tell."""
        core = member.resource
        if not core.closed and member.since - member.idled > LOOK_AFTER:
            core._on_readable()  # what has come since the loop last looked
        if not core.closed:
            return None
        self._state.lost(member, "lost")
        self._settle()
        return core.lost_error or ConnectionLost("the connection was closed")

    async def _examine(
        self, member: Member, handle: PoolConnection | None, deadline: float
    ) -> Exception | None:
        """What is wrong with the connection, which is closed then. Raises what setup()
        raises."""
        reason = "lost"
        try:
            if member.since - member.idled > self._check_after:
                await self._ping(member)
            if handle is not None and "check" in self._hooks:
                reason = "hook"
                if await self._call("check", handle, deadline) is False:
                    raise OperationalError("check= said False")
            if handle is not None and "setup" in self._hooks:
                reason = "setup"
                await self._call("setup", handle, deadline)
        except Exception as error:
            lost = member.resource.closed
            self._drop(member, handle, "lost" if lost else reason)
            if reason == "setup" and not lost:
                raise
            return error
        except BaseException:  # cancelled
            self._drop(member, handle, "broken")
            raise
        return None

    def _drop(self, member: Member, handle: PoolConnection | None, reason: str) -> None:
        if handle is not None:
            handle._let_go()
        self._state.lost(member, reason)
        self._settle()

    async def _ping(self, member: Member) -> None:
        core = member.resource
        late = ConnectionLost(f"a ping had no answer within {PING_LIMIT:g} s")
        timer = core.loop.call_later(PING_LIMIT, core.terminate, late)
        try:
            await core.query("")
        finally:
            timer.cancel()

    async def _wait(self, deadline: float, limit: float, again: bool) -> Member:
        """In the queue, until there is a connection."""
        loop, state, now = self._loop, self._state, self._now()
        assert loop is not None
        waiter = QueuedTask(now, loop.create_future())
        waiter.deadline, waiter.limit = deadline, limit
        state.wait(waiter, first=again)
        try:
            if len(state.members) < state.max_size and state.wants_more():
                self._settle()
            if deadline < self._next_late:
                self._watch(deadline)
            await waiter.future
        except BaseException:
            state.cancelled += 1
            if not state.leave(waiter) and waiter.member is not None:
                self._put_back(waiter.member)  # it was handed over at the same time
            raise
        if waiter.error is not None:
            raise _again(waiter.error)
        assert waiter.member is not None
        return waiter.member

    def _watch(self, deadline: float) -> None:
        """One timer for all who wait: they are mostly served long before, and a timer
        each would cost more than that."""
        assert self._loop is not None
        if self._late_timer is not None:
            self._late_timer.cancel()
        self._next_late = deadline
        self._late_timer = self._loop.call_at(deadline, _fire, weakref.ref(self))

    def _expire_late(self) -> None:
        self._next_late, self._late_timer = inf, None
        due = self._now() + CLOCK_GRAIN
        waiters = [w for w in self._state.waiters if isinstance(w, QueuedTask)]
        for waiter in waiters:
            if waiter.deadline <= due:
                self._expire(waiter)
        next_one = min((w.deadline for w in waiters if w.deadline > due), default=inf)
        if next_one < inf:
            self._watch(next_one)

    def _expire(self, waiter: QueuedTask) -> None:
        state = self._state
        if state.leave(waiter):
            state.timeouts += 1
            error = PoolTimeout(
                f"no connection came free within {waiter.limit:g} s: "
                f"{self._situation()}"
            )
            error.__cause__ = state.last_error
            waiter.error = error
            waiter.wake()

    def _situation(self) -> str:
        state = self._state
        holders = [*state.holders()]
        text = (
            f"{state.size()} of {state.max_size} open, {len(holders)} in use, "
            f"{len(state.waiters)} waiting"
        )
        if holders:
            text += f"; longest: {self._describe(holders[0])}"
        return text

    def _describe(self, member: Member) -> str:
        """Who holds a connection, since when, and where it was acquired."""
        name = "no task" if member.holder is None else member.holder.get_name()
        where = place(member.where)
        at = f", acquired at {where}" if where else ""
        return f"{name}, for {self._now() - member.since:.1f} s{at}"

    # ---------------------------------------------------------------- releasing

    def _put_back(self, member: Member) -> None:
        """A connection that nobody has used, or that is at rest."""
        state = self._state
        if member.resource.closed:
            state.lost(member, "lost")
        else:
            state.back(member, self._now())
        if state.doomed:
            self._settle()

    def _give_back(self, handle: PoolConnection) -> "asyncio.Task[None] | None":
        """Takes what a handle holds. A task when there is something to be done first,
        which goes on whatever becomes of the caller."""
        member = handle._member
        assert member is not None
        for stream in [*handle._link.streams]:
            stream._close()
        handle._let_go()
        return self._put(member)

    def _put(self, member: Member) -> "asyncio.Task[None] | None":
        """The same for a connection without a handle."""
        if self._give(member):
            return None
        state, core = self._state, member.resource
        state.released += 1
        if member.state == GONE:
            return None  # the pool was terminated
        if core.spotless and not self._resets:
            core.autocommit = True
            state.back(member, self._now())
        elif core.closed:
            state.lost(member, "lost")
        elif core.at_rest and not self._resets:
            core.autocommit = True
            reset.due(core)
            state.back(member, self._now())
        else:
            state.clean(member)
            return self._spawn(self._cleanings, self._clean(member))
        if state.doomed:
            self._settle()
        return None

    async def _clean(self, member: Member) -> None:
        """Stops what runs, rolls back, and has reset() called."""
        core, handle = member.resource, None
        try:
            if not core.at_rest:
                await self._quiesce(core)
            core.autocommit = True
            if self._resets:
                handle = PoolConnection(self, member)
                await self._call("reset", handle, inf)
            if core.tainted:
                reset.due(core)
        except BaseException as error:
            self._drop(member, handle, "lost" if core.closed else "broken")
            if not isinstance(error, Exception):
                raise
            log.warning("a connection could not be cleaned up: %s", error)
            return
        if handle is not None:
            handle._let_go()
        if member.state == GONE:
            return
        self._put_back(member)

    async def _quiesce(self, core: _core.Connection) -> None:
        """Nothing of the last user is left under way; within cancel_timeout."""
        gone = InterfaceError("the connection was given back to its pool meanwhile")
        limit = self._config.cancel_timeout
        late = ConnectionLost(f"what ran at the release did not end within {limit:g} s")
        core.end_block()
        core.starve(gone)
        core.abandon_all(gone)
        timer = core.loop.call_later(limit, core.terminate, late)
        try:
            if not core.in_transaction:
                await core.query("")  # what is given up may have begun one
            if core.in_transaction:
                await core.rollback()
        finally:
            timer.cancel()
        if not core.at_rest:
            raise InterfaceError("a pipeline or transaction was left open")

    def _forsaken(self, handle: PoolConnection, member: Member) -> None:
        """A handle was collected that was never given back. In any thread."""
        loop = self._loop
        handle._let_go()
        try:
            assert loop is not None
            loop.call_soon_threadsafe(self._put, member)
        except RuntimeError:  # the loop is closed
            member.resource.terminate()

    def _closed_by_holder(self, member: Member) -> None:
        """In any thread."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._put, member)

    def _lost(self, member: Member) -> None:
        """An idle connection has ended. Of one that is used its user takes notice."""
        if member.state == IDLE:
            self._state.lost(member, "lost")
            self._settle()


def _counts_monotonic(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether its clock is the one that the core reads."""
    is_plain = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
    return is_plain and sys.platform == "linux"


async def _run(hook: Hook, handle: PoolConnection) -> Any:
    return await hook(handle)


def _tick(keeper: "weakref.ref[Keeper]") -> None:
    if (found := keeper()) is not None:
        found._tick()


def _fire(keeper: "weakref.ref[Keeper]") -> None:
    if (found := keeper()) is not None:
        found._expire_late()


def _ended(
    keeper: "weakref.ref[Keeper]", loop: asyncio.AbstractEventLoop, member: Member
) -> None:
    """A core has ended, in any thread, maybe inside of its pump."""
    found = keeper()
    if found is not None and member.state == IDLE:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(found._lost, member)


def close_core(core: _core.Connection) -> None:
    """As Connection.terminate()."""
    busy = core.pending > 0
    core.terminate()
    link: Any = core.link
    link.ended(core)
    if busy:
        link.forsake(core)


def _again(error: BaseException) -> BaseException:
    """The same error, for one of those whom it concerns."""
    if not isinstance(error, Error):
        return error
    copied = type(error)(*error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
