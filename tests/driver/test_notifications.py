"""LISTEN and NOTIFY on one connection: conn.listen(), add_listener(), notify()."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import pickle
import time
import weakref
from typing import Any

import pytest

import pgasync
from pgasync import Notification
from pgasync.errors import (
    ConnectionLost,
    InterfaceError,
    InvalidParameterValue,
    NotificationOverflow,
)

LIMIT_S = 20.0
CHANNELS_AT_SERVER = "select pg_listening_channels() order by 1"


@pytest.fixture
async def other(connect: Any) -> Any:
    """A second session."""
    return await connect(autocommit=True)


async def channels(conn: Any) -> list[str]:
    """What the server thinks that this session listens to."""
    return [name for (name,) in await conn.fetch(CHANNELS_AT_SERVER)]


async def next_of(notifications: Any) -> Notification:
    """The next one, which must come."""
    found = await notifications.get(timeout=LIMIT_S)
    assert isinstance(found, Notification)
    return found


async def payloads(notifications: Any, count: int) -> list[str]:
    return [(await next_of(notifications)).payload for _ in range(count)]


def test_notification() -> None:
    found = Notification("jobs", "7", 4711)
    assert found == ("jobs", "7", 4711)
    assert (found.channel, found.payload, found.pid) == tuple(found)
    assert repr(found) == "Notification(channel='jobs', payload='7', pid=4711)"
    assert not found.is_gap
    again = pickle.loads(pickle.dumps(found))
    assert (again, type(again)) == (found, Notification)
    assert pgasync.Notification is Notification


# What comes


async def test_listen(conn: Any, other: Any) -> None:
    async with conn.listen("jobs", "news") as notifications:
        assert notifications.channels == ("jobs", "news")
        assert await channels(conn) == ["jobs", "news"]
        await other.notify("jobs", "1")
        await other.execute("notify news")
        await other.notify("elsewhere", "2")
        await other.notify("jobs", "3")
        pid = other.info.backend_pid
        wanted = [("jobs", "1", pid), ("news", "", pid), ("jobs", "3", pid)]
        found = []
        async for notification in notifications:
            found.append(notification)
            if len(found) == 3:
                break
        assert found == wanted
    assert await channels(conn) == []


async def test_an_idle_connection_wakes(conn: Any, other: Any) -> None:
    """Nothing is sent for it."""
    async with conn.listen("jobs") as notifications:
        waiting = asyncio.ensure_future(next_of(notifications))
        await asyncio.sleep(0.05)
        assert conn._core.pending == 0
        await other.notify("jobs", "now")
        assert (await waiting).payload == "now"


async def test_own_notifications(conn: Any) -> None:
    async with conn.listen("jobs") as notifications:
        await conn.notify("jobs", "mine")
        assert await next_of(notifications) == (
            "jobs",
            "mine",
            conn.info.backend_pid,
        )


@pytest.mark.parametrize(
    "payload",
    ["", "x", "ä€𐍈\n'\"\\", "x" * 7999, "€" * 2666],
    ids=["empty", "one", "utf8", "7999", "7998_utf8"],
)
async def test_payload(conn: Any, payload: str) -> None:
    async with conn.listen("jobs") as notifications:
        await conn.notify("jobs", payload)
        assert (await next_of(notifications)).payload == payload


async def test_payload_too_long(conn: Any) -> None:
    with pytest.raises(InvalidParameterValue, match="payload string too long"):
        await conn.notify("jobs", "x" * 8000)


@pytest.mark.parametrize(
    "name",
    ["Jobs", "a b", 'q"u"o', "'; drop table x; --", "ä€", "x" * 63, "select", "€" * 21],
)
async def test_names(conn: Any, name: str) -> None:
    """A channel's name is what it is, and never SQL."""
    async with conn.listen(name) as notifications:
        assert await channels(conn) == [name]
        await conn.notify(name, "1")
        assert (await next_of(notifications)).channel == name
    assert await channels(conn) == []


@pytest.mark.parametrize(
    "name, message",
    [
        ("x" * 64, "64 bytes; a name has 63"),
        ("€" * 22, "66 bytes"),
        ("", "not empty"),
        ("a\0b", "no NUL"),
        ("\ud800", "surrogates not allowed"),
        (7, "not a int"),
    ],
)
async def test_wrong_names(conn: Any, name: Any, message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        conn.listen("good", name)
    with pytest.raises(InterfaceError, match=message):
        await conn.add_listener(name, print)
    with pytest.raises(InterfaceError, match=message):
        await conn.notify(name)
    assert await channels(conn) == []


async def test_wrong_use(conn: Any) -> None:
    with pytest.raises(InterfaceError, match="name of a channel"):
        conn.listen()
    with pytest.raises(InterfaceError, match="queue_size=0"):
        conn.listen("jobs", queue_size=0)
    with pytest.raises(InterfaceError, match="'drop_oldest'"):
        conn.listen("jobs", overflow="drop")
    notifications = conn.listen("jobs")
    for use in (notifications.get, notifications.__anext__):
        with pytest.raises(InterfaceError, match="async with"):
            await use()
    with pytest.raises(InterfaceError, match="async with"):
        notifications.notifies()
    async with notifications:
        with pytest.raises(InterfaceError, match="negative"):
            notifications.notifies(stop_after=-1)
        with pytest.raises(InterfaceError, match="entered before"):
            async with notifications:
                pass
    with pytest.raises(InterfaceError, match="not callable"):
        await conn.add_listener("jobs", None)


async def test_several_listeners(conn: Any, other: Any) -> None:
    """Each gets everything; the channel is left with the last one."""
    async with conn.listen("jobs", "news") as both:
        async with conn.listen("jobs") as jobs:
            await other.notify("jobs", "1")
            await other.notify("news", "2")
            await other.notify("jobs", "3")
            assert await payloads(both, 3) == ["1", "2", "3"]
            assert await payloads(jobs, 2) == ["1", "3"]
        assert await channels(conn) == ["jobs", "news"]
        await other.notify("jobs", "4")
        assert await payloads(both, 1) == ["4"]
    assert await channels(conn) == []


async def test_readers_share(conn: Any, other: Any) -> None:
    """Several tasks may read; one that is cancelled takes nothing with it."""
    async with conn.listen("jobs") as notifications:
        readers = [asyncio.ensure_future(next_of(notifications)) for _ in range(4)]
        await asyncio.sleep(0.01)
        readers[0].cancel()
        for n in range(3):
            await other.notify("jobs", str(n))
        found = await asyncio.gather(*readers[1:])
        assert sorted(n.payload for n in found) == ["0", "1", "2"]
        assert readers[0].cancelled()


async def test_a_reader_cancelled_when_woken(conn: Any) -> None:
    """What it was woken for goes to the next one."""
    async with conn.listen("jobs") as notifications:
        readers = [asyncio.ensure_future(next_of(notifications)) for _ in range(2)]
        await asyncio.sleep(0.01)
        conn._link.notification(1, "jobs", "1")
        readers[0].cancel()
        assert (await readers[1]).payload == "1"
        assert notifications.waiting == 0
        with pytest.raises(asyncio.CancelledError):
            await readers[0]


# Time limits


async def test_get_with_a_timeout(conn: Any, other: Any) -> None:
    async with conn.listen("jobs") as notifications:
        for timeout in (0, 0.02):
            with pytest.raises(TimeoutError, match="no notification"):
                await notifications.get(timeout=timeout)
        await other.notify("jobs", "1")
        await conn.execute("select 1")
        assert (await notifications.get(timeout=0)).payload == "1"


async def test_notifies(conn: Any, other: Any) -> None:
    async with conn.listen("jobs") as notifications:
        for n in range(5):
            await other.notify("jobs", str(n))
        found = [n async for n in notifications.notifies(stop_after=2)]
        assert [n.payload for n in found] == ["0", "1"]
        found = [n async for n in notifications.notifies(timeout=LIMIT_S, stop_after=1)]
        assert [n.payload for n in found] == ["2"]
        found = [n async for n in notifications.notifies(timeout=0.05)]
        assert [n.payload for n in found] == ["3", "4"]
        assert [n async for n in notifications.notifies(stop_after=0)] == []


# While other things run


async def test_other_tasks_use_the_connection(conn: Any, other: Any) -> None:
    async def use() -> int:
        return sum([await conn.fetchval("select $1::int", [n]) for n in range(50)])

    async with conn.listen("jobs") as notifications:
        tasks = [asyncio.ensure_future(use()) for _ in range(4)]
        for n in range(50):
            await other.notify("jobs", str(n))
        assert await payloads(notifications, 50) == [str(n) for n in range(50)]
        assert await asyncio.gather(*tasks) == [sum(range(50))] * 4


async def test_while_a_statement_runs(conn: Any, other: Any) -> None:
    """The server sends at the statement's end; its rows are as they should be."""
    async with conn.listen("jobs") as notifications:
        query = "select n, pg_sleep(0.1 * (n = 7)::int) from generate_series(1, 5000) n"
        running = asyncio.ensure_future(conn.fetch(query))
        await asyncio.sleep(0.02)
        await other.notify("jobs", "meanwhile")
        assert [row[0] for row in await running] == [*range(1, 5001)]
        assert await payloads(notifications, 1) == ["meanwhile"]


async def test_in_a_transaction(conn: Any, other: Any) -> None:
    """They come at its end."""
    async with conn.listen("jobs") as notifications:
        async with conn.transaction():
            await conn.execute("select 1")
            await other.notify("jobs", "1")
            await conn.execute("select 1")
            with pytest.raises(TimeoutError):
                await notifications.get(timeout=0.05)
        assert await payloads(notifications, 1) == ["1"]


async def test_notify_is_transactional(conn: Any, other: Any) -> None:
    async with conn.listen("jobs") as notifications:
        with contextlib.suppress(ZeroDivisionError):
            async with other.transaction():
                await other.notify("jobs", "rolled back")
                raise ZeroDivisionError
        async with other.transaction():
            await other.notify("jobs", "committed")
            await other.notify("jobs", "committed")  # PostgreSQL sends it once
            assert notifications.waiting == 0
        await other.notify("jobs", "last")
        assert await payloads(notifications, 2) == ["committed", "last"]


async def test_without_autocommit(connect: Any) -> None:
    """LISTEN is sent outside of the transactions that statements open."""
    conn = await connect()
    assert not conn.autocommit
    async with conn.listen("jobs") as notifications:
        assert not conn._core.in_transaction
        await conn.notify("jobs", "undone")
        await conn.rollback()
        await conn.notify("jobs", "1")
        with pytest.raises(TimeoutError):
            await notifications.get(timeout=0.02)
        await conn.commit()
        assert await payloads(notifications, 1) == ["1"]
        assert await channels(conn) == ["jobs"]
        await conn.rollback()
        assert await channels(conn) == ["jobs"]
        await conn.commit()
    assert await channels(conn) == []


async def test_inside_a_transaction(conn: Any) -> None:
    """LISTEN there would take effect with the commit, or never."""
    async with conn.transaction():
        for _ in range(2):
            with pytest.raises(InterfaceError, match="'jobs' inside a transaction"):
                async with conn.listen("jobs"):
                    pass
            with pytest.raises(InterfaceError, match="'jobs' inside a transaction"):
                await conn.add_listener("jobs", print)
            await conn.execute("select 1")
    assert await channels(conn) == []


async def test_beside_the_transaction_of_another_task(conn: Any, other: Any) -> None:
    """LISTEN and UNLISTEN wait for its end."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def transact() -> None:
        async with conn.transaction():
            await conn.execute("select 1")
            inside.set()
            await go_on.wait()
            assert await channels(conn) == []

    async def listen() -> None:
        await inside.wait()
        asyncio.get_running_loop().call_later(0.02, go_on.set)
        async with conn.listen("jobs") as notifications:
            assert await channels(conn) == ["jobs"]
            await other.notify("jobs", "1")
            assert await payloads(notifications, 1) == ["1"]

    await asyncio.gather(transact(), listen())
    assert await channels(conn) == []


async def test_exit_inside_a_transaction(conn: Any, other: Any) -> None:
    """UNLISTEN is sent with the next LISTEN or UNLISTEN outside of one; what comes
    until then is nobody's."""
    notifications = conn.listen("jobs")
    await notifications.__aenter__()
    async with conn.transaction():
        await conn.execute("select 1")
        await notifications.__aexit__(None, None, None)
    assert await channels(conn) == ["jobs"]
    await other.notify("jobs", "1")
    assert notifications.waiting == 0
    async with conn.listen("news"):
        assert await channels(conn) == ["news"]
    assert await channels(conn) == []
    assert conn._channels.idle


async def test_listen_again_after_such_an_exit(conn: Any, other: Any) -> None:
    async with conn.listen("jobs") as notifications:
        await conn.execute("begin")
        with pytest.raises(ZeroDivisionError):
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_exit(notifications.__aexit__)
                raise ZeroDivisionError
        await conn.execute("rollback")
        async with conn.listen("jobs", "news") as again:
            await other.notify("jobs", "1")
            assert await payloads(again, 1) == ["1"]
        assert await channels(conn) == []


async def test_listen_that_fails(conn: Any) -> None:
    """The server's error, and nothing is left."""
    await conn.execute("begin")
    with pytest.raises(pgasync.Error):
        await conn.execute("select 1 / 0")
    with pytest.raises(InterfaceError, match="inside a transaction"):
        async with conn.listen("jobs"):
            pass
    await conn.execute("rollback")
    assert conn._channels.idle
    async with conn.listen("jobs"):
        assert await channels(conn) == ["jobs"]


# Too many


async def flood(notifications: Any, conn: Any, count: int) -> None:
    """Notifications of one turn of the loop, as nobody reads."""
    await conn.fetch(
        "select pg_notify('jobs', n::text) from generate_series(1, $1::int) n", [count]
    )
    while notifications.waiting + notifications.dropped < count:
        await asyncio.sleep(0.01)


async def test_overflow_error(conn: Any) -> None:
    async with conn.listen("jobs", queue_size=10) as notifications:
        await flood(notifications, conn, 25)
        assert (notifications.waiting, notifications.dropped) == (10, 15)
        assert await payloads(notifications, 3) == ["1", "2", "3"]
        assert [n.payload async for n in notifications.notifies(stop_after=7)] == [
            str(n) for n in range(4, 11)
        ]
        for _ in range(2):
            with pytest.raises(
                NotificationOverflow, match=r"15 notif.*queue_size"
            ) as e:
                await notifications.get()
            assert e.value.dropped == 15
        with pytest.raises(NotificationOverflow):
            async for _ in notifications:
                raise AssertionError
        again = pickle.loads(pickle.dumps(e.value))
        assert (again.dropped, str(again)) == (15, str(e.value))
    assert await channels(conn) == []


async def test_overflow_drop_oldest(conn: Any) -> None:
    listen = conn.listen("jobs", queue_size=10, overflow="drop_oldest")
    async with listen as notifications:
        await flood(notifications, conn, 25)
        assert notifications.dropped == 15
        assert await payloads(notifications, 10) == [str(n) for n in range(16, 26)]
        await conn.notify("jobs", "on")
        assert await payloads(notifications, 1) == ["on"]


async def test_overflow_drop_newest(conn: Any) -> None:
    listen = conn.listen("jobs", queue_size=10, overflow="drop_newest")
    async with listen as notifications:
        await flood(notifications, conn, 25)
        assert notifications.dropped == 15
        assert await payloads(notifications, 10) == [str(n) for n in range(1, 11)]
        await conn.notify("jobs", "on")
        assert await payloads(notifications, 1) == ["on"]


async def test_who_keeps_up_loses_nothing(conn: Any, other: Any) -> None:
    """One turn of the loop brings less than the queue holds."""
    count = 40_000
    async with conn.listen("j") as notifications:
        sending = asyncio.ensure_future(
            other.fetch(
                f"select pg_notify('j', n::text) from generate_series(1, {count}) n"
            )
        )
        for n in range(1, count + 1):
            assert (await next_of(notifications)).payload == str(n)
        await sending
        assert notifications.dropped == 0


@pytest.mark.slow
async def test_a_hundred_thousand(
    conn: Any, other: Any, summary: list[str], request: Any
) -> None:
    """In order, none lost, in transactions of all sizes; with statements in between."""
    count, at = 100_000, 0
    numbers = "generate_series($1::int, $2::int) n"
    send = f"select count(pg_notify('jobs', n::text)::text) from {numbers}"
    begin, used = time.monotonic(), time.process_time()

    async def send_all() -> None:
        sizes, first = itertools.cycle([1, 7, 100, 5000]), 1
        while first <= count:
            last = min(count, first + next(sizes) - 1)
            await other.fetchval(send, [first, last])
            first = last + 1

    async with conn.listen("jobs") as notifications:
        sending = asyncio.ensure_future(send_all())
        async for notification in notifications.notifies(timeout=60, stop_after=count):
            at += 1
            assert notification.payload == str(at)
            if at % 1000 == 0:
                assert await conn.fetchval("select $1::int", [at]) == at
        await sending
        assert at == count
        assert notifications.dropped == notifications.waiting == 0
    took, used = time.monotonic() - begin, time.process_time() - used
    summary.append(
        f"{count} notifications, {request.node.name}: {count / took:.0f} a second, "
        f"{used / count * 1e6:.2f} µs CPU each, sent and received"
    )


# The end


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_closed(conn: Any, how: str) -> None:
    """What had come is read; then the loop ends."""
    async with conn.listen("jobs") as notifications:
        await flood(notifications, conn, 2)
        waiting = conn.listen("news")
        async with waiting:
            reading = asyncio.ensure_future(waiting.get())
            looping = asyncio.ensure_future(waiting.__anext__())
            await asyncio.sleep(0.01)
            await conn.close() if how == "close" else conn.terminate()
            with pytest.raises(InterfaceError, match="listening has ended"):
                await reading
            with pytest.raises(StopAsyncIteration):
                await looping
        assert [n.payload async for n in notifications] == ["1", "2"]
    with pytest.raises(InterfaceError, match="closed"):
        async with conn.listen("jobs"):
            pass


async def test_lost(conn: Any, other: Any) -> None:
    """ConnectionLost, to each reader its own, behind what had come."""
    async with conn.listen("jobs") as notifications:
        await flood(notifications, conn, 2)
        async with conn.listen("news") as news:
            waiting = asyncio.ensure_future(news.get())
            await asyncio.sleep(0.01)
            pid = conn.info.backend_pid
            await other.execute("select pg_terminate_backend($1)", [pid])
            with pytest.raises(ConnectionLost, match="terminating connection") as first:
                await waiting
            with pytest.raises(ConnectionLost) as second:
                await news.get()
        assert first.value is not second.value
        assert first.value.sqlstate == "57P01"
        assert await payloads(notifications, 2) == ["1", "2"]
        with pytest.raises(ConnectionLost, match="terminating connection"):
            async for _ in notifications:
                raise AssertionError


async def test_the_block_ends_before_the_reader(conn: Any) -> None:
    async with conn.listen("jobs") as notifications:
        reading = asyncio.ensure_future(notifications.get())
        await asyncio.sleep(0.01)
    with pytest.raises(InterfaceError, match="listening has ended"):
        await reading
    assert [n async for n in notifications] == []


async def test_cancelled_at_every_moment(conn: Any, other: Any) -> None:
    """After however many turns of the loop: the connection goes on, and listens to
    nothing that nobody reads."""

    async def listen() -> None:
        async with conn.listen("jobs") as notifications:
            await conn.notify("jobs", "1")
            await next_of(notifications)

    ended = turns = 0
    while ended < 3:
        task = asyncio.ensure_future(listen())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            ended += 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await conn.fetchval("select 1") == 1
        async with conn.listen("news"):
            assert await channels(conn) == ["news"]
        turns += 1 + turns // 10
        await asyncio.sleep(0)
    assert conn._channels.idle


async def test_cancelled_while_it_makes_up_for_an_unlisten(conn: Any) -> None:
    """LISTEN has been answered, the UNLISTEN that was due not yet."""
    for turns in range(8):
        old = conn.listen("old")
        await old.__aenter__()
        await conn.execute("begin")
        await old.__aexit__(None, None, None)
        await conn.execute("rollback")
        new = conn.listen("new")
        task = asyncio.ensure_future(new.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            await new.__aexit__(None, None, None)
        await conn.execute("select 1")
        async with conn.listen("last"):
            assert await channels(conn) == ["last"]
    assert conn._channels.idle


async def test_a_connection_that_is_dropped(connect: Any, dsn: str) -> None:
    """Listeners do not keep it alive."""
    conn = await pgasync.connect(dsn, autocommit=True)
    await conn.add_listener("jobs", lambda *args: None)
    await conn.add_listener("news", functools.partial(print, conn))
    gone = weakref.ref(conn)
    with pytest.warns(ResourceWarning, match="never closed"):
        del conn
        gc.collect()
    assert gone() is None


# Callbacks


async def test_add_listener(conn: Any, other: Any) -> None:
    heard: list[tuple[Any, ...]] = []

    def hear(*args: Any) -> None:
        heard.append(args)

    await conn.add_listener("jobs", hear)
    await conn.add_listener("jobs", hear)
    await conn.add_listener("news", hear)
    await other.notify("jobs", "1")
    await other.notify("news", "2")
    while len(heard) < 2:
        await asyncio.sleep(0.01)
    pid = other.info.backend_pid
    assert heard == [(conn, pid, "jobs", "1"), (conn, pid, "news", "2")]
    await conn.remove_listener("jobs", hear)
    await conn.remove_listener("jobs", hear)
    await conn.remove_listener("elsewhere", print)
    assert await channels(conn) == ["news"]
    await conn.reset_listeners()
    assert await channels(conn) == []
    await conn.close()
    await conn.remove_listener("jobs", hear)
    await conn.reset_listeners()
    with pytest.raises(InterfaceError, match="closed"):
        await conn.add_listener("jobs", hear)


async def test_reset_ends_iterators(conn: Any) -> None:
    async with conn.listen("jobs") as notifications:
        await conn.reset_listeners()
        assert [n async for n in notifications] == []
        assert await channels(conn) == []


async def test_a_callback_that_uses_the_connection(conn: Any) -> None:
    found: asyncio.Queue[Any] = asyncio.Queue()

    async def look(conn: Any, pid: int, channel: str, payload: str) -> None:
        found.put_nowait((payload, await conn.fetchval("select $1::int", [payload])))
        if payload == "3":
            await conn.remove_listener(channel, look)
            await conn.notify(channel, "never")

    await conn.add_listener("jobs", look)
    for n in range(1, 4):
        await conn.notify("jobs", str(n))
    got = [await asyncio.wait_for(found.get(), LIMIT_S) for _ in range(3)]
    assert got == [("1", 1), ("2", 2), ("3", 3)]
    while await channels(conn):
        await asyncio.sleep(0.01)
    assert found.empty()


async def test_a_callback_that_closes(conn: Any) -> None:
    closed = asyncio.Event()

    def close(conn: Any, *args: Any) -> None:
        conn.terminate()
        closed.set()

    await conn.add_listener("jobs", close)
    with contextlib.suppress(pgasync.Error):
        await conn.notify("jobs")
    await asyncio.wait_for(closed.wait(), LIMIT_S)
    assert conn.closed


async def test_async_callbacks_run_in_order(conn: Any) -> None:
    """One at a time, however long they take."""
    heard: list[str] = []
    done = asyncio.Event()

    class Listener:
        async def __call__(self, conn: Any, pid: int, channel: str, text: str) -> None:
            await asyncio.sleep(0.02 if text == "0" else 0)
            heard.append(text)
            if text == "9":
                done.set()

    await conn.add_listener("jobs", functools.partial(Listener()))
    for n in range(10):
        await conn.notify("jobs", str(n))
    await asyncio.wait_for(done.wait(), LIMIT_S)
    assert heard == [str(n) for n in range(10)]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_callback_that_raises(conn: Any, kind: str) -> None:
    """The loop's exception handler is told; the others are called."""
    reported: list[dict[str, Any]] = []
    heard: list[str] = []

    def hear(conn: Any, pid: int, channel: str, payload: str) -> None:
        heard.append(payload)

    def fail(*args: Any) -> None:
        raise ZeroDivisionError("on purpose")

    async def fail_later(*args: Any) -> None:
        fail()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    await conn.add_listener("jobs", fail if kind == "sync" else fail_later)
    await conn.add_listener("jobs", hear)
    await conn.notify("jobs", "1")
    await conn.notify("jobs", "2")
    while len(reported) < 2 or len(heard) < 2:
        await asyncio.sleep(0.01)
    assert heard == ["1", "2"]
    assert [str(context["exception"]) for context in reported] == ["on purpose"] * 2
    assert "fail" in reported[0]["message"]
    assert await conn.fetchval("select 1") == 1


async def test_an_async_callback_that_is_too_slow(conn: Any) -> None:
    """A bounded number waits for it, and that is said once."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    go_on = asyncio.Event()
    heard = 0

    async def wait(*args: Any) -> None:
        nonlocal heard
        heard += 1
        await go_on.wait()

    await conn.add_listener("jobs", wait)
    size = pgasync.inbox.QUEUE_SIZE
    for n in range(size + 100):
        conn._link.notification(1, "jobs", str(n))
    await asyncio.sleep(0.01)
    assert len(reported) == 1
    assert "too slow" in reported[0]["message"]
    go_on.set()
    while heard < size:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    assert heard == size
