"""TLS: what comes in place of the answer to SSLRequest, of a handshake, and of records;
sessions that break off anywhere. By our own TLS and by an ssl.SSLContext."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, NO_SESSION, ONE, TAG, connect, eof, rst, stall
from hostile.secure import (
    ALERT,
    APPLICATION,
    HANDSHAKE,
    Secure,
    alert,
    asked_for_tls,
    record,
    secured,
    server_context,
)
from pgasync import errors
from pgmock import (
    Answer,
    Gone,
    MockServer,
    Peer,
    Script,
    auth_ok,
    data_row,
    error,
    int4,
    message,
    notice,
    ready,
    serve,
)

TIMEOUT_S = 0.5
KINDS = ("own", "context")
TEXT = "a text that nobody vouches for"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return server_context(tmp_path_factory.mktemp("hostile-tls"))


def client(kind: str) -> dict[str, Any]:
    """Keywords for TLS that trusts anybody: what is bent here is behind the trust."""
    if kind == "own":
        return {"sslmode": "require"}
    given = ssl.create_default_context()
    given.check_hostname = False
    given.verify_mode = ssl.CERT_NONE
    return {"ssl": given}


# --- the answer to SSLRequest ------------------------------------------------


class Negotiation(NamedTuple):
    """`script` runs when the SSLRequest has been read."""

    name: str
    script: Script
    modes: tuple[str, ...] = ("require", "prefer")


def answers(*data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(*data)
        peer.wait_closed()

    return script


def answers_and(leave: Script, *data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(*data)
        leave(peer)

    return script


NEGOTIATION = [
    Negotiation("eof", eof),
    Negotiation("rst", rst),
    Negotiation("silence", stall),
    Negotiation("error_with_a_text", answers(error("28000", TEXT, "FATAL"))),
    Negotiation("error_and_end", answers_and(eof, error("28000", TEXT, "FATAL"))),
    Negotiation("error_of_protocol_2", answers_and(eof, b"E" + TEXT.encode() + b"\0")),
    Negotiation("error_alone", answers(b"E")),
    Negotiation("refused", answers(b"N"), ("require",)),
    Negotiation("lower_case", answers(b"s")),
    Negotiation("zero", answers(b"\0")),
    Negotiation("unknown", answers(b"X")),
    Negotiation("gss", answers(b"G")),
    Negotiation("http", answers(b"HTTP/1.1 400 Bad Request\r\n\r\n" + TEXT.encode())),
    Negotiation("authentication", answers(auth_ok(), ready())),
    Negotiation("tls_at_once", answers(alert(40))),
    Negotiation("yes_twice", answers(b"SS")),
    Negotiation("plaintext_behind_yes", answers(b"S", error("28000", TEXT, "FATAL"))),
    Negotiation("authentication_behind_yes", answers(b"S", auth_ok(), ready())),
    Negotiation("yes_then_silence", answers(b"S")),
]


@pytest.mark.parametrize(
    ("case", "mode"),
    [(case, mode) for case in NEGOTIATION for mode in case.modes],
    ids=lambda value: getattr(value, "name", value),
)
async def test_negotiation(case: Negotiation, mode: str) -> None:
    """A clean end, no text of a stranger, and no second try without TLS."""

    def script(peer: Peer) -> None:
        asked_for_tls(peer)
        case.script(peer)

    with MockServer(script) as server:
        started = time.monotonic()
        with pytest.raises(errors.ConnectError) as caught:
            await connect(server, sslmode=mode, connect_timeout=TIMEOUT_S)
        assert time.monotonic() - started < TIMEOUT_S + 3
        assert TEXT not in str(caught.value)
        assert caught.value.sqlstate is None
        assert len(server.peers) == 1
    assert not server.failures


# --- the handshake -----------------------------------------------------------


def shaken(leave: Script, *data: bytes) -> Script:
    """Agrees to TLS, reads the ClientHello, sends this, then `leave`."""

    def script(peer: Peer) -> None:
        peer.send(b"S")
        if not peer.sock.recv(65536):
            raise Gone
        peer.send(*data)
        leave(peer)

    return script


def drips(peer: Peer) -> None:
    peer.drip(record(HANDSHAKE, b"\2" + b"\0" * 500), 0.2)


HELLO = b"\2\0\0\x46\3\3" + b"r" * 32 + b"\0\x13\1\0\0\0"

SHAKEN = {
    "eof": shaken(eof),
    "rst": shaken(rst),
    "silence": shaken(stall),
    "plaintext_error": shaken(stall, error("28000", TEXT, "FATAL")),
    "plaintext_authentication": shaken(stall, auth_ok(), ready()),
    "http": shaken(stall, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "zeros": shaken(stall, b"\0" * 4096),
    "ff": shaken(stall, b"\xff" * 4096),
    "alert_handshake_failure": shaken(stall, alert(40)),
    "alert_protocol_version": shaken(stall, alert(70)),
    "alert_internal_error": shaken(eof, alert(80)),
    "alert_unknown": shaken(stall, alert(199)),
    "alert_of_1_byte": shaken(stall, record(ALERT, b"\2")),
    "warnings_for_ever": shaken(stall, alert(112, False) * 10_000),
    "goodbye": shaken(stall, alert(0, False)),
    "record_too_long": shaken(stall, record(HANDSHAKE, b"x" * 100, 0xFFFF)),
    "record_empty": shaken(stall, record(HANDSHAKE, b"")),
    "record_cut": shaken(eof, record(HANDSHAKE, HELLO, len(HELLO) + 9)),
    "record_unknown": shaken(stall, record(99, b"abcd")),
    "application_data_first": shaken(stall, record(APPLICATION, b"x" * 64)),
    "hello_cut": shaken(stall, record(HANDSHAKE, HELLO[:20] + b"\xff" * 60)),
    "hello_of_16mb": shaken(stall, record(HANDSHAKE, b"\2\xff\xff\xff" + b"x" * 9000)),
    "hello_without_extensions": shaken(stall, record(HANDSHAKE, HELLO)),
    "drip": shaken(drips),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAKEN)
async def test_handshake(name: str, kind: str) -> None:
    def script(peer: Peer) -> None:
        asked_for_tls(peer)
        SHAKEN[name](peer)

    with MockServer(script) as server:
        started = time.monotonic()
        with pytest.raises(errors.ConnectError) as caught:
            await connect(server, connect_timeout=TIMEOUT_S, **client(kind))
        assert time.monotonic() - started < TIMEOUT_S + 3
        assert TEXT not in str(caught.value)
        assert len(server.peers) == 1
    assert not server.failures


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("kind", KINDS)
async def test_cut_at_every_byte(context: ssl.SSLContext, kind: str, how: str) -> None:
    """The session breaks off after n bytes of the server, anywhere from the handshake
    to the first row."""
    sent: list[int] = []
    room: int | None = None

    def script(peer: Peer) -> None:
        asked_for_tls(peer)
        peer.send(b"S")
        secure = Secure(peer, context)
        secure.room, secure.cut_by_reset = room, how == "rst"
        secure.handshake()
        secure.startup()
        try:
            serve(secure)
        finally:
            sent.append(secure.sent)

    async def talk(server: MockServer) -> None:
        conn = await connect(server, **client(kind))
        try:
            assert await conn.fetchval("select 5") == 5
        finally:
            await conn.close()

    with MockServer(script) as server:
        await talk(server)
        deadline = time.monotonic() + LIMIT_S
        while not sent:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        for room in range(0, sent[0] - 30, 41):  # noqa: B007  (the script reads it)
            with pytest.raises(NO_SESSION):
                await talk(server)
    assert not server.failures


async def test_prefer_does_without(context: ssl.SSLContext) -> None:
    """As in libpq: a handshake that fails lets prefer try without TLS, once."""
    asked = 0

    def script(peer: Peer) -> None:
        nonlocal asked
        if asked == 0:
            asked += 1
            asked_for_tls(peer)
            SHAKEN["alert_handshake_failure"](peer)
        peer.startup()
        serve(peer)

    with MockServer(script) as server:
        conn = await connect(server, sslmode="prefer")
        assert await conn.fetchval("select 6") == 6
        assert not conn.info.ssl
        assert len(server.peers) == 2
        await conn.close()


# --- a session inside TLS ----------------------------------------------------

Bent = Callable[[Secure], None]


def at_start(bend: Bent) -> Bent:
    """In place of what answers the StartupMessage."""

    def script(peer: Secure) -> None:
        peer.read_startup()
        leave(bend, peer)

    return script


def leave(bend: Bent, peer: Secure) -> None:
    """The last thing that a script does."""
    bend(peer)
    if peer.sock.fileno() >= 0:
        peer.wait_closed()


def corrupt(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


STARTS: dict[str, Bent] = {
    "eof": lambda peer: peer.close(),
    "rst": lambda peer: peer.reset(),
    "goodbye": lambda peer: peer.raw(peer.goodbye()),
    "silence": lambda peer: None,
    "plaintext": lambda peer: peer.raw(auth_ok(), ready()),
    "alert": lambda peer: peer.raw(alert(80)),
    "corrupt": lambda peer: peer.raw(corrupt(peer.seal(auth_ok()))),
    "cut": lambda peer: (peer.raw(peer.seal(auth_ok())[:-3]), peer.close())[1],
    "record_too_long": lambda peer: peer.raw(record(APPLICATION, b"x" * 99, 0x5000)),
    "record_empty": lambda peer: peer.raw(record(APPLICATION, b"")),
    "handshake_again": lambda peer: peer.raw(record(HANDSHAKE, HELLO)),
    "swapped": lambda peer: peer.raw(*[peer.seal(b"x") for _ in range(2)][::-1]),
    "twice": lambda peer: peer.raw(peer.seal(auth_ok()) * 2),
    "garbage_inside": lambda peer: peer.send(b"\0" * 4096),
    "type_zero_inside": lambda peer: peer.send(message(b"\0")),
    "too_long_inside": lambda peer: peer.send(message(b"E", b"x" * 70_000)),
    "length_2gb_inside": lambda peer: peer.send(message(b"E", b"x", length=2**31 - 1)),
    "tls_request_again": lambda peer: peer.send(b"S"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STARTS)
async def test_start(context: ssl.SSLContext, name: str, kind: str) -> None:
    def script(peer: Peer) -> None:
        at_start(STARTS[name])(secured(peer, context))

    with MockServer(script) as server:
        started = time.monotonic()
        with pytest.raises(NO_SESSION):
            await connect(server, connect_timeout=TIMEOUT_S, **client(kind))
        assert time.monotonic() - started < TIMEOUT_S + 3
    assert not server.failures


@pytest.mark.parametrize("kind", KINDS)
async def test_error_inside_is_told(context: ssl.SSLContext, kind: str) -> None:
    """What comes through TLS is the server's word."""

    def refuse(peer: Secure) -> None:
        peer.send(error("28000", TEXT, "FATAL"))

    def script(peer: Peer) -> None:
        at_start(refuse)(secured(peer, context))

    with MockServer(script) as server:
        with pytest.raises(pgasync.Error) as caught:
            await connect(server, **client(kind))
        assert TEXT in str(caught.value)
        assert caught.value.sqlstate == "28000"
        assert len(server.peers) == 1


HALF = data_row(int4(1)) * 3 + data_row(int4(2))[:-2]
LAST_WORDS = error("57P01", "good night", "FATAL")

# In place of the rows: the connection is lost.
ROWS: dict[str, Bent] = {
    "eof": lambda peer: (peer.send(HALF), peer.close())[1],
    "rst": lambda peer: (peer.send(HALF), peer.reset())[1],
    "goodbye": lambda peer: peer.raw(peer.seal(HALF), peer.goodbye()),
    "goodbye_alone": lambda peer: (peer.send(HALF), peer.raw(peer.goodbye()))[1],
    "goodbye_after_the_answer": lambda peer: peer.raw(
        peer.seal(ONE, TAG), peer.goodbye()
    ),
    "alert": lambda peer: peer.raw(peer.seal(HALF), alert(20)),
    "plaintext": lambda peer: peer.raw(peer.seal(HALF), ONE, TAG, ready()),
    "corrupt": lambda peer: peer.raw(corrupt(peer.seal(HALF))),
    "cut": lambda peer: (peer.raw(peer.seal(HALF)[:-3]), peer.close())[1],
    "repeated": lambda peer: peer.raw(peer.seal(HALF) * 2),
    "record_too_long": lambda peer: peer.raw(record(APPLICATION, b"x" * 99, 0x5000)),
    "handshake_again": lambda peer: peer.raw(record(HANDSHAKE, HELLO)),
    "http": lambda peer: peer.raw(b"HTTP/1.1 200 OK\r\n\r\n" * 50),
    "last_words": lambda peer: (peer.send(HALF[:15], LAST_WORDS), peer.close())[1],
    "last_words_and_goodbye": lambda peer: (
        peer.raw(peer.seal(LAST_WORDS), peer.goodbye()),
        peer.close(),
    )[1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROWS)
async def test_rows(context: ssl.SSLContext, name: str, kind: str) -> None:
    def rows(peer: Peer) -> None:
        assert isinstance(peer, Secure)
        leave(ROWS[name], peer)

    def script(peer: Peer) -> None:
        secure = secured(peer, context)
        secure.startup()
        serve(secure, {"select v": Answer(execute=rows)})

    with MockServer(script) as server:
        conn = await connect(server, **client(kind))
        assert await conn.fetchval("select 3") == 3
        with pytest.raises(pgasync.OperationalError) as caught:
            await asyncio.wait_for(conn.fetch(f"select v /* {name} */"), LIMIT_S)
        assert caught.value.outcome in ("failed", "in_doubt")
        if name.startswith("last_words"):
            assert caught.value.sqlstate == "57P01"
        assert conn.closed
        await conn.close()


# While nothing was asked: the connection closes by itself.
IDLE: dict[str, Bent] = {
    "eof": lambda peer: peer.close(),
    "rst": lambda peer: peer.reset(),
    "goodbye": lambda peer: peer.raw(peer.goodbye()),
    "plaintext": lambda peer: peer.raw(notice()),
    "corrupt": lambda peer: peer.raw(corrupt(peer.seal(notice()))),
    "alert": lambda peer: peer.raw(alert(80)),
    "row": lambda peer: peer.send(ONE),
    "last_words": lambda peer: (peer.send(LAST_WORDS), peer.close())[1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", IDLE)
async def test_idle(context: ssl.SSLContext, name: str, kind: str) -> None:
    connected = threading.Event()

    def script(peer: Peer) -> None:
        secure = secured(peer, context)
        secure.startup()
        connected.wait(LIMIT_S)
        leave(IDLE[name], secure)

    with MockServer(script) as server:
        conn = await connect(server, **client(kind))
        connected.set()
        deadline = time.monotonic() + LIMIT_S
        while not conn.closed:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        with pytest.raises(pgasync.Error) as caught:
            await conn.fetchval("select 1")
        if name == "last_words":
            seen = (caught.value, caught.value.__cause__)
            assert "57P01" in [getattr(each, "sqlstate", None) for each in seen]
        await conn.close()


# --- odd, but right ----------------------------------------------------------


def one_byte_each(peer: Secure) -> None:
    peer.chunk = 1
    peer.send(ONE * 20, TAG)
    peer.chunk = 65536


def one_record_each(peer: Secure) -> None:
    for byte in ONE * 20 + TAG:
        peer.send(bytes([byte]))


def one_record_for_all(peer: Secure) -> None:
    peer.raw(peer.seal(ONE * 20, TAG))


def many_notices(peer: Secure) -> None:
    peer.send(notice("x" * 5000) * 500, ONE * 20, TAG)


ODD: dict[str, Bent] = {
    "one_byte_each": one_byte_each,
    "one_record_each": one_record_each,
    "one_record_for_all": one_record_for_all,
    "many_notices": many_notices,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
async def test_odd(context: ssl.SSLContext, name: str, kind: str) -> None:
    def rows(peer: Peer) -> None:
        assert isinstance(peer, Secure)
        ODD[name](peer)

    def script(peer: Peer) -> None:
        asked_for_tls(peer)
        peer.send(b"S")
        secure = Secure(peer, context)
        secure.chunk = 1 if name == "one_byte_each" else 65536
        secure.handshake()
        secure.startup()
        secure.chunk = 65536
        serve(secure, {"select v": Answer(execute=rows)})

    with MockServer(script) as server:
        conn = await connect(server, **client(kind))
        rows_got = await asyncio.wait_for(conn.fetch(f"select v /* {name} */"), LIMIT_S)
        assert [*map(tuple, rows_got)] == [(1,)] * 20
        assert await conn.fetchval("select 4") == 4
        await conn.close()
    assert not server.failures


@pytest.mark.parametrize("kind", KINDS)
async def test_tickets(tmp_path: Path, kind: str) -> None:
    """Session tickets by the thousand: nobody starves, and the session goes on."""
    context = server_context(tmp_path)
    context.num_tickets = 20_000
    late = 0.0

    async def clock() -> None:
        nonlocal late
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            late = max(late, time.monotonic() - before - 0.005)

    def script(peer: Peer) -> None:
        secure = secured(peer, context)
        secure.startup()
        serve(secure)

    ticking = asyncio.ensure_future(clock())
    with MockServer(script) as server:
        conn = await connect(server, **client(kind))
        assert await asyncio.wait_for(conn.fetchval("select 4"), LIMIT_S) == 4
        await conn.close()
    ticking.cancel()
    assert late < 0.5
