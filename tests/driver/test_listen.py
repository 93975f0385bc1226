"""pgasync.listen(): a listener that survives what becomes of its connection."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import pickle
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgasync
import pgmock
import servers
from pgasync import Gap, Notification
from pgasync.conninfo import parse
from pgasync.errors import (
    ConnectError,
    ConnectionLost,
    InterfaceError,
    InvalidCatalogName,
    InvalidPassword,
    NotificationOverflow,
)
from pgasync.listen import GapInbox, Listener

LIMIT_S = 40.0
QUICK = {"backoff": (0.02, 0.1)}
SENT = 300  # notifications in a restart, at least


@pytest.fixture(scope="module")
def own_server() -> Iterator[servers.Server]:
    """A server that the tests may stop and start."""
    with servers.Server() as started:
        yield started


@pytest.fixture
def running(own_server: servers.Server) -> servers.Server:
    own_server.start()
    return own_server


async def next_of(events: Any) -> Any:
    return await events.get(timeout=LIMIT_S)


async def backend_of(events: Listener) -> int:
    """The pid of its session."""
    session = await until(lambda: events._session)
    return int(session.connection.info.backend_pid)


async def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives, once that is true."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + LIMIT_S
    while not (found := condition()):
        assert loop.time() < limit, "does not happen"
        await asyncio.sleep(0.005)
    return found


def test_gap() -> None:
    since = datetime.datetime.now(datetime.timezone.utc)
    gap = Gap("the server closed the connection", since, 3)
    assert gap.is_gap
    assert (gap.reason, gap.since, gap.attempts) == tuple(gap)
    assert pickle.loads(pickle.dumps(gap)) == gap
    assert "attempts=3" in repr(gap)


# As long as nothing happens


async def test_it_listens(dsn: str, conn: Any) -> None:
    async with pgasync.listen(dsn, "jobs", "news") as events:
        assert events.connected
        assert events.channels == ("jobs", "news")
        await conn.notify("jobs", "1")
        await conn.notify("news", "2")
        some = [n async for n in events.notifies(stop_after=2)]
        assert [(n.channel, n.payload) for n in some] == [("jobs", "1"), ("news", "2")]
        await conn.notify("jobs", "3")
        async for event in events:
            assert not event.is_gap
            assert isinstance(event, Notification)
            assert event.payload == "3"
            break
        with pytest.raises(TimeoutError):
            await events.get(timeout=0.01)
    assert not events.connected
    with pytest.raises(InterfaceError, match="listener was closed"):
        await events.get()
    assert [event async for event in events] == []


async def test_what_is_wrong(dsn: str) -> None:
    for wrong, message in [
        ({"queue_size": 0}, "queue_size"),
        ({"overflow": "wait"}, "'gap'"),
        ({"ping_interval": 0}, "ping_interval=0"),
        ({"ping_timeout": None}, "ping_timeout=None"),
        ({"backoff": (2, 1)}, "backoff="),
        ({"reconnect_timeout": -1}, "reconnect_timeout=-1"),
        ({"refusal_timeout": 0}, "refusal_timeout=0"),
        ({"pasword": "x"}, "pasword"),
    ]:
        with pytest.raises(InterfaceError, match=message):
            pgasync.listen(dsn, "jobs", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InterfaceError, match="name of a channel"):
        pgasync.listen(dsn)
    events = pgasync.listen(dsn, "jobs")
    for use in (events.get, events.__anext__):
        with pytest.raises(InterfaceError, match="async with"):
            await use()
    with pytest.raises(InterfaceError, match="async with"):
        events.notifies()
    await events.aclose()
    with pytest.raises(InterfaceError, match="entered before"):
        async with events:
            pass


async def test_entering_raises(dsn: str) -> None:
    """At the first time nothing is tried again."""
    with pytest.raises(InvalidCatalogName):
        async with pgasync.listen(dsn, "jobs", dbname="nowhere"):
            pass
    with pytest.raises(ConnectError):
        async with pgasync.listen("postgresql://localhost:1", "jobs"):
            pass


async def test_closed_at_once_and_from_another_task(dsn: str) -> None:
    async with pgasync.listen(dsn, "jobs") as events:
        pass
    async with pgasync.listen(dsn, "jobs") as events:
        reading = asyncio.ensure_future(events.get())
        looping = asyncio.ensure_future(events.__anext__())
        await asyncio.sleep(0.01)
        await asyncio.gather(events.aclose(), events.aclose())
        with pytest.raises(InterfaceError, match="closed"):
            await reading
        with pytest.raises(StopAsyncIteration):
            await looping


async def test_a_primary_of_several_hosts(dsn: str) -> None:
    made: list[Any] = []

    def remember(config: Any) -> Any:
        made.append(config)
        raise ConnectError("seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["pgasync.listen"], "open_connection", remember)
        for keywords in (
            {"host": "a,b"},
            {"host": "a,b", "target_session_attrs": "read-write"},
            {"host": "a"},
        ):
            with pytest.raises(ConnectError, match="seen"):
                async with pgasync.listen(None, "jobs", **keywords):
                    pass
    wanted = ["primary", "read-write", "any"]
    assert [config.target_session_attrs for config in made] == wanted


# Interruptions


async def test_terminated(dsn: str, conn: Any) -> None:
    """One gap for each time, and then what is sent from then on."""
    async with pgasync.listen(dsn, "jobs", **QUICK) as events:
        for round_ in range(5):
            await conn.notify("jobs", f"before {round_}")
            assert (await next_of(events)).payload == f"before {round_}"
            before = datetime.datetime.now(datetime.timezone.utc)
            pid = await backend_of(events)
            await conn.execute("select pg_terminate_backend($1)", [pid])
            gap = await next_of(events)
            assert isinstance(gap, Gap)
            assert "terminating connection due to administrator command" in gap.reason
            assert gap.attempts == 1
            behind = before - gap.since
            assert datetime.timedelta(0) <= behind < datetime.timedelta(seconds=LIMIT_S)
            await conn.notify("jobs", f"after {round_}")
            assert (await next_of(events)).payload == f"after {round_}"
        assert events.waiting == 0


async def connected(dsn: str) -> Any:
    """A session, as soon as the server takes one."""
    while True:
        try:
            return await pgasync.connect(dsn, autocommit=True)
        except pgasync.OperationalError:
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def sender(dsn: str) -> AsyncIterator[list[int]]:
    """Sends numbers without an end, and notes those that were sent for certain."""
    sent: list[int] = []

    async def run() -> None:
        number, conn = 0, await connected(dsn)
        try:
            while True:
                number += 1
                try:
                    await conn.notify("jobs", str(number))
                    sent.append(number)
                except pgasync.OperationalError:
                    await conn.close()
                    conn = await connected(dsn)
                await asyncio.sleep(0.001)
        finally:
            conn.terminate()

    task = asyncio.ensure_future(run())
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_server_restart(running: servers.Server, how: str) -> None:
    """Exactly one gap; in order; behind the gap nothing is missing that was sent after
    the listener listened again."""

    def restart() -> None:
        if how == "kill":
            running.kill()
        else:
            running.shut_down(fast=how == "fast")
        time.sleep(0.1)
        running.start()

    async with (
        pgasync.listen(running.dsn, "jobs", **QUICK) as events,
        sender(running.dsn) as sent,
    ):
        seen: list[list[int]] = [[]]
        gaps: list[Gap] = []
        again: list[int] = []  # what had been sent when the gap was seen

        async def read() -> None:
            async for event in events:
                if isinstance(event, Gap):
                    gaps.append(event)
                    again.append(sent[-1])
                    seen.append([])
                else:
                    seen[-1].append(int(event.payload))

        reading = asyncio.ensure_future(read())
        await until(lambda: len(sent) >= SENT)
        await asyncio.to_thread(restart)
        await until(lambda: len(seen) > 1 and len(seen[-1]) >= SENT)
        last = sent[-1]
        await until(lambda: seen[-1][-1] >= last)
        reading.cancel()
        await asyncio.wait({reading})
    (gap,) = gaps
    assert gap.attempts >= 1
    assert all(part == sorted(part) for part in seen)
    before, after = seen
    assert before[0] == 1
    assert {n for n in sent if n <= before[-1]} <= set(before)
    missing = {n for n in sent if again[0] < n <= last} - set(after)
    assert missing == set(), f"{len(missing)} of {len(sent)} lost after the gap"


async def test_a_listener_that_is_read_late(running: servers.Server) -> None:
    """It connects again although nobody reads, and the gap is where it was."""
    async with pgasync.listen(running.dsn, "jobs", **QUICK) as events:
        conn = await connected(running.dsn)
        await conn.notify("jobs", "1")
        await until(lambda: events.waiting == 1)
        first = await backend_of(events)
        await conn.execute("select pg_terminate_backend($1)", [first])
        await until(lambda: events.waiting == 2)
        await conn.notify("jobs", "2")
        await conn.close()
        await until(lambda: events.waiting == 3)
        kinds = [(await next_of(events)).is_gap for _ in range(3)]
        assert kinds == [False, True, False]


def hosts_of(*dsns: str) -> dict[str, str]:
    places = [parse(dsn, {}).hosts[0] for dsn in dsns]
    return {
        "host": ",".join(place.host for place in places),
        "port": ",".join(str(place.port) for place in places),
        "user": "postgres",
        "dbname": "postgres",
    }


async def test_next_host(running: servers.Server, dsn: str, conn: Any) -> None:
    """Of the list, when the first one is gone."""
    hosts = hosts_of(running.dsn, dsn)
    async with pgasync.listen(None, "jobs", **hosts, **QUICK) as events:
        first = events._session.connection.info.port  # type: ignore[union-attr]
        assert str(first) == hosts["port"].partition(",")[0]
        await asyncio.to_thread(running.shut_down)
        assert (await next_of(events)).is_gap
        await conn.notify("jobs", "over there")
        assert (await next_of(events)).payload == "over there"


@pytest.mark.slow
async def test_failover() -> None:
    """To a standby, which is asked in vain until it is promoted."""
    with servers.Server() as first, servers.Standby(first) as second:
        hosts = hosts_of(second.dsn, first.dsn)
        async with pgasync.listen(None, "jobs", **hosts, **QUICK) as events:
            conn = await connected(first.dsn)
            await conn.notify("jobs", "1")
            assert (await next_of(events)).payload == "1"
            await asyncio.to_thread(first.kill)
            conn.terminate()
            with pytest.raises(TimeoutError):
                await events.get(timeout=0.3)
            await asyncio.to_thread(second.promote)
            gap = await next_of(events)
            assert gap.is_gap
            assert gap.attempts > 1
            conn = await connected(second.dsn)
            await conn.notify("jobs", "2")
            assert (await next_of(events)).payload == "2"
            await conn.close()


async def test_it_gives_up(running: servers.Server) -> None:
    listen = pgasync.listen(running.dsn, "jobs", reconnect_timeout=0.5, **QUICK)
    async with listen as events:
        await asyncio.to_thread(running.shut_down)
        begin = time.monotonic()
        with pytest.raises(ConnectError, match=r"within 0\.5 s, in \d+ attempts") as e:
            await next_of(events)
        assert time.monotonic() - begin < LIMIT_S
        assert isinstance(e.value.__cause__, ConnectError)
        with pytest.raises(ConnectError):
            async for _ in events:
                raise AssertionError
        assert not events.connected


async def test_refused(conn: Any, dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """A role that is gone: every attempt is in the log, and they end."""
    await conn.execute("drop role if exists passing")
    await conn.execute("create role passing login")
    listen = pgasync.listen(dsn, "jobs", user="passing", refusal_timeout=0.3, **QUICK)
    with caplog.at_level(logging.WARNING, "pgasync"):
        async with listen as events:
            await conn.execute("drop role passing")
            pid = await backend_of(events)
            await conn.execute("select pg_terminate_backend($1)", [pid])
            with pytest.raises(pgasync.errors.InvalidAuthorizationSpecification):
                await next_of(events)
    said = [record.getMessage() for record in caplog.records]
    assert "terminating connection" in said[0]
    assert len(said) > 2
    assert all('role "passing" does not exist' in line for line in said[1:])


async def test_refused_for_a_while(
    conn: Any, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is mended in time is no end."""
    await conn.execute("drop role if exists passing")
    await conn.execute("create role passing login")
    with caplog.at_level(logging.WARNING, "pgasync"):
        async with pgasync.listen(dsn, "jobs", user="passing", **QUICK) as events:
            await conn.execute("alter role passing rename to away")
            pid = await backend_of(events)
            await conn.execute("select pg_terminate_backend($1)", [pid])
            await until(lambda: len(caplog.records) > 2)
            await conn.execute("alter role away rename to passing")
            gap = await next_of(events)
            assert gap.is_gap
            assert gap.attempts > 1
    await conn.execute("drop role passing")


async def test_a_password_that_is_wrong_later(running: servers.Server) -> None:
    """The callable is asked anew for each connection."""
    passwords = [running.password, "wrong"]
    listen = pgasync.listen(
        running.tcp_dsn_for(password=""),
        "jobs",
        password=lambda: passwords.pop(0) if len(passwords) > 1 else passwords[0],
        refusal_timeout=0.1,
        **QUICK,
    )
    async with listen as events:
        conn = await connected(running.dsn)
        pid = await backend_of(events)
        await conn.execute("select pg_terminate_backend($1)", [pid])
        await conn.close()
        with pytest.raises(InvalidPassword):
            await next_of(events)


async def test_what_the_factory_raises(dsn: str, conn: Any) -> None:
    """An error of no driver ends the listener, and is the reader's."""
    made = []

    async def connect() -> Any:
        if made:
            raise ZeroDivisionError("on purpose")
        made.append(await pgasync.connect(dsn))
        return made[0]

    async with Listener(connect, "jobs", **QUICK) as events:
        assert not made[0].autocommit
        pid = await backend_of(events)
        await conn.execute("select pg_terminate_backend($1)", [pid])
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            await next_of(events)


async def test_cancelled_and_closed_at_any_moment(
    dsn: str, conn: Any, running: servers.Server
) -> None:
    """Nothing is left: the fixtures look for tasks and sockets."""

    async def listen(dsn: str) -> None:
        async with pgasync.listen(dsn, "jobs", **QUICK) as events:
            pid = await backend_of(events)
            await conn.execute("select pg_terminate_backend($1)", [pid])
            await next_of(events)

    ended = turns = 0
    while ended < 3:
        task = asyncio.ensure_future(listen(dsn))
        for _ in range(turns):
            await asyncio.sleep(0)
        ended += task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        turns += 1 + turns // 8
    for pause in (0, 0.005, 0.03, 0.06):
        async with pgasync.listen(running.dsn, "jobs", **QUICK) as events:
            await asyncio.to_thread(running.shut_down)
            await until(lambda: not events.connected)
            await asyncio.sleep(pause)
        running.start()


# A link that is dead without a word


def answers_once(peer: pgmock.Peer) -> None:
    """LISTEN is answered, and nothing else any more."""
    peer.startup()
    assert peer.expect(b"Q").startswith(b'LISTEN "jobs"')
    peer.send(pgmock.complete("LISTEN"), pgmock.ready())
    with contextlib.suppress(pgmock.Gone):
        peer.wait_closed(LIMIT_S)


async def test_a_dead_link() -> None:
    """Noticed by a ping after silence."""
    with pgmock.MockServer(answers_once) as mock:
        listen = pgasync.listen(
            mock.dsn, "jobs", ping_interval=0.1, ping_timeout=0.1, **QUICK
        )
        async with listen as events:
            gap = await next_of(events)
            assert isinstance(gap, Gap)
            assert "did not answer a ping within 0.1 s" in gap.reason
    assert not mock.failures


async def test_no_ping_without_silence() -> None:
    """A server that talks is asked nothing."""

    def talks(peer: pgmock.Peer) -> None:
        peer.startup()
        peer.expect(b"Q")
        peer.send(pgmock.complete("LISTEN"), pgmock.ready())
        for n in range(20):
            time.sleep(0.02)
            peer.send(pgmock.notification("jobs", str(n)))
        asked.append(peer.recv()[0])  # now there is silence
        peer.send(pgmock.EMPTY_QUERY, pgmock.ready(), pgmock.notification("jobs", "x"))
        with contextlib.suppress(pgmock.Gone):
            peer.wait_closed(LIMIT_S)

    asked: list[bytes] = []
    with pgmock.MockServer(talks) as mock:
        async with pgasync.listen(mock.dsn, "jobs", ping_interval=0.6) as events:
            found = [(await next_of(events)).payload for _ in range(20)]
            assert found == [str(n) for n in range(20)]
            assert asked == []
            assert (await next_of(events)).payload == "x"
            assert asked == [b"Q"]
    assert not mock.failures


async def test_listen_is_not_answered() -> None:
    def silent(peer: pgmock.Peer) -> None:
        peer.startup()
        with contextlib.suppress(pgmock.Gone):
            peer.wait_closed(LIMIT_S)

    message = r"did not answer LISTEN within 0\.1 s"
    with pgmock.MockServer(silent) as mock:
        events = pgasync.listen(mock.dsn, "jobs", ping_timeout=0.1)
        with pytest.raises(ConnectionLost, match=message):
            await events.__aenter__()
    assert not mock.failures


async def test_a_server_that_is_back_but_silent() -> None:
    """Accepts, and says nothing: the attempt ends with the time for all of them."""

    def silent(peer: pgmock.Peer) -> None:
        with contextlib.suppress(pgmock.Gone):
            peer.wait_closed(LIMIT_S)

    with pgmock.MockServer(answers_once) as mock:
        listen = pgasync.listen(
            mock.dsn,
            "jobs",
            ping_interval=0.05,
            ping_timeout=0.05,
            reconnect_timeout=0.3,
            **QUICK,
        )
        async with listen as events:
            mock.script = silent
            with pytest.raises(ConnectError, match=r"within 0\.3 s, in 1 attempts"):
                await next_of(events)
    assert not mock.failures


async def test_notifications_with_the_answer_to_listen() -> None:
    """They stand behind the gap, whatever packet they came in."""
    rounds = []

    def script(peer: pgmock.Peer) -> None:
        peer.startup()
        peer.expect(b"Q")
        rounds.append(1)
        number = str(len(rounds))
        peer.send(
            pgmock.notification("jobs", number + " early"),
            pgmock.complete("LISTEN"),
            pgmock.ready(),
            pgmock.notification("jobs", number),
        )
        if len(rounds) == 1:
            peer.close()
        else:
            with contextlib.suppress(pgmock.Gone):
                peer.wait_closed(LIMIT_S)

    with pgmock.MockServer(script) as mock:
        listen = Listener(lambda: pgasync.connect(mock.dsn), "jobs", **QUICK)
        with contextlib.suppress(pgasync.Error):
            async with listen as events:
                found = [await next_of(events) for _ in range(5)]
                texts = [event.payload for event in found]
                assert texts == ["1 early", "1", "", "2 early", "2"]
                assert found[2].is_gap
    assert not mock.failures


# A queue that is full


def fill(items: GapInbox, numbers: range) -> None:
    for n in numbers:
        items.put(Notification("jobs", str(n), 1))


def drained(items: GapInbox) -> list[Any]:
    """Payloads, and the gaps."""
    found: list[Any] = []
    while len(items):
        item = items.take()
        found.append(item if item.is_gap else int(item.payload))
    return found


def gap_of(reason: str) -> Gap:
    return Gap(reason, datetime.datetime.now(datetime.timezone.utc), 1)


def test_overflow_is_a_gap() -> None:
    items = GapInbox(3, "gap")
    fill(items, range(5))
    assert items.take().payload == "0"
    fill(items, range(5, 7))  # not in: there would be a hole without a word
    found = drained(items)
    assert found[:2] == [1, 2]
    assert isinstance(found[2], Gap)
    assert "4 notifications were dropped: the queue was full (3)" in found[2].reason
    assert found[2].attempts == 0
    assert items.dropped == 4
    fill(items, range(7, 9))
    assert drained(items) == [7, 8]


def test_gaps_in_a_full_queue() -> None:
    """One that is put in counts for what was dropped before it; gaps do not add up."""
    items = GapInbox(2, "gap")
    fill(items, range(3))
    for n in range(100):
        items.put_gap(gap_of(str(n)))
    assert len(items) == 3
    gap = items._items[-1]
    assert (gap.reason, gap.attempts) == ("99", 100)
    assert drained(items) == [0, 1, gap]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_drop_oldest_keeps_gaps(size: int) -> None:
    items = GapInbox(size, "drop_oldest")
    gap = gap_of("lost")
    items.put_gap(gap)
    fill(items, range(10))
    found = drained(items)
    assert found[0] == gap
    assert found[1:] == list(range(10))[-max(1, size - 1) :]
    assert items.dropped == 10 - len(found[1:])


async def test_overflow_policies(dsn: str, conn: Any) -> None:
    many = "select pg_notify('jobs', n::text) from generate_series(1, 50) n"
    async with pgasync.listen(dsn, "jobs", queue_size=10) as events:
        await conn.fetch(many)
        await until(lambda: events.dropped == 40)
        found = [await next_of(events) for _ in range(11)]
        assert [event.is_gap for event in found] == [False] * 10 + [True]
        await conn.notify("jobs", "on")
        assert (await next_of(events)).payload == "on"
    listen = pgasync.listen(dsn, "jobs", queue_size=10, overflow="error")
    async with listen as events:
        await conn.fetch(many)
        await until(lambda: events.dropped == 40)
        assert len([await next_of(events) for _ in range(10)]) == 10
        with pytest.raises(NotificationOverflow, match="40 notifications"):
            await next_of(events)
