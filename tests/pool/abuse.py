"""What the storms share: tasks that work until they are told that it is over, somebody
who watches that none of them hangs, and a list of what must not happen."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

HANG_S = 40.0  # the pool's timeout, and a busy machine
END_S = 60.0


class Abuse:
    """`strange` is what must not happen, and ends it. `pick` is seeded: the same seed
    makes the same choices, as far as the server allows."""

    def __init__(self, pool: Any, tasks: int, seed: int) -> None:
        self.pool = pool
        self.tasks = tasks
        self.seed = seed
        self.pick = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.strange: list[str] = []
        self.over = False
        self.progress = [time.monotonic()] * tasks

    async def once(self, number: int) -> None:
        """One turn of task `number`."""
        raise NotImplementedError

    @property
    def going_on(self) -> bool:
        return not self.over and not self.strange

    async def work(self, number: int) -> None:
        while self.going_on:
            try:
                await self.once(number)
            except Exception as error:
                self.strange.append(f"task {number}: {error!r}")
            self.progress[number] = time.monotonic()

    async def watch(self, tasks: list[asyncio.Task[None]]) -> None:
        while self.going_on:
            await asyncio.sleep(0.1)
            for number, task in enumerate(tasks):
                if time.monotonic() - self.progress[number] > HANG_S:
                    self.strange.append(f"hangs: {task!r}, {self.pool.stats()}")
                    return

    async def run(self, director: Awaitable[None]) -> None:
        """The tasks work while `director` runs."""
        tasks = [asyncio.ensure_future(self.work(n)) for n in range(self.tasks)]
        watching = asyncio.ensure_future(self.watch(tasks))
        try:
            await director
        finally:
            self.over = True
            everybody = {*tasks, watching}
            _, hanging = await asyncio.wait(everybody, timeout=END_S)
            for task in hanging:
                self.strange.append(f"does not end: {task!r}, {self.pool.stats()}")
                task.cancel()
        assert not self.strange, f"seed {self.seed}: {self.strange[:5]}"


@contextlib.asynccontextmanager
async def no_complaints() -> AsyncIterator[None]:
    """Nothing reaches the loop's exception handler: no exception that nobody has
    taken, none out of a callback."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    assert complaints == []


async def eventually(true: Callable[[], bool], what: Callable[[], object]) -> None:
    """Waits for what the pool does in the background."""
    deadline = time.monotonic() + END_S
    while not true():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.01)


def adds_up(stats: Any) -> None:
    """Of a pool that nobody uses."""
    assert stats.waiting == stats.used == stats.cleaning == 0
    assert stats.size == stats.idle == stats.opened - sum(stats.closed.values())
    assert stats.acquired == stats.released, stats
    assert stats.waited == sum(stats.waits.values())
