"""The pool's decisions, in every order of events that hypothesis finds.

PGASYNC_STATE_EXAMPLES says how many runs there are.
"""

from __future__ import annotations

import os
from collections import deque
from math import inf
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pgasync.errors import PoolClosed, TooManyWaiting
from pgasync.poolstate import (
    BACKOFF,
    CLEANING,
    GONE,
    IDLE,
    OPENING,
    USED,
    Member,
    PoolState,
    Waiter,
)

EXAMPLES = int(os.environ.get("PGASYNC_STATE_EXAMPLES", "60"))
WHICH = st.integers(0, 1000)  # of several: the remainder says it
SECONDS = st.sampled_from([0.0, 0.001, 0.2, 1.5, 20.0, 70.0, 700.0, 5000.0])
SIZES = st.tuples(st.integers(0, 4), st.integers(1, 5)).map(
    lambda sizes: (min(sizes), max(sizes))
)
BROKEN = RuntimeError("no connection")


class Asker(Waiter):
    """Somebody in the queue; must be woken once, and in turn."""

    __slots__ = ("machine",)

    def __init__(self, machine: PoolMachine, now: float) -> None:
        super().__init__(now)
        self.machine = machine

    def wake(self) -> None:
        queue = self.machine.queue
        assert queue and queue[0] is self, "woken twice, or not in turn"
        queue.popleft()
        assert (self.member is None) != (self.error is None)
        if self.member is not None:
            self.machine.woken.append(self)


class PoolMachine(RuleBasedStateMachine):
    """Calls a PoolState as pool.py does. What it hands out is remembered here, too:
    `opening`, `held`, `cleaning`, and `woken`, those who were served and have not run
    since."""

    @initialize(
        sizes=SIZES,
        max_waiting=st.sampled_from([0, 0, 2]),
        max_idle=st.sampled_from([0.0, 60.0]),
        max_lifetime=st.sampled_from([0.0, 600.0]),
        max_uses=st.sampled_from([0, 0, 3]),
        chance=st.sampled_from([0.0, 0.5, 0.999]),
    )
    def begin(
        self,
        sizes: tuple[int, int],
        max_waiting: int,
        max_idle: float,
        max_lifetime: float,
        max_uses: int,
        chance: float,
    ) -> None:
        self.now = 1000.0
        self.state = PoolState(
            *sizes,
            max_waiting=max_waiting,
            max_idle=max_idle,
            max_lifetime=max_lifetime,
            max_uses=max_uses,
            chance=lambda: chance,
        )
        self.queue: deque[Asker] = deque()
        self.woken: list[Asker] = []
        self.opening: list[Member] = []
        self.held: list[Member] = []
        self.cleaning: list[Member] = []
        self.closed: list[Member] = []
        self.done()

    def done(self) -> None:
        """What pool.py does after everything: opens and closes as it is told."""
        self.opening += self.state.to_open(self.now)
        self.closed += self.state.doomed
        self.state.doomed.clear()

    # ------------------------------------------------------------- acquiring

    @rule()
    def acquire(self) -> None:
        self.take_or_wait(first=False)
        self.done()

    def take_or_wait(self, *, first: bool) -> None:
        member = None if self.state.closing else self.state.take(self.now)
        if member is not None:
            assert not self.queue, "somebody else waits for it"
            self.held.append(member)
        else:
            self.wait(first=first)

    def wait(self, *, first: bool) -> None:
        asker = Asker(self, self.now)
        waiting = len(self.queue)
        try:
            self.state.wait(asker, first=first)
        except TooManyWaiting:
            assert not first and waiting >= self.state.max_waiting > 0
        except PoolClosed:
            assert self.state.closing
        else:
            (self.queue.appendleft if first else self.queue.append)(asker)

    @precondition(lambda self: self.queue)
    @rule(which=WHICH)
    def give_up_waiting(self, which: int) -> None:
        """Cancelled, or timed out."""
        asker = self.queue[which % len(self.queue)]
        assert self.state.leave(asker)
        self.queue.remove(asker)
        self.done()

    @precondition(lambda self: self.woken)
    @rule(which=WHICH)
    def run(self, which: int) -> None:
        asker = self.woken.pop(which % len(self.woken))
        assert asker.member is not None
        self.held.append(asker.member)

    @precondition(lambda self: self.woken)
    @rule(which=WHICH)
    def give_up_when_served(self, which: int) -> None:
        asker = self.woken.pop(which % len(self.woken))
        assert not self.state.leave(asker)
        assert asker.member is not None
        self.give_back(asker.member)
        self.done()

    @precondition(lambda self: self.woken)
    @rule(which=WHICH)
    def served_with_a_broken_one(self, which: int) -> None:
        asker = self.woken.pop(which % len(self.woken))
        assert asker.member is not None
        self.state.lost(asker.member, "lost")
        self.take_or_wait(first=True)
        self.done()

    # --------------------------------------------------------------- opening

    @precondition(lambda self: self.opening)
    @rule(which=WHICH)
    def opened(self, which: int) -> None:
        member = self.opening.pop(which % len(self.opening))
        self.state.began(member, object(), self.now)
        self.done()

    @precondition(lambda self: self.opening)
    @rule(which=WHICH, permanent=st.booleans())
    def open_failed(self, which: int, permanent: bool) -> None:
        member = self.opening.pop(which % len(self.opening))
        self.state.failed(member, BROKEN, self.now, permanent=permanent)
        self.done()

    @precondition(lambda self: self.opening)
    @rule(which=WHICH)
    def opening_given_up(self, which: int) -> None:
        member = self.opening.pop(which % len(self.opening))
        self.state.failed(member, None, self.now)
        self.done()

    # ------------------------------------------------------------- releasing

    def give_back(self, member: Member) -> None:
        if member.state != GONE:  # terminated, or broken, in its holder's hands
            self.state.back(member, self.now)

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        self.give_back(self.held.pop(which % len(self.held)))
        self.done()

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def release_dirty(self, which: int) -> None:
        member = self.held.pop(which % len(self.held))
        if member.state != GONE:
            self.state.clean(member)
            self.cleaning.append(member)
        self.done()

    @precondition(lambda self: self.cleaning)
    @rule(which=WHICH)
    def cleaned(self, which: int) -> None:
        self.give_back(self.cleaning.pop(which % len(self.cleaning)))
        self.done()

    @rule(which=WHICH)
    def broken(self, which: int) -> None:
        """Any connection that is open."""
        there = [*self.held, *self.cleaning, *self.state.idle]
        if there:
            self.state.lost(there[which % len(there)], "lost")
        self.done()

    # ------------------------------------------------------------- the whole

    @rule(seconds=SECONDS)
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.state.tend(self.now)
        self.done()
        assert self.state.next_due(self.now) > self.now, "due again at once, for ever"

    @rule(sizes=SIZES)
    def resize(self, sizes: tuple[int, int]) -> None:
        self.state.resize(*sizes)
        self.done()

    @rule()
    def drain(self) -> None:
        there = [member for member in self.state.members if member.state == IDLE]
        self.state.drain()
        self.done()
        assert all(member.state == GONE for member in there)

    @rule(really=st.integers(0, 5))
    def close(self, really: int) -> None:
        if really == 0:
            self.state.close()
            self.done()

    @rule(really=st.integers(0, 20))
    def terminate(self, really: int) -> None:
        if really == 0:
            self.state.terminate()
            self.done()
            assert all(member.state == GONE for member in self.held)

    @rule()
    def calm(self) -> None:
        """Nothing fails, everybody gives back: all are served, and the floor is
        there."""
        self.tick(BACKOFF[1])
        turns = 0
        while self.queue or self.woken or self.held or self.opening or self.cleaning:
            while self.opening:
                self.opened(0)
            while self.woken:
                self.run(0)
            while self.held:
                self.release(0)
            while self.cleaning:
                self.cleaned(0)
            self.tick(BACKOFF[1])
            turns += 1
            assert turns < 100, "somebody is never served"
        if not self.state.closing:
            assert len(self.state.members) >= self.state.min_size
        assert len(self.state.idle) == len(self.state.members)

    # ------------------------------------------------------- what always holds

    @invariant()
    def each_has_one_owner(self) -> None:
        owned = [*self.opening, *self.cleaning, *self.state.idle]
        owned += [member for member in self.held if member.state != GONE]
        owned += [asker.member for asker in self.woken if asker.member.state != GONE]
        present = [member for member in owned if member.state != GONE]
        assert len(present) == len(set(present)), "two owners"
        assert set(present) == self.state.members, "an owner, or a slot, too many"

    @invariant()
    def states_are_told(self) -> None:
        of: dict[str, list[Any]] = {
            OPENING: self.opening,
            IDLE: self.state.idle,
            CLEANING: [m for m in self.cleaning if m.state != GONE],
        }
        for name, members in of.items():
            told = {member for member in self.state.members if member.state == name}
            assert told == set(members)
        assert self.state.opening == len(self.opening)
        used = [*self.held, *(asker.member for asker in self.woken)]
        assert all(member.state in (USED, GONE) for member in used)

    @invariant()
    def not_too_many(self) -> None:
        state = self.state
        too_many = max(len(state.members) - state.max_size, 0)
        assert state.surplus == too_many
        if too_many:
            assert not state.idle

    @invariant()
    def nobody_is_left_waiting(self) -> None:
        state = self.state
        assert list(state.waiters) == list(self.queue)
        if not self.queue:
            return
        assert not state.closing and not state.idle
        if state.failures:
            due = max(state.retry_at(), self.now)
            assert len(state.members) >= state.max_size or (
                state.opening
                or state.next_due(self.now) <= due <= self.now + BACKOFF[2]
            )
        else:
            room = state.max_size - len(state.members)
            assert room <= 0 or state.opening >= len(self.queue)

    @invariant()
    def the_floor_is_kept(self) -> None:
        state = self.state
        if not (state.closing or state.failures):
            assert len(state.members) >= state.min_size

    @invariant()
    def it_adds_up(self) -> None:
        state = self.state
        assert state.opened - sum(state.closed.values()) == len(state.members) - len(
            self.opening
        )
        assert sum(state.waits) == state.waited
        assert len(self.closed) == len(set(self.closed)) == sum(state.closed.values())
        assert all(member.state == GONE for member in self.closed)
        assert state.next_due(self.now) > -inf

    @invariant()
    def closed_is_closed(self) -> None:
        if self.state.closing:
            assert not self.queue and not self.state.idle
            assert self.state.to_open(self.now) == []


TestDecisions = PoolMachine.TestCase
TestDecisions.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
