"""Faults in the middle of what moves rows in bulk: a source or a sink that raises, a
cancelled task, a session that the server ends, a network that is cut, a full disk. A
clean error, nothing half committed, a connection that is usable or closed, and nothing
left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgasync
from bulk import POINTS, ROWS, WRITING, Boom, Flow, Kind
from conftest import open_sockets
from pgasync import errors
from pgmock import Proxy
from steps import HOWS, LIMIT_S, Room, cut, nothing_left, usable

WITHIN = ("autocommit", "implicit", "block")
LOST = {"failed", "in_doubt"}


@pytest.fixture(scope="module")
def cuts(summary: list[str]) -> Iterator[dict[str, int]]:
    """How many suspensions each kind was cut at."""
    counted: dict[str, int] = {}
    yield counted
    summary.append(
        f"bulk, cancelled at every suspension: {sum(counted.values())} cuts in "
        f"{len(counted)} pieces of work"
    )


@pytest.fixture
async def room(dsn: str, connect: Callable[..., Any]) -> AsyncIterator[Room]:
    watcher = await connect(autocommit=True)
    room = Room(dsn, watcher, f"bulk_{random.getrandbits(40):x}")
    await watcher.execute(f"create unlogged table {room.name} (n int, pad text)")
    yield room
    await watcher.execute(f"drop table {room.name}")


def open_files() -> set[str]:
    """What the descriptors of this process are open on, except sockets."""
    links = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.add(os.readlink(f"/proc/self/fd/{entry}"))
    return {link for link in links if link.startswith("/")}


class Watch:
    """Connections to the room, and what has to be true when one has been used."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.tasks = asyncio.all_tasks()
        self.sockets = open_sockets()
        self.files = open_files()

    async def rows(self) -> int:
        sql = f"select count(*) from {self.room.name}"
        return int(await self.room.watcher.fetchval(sql))

    async def settle(self, conn: Any, *rows: int) -> int:
        """The connection is usable or closed, nothing is left, and the table has one
        of these numbers of rows."""
        await usable(conn)
        await conn.close()
        await nothing_left(self.room, self.tasks, self.sockets)
        assert open_files() - self.files == set()
        found = await self.rows()
        assert found in (rows or (0,)), "written in part"
        await self.room.watcher.execute(f"truncate {self.room.name}")
        return found


async def run(kind: Kind, room: Room, conn: Any, flow: Flow, within: str) -> None:
    """In a transaction of its own, in one that goes on, or in a block."""
    if within == "block":
        async with conn.transaction():
            await kind.work(room, conn, flow)
    else:
        await kind.work(room, conn, flow)


async def begin(room: Room, within: str, **keywords: Any) -> Any:
    return await room.open(autocommit=within != "implicit", **keywords)


def boom() -> None:
    raise Boom


# --- all goes well -----------------------------------------------------------


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("name", WRITING)
async def test_written(room: Room, name: str, within: str) -> None:
    """What the faults are to be compared with."""
    watch = Watch(room)
    conn = await begin(room, within)
    await run(WRITING[name], room, conn, flow := Flow(), within)
    assert flow.seen == ROWS
    if within == "implicit":
        assert conn.info.transaction_status == "T"
        assert await watch.rows() == 0
        await conn.commit()
    assert conn.info.transaction_status == "I"
    await watch.settle(conn, ROWS)


# --- a source that raises ----------------------------------------------------


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", WRITING)
async def test_source_raises(room: Room, name: str, point: str, within: str) -> None:
    watch = Watch(room)
    conn = await begin(room, within)
    flow = Flow(POINTS[point], boom)
    with pytest.raises(Boom):
        await run(WRITING[name], room, conn, flow, within)
    assert not conn.closed
    if within != "implicit":
        assert conn.info.transaction_status == "I"
    await watch.settle(conn)


# --- cancellation ------------------------------------------------------------

EVERY = bool(os.environ.get("PGASYNC_EVERY_STEP"))


def stride(step: int) -> int:
    """To the next suspension: all of the first ones, then one here and there, others
    each time, unless PGASYNC_EVERY_STEP is set."""
    return 1 if step < 6 or EVERY else random.randint(3, 9)


@pytest.mark.parametrize("within", ["autocommit", "block"])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", WRITING)
async def test_cut(
    room: Room, cuts: dict[str, int], name: str, how: str, within: str
) -> None:
    watch = Watch(room)
    step, over = 0, False
    while not over:
        step += stride(step)
        conn = await begin(room, within)
        work = run(WRITING[name], room, conn, Flow(), within)
        over = await cut(work, step, how)
        await watch.settle(conn, 0, ROWS)
        cuts[f"{name} {within} {how}"] = cuts.get(f"{name} {within} {how}", 0) + 1
    assert step > 1


# --- the server --------------------------------------------------------------


def ended(conn: Any) -> Callable[[], None]:
    """Ends the connection's backend."""
    return lambda: os.kill(conn.info.backend_pid, signal.SIGTERM)


@pytest.mark.parametrize("within", ["autocommit", "block"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", WRITING)
async def test_terminated(
    server: Any, room: Room, name: str, point: str, within: str
) -> None:
    assert server.pid
    watch = Watch(room)
    conn = await begin(room, within)
    flow = Flow(POINTS[point], ended(conn))
    with pytest.raises(pgasync.OperationalError) as caught:
        await run(WRITING[name], room, conn, flow, within)
        await conn.execute("select 1 /* it was faster than the signal */")
        raise AssertionError("the session goes on")
    assert {getattr(x, "sqlstate", None) for x in chain(caught.value)} <= {
        None,
        "57P01",
    }
    assert conn.closed
    await settle_lost(watch, conn, caught.value)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


async def settle_lost(watch: Watch, conn: Any, error: Any) -> None:
    """By what the error says the rows are there or not."""
    if error.outcome == "not_sent":  # of the next one: the work was done
        await watch.settle(conn, 0, ROWS)
    else:
        assert error.outcome in LOST
        await watch.settle(conn, *((0,) if error.outcome == "failed" else (0, ROWS)))


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", WRITING)
async def test_network(
    server: Any, room: Room, name: str, point: str, how: str
) -> None:
    watch = Watch(room)
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conn = await room._replace(dsn=dsn).open()
        flow = Flow(POINTS[point], lambda: proxy.cut(how))
        with pytest.raises(errors.ConnectionLost) as caught:
            await WRITING[name].work(room, conn, flow)
    assert conn.closed
    assert caught.value.outcome in {*LOST, "not_sent"}
    await settle_lost(watch, conn, caught.value)


DISK_FULL = """
create function {0}_full() returns trigger language plpgsql as $$
begin
    if new.n = {1} then
        raise exception using errcode = 'disk_full', message = 'no space left';
    end if;
    return new;
end $$;
create trigger full_disk before insert on {0} for each row execute function {0}_full()
"""


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", WRITING)
async def test_server_is_full(room: Room, name: str, point: str, within: str) -> None:
    """The server refuses a row: by a trigger, with what a full disk makes it say."""
    await room.watcher.execute(DISK_FULL.format(room.name, POINTS[point]))
    watch = Watch(room)
    conn = await begin(room, within)
    with pytest.raises(errors.DiskFull) as caught:
        await run(WRITING[name], room, conn, Flow(), within)
    assert caught.value.outcome == "failed"
    assert not conn.closed
    assert conn.info.transaction_status == ("E" if within == "implicit" else "I")
    await watch.settle(conn)
    await room.watcher.execute(f"drop function {room.name}_full() cascade")


@pytest.mark.parametrize("within", ["autocommit", "block"])
@pytest.mark.parametrize("name", WRITING)
async def test_command_timeout(room: Room, name: str, within: str) -> None:
    """The server does not go on: a row waits for a lock."""
    await room.watcher.execute(f"alter table {room.name} add primary key (n);")
    watch = Watch(room)
    holder = await pgasync.connect(room.dsn)
    await holder.execute(f"insert into {room.name} values ({ROWS // 2})")
    conn = await begin(room, within, command_timeout=0.3)
    try:
        with pytest.raises(pgasync.QueryTimeout):
            await asyncio.wait_for(
                run(WRITING[name], room, conn, Flow(), within), LIMIT_S
            )
        await usable(conn)
    finally:
        await holder.rollback()
        await holder.close()
    await watch.settle(conn)
