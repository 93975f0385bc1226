"""Who owns which connection of a pool, who waits, what is due.

A state machine without I/O, tasks or a clock: times are given to it, what it wants done
is read from it (`doomed`, `to_open()`, `next_due()`), and whoever waits is told by a
call of its `wake()`. pool.py does what it says.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from . import _core
from .errors import InterfaceError, PoolClosed, TooManyWaiting

OPENING = "opening"
IDLE = "idle"
USED = "used"
CLEANING = "cleaning"  # given back, and not yet fit for the next one
GONE = "gone"

# s: the pauses between failed attempts to connect double from the first to the second
# number; while somebody waits none is longer than the third.
BACKOFF = (0.1, 15.0, 0.5)
_DOUBLINGS_MAX = 20
_BUCKETS = 20  # of waits: up to 1 ms, 2 ms, 4 ms …


class Member(_core.PoolMember):
    """One connection of the pool, in exactly one state."""

    __slots__ = ()

    def __init__(self, now: float, generation: int) -> None:
        self.state = OPENING
        self.born = now
        self.since = now  # it was taken, or given back
        self.idled = now  # it was last given back, or opened
        self.generation = generation
        self.expires = inf
        self.uses = 0
        self.learned = 0  # how many of the pool's changes of types it knows
        self.resource = None
        self.holder = None  # the task
        self.where = None  # it was acquired
        self.reason = ""  # why it is gone

    def __repr__(self) -> str:
        return f"<Member {self.state} {self.resource!r}>"


class Waiter:
    """Somebody who waits for a connection: gets `member` or `error`, then wake()."""

    __slots__ = ("error", "member", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.member: Member | None = None
        self.error: BaseException | None = None

    def wake(self) -> None:
        """Called once, when either is there. Must only store and schedule."""


class PoolState(_core.PoolCounts):
    """See the module. Times are seconds of any one clock that only grows."""

    def __init__(
        self,
        min_size: int = 1,
        max_size: int = 10,
        *,
        max_waiting: int = 0,
        max_idle: float = 600.0,
        max_lifetime: float = 3600.0,
        max_uses: int = 0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.min_size, self.max_size = check_sizes(min_size, max_size)
        self.max_waiting = max_waiting
        self.max_idle = max_idle
        self.max_lifetime = max_lifetime
        self.max_uses = max_uses
        self._chance = chance
        self.members: set[Member] = set()
        self.idle = []  # the last one was used last
        self.waiters = deque()
        self.doomed: list[Member] = []  # to be closed by whoever reads this
        self.closing = False
        self.surplus = 0  # used ones that are one too many
        self.generation = 0
        self.opening = 0
        self.failures = 0  # of opening, in a row
        self.hopeless = False  # the last one was permanent
        self.last_error: BaseException | None = None
        self._failed_at = -inf
        self._pause = self._jitter = 0.0
        # Counted since the beginning:
        self.acquired = self.released = 0
        self.waited = 0
        self.wait_seconds = 0.0
        self.waits = [0] * (_BUCKETS + 1)
        self.timeouts = self.cancelled = self.rejected = self.refused = 0
        self.opened = self.errors = 0
        self.closed: Counter[str] = Counter()

    # ---------------------------------------------------------------- acquiring

    def take(self, now: float, within: float = inf) -> Member | None:
        """An idle connection, the one that was used last; None when there is none, or
        none that was used `within` so many seconds."""
        idle = self.idle
        while idle and now - idle[-1].idled < within:
            member: Member = idle.pop()
            if now < member.expires:
                member.state = USED
                member.since = now
                member.uses += 1
                return member
            self._remove(member, "lifetime")
        return None

    def wait(self, waiter: Waiter, *, first: bool = False) -> None:
        """Puts somebody at the end of the queue; `first`: who was served before, but
        with a connection that turned out to be broken. PoolClosed, TooManyWaiting."""
        if self.closing:
            raise PoolClosed("the pool is closed")
        if first:
            self.waiters.appendleft(waiter)
            return
        if self.max_waiting:
            served = self.opening
            if not self.failures:
                served += self.max_size - len(self.members)
            if len(self.waiters) - served >= self.max_waiting:
                self.rejected += 1
                raise TooManyWaiting(
                    f"{len(self.waiters)} wait for a connection already "
                    f"(max_waiting={self.max_waiting})"
                )
        self.waiters.append(waiter)

    def leave(self, waiter: Waiter) -> bool:
        """Takes somebody out of the queue, who has got nothing then. False: was served
        before, and has to hand on what it has got."""
        if waiter.member is not None or waiter.error is not None:
            return False
        self.waiters.remove(waiter)
        return True

    # ------------------------------------------------------------------ opening

    def to_open(self, now: float) -> list[Member]:
        """New members whose connections are to be opened now."""
        if self.closing or now < self.retry_at():
            return []
        count = min(
            self.max_size - len(self.members),
            max(
                self.min_size - len(self.members),
                len(self.waiters) - self.opening,
            ),
        )
        if self.failures:
            count = min(count, 1 - self.opening)  # see first whether it works again
        made = [Member(now, self.generation) for _ in range(count)]
        self.members.update(made)
        self.opening += len(made)
        return made

    def wants_more(self) -> bool:
        """Whether a connection would be opened if it were time."""
        size = len(self.members)
        return not self.closing and (
            size < self.min_size
            or (len(self.waiters) > self.opening and size < self.max_size)
        )

    def retry_at(self) -> float:
        """When it is time again to open one after a failure."""
        if not self.failures:
            return -inf
        limit = BACKOFF[2] if self.waiters else BACKOFF[1]
        return self._failed_at + min(self._pause, limit) * self._jitter

    def began(self, member: Member, resource: Any, now: float) -> None:
        """It is open: goes to who waits longest."""
        self.opening -= 1
        self.opened += 1
        self.failures = 0
        self.hopeless = False
        self.last_error = None
        member.resource = resource
        member.born = now
        if self.max_lifetime:
            member.expires = now + self.max_lifetime * (0.9 + 0.2 * self._chance())
        if self.closing or self.surplus or member.generation != self.generation:
            reason = self._why(member)
            self.surplus = max(self.surplus - 1, 0)
            self._remove(member, reason)
        else:
            self._hand_on(member, now)

    def failed(
        self,
        member: Member,
        error: BaseException | None,
        now: float,
        *,
        permanent: bool = False,
    ) -> None:
        """It could not be opened; `error` None: the attempt was given up. `permanent`:
        the next one would fail, too; where nobody can give a connection back, all who
        wait are refused."""
        self.opening -= 1
        self.members.discard(member)
        member.state = GONE
        if self.surplus:
            self.surplus -= 1
        if error is None:
            return
        self.errors += 1
        self.failures += 1
        self.last_error = error
        self._failed_at = now
        doubled = BACKOFF[0] * 2 ** min(self.failures - 1, _DOUBLINGS_MAX)
        self._pause, self._jitter = doubled, 0.5 + 0.5 * self._chance()
        self.hopeless = permanent
        if permanent and len(self.members) == self.opening:
            self.refuse_all(error)

    def refuse_all(self, error: BaseException) -> None:
        """Whoever waits gets the error."""
        waiters, self.waiters = self.waiters, deque()
        for waiter in waiters:
            self.refused += 1
            waiter.error = error
            waiter.wake()

    # ---------------------------------------------------------------- releasing

    def back(self, member: Member, now: float) -> None:
        """A connection, used or cleaned, is fit for the next one."""
        if (
            now < member.expires
            and member.uses != self.max_uses
            and not self.surplus
            and not self.closing
        ):
            self._hand_on(member, now)
        else:
            self._remove(member, self._why(member))

    def clean(self, member: Member) -> None:
        """A connection was given back, but has to be tidied up before it is used."""
        member.state = CLEANING
        member.holder = member.where = None

    def lost(self, member: Member, reason: str) -> None:
        """A connection in whatever state but opening is not to be used any more."""
        if member.state == IDLE:
            self.idle.remove(member)
        if member.state != GONE:
            self._remove(member, reason)

    def _why(self, member: Member) -> str:
        if self.closing:
            return "closed"
        if member.generation != self.generation:
            return "drained"
        if self.surplus:
            return "resized"
        return "uses" if member.uses == self.max_uses > 0 else "lifetime"

    def _hand_on(self, member: Member, now: float) -> None:
        member.since = member.idled = now
        if self.waiters:
            waiter = self.waiters.popleft()
            member.state = USED
            member.uses += 1
            waiter.member = member
            self._count_wait(now - waiter.since)
            waiter.wake()
        else:
            member.state = IDLE
            member.holder = member.where = None
            self.idle.append(member)

    def _count_wait(self, seconds: float) -> None:
        self.waited += 1
        self.wait_seconds += seconds
        milliseconds = max(int(seconds * 1000), 0)
        self.waits[min(milliseconds.bit_length(), _BUCKETS)] += 1

    def _remove(self, member: Member, reason: str) -> None:
        if self.surplus and member.state in (USED, CLEANING):
            self.surplus -= 1
        self.members.remove(member)
        member.state = GONE
        member.reason = reason
        member.holder = member.where = None
        self.closed[reason] += 1
        self.doomed.append(member)

    # ---------------------------------------------------------------- what is due

    def next_due(self, now: float) -> float:
        """When tend() has something to do again, at the latest."""
        due = now + self.max_idle if self.max_idle else inf
        for member in self.idle:
            due = min(due, member.expires)
        if self.max_idle:
            for member in self.idle[: self._above_floor()]:
                due = min(due, member.idled + self.max_idle)
        if self.failures and not self.opening and self.wants_more():
            due = min(due, self.retry_at())
        return due

    def tend(self, now: float) -> None:
        """Closes idle connections that are too old, or idle for too long and more than
        the floor."""
        for member in [m for m in self.idle if m.expires <= now]:
            self.idle.remove(member)
            self._remove(member, "lifetime")
        if self.max_idle:
            above = self._above_floor()
            while above > 0 and self.idle and self._is_stale(self.idle[0], now):
                self._remove(self.idle.pop(0), "idle")
                above -= 1

    def _is_stale(self, member: Member, now: float) -> bool:
        return member.idled + self.max_idle <= now

    def _above_floor(self) -> int:
        return max(len(self.members) - self.min_size, 0)

    # ----------------------------------------------------------------- the whole

    def resize(self, min_size: int, max_size: int) -> None:
        """Idle ones that are too many go now, used ones when they come back."""
        self.min_size, self.max_size = check_sizes(min_size, max_size)
        self.surplus = 0
        while self.idle and len(self.members) > max_size:
            self._remove(self.idle.pop(0), "resized")
        self.surplus = max(len(self.members) - max_size, 0)

    def drain(self) -> None:
        """Every connection that is there now is replaced: idle ones at once, used ones
        when they come back."""
        self.generation += 1
        for member in self.members:
            member.expires = -inf
        while self.idle:
            self._remove(self.idle.pop(0), "drained")

    def close(self) -> None:
        """Nobody gets a connection any more; idle ones go now, used ones when they
        come back."""
        self.closing = True
        self.refuse_all(PoolClosed("the pool is closed"))
        while self.idle:
            self._remove(self.idle.pop(), "closed")

    def terminate(self) -> None:
        """close(), and used ones go now, too."""
        self.close()
        for member in [m for m in self.members if m.state != OPENING]:
            self._remove(member, "terminated")

    # ------------------------------------------------------------------- counts

    def size(self) -> int:
        """The connections that are open."""
        return len(self.members) - self.opening

    def holders(self) -> Iterator[Member]:
        """Those in use, the longest first."""
        used = [member for member in self.members if member.state == USED]
        yield from sorted(used, key=lambda member: member.since)


def check_sizes(min_size: int, max_size: int) -> tuple[int, int]:
    """InterfaceError unless 0 <= min_size <= max_size and max_size > 0."""
    for name, value in (("min_size", min_size), ("max_size", max_size)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InterfaceError(f"{name}={value!r} is not a number of connections")
    if not 0 <= min_size <= max_size or max_size == 0:
        raise InterfaceError(
            f"min_size={min_size}, max_size={max_size}: min_size is not negative, "
            "max_size not smaller and 1 at least"
        )
    return min_size, max_size


def check_limit(name: str, value: Any, kinds: Any = (int, float)) -> Any:
    """InterfaceError unless it is a number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
        raise InterfaceError(f"{name}={value!r} is not a number from 0 up")
    return value
