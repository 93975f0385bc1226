"""Notifications of a server that sends what and when it likes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import pgasync
from hostile.scripts import LIMIT_S, connect
from pgmock import Gone, MockServer, Peer, complete, message, notification, ready

MANY = 100_000
ENDLESS = 1_000_000
LONG = "x" * 60_000


def listens(peer: Peer) -> None:
    """Up to the answer to LISTEN."""
    peer.startup()
    peer.expect(b"Q")
    peer.send(complete("LISTEN"), ready())


def sends(*parts: bytes) -> Any:
    """A script that sends these when LISTEN has been answered, then closes."""

    def script(peer: Peer) -> None:
        listens(peer)
        for part in parts:
            peer.send(part)
        with contextlib.suppress(Gone):
            peer.expect(b"Q")  # UNLISTEN, or a ping
            peer.send(complete("UNLISTEN"), ready())
            peer.wait_closed()

    return script


async def until(condition: Any) -> None:
    loop = asyncio.get_running_loop()
    limit = loop.time() + 3 * LIMIT_S
    while not condition():
        assert loop.time() < limit, "does not happen"
        await asyncio.sleep(0.005)


FLOODS = {
    "short": [notification("c", str(n % 10)) * 1000 for n in range(MANY // 1000)],
    "long": [notification("c", LONG) * 20] * 100,
}


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("overflow", ["error", "drop_oldest", "drop_newest"])
async def test_flood(kind: str, overflow: str) -> None:
    """While nobody reads: what is kept is bounded, and what is not is counted."""
    parts = FLOODS[kind]
    count = sum(part.count(b"c\0") for part in parts)
    with MockServer(sends(*parts)) as server:
        conn = await connect(server)
        async with conn.listen("c", overflow=overflow) as notifications:
            await until(lambda: notifications.waiting + notifications.dropped >= count)
            assert notifications.dropped > 0
            assert notifications.waiting + notifications.dropped == count
            assert notifications.waiting <= 32_768
        await conn.close()
    assert not server.failures


@pytest.mark.slow
async def test_a_million_that_nobody_reads() -> None:
    part = notification("c", "payload") * 1000
    with MockServer(sends(*[part] * (ENDLESS // 1000))) as server:
        conn = await connect(server)
        async with conn.listen("c", overflow="drop_oldest") as notifications:
            await until(lambda: notifications.dropped + 32_768 == ENDLESS)
        await conn.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_flood_of_callbacks(kind: str) -> None:
    """Those of one turn of the loop are called before more is read."""
    called = most = 0

    def count(*args: Any) -> None:
        nonlocal called
        called += 1

    async def slow(*args: Any) -> None:
        nonlocal called, most
        called += 1
        if called == 1:
            await asyncio.sleep(0.5)

    reported: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    with MockServer(sends(*FLOODS["short"])) as server:
        conn = await connect(server)
        await conn.add_listener("c", count if kind == "sync" else slow)
        wanted = MANY if kind == "sync" else 32_768
        await until(lambda: called >= wanted)
        assert called <= MANY
        assert len(reported) <= 1
        await conn.close()


async def test_channels_that_nobody_listens_to() -> None:
    """Are dropped; so is what comes when the listener has left."""
    other = notification("d", "payload") * 50_000
    with MockServer(sends(other, notification("c", "1"), other)) as server:
        conn = await connect(server)
        async with conn.listen("c") as notifications:
            assert (await notifications.get(timeout=LIMIT_S)).payload == "1"
            assert notifications.waiting == notifications.dropped == 0
        await conn.close()


async def test_bytes_that_are_no_utf8() -> None:
    """From a SQL_ASCII database: replaced, and the connection goes on."""
    odd = message(b"A", b"\0\0\0\1c\0caf\xe9\0")
    with MockServer(sends(odd)) as server:
        conn = await connect(server)
        async with conn.listen("c") as notifications:
            found = await notifications.get(timeout=LIMIT_S)
            assert found == ("c", "caf\N{REPLACEMENT CHARACTER}", 1)
        await conn.close()


@pytest.mark.parametrize(
    "broken",
    [message(b"A", b"\0\0"), message(b"A", b"\0\0\0\1c"), ready(), message(b"!")],
    ids=["short", "without_end", "ready", "unknown"],
)
async def test_broken_messages(broken: bytes) -> None:
    """Behind a good one: that is read first, then the connection is lost; a listener
    that survives says so by a gap."""
    good = notification("c", "1")
    with MockServer(sends(good + broken)) as server:
        conn = await connect(server)
        async with conn.listen("c") as notifications:
            assert (await notifications.get(timeout=LIMIT_S)).payload == "1"
            with pytest.raises(pgasync.ProtocolViolation):
                await notifications.get(timeout=LIMIT_S)
        await conn.close()
    with MockServer(sends(good + broken)) as server:
        async with pgasync.listen(server.dsn, "c", backoff=(0.01, 0.02)) as events:
            assert (await events.get(timeout=LIMIT_S)).payload == "1"
            assert (await events.get(timeout=LIMIT_S)).is_gap
            assert (await events.get(timeout=LIMIT_S)).payload == "1"


async def test_a_flood_in_place_of_the_answer_to_listen() -> None:
    """Nothing of it is kept without a bound."""

    def script(peer: Peer) -> None:
        peer.startup()
        peer.expect(b"Q")
        with contextlib.suppress(Gone):
            for part in FLOODS["short"]:
                peer.send(part)
            peer.wait_closed()

    with MockServer(script) as server:
        events = pgasync.listen(server.dsn, "c")
        with pytest.raises(pgasync.ConnectionLost, match="flood of notifications"):
            await events.__aenter__()
