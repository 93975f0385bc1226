"""Link: cancel requests and SCRAM keys, with a core that only takes notes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from pgasync import conninfo, link, sockets
from pgasync.errors import ConnectionLost
from pgasync.transport import Transport


class Core:
    """What Link sees of a core connection."""

    def __init__(self, key: bytes = b"\0\1\2\3") -> None:
        self.backend_pid = 77
        self.backend_key = key
        self.closed = False
        self.error: BaseException | None = None
        self.finished = 0
        self.keys: list[bytes] = []

    def terminate(self, error: BaseException | None = None) -> None:
        self.closed = True
        self.error = error

    def cancel_finished(self) -> None:
        self.finished += 1

    def scram_key(self, key: bytes) -> None:
        self.keys.append(key)


class Postmaster:
    """Takes CancelRequests; `hold` keeps the connection open, as a stuck one would."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.hold = False
        self.port = 0

    async def handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests.append(await reader.readexactly(16))
        while self.hold:
            if await reader.read(1) == b"":
                break
        writer.close()


@pytest.fixture
async def postmaster() -> AsyncIterator[Postmaster]:
    master = Postmaster()
    server = await asyncio.start_server(master.handle, "127.0.0.1", 0)
    master.port = server.sockets[0].getsockname()[1]
    yield master
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)


def make(port: int, **keywords: Any) -> Any:
    config = conninfo.parse(None, {"host": "127.0.0.1", "port": port, **keywords}, {})
    (host,) = config.hosts
    address = sockets.Address(host, socket.AF_INET, ("127.0.0.1", port))
    return link.Link(config, address, asyncio.get_running_loop(), Transport())


async def settled(condition: Any, limit: float = 2.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    while not condition():
        assert loop.time() < end, "does not happen"
        await asyncio.sleep(0.005)


async def test_one_request_when_it_works(postmaster: Postmaster) -> None:
    made, core = make(postmaster.port), Core()
    made.abandoned(core)
    await settled(lambda: postmaster.requests)
    assert core.finished == 0
    made.drained(core)
    await settled(lambda: core.finished)
    assert postmaster.requests == [bytes.fromhex("00000010 04d2162e 0000004d 00010203")]
    assert not core.closed
    made.abandoned(core)  # and again
    await settled(lambda: len(postmaster.requests) == 2)
    made.drained(core)
    await settled(lambda: core.finished == 2)


async def test_waits_for_the_end_of_file(postmaster: Postmaster) -> None:
    """The answer is in, but the server has not closed the cancel connection: its
    signal may still be on the way."""
    postmaster.hold = True
    made, core = make(postmaster.port, cancel_timeout=0.4), Core()
    made.abandoned(core)
    await settled(lambda: postmaster.requests)
    made.drained(core)
    await asyncio.sleep(0.1)
    assert core.finished == 0
    await settled(lambda: core.finished)
    assert not core.closed


async def test_repeated_until_the_deadline(
    postmaster: Postmaster, caplog: pytest.LogCaptureFixture
) -> None:
    made, core = make(postmaster.port, cancel_timeout=1.1), Core()
    ended: list[Any] = []
    wrapper = SimpleNamespace(
        _termination_listeners={ended.append: None}, _channels=None
    )
    made.wrapper = lambda: wrapper
    made.abandoned(core)
    await settled(lambda: core.closed)
    assert 3 <= len(postmaster.requests) <= 4
    assert isinstance(core.error, ConnectionLost)
    assert "1.1 s" in str(core.error)
    assert core.finished == 0
    assert not caplog.records
    await asyncio.sleep(0)
    await settled(lambda: ended)
    assert ended == [wrapper]


async def test_one_is_sent_however_short_the_time(postmaster: Postmaster) -> None:
    made, core = make(postmaster.port, cancel_timeout=0.1), Core()
    made.abandoned(core)
    await settled(lambda: core.closed)
    assert len(postmaster.requests) == 1


async def test_unreachable_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made, core = make(port, cancel_timeout=0.6), Core()
    with caplog.at_level(logging.WARNING, "pgasync"):
        made.abandoned(core)
        await settled(lambda: core.closed)
    assert len(caplog.records) == 1
    assert str(port) in caplog.text


async def test_no_key_waits_for_the_natural_end(postmaster: Postmaster) -> None:
    made, core = make(postmaster.port, cancel_timeout=5), Core(key=b"")
    made.abandoned(core)
    await asyncio.sleep(0.3)
    assert postmaster.requests == []
    made.drained(core)
    await settled(lambda: core.finished)
    assert not core.closed


async def test_closed_before_it_starts(postmaster: Postmaster) -> None:
    made, core = make(postmaster.port), Core()
    made.abandoned(core)
    core.closed = True
    made.drained(core)
    await asyncio.sleep(0.05)
    assert postmaster.requests == []
    assert core.finished == 0


async def test_cancel_task_cancelled(postmaster: Postmaster) -> None:
    """As asyncio.run() does at the end: the connection is closed, not forgotten."""
    postmaster.hold = True
    made, core = make(postmaster.port), Core()
    made.abandoned(core)
    await settled(lambda: postmaster.requests)
    (task,) = made._tasks
    task.cancel()
    await settled(lambda: core.closed)
    assert isinstance(core.error, ConnectionLost)
    assert task.cancelled()


def test_loop_closed() -> None:
    loop = asyncio.SelectorEventLoop()
    core = Core()

    async def start() -> Any:
        return make(1)

    made = loop.run_until_complete(start())
    loop.close()
    made.abandoned(core)
    assert core.closed
    made.drained(core)
    made.ended(core)
    other = Core()
    made.scram(other, b"salt", 1)
    assert other.closed


# --- SCRAM -------------------------------------------------------------------


async def test_scram_key_and_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_keys", link.KeyCache())
    made, core = make(1), Core()
    made.password = "pen\u00adcil".encode()  # SASLprep drops the soft hyphen
    made.scram(core, b"salt", 4096)
    assert core.keys == []  # never from inside the pump
    await settled(lambda: core.keys)
    expected = hashlib.pbkdf2_hmac("sha256", b"pencil", b"salt", 4096)
    assert core.keys == [expected]

    def fail(*args: Any, **keywords: Any) -> bytes:
        raise AssertionError("derived again")

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", fail)
    made.scram(core, b"salt", 4096)
    await settled(lambda: len(core.keys) == 2)
    assert core.keys[1] == expected


async def test_scram_key_for_a_closed_connection() -> None:
    made, core = make(1), Core()
    made.password = b"other"
    made.scram(core, b"pepper", 4096)
    core.closed = True
    await asyncio.sleep(0.1)
    assert core.keys == []


async def test_scram_failure_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **keywords: Any) -> bytes:
        raise ValueError("no such digest")

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", fail)
    made, core = make(1), Core()
    made.password = b"x"
    made.scram(core, b"fail", 4096)
    await settled(lambda: core.closed)
    assert "no such digest" in str(core.error)


def test_key_cache_is_bounded() -> None:
    cache = link.KeyCache()
    names = [cache.name(b"pw", b"salt", n) for n in range(cache.SIZE + 5)]
    for name in names:
        cache.put(name, name)
    assert cache.get(names[0]) is None
    assert cache.get(names[-1]) == names[-1]
    assert cache.name(b"ab", b"c", 1) != cache.name(b"b", b"ca", 1)
