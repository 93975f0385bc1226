"""Coroutines driven step by step, cancelled at chosen suspensions, and what must be
true after that."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, NamedTuple

import pgasync
from conftest import open_sockets

LIMIT_S = 6.0  # cancel_timeout and a little
STEPS_MAX = 80
HOWS = ("at", "later", "twice", "again")

numbers = itertools.count(random.getrandbits(40))


class Steps:
    """Awaits `work`; `suspended` sees what it waits for each time, and may have it wait
    for something else."""

    def __init__(self, work: Awaitable[Any]) -> None:
        self.work = work
        self.steps = 0  # suspensions so far

    def suspended(self, waits_for: Any) -> Any:
        return waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.work.__await__()
        try:
            waits_for = next(steps)
            while True:
                self.steps += 1
                waits_for = self.suspended(waits_for)
                try:
                    sent = yield waits_for
                except BaseException as error:
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(sent)
        except StopIteration as end:
            return end.value


class Cut(Steps):
    """Its task is cancelled at the `step`-th suspension: in that moment ("at"), in the
    loop's next turn ("later"), at that suspension and at the one that comes next
    ("twice"), or twice in a row ("again")."""

    def __init__(self, work: Awaitable[Any], step: int, how: str) -> None:
        super().__init__(work)
        self.step = step
        self.how = how
        self.asked = False

    def cancel(self, task: asyncio.Task[Any]) -> None:
        self.asked = task.cancel() or self.asked

    def suspended(self, waits_for: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        second = self.how == "twice" and self.steps == self.step + 1
        if self.steps == self.step and self.how == "later":
            loop.call_soon(self.cancel, task)
        elif self.steps == self.step or second:
            self.cancel(task)
            if self.how == "again":
                loop.call_soon(self.cancel, task)
        return waits_for


async def cut(work: Coroutine[Any, Any, Any], step: int, how: str) -> bool:
    """Whether the work ended before its `step`-th suspension. CancelledError must come
    of a cancel that the task took."""
    driver = Cut(work, step, how)

    async def run() -> Any:
        return await driver

    task = asyncio.ensure_future(run())
    started = time.monotonic()
    await asyncio.wait({task}, timeout=2 * LIMIT_S)
    assert task.done(), "hangs"
    assert time.monotonic() - started < LIMIT_S
    if driver.asked:
        assert task.cancelled(), f"the cancel was swallowed: {task!r}"
    else:
        assert driver.steps < step or how == "later", "not cancelled at the step"
        result = task.result()
        if isinstance(result, pgasync.Connection):
            await result.close()
    return driver.steps < step  # "later" may come too late


def fresh(sql: str) -> str:
    """The statement as a text that no connection of this process has prepared yet."""
    return f"{sql} /* {next(numbers)} */"


class Room(NamedTuple):
    """What a test has to itself: a table, an enum type, and names of its own."""

    dsn: str
    watcher: Any
    name: str

    async def open(self, **keywords: Any) -> Any:
        keywords.setdefault("autocommit", True)
        return await pgasync.connect(self.dsn, application_name=self.name, **keywords)

    async def backends(self) -> int:
        asked = "select count(*) from pg_stat_activity where application_name = $1"
        return int(await self.watcher.fetchval(asked, [self.name]))

    async def empty(self) -> None:
        """No backend of ours is left."""
        deadline = time.monotonic() + LIMIT_S
        while await self.backends():
            assert time.monotonic() < deadline, "a backend is left"
            await asyncio.sleep(0.01)


async def usable(conn: Any) -> None:
    """The connection serves another statement, or says that it is closed, in time."""
    token = next(numbers)
    started = time.monotonic()
    try:
        await asyncio.wait_for(conn.rollback(), LIMIT_S)
        value = await asyncio.wait_for(
            conn.fetchval("select $1::int8", [token]), LIMIT_S
        )
    except (pgasync.InterfaceError, pgasync.OperationalError):
        assert conn.closed
    else:
        assert value == token
        await conn.rollback()
        assert conn.info.transaction_status == "I"
    assert time.monotonic() - started < LIMIT_S


async def nothing_left(room: Room, tasks: set[Any], sockets: set[str]) -> None:
    await room.empty()
    deadline = time.monotonic() + LIMIT_S
    while (left := asyncio.all_tasks() - tasks) or open_sockets() - sockets:
        assert time.monotonic() < deadline, f"left: {left}, {open_sockets() - sockets}"
        await asyncio.sleep(0.005)
