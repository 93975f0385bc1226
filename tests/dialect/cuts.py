"""Cancels a task at chosen suspensions of it, and says whether all is well after that.

`Cut` drives a coroutine step by step and acts (cancels its task, unless told otherwise)
at the suspensions whose numbers it is given:

"at"    in that moment, before the task waits
"soon"  in the loop's next turn: the task waits
"done"  when what the task waits for has come, and the task has not run yet: its
        result is lost

`Room` is what a test has to itself on the server, and knows what must be true once
a task has ended: see `Room.settled`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

from conftest import open_sockets
from steps import Steps

VERSION = tuple(int(part) for part in sa.__version__.split(".")[:3] if part.isdigit())
needs_safe_sqlalchemy = pytest.mark.skipif(
    VERSION < (2, 0, 56) or (2, 1) <= VERSION < (2, 1, 5),
    reason=f"SQLAlchemy {sa.__version__} itself loses connections: 2.0.56 and 2.1.5 do "
    "not any more",
)
LIMIT_S = 6.0  # for a task to end, and for the server to follow
HOWS = ("at", "soon", "done")


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "cut"

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[int] = mapped_column(sa.BigInteger)
    n: Mapped[int]


async def make_table(watcher: Any, schema: str) -> None:
    """Row's, in the schema."""
    await watcher.execute(
        f"create table {schema}.cut"
        " (id serial primary key, token bigint not null, n int not null)"
    )


class Before:
    """A future whose waiter is woken after `act` was called."""

    def __init__(self, future: Any, act: Callable[[], object]) -> None:
        self._future = future
        self._act = act
        future._asyncio_future_blocking = False
        self._asyncio_future_blocking = True

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        def both(_: object) -> None:
            self._act()
            callback(self)

        self._future.add_done_callback(both, context=context)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._future.get_loop()
        return loop

    def cancel(self, msg: Any = None) -> bool:
        return bool(self._future.cancel(msg))

    def result(self) -> Any:
        return self._future.result()

    def done(self) -> bool:
        return bool(self._future.done())


class From:
    """The points from `first` on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and step >= self.first


class Cut(Steps):
    """Awaits `work`; acts at its suspensions number `points`, counted from 1."""

    def __init__(
        self,
        work: Awaitable[Any],
        points: Container[int],
        how: str,
        act: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(work)
        self.points = points
        self.how = how
        self.act = act or self.cancel
        self.asked = False  # the task took a cancel
        self.stopped = False  # not ended by itself
        self.task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        assert self.task is not None
        self.asked = self.task.cancel() or self.asked

    def suspended(self, waits_for: Any) -> Any:
        if self.steps not in self.points:
            return waits_for
        if self.how == "at":
            self.act()
        elif self.how == "soon" or waits_for is None:
            asyncio.get_running_loop().call_soon(self.act)
        else:
            return Before(waits_for, self.act)
        return waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        self.task = asyncio.current_task()
        self.stopped = True
        result = yield from super().__await__()
        self.stopped = False
        return result


class Closed(BaseException):
    """What a closed coroutine was run in goes on with this."""


class Close(Cut):
    """Closes the coroutine at its suspension, as the collector does with one whose
    task is gone: no more awaits."""

    def suspended(self, waits_for: Any) -> Any:
        waits_for = super().suspended(waits_for)
        if self.asked:
            raise Closed
        return waits_for

    def cancel(self) -> None:
        self.asked = True
        self.work.close()  # type: ignore[attr-defined]


async def run(work: Awaitable[Any]) -> asyncio.Task[Any]:
    """The task that has run `work` to its end, which comes in time."""

    async def main() -> Any:
        return await work

    task = asyncio.ensure_future(main())
    await asyncio.wait({task}, timeout=LIMIT_S)
    assert task.done(), f"hangs: {task!r}"
    return task


@dataclass
class Write:
    """The rows that one run inserts, and how far it has got."""

    token: int
    rows: int = 2
    whole: bool = True  # all of them or none
    began_commit: bool = False
    committed: bool = False

    def check(self, found: int) -> None:
        assert 0 <= found <= self.rows
        if self.whole:
            assert found in (0, self.rows), "written in part"
        if self.committed:
            assert found == self.rows, "acknowledged, but not there"
        if not self.began_commit:
            assert found == 0, "there, but nobody has committed it"


@dataclass
class Room:
    """A schema with a table `cut (id, token, n)`, engines, and one who watches."""

    watcher: Any
    name: str
    schema: str
    make: Callable[..., AsyncEngine]
    complaints: list[str] = field(default_factory=list)
    tokens: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    tasks: set[Any] = field(default_factory=asyncio.all_tasks)
    sockets: set[str] = field(default_factory=set)

    def engine(self, **keywords: Any) -> AsyncEngine:
        """On the room's schema; its sessions bear the room's name. The first one is
        to be made in the test itself: uvloop has sockets of its own in each run."""
        self.sockets = self.sockets or open_sockets()
        settings = {"application_name": self.name}
        arguments = {"server_settings": settings, **keywords.pop("connect_args", {})}
        if keywords.get("poolclass") is not NullPool:
            keywords.setdefault("pool_timeout", LIMIT_S)
        return self.make(connect_args=arguments, **keywords)

    def complain(self, loop: object, context: dict[str, Any]) -> None:
        """The loop's exception handler: nothing may come here."""
        self.complaints.append(f"{context['message']}: {context.get('exception')!r}")

    async def look(self, token: int) -> tuple[list[str], int]:
        """The states of the backends of our sessions, some of which may be about to
        end, and the number of rows with `token`."""
        asked = (
            "select array(select coalesce(state, 'starting') from pg_stat_activity"
            " where application_name = $1),"
            f" (select count(*) from {self.schema}.cut where token = $2)"
        )
        states, rows = await self.watcher.fetchrow(asked, [self.name, token])
        return states, rows

    async def settled(self, *engines: AsyncEngine, token: int = 0) -> int:
        """No task of ours is left, no connection is checked out of the engines' pools,
        the server has the backends that the pools hold, all idle, and we their
        sockets. Gives the number of rows with `token`."""
        deadline = time.monotonic() + LIMIT_S
        us = {*self.tasks, asyncio.current_task()}
        while asyncio.all_tasks() - us and time.monotonic() < deadline:
            await asyncio.sleep(0)
        while True:
            pooled = sum(map(pooled_connections, engines))
            states, rows = await self.look(token)
            sockets = open_sockets() - self.sockets
            tasks = asyncio.all_tasks() - us
            if states == ["idle"] * pooled and len(sockets) == pooled and not tasks:
                break
            late = time.monotonic() > deadline
            assert not late, f"{states}, {sockets}, {tasks}; {pooled} in the pools"
            await asyncio.sleep(0.001)
        assert self.complaints == []
        return rows


def pooled_connections(engine: AsyncEngine) -> int:
    """The connections in a pool, which must have nothing checked out."""
    pool: Any = engine.pool
    if isinstance(pool, NullPool):
        return 0
    assert pool.checkedout() == 0, pool.status()
    records = [*pool._pool._items]
    assert len(records) == pool.checkedin() <= pool.size()
    assert pool.overflow() == len(records) - pool.size()
    held = [record.dbapi_connection for record in records]
    return sum(one is not None and not one.is_closed() for one in held)


async def usable(engine: AsyncEngine, token: int) -> None:
    """The next use gets its own answer."""
    async with engine.connect() as conn:
        sql = sa.text("select cast(:n as bigint)")
        assert await conn.scalar(sql, {"n": token}) == token


Work = Callable[[AsyncEngine, Write], Coroutine[Any, Any, Any]]
