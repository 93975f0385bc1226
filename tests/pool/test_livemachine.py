"""The real pool at a real server, in every order of events that hypothesis finds: what
programs do with it, what the server does, and turns of the loop in between.

PGASYNC_LIVE_EXAMPLES says how many runs there are (the default is for every day).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

import pgasync

EXAMPLES = int(os.environ.get("PGASYNC_LIVE_EXAMPLES", "15"))
STEPS = 40
WHICH = st.integers(0, 1000)  # of several: the remainder says it
END_S = 20.0
SIZES = st.tuples(st.integers(0, 2), st.integers(1, 3)).map(
    lambda sizes: {"min_size": min(sizes), "max_size": max(sizes)}
)


class Holder:
    """A task that acquires, and what it has got."""

    def __init__(self, pool: Any) -> None:
        self.task = asyncio.ensure_future(self.acquire(pool))
        self.conn: Any = None
        self.statement: asyncio.Task[Any] | None = None

    async def acquire(self, pool: Any) -> None:
        self.conn = await pool.acquire()


class LiveMachine(RuleBasedStateMachine):
    def __init__(self, dsn: str, make_loop: Callable[[], Any]) -> None:
        super().__init__()
        self.loop = make_loop()
        self.complaints: list[Any] = []
        self.loop.set_exception_handler(lambda _, what: self.complaints.append(what))
        self.holders: list[Holder] = []
        self.pool: Any = None
        self.wait(self.begin(dsn))

    async def begin(self, dsn: str) -> None:
        self.killer = await pgasync.connect(dsn, autocommit=True)
        pool = pgasync.create_pool(dsn, min_size=0, max_size=2, timeout=END_S)
        self.pool = await pool

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, END_S))

    def having(self) -> list[Holder]:
        return [holder for holder in self.holders if holder.conn is not None]

    def one_of(self, which: int) -> Holder | None:
        """Rules have no preconditions: what is there depends on the server's speed."""
        having = self.having()
        return having[which % len(having)] if having else None

    # ---------------------------------------------------------- what users do

    @rule()
    def acquire(self) -> None:
        if len(self.holders) > 5:
            return

        async def begin() -> None:
            self.holders.append(Holder(self.pool))

        self.wait(begin())

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        """Whoever waits; what has been got already is given back."""
        if not self.holders:
            return
        holder = self.holders.pop(which % len(self.holders))

        async def give_up() -> None:
            holder.task.cancel()
            await asyncio.wait({holder.task})
            if holder.conn is not None:
                await self.pool.release(holder.conn)

        self.wait(give_up())

    @rule(which=WHICH, hasty=st.booleans())
    def release(self, which: int, hasty: bool) -> None:
        """`hasty`: who gives it back is cancelled while that takes time."""
        if (holder := self.one_of(which)) is None:
            return
        self.holders.remove(holder)

        async def give_back() -> None:
            releasing = asyncio.ensure_future(self.pool.release(holder.conn))
            await asyncio.sleep(0)
            if hasty:
                releasing.cancel()
            await asyncio.wait({releasing})
            if not releasing.cancelled():
                releasing.result()
            with pytest.raises((pgasync.InterfaceError, pgasync.errors.ConnectionLost)):
                await holder.conn.fetchval("select 1")

        self.wait(give_back())

    @rule(
        which=WHICH,
        sql=st.sampled_from(
            [
                "select 1",
                "select 1/0",
                "select pg_sleep(0.01)",
                "set work_mem = '1MB'",
                "listen live",
                "select pg_advisory_lock(pg_backend_pid())",
                "create temp table if not exists mine (n int)",
            ]
        ),
        turns=st.integers(0, 3),
    )
    def use(self, which: int, sql: str, turns: int) -> None:
        """Begins a statement; it may be under way when the next thing happens."""
        if (holder := self.one_of(which)) is None:
            return

        async def begin() -> None:
            holder.statement = asyncio.ensure_future(holder.conn.execute(sql))
            holder.statement.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )
            for _ in range(turns):
                await asyncio.sleep(0)

        self.wait(begin())

    @rule(which=WHICH)
    def terminate(self, which: int) -> None:
        if (holder := self.one_of(which)) is None:
            return

        async def end() -> None:
            holder.conn.terminate()

        self.wait(end())

    @rule()
    def straight(self) -> None:
        """The pool's own statement, where it need not wait for a holder."""
        if len(self.holders) >= self.pool.stats().max_size:
            return

        async def ask() -> None:
            assert await self.pool.fetchval("select $1::int", [7]) == 7
            assert await self.pool.fetchval("show work_mem") == "4MB"

        self.wait(ask())

    # ------------------------------------------------------- what the pool does

    @rule(sizes=SIZES)
    def resize(self, sizes: dict[str, int]) -> None:
        self.pool.resize(**sizes)

    @rule()
    def drain(self) -> None:
        self.pool.drain()

    # ---------------------------------------------------- what the server does

    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        """One of the pool's sessions."""
        resources = [
            member.resource
            for member in self.pool._state.members
            if member.resource is not None
        ]
        if resources:
            pid = resources[which % len(resources)].backend_pid
            self.wait(self.killer.execute("select pg_terminate_backend($1)", [pid]))

    @rule(seconds=st.sampled_from([0.0, 0.002, 0.02]))
    def pause(self, seconds: float) -> None:
        self.wait(asyncio.sleep(seconds))

    # ---------------------------------------------------------- what is so then

    @invariant()
    def nobody_has_what_another_has(self) -> None:
        cores = [id(holder.conn._core) for holder in self.having()]
        assert len(cores) == len(set(cores))
        assert self.complaints == []

    @invariant()
    def it_adds_up(self) -> None:
        stats = self.pool.stats()
        assert stats.opened - sum(stats.closed.values()) == stats.size
        assert stats.size == stats.idle + stats.used + stats.cleaning
        assert stats.acquired <= stats.released + stats.used
        assert not (stats.waiting and stats.idle)
        assert not stats.waiting or (
            stats.opening or stats.size >= stats.max_size or stats.errors
        )

    def teardown(self) -> None:
        try:
            if self.pool is not None:
                self.wait(self.end())
                assert self.complaints == []
        finally:
            self.loop.close()

    async def end(self) -> None:
        try:
            await self.everybody_is_served()
            await self.pool.close(timeout=5)
            stats = self.pool.stats()
            assert stats.size == stats.opening == 0
            assert stats.acquired == stats.released
        finally:
            self.pool.terminate()
            await self.killer.close()

    async def everybody_is_served(self) -> None:
        """Each in turn gives back what it has, so that all get something."""
        self.pool.resize(min_size=1, max_size=2)
        left, deadline = self.holders, time.monotonic() + END_S
        while left:
            assert time.monotonic() < deadline, self.pool.stats()
            for holder in [*left]:
                if holder.task.done():
                    holder.task.result()
                    await self.pool.release(holder.conn)
                    left.remove(holder)
            await asyncio.sleep(0.001)
        while (stats := self.pool.stats()).size != stats.idle or not stats.size:
            assert time.monotonic() < deadline, stats
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop]
)
def test_live(dsn: str, make_loop: Callable[[], Any]) -> None:
    run_state_machine_as_test(
        lambda: LiveMachine(dsn, make_loop),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
