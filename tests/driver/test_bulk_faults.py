"""Faults in the middle of what moves rows in bulk: a source or a sink that raises, a
cancelled task, a session that the server ends, a network that is cut, a full disk. A
clean error, nothing half committed, a connection that is usable or closed, and nothing
left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import IO, Any

import pytest

import pgasync
from bulk import PAD, POINTS, READ, READING, WRITING, WRITTEN, Boom, Flow, Kind, series
from conftest import open_sockets
from pgasync import errors
from pgmock import Proxy
from servers import Server
from steps import HOWS, LIMIT_S, Room, cut, nothing_left, usable

WITHIN = ("autocommit", "implicit", "block")
OUTCOMES = {"not_sent", "failed", "in_doubt"}


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


KINDS = {**WRITING, **READING}


# Every fault in every combination, instead of some of them.
EVERY = bool(os.environ.get("PGASYNC_EVERY_FAULT"))


def cases(
    kinds: dict[str, Kind],
    within: Sequence[str],
    variants: Sequence[str] = ("",),
) -> Any:
    """Each of these kinds with one of the surroundings that it can have and one variant
    of the fault, others for each kind; with EVERY with all of them."""
    found = []
    for index, (name, kind) in enumerate(kinds.items()):
        places = [x for x in within if kind.autocommit or x != "autocommit"]
        every = [(place, variant) for variant in variants for place in places]
        for place, variant in every if EVERY else [every[index % len(every)]]:
            words = [name, place, variant] if variant else [name, place]
            found.append(pytest.param(name, place, variant, id="-".join(words)))
    return pytest.mark.parametrize(("name", "within", "variant"), found)


def rows_of(name: str) -> int:
    return WRITTEN if name in WRITING else READ


async def run(name: str, room: Room, conn: Any, flow: Flow, within: str) -> None:
    """In a transaction of its own, in one that goes on, or in a block."""
    work = KINDS[name].work
    if within == "block":
        async with conn.transaction():
            await work(room, conn, flow)
    else:
        await work(room, conn, flow)


async def begin(room: Room, within: str, **keywords: Any) -> Any:
    return await room.open(autocommit=within != "implicit", **keywords)


def boom() -> None:
    raise Boom


# --- all goes well -----------------------------------------------------------


@cases(KINDS, WITHIN)
async def test_done(room: Room, name: str, within: str, variant: str) -> None:
    """What the faults are to be compared with."""
    watch = Watch(room)
    conn = await begin(room, within)
    await run(name, room, conn, flow := Flow(rows_of(name)), within)
    assert flow.passed == flow.rows
    if within == "implicit":
        assert conn.info.transaction_status == "T"
        assert await watch.rows() == 0
        await conn.commit()
    assert conn.info.transaction_status == "I"
    await watch.settle(conn, WRITTEN if name in WRITING else 0)


@cases(KINDS, ["block"])
async def test_cut_anywhere(
    server: Any, room: Room, name: str, within: str, variant: str
) -> None:
    """The network passes the bytes on in small pieces."""
    rows = WRITTEN if name in WRITING else 300
    with Proxy(str(server.socket_dir), server.port, chunk=97) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conn = await begin(room._replace(dsn=dsn), within)
        flow = Flow(rows)
        flow.sql = series(rows)
        await run(name, room, conn, flow, within)
        await conn.close()
    assert flow.passed == rows


@cases(KINDS, ["block"])
async def test_tls(tls_server: Any, name: str, within: str, variant: str) -> None:
    table = f"bulk_{random.getrandbits(40):x}"
    async with pgasync.connect(tls_server.dsn, autocommit=True) as watcher:
        await watcher.execute(f"create unlogged table {table} (n int, pad text)")
        room = Room(tls_server.tcp_dsn, watcher, table)
        watch = Watch(room)
        conn = await begin(room, within, sslmode="require")
        assert conn.info.ssl
        await run(name, room, conn, flow := Flow(rows_of(name)), within)
        assert flow.passed == flow.rows
        await watch.settle(conn, WRITTEN if name in WRITING else 0)
        await watcher.execute(f"drop table {table}")


# --- a source or a sink that raises ------------------------------------------


@cases(KINDS, WITHIN, POINTS)
async def test_raises(room: Room, name: str, within: str, variant: str) -> None:
    """The first, a middle, the last row."""
    watch = Watch(room)
    conn = await begin(room, within)
    with pytest.raises(Boom):
        await run(name, room, conn, Flow(rows_of(name), variant, boom), within)
    assert not conn.closed
    await usable(conn)
    assert not conn.closed
    await watch.settle(conn)


# --- cancellation ------------------------------------------------------------


def stride(step: int) -> int:
    """To the next suspension: all of the first ones, then one here and there, others
    each time."""
    return 1 if step < 3 or EVERY else random.randint(8, 25)


@cases(KINDS, ["autocommit", "block"])
async def test_cut(
    room: Room, cuts: dict[str, int], name: str, within: str, variant: str
) -> None:
    """Every way of being cancelled has its turn, or each at every step."""
    watch = Watch(room)
    for hows in [[how] for how in HOWS] if EVERY else [HOWS]:
        step, over = 0, False
        while not over:
            step += stride(step)
            conn = await begin(room, within)
            work = run(name, room, conn, Flow(rows_of(name)), within)
            over = await cut(work, step, hows[step % len(hows)])
            await watch.settle(conn, 0, WRITTEN if name in WRITING else 0)
            cuts[name] = cuts.get(name, 0) + 1
        assert step > 1


# --- the server --------------------------------------------------------------


def ended(conn: Any) -> Callable[[], None]:
    """Ends the connection's backend."""
    return lambda: os.kill(conn.info.backend_pid, signal.SIGTERM)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


async def settle_lost(watch: Watch, conn: Any, error: Any, name: str) -> None:
    """Rows are there only if the error says that they may be."""
    assert conn.closed
    assert error.outcome in OUTCOMES
    await watch.settle(conn, 0, *[WRITTEN] * (error.outcome == "in_doubt"))


@cases(KINDS, ["autocommit", "block"], ["first", "middle"])
async def test_terminated(
    server: Any, room: Room, name: str, within: str, variant: str
) -> None:
    """By pg_terminate_backend(), or what does the same."""
    assert server.pid
    watch = Watch(room)
    conn = await begin(room, within)
    flow = Flow(rows_of(name), variant, ended(conn))
    with pytest.raises(pgasync.OperationalError) as caught:
        await run(name, room, conn, flow, within)
    said = {getattr(error, "sqlstate", None) for error in chain(caught.value)}
    assert said <= {None, "57P01"}
    await settle_lost(watch, conn, caught.value, name)


@cases(KINDS, ["autocommit", "block"], ["fin", "rst"])
async def test_network(
    server: Any, room: Room, name: str, within: str, variant: str
) -> None:
    """The connection is cut by what is in between."""
    watch = Watch(room)
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        conn = await begin(room._replace(dsn=dsn), within)
        cut_now = functools.partial(proxy.cut, variant)
        flow = Flow(rows_of(name), "middle" if name in WRITING else "", cut_now)
        if name in READING:
            proxy.cut_how, proxy.cut_after = variant, READ * len(PAD) // 2
        with pytest.raises(errors.ConnectionLost) as caught:
            await run(name, room, conn, flow, within)
    await settle_lost(watch, conn, caught.value, name)


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


@cases(WRITING, WITHIN, POINTS)
async def test_server_is_full(room: Room, name: str, within: str, variant: str) -> None:
    """The server refuses a row: by a trigger, with what a full disk makes it say."""
    await room.watcher.execute(DISK_FULL.format(room.name, Flow(WRITTEN, variant).at))
    watch = Watch(room)
    conn = await begin(room, within)
    with pytest.raises(errors.DiskFull) as caught:
        await run(name, room, conn, Flow(WRITTEN), within)
    assert caught.value.outcome == "failed"
    assert not conn.closed
    assert conn.info.transaction_status == ("E" if within == "implicit" else "I")
    await watch.settle(conn)
    await room.watcher.execute(f"drop function {room.name}_full() cascade")


@cases(WRITING, ["autocommit", "block"])
async def test_writing_takes_too_long(
    room: Room, name: str, within: str, variant: str
) -> None:
    """The server does not go on, as a row waits for a lock: command_timeout."""
    await room.watcher.execute(f"alter table {room.name} add primary key (n)")
    watch = Watch(room)
    holder = await pgasync.connect(room.dsn)
    await holder.execute(f"insert into {room.name} values ({WRITTEN // 2})")
    conn = await begin(room, within, command_timeout=0.15)
    try:
        work = run(name, room, conn, Flow(WRITTEN), within)
        with pytest.raises(pgasync.QueryTimeout):
            await asyncio.wait_for(work, LIMIT_S)
        await usable(conn)
    finally:
        await holder.rollback()
        await holder.close()
    await watch.settle(conn)


@cases(READING, ["autocommit", "block"])
async def test_reading_takes_too_long(
    room: Room, name: str, within: str, variant: str
) -> None:
    """The server does not go on in the middle of its rows: command_timeout."""
    watch = Watch(room)
    conn = await begin(room, within, command_timeout=0.15)
    flow = Flow(READ)
    flow.sql = (
        f"select s.*, n = {READ // 2} and pg_sleep(30) is null from ({flow.sql}) s"
    )
    with pytest.raises(pgasync.QueryTimeout):
        await asyncio.wait_for(run(name, room, conn, flow, within), LIMIT_S)
    await watch.settle(conn)


@cases(READING, WITHIN)
async def test_temp_file_limit(
    room: Room, name: str, within: str, variant: str
) -> None:
    """The server has no room for a sort."""
    watch = Watch(room)
    limits = {"work_mem": "64kB", "temp_file_limit": "100kB"}
    conn = await begin(room, within, server_settings=limits)
    flow = Flow(READ)
    flow.sql += " order by n % 7"
    with pytest.raises(errors.ConfigurationLimitExceeded) as caught:
        await run(name, room, conn, flow, within)
    assert caught.value.outcome == "failed"
    assert flow.passed == 0
    await usable(conn)
    assert not conn.closed
    await watch.settle(conn)


# --- the client's disk -------------------------------------------------------


@pytest.mark.parametrize("sink", ["path", "file", "unbuffered"])
@pytest.mark.parametrize("within", WITHIN)
async def test_client_is_full(room: Room, sink: str, within: str) -> None:
    """The file that is written to has no room."""
    watch = Watch(room)
    conn = await begin(room, within)
    with contextlib.ExitStack() as stack:
        output: Any = "/dev/full"
        if sink != "path":
            buffering = 0 if sink == "unbuffered" else -1
            output = stack.enter_context(open(output, "wb", buffering))
            stack.callback(suppress_full, output)
        with pytest.raises(OSError) as caught:
            if within == "block":
                async with conn.transaction():
                    await conn.copy_from_query(series(), output=output)
            else:
                await conn.copy_from_query(series(), output=output)
        assert caught.value.errno == errno.ENOSPC
    assert not conn.closed
    await usable(conn)
    assert not conn.closed
    await watch.settle(conn)


def suppress_full(file: IO[bytes]) -> None:
    """What is left in the buffer of a file does not fit at its close either."""
    with contextlib.suppress(OSError):
        file.close()


# --- the whole server --------------------------------------------------------

NOTICED_S = 3.0  # on the same host, with a busy machine
LONG = 40_000  # rows to read, some seconds' worth


@pytest.fixture(scope="module")
def victim() -> Iterator[Server]:
    with Server(18, settings={"restart_after_crash": "on"}) as server:
        server.psql("create table bulk (n int, pad text); checkpoint")
        yield server


async def lost(conn: Any, name: str, flow: Flow) -> Any:
    """The error that ends this kind of work."""
    within = "autocommit" if KINDS[name].autocommit else "block"
    with pytest.raises(pgasync.OperationalError) as caught:
        await run(name, Room("", None, "bulk"), conn, flow, within)
    assert conn.closed
    await conn.close()
    return caught.value


@pytest.mark.parametrize("how", ["immediate", "kill"])
async def test_server_stops(victim: Server, how: str) -> None:
    """All kinds at once, each with a source or sink that goes on."""
    await asyncio.to_thread(victim.start)
    flows, tasks = {}, {}
    for name, kind in KINDS.items():
        if kind.endless:
            conn = await pgasync.connect(victim.dsn, autocommit=True)
            flow = flows[name] = Flow(rows_of(name), endless=True)
            flow.sql = series(LONG)
            tasks[name] = asyncio.ensure_future(lost(conn, name, flow))
    deadline = time.monotonic() + LIMIT_S
    # Of an iterator's sets the first 1024 are sent together.
    while any(
        flow.passed < (3000 if name in WRITING else 100) for name, flow in flows.items()
    ):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks.values())
    if how == "kill":
        await asyncio.to_thread(victim.kill)
    else:
        await asyncio.to_thread(victim.shut_down, fast=False)
    done, _ = await asyncio.wait({*tasks.values()}, timeout=NOTICED_S)
    assert [name for name, task in tasks.items() if task not in done] == []
    for name, task in tasks.items():
        outcomes = OUTCOMES - {"not_sent"} if name in WRITING else OUTCOMES
        assert task.result().outcome in outcomes, name
    await asyncio.to_thread(victim.start)
    assert victim.psql("select count(*) from bulk").strip() == "0"
