"""Servers that break the rules in the middle of what moves rows in bulk."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, ONE, TAG, connect
from hostile.test_copy import DONE, IN, OUT, copy, data
from pgasync import errors
from pgmock import (
    BIND_COMPLETE,
    EMPTY_QUERY,
    INT4,
    NO_DATA,
    PARSE_COMPLETE,
    SUSPENDED,
    Answer,
    MockServer,
    Peer,
    Script,
    Server,
    complete,
    data_row,
    error,
    int4,
    message,
    ready,
    row_description,
    serve,
)

SETS = 3000
MIDDLE = 1500
INSERTED = complete("INSERT 0 1")
COPIED = complete("COPY 0")


class Case(NamedTuple):
    """What the server sends instead of the honest answer. `goes_on`: the connection
    is usable afterwards."""

    name: str
    sent: bytes
    error: Any = errors.ProtocolViolation
    goes_on: bool = False


async def ends(work: Any, conn: Any, case: Case) -> None:
    """It ends in time with an error of the right class, and the connection serves the
    next statement or is closed."""
    started = time.monotonic()
    with pytest.raises(case.error) as caught:
        await asyncio.wait_for(work, LIMIT_S)
        await asyncio.wait_for(conn.fetchval("select 4"), LIMIT_S)
    assert time.monotonic() - started < LIMIT_S
    if case.goes_on:
        assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        assert conn.info.transaction_status == "I"
    else:
        assert conn.closed
        if case.error is not errors.NotSupportedError:  # refused here, not there
            assert caught.value.outcome in ("not_sent", "failed", "in_doubt")
    await conn.close()


# --- executemany -------------------------------------------------------------

MANY = [
    Case("copy_in", copy(IN, 0)),
    Case("copy_out", copy(OUT, 0)),
    Case("copy_out_done", copy(OUT) + DONE + complete("COPY 0")),
    Case("copy_data", data()),
    Case("copy_done", DONE),
    Case("ready", ready()),
    Case("tag_twice", INSERTED + INSERTED),
    Case("parse_complete", PARSE_COMPLETE),
    Case("bind_complete", BIND_COMPLETE),
    Case("no_data", NO_DATA),
    Case("description", row_description(("n", INT4)) + INSERTED),
    Case("suspended", SUSPENDED),
]


@pytest.mark.parametrize("case", MANY, ids=lambda case: case.name)
async def test_executemany(case: Case) -> None:
    """In place of the answer to a set in the middle."""
    counts = iter(range(SETS))

    def execute(peer: Peer) -> None:
        peer.send(case.sent if next(counts, 0) == MIDDLE else INSERTED)

    answer = Answer(columns=(), parameters=(INT4,), execute=execute)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"insert v": answer})

    with MockServer(script) as server:
        conn = await connect(server)
        sets = [[n] for n in range(SETS)]
        await ends(conn.executemany(f"insert v /* {case.name} */", sets), conn, case)
    assert not server.failures


# --- COPY FROM STDIN ---------------------------------------------------------

PIECE = b"7\n" * 5000


async def write(conn: Any, pieces: int) -> str:
    """COPY of so many pieces."""
    source = itertools.repeat(PIECE, pieces)
    return str(await conn.copy_to_table("t", source=source))


def at_query(*sent: bytes) -> Script:
    """Sends this when the COPY is asked for."""

    def script(peer: Peer) -> None:
        peer.expect(b"Q")
        peer.send(*sent)

    return script


def after_data(*sent: bytes) -> Script:
    """Sends this when some of the data have come."""

    def script(peer: Peer) -> None:
        peer.expect(b"Q")
        peer.send(copy(IN, 0))
        for _ in range(3):
            peer.expect(b"d")
        peer.send(*sent)

    return script


def at_end(*sent: bytes) -> Script:
    """Sends this when all of the data have come."""

    def script(peer: Peer) -> None:
        peer.expect(b"Q")
        peer.send(copy(IN, 0))
        while peer.recv()[0] == b"d":
            pass
        peer.send(*sent)

    return script


class Copy(NamedTuple):
    """The server's side of a COPY. `goes_on`: it keeps the rules, and the connection
    is usable afterwards; else the script waits until the client leaves."""

    name: str
    script: Script
    error: Any = errors.ProtocolViolation
    goes_on: bool = False


REFUSED = error("22P02", "no such row")
NO = (REFUSED, ready())
TOLD = complete("COPY 5")
GIVEN = (copy(OUT, 0), data(), DONE, TOLD, ready())

WRITES = [
    Copy("nothing", at_query(), TimeoutError),
    Copy("tag", at_query(TOLD), TimeoutError),
    Copy("tag_ready", at_query(TOLD, ready()), pgasync.ProgrammingError, True),
    Copy("ready_alone", at_query(ready()), pgasync.Error, True),
    Copy("a_select", at_query(ONE, TAG, ready())),
    Copy("a_tag", at_query(TAG, ready()), pgasync.ProgrammingError, True),
    Copy("empty_query", at_query(EMPTY_QUERY, ready()), pgasync.ProgrammingError, True),
    Copy("data_first", at_query(data())),
    Copy("done_first", at_query(DONE)),
    Copy("out", at_query(*GIVEN), pgasync.InterfaceError, True),
    Copy("both", at_query(message(b"W", b"\0\0\0"))),
    Copy("in_short", at_query(message(IN, b"\0\0"))),
    Copy("in_formats_missing", at_query(message(IN, b"\0\0\3\0\0"))),
    Copy("in_65535_formats", at_query(message(IN, b"\0\xff\xff\0\0"))),
    Copy("in_tail", at_query(message(IN, b"\0\0\0x"))),
    Copy("in_format_7", at_query(copy(IN, overall=7))),
    Copy("in_column_format_9", at_query(copy(IN, 9))),
    Copy("in_twice", at_query(copy(IN, 0), copy(IN, 0)), pgasync.Error),
    Copy("bind_complete", at_query(BIND_COMPLETE)),
    Copy("suspended", at_query(SUSPENDED)),
    Copy("refused", at_query(REFUSED, ready()), pgasync.DataError, True),
    Copy("middle_in", after_data(copy(IN, 0)), pgasync.Error),
    Copy("middle_out", after_data(copy(OUT, 0)), pgasync.Error),
    Copy("middle_data", after_data(data())),
    Copy("middle_done", after_data(DONE)),
    Copy("middle_ready", after_data(ready())),
    Copy("middle_tag", after_data(TOLD, ready()), goes_on=True),
    Copy("middle_row", after_data(ONE)),
    Copy("middle_unknown", after_data(message(b"?"))),
    Copy("middle_huge", after_data(message(b"d", b"x", length=2**30))),
    Copy("middle_negative", after_data(message(b"d", b"", length=-5))),
    Copy("middle_refused", after_data(REFUSED, ready()), pgasync.DataError, True),
    Copy("middle_refused_twice", after_data(REFUSED, REFUSED, ready()), pgasync.Error),
    Copy("end_done", at_end(DONE)),
    Copy("end_ready", at_end(ready())),
    Copy("end_data", at_end(data())),
    Copy("end_refused", at_end(REFUSED, ready()), pgasync.DataError, True),
    Copy("end_nothing", at_end(), TimeoutError),
]


def honest(peer: Peer, copied: Script | None = None) -> None:
    """Serves what follows, COPY as told. What is left of the data of a COPY does not
    count, as it does not with PostgreSQL."""
    server = Server(peer, {})
    while True:
        tag, body = peer.recv()
        if tag == b"X":
            return
        if tag == b"Q" and copied is not None:
            copied(peer)
        elif tag not in b"dcf":
            peer.send(server.reply(tag, body))


async def against(case: Copy, work: Callable[[Any], Awaitable[Any]]) -> None:
    """The work ends in time with the right error, and the connection goes on, or is
    closed."""

    def script(peer: Peer) -> None:
        peer.startup()
        case.script(peer)
        if case.goes_on:
            honest(peer)
        else:
            peer.wait_closed()

    limit = 1 if case.error is TimeoutError else LIMIT_S
    with MockServer(script) as server:
        conn = await connect(server, cancel_timeout=0.3)
        started = time.monotonic()
        with pytest.raises(case.error) as caught:
            await asyncio.wait_for(work(conn), limit)
            # What came behind the end is seen by the next one.
            await asyncio.wait_for(conn.fetchval("select 4"), LIMIT_S)
        assert time.monotonic() - started < LIMIT_S
        if case.goes_on:
            assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
            assert conn.info.transaction_status == "I"
        elif case.error is not TimeoutError:
            assert conn.closed
            assert caught.value.outcome in ("not_sent", "failed", "in_doubt")
        await conn.close()
    assert not server.failures


@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.name)
async def test_copy_in(case: Copy) -> None:
    pieces = 1_000_000 if case.name.startswith("middle") else 20
    await against(case, functools.partial(write, pieces=pieces))


# --- COPY TO STDOUT ----------------------------------------------------------


async def read(conn: Any) -> int:
    """The size of all that comes."""
    pieces: list[bytes] = []
    await conn.copy_from_table("t", output=pieces.append)
    return sum(map(len, pieces))


READS = [
    Copy("nothing", at_query(), TimeoutError),
    Copy("ready_alone", at_query(ready()), pgasync.Error, True),
    Copy("a_select", at_query(ONE, TAG, ready())),
    Copy("a_tag", at_query(TAG, ready()), pgasync.ProgrammingError, True),
    Copy("data_first", at_query(data())),
    Copy("done_first", at_query(DONE)),
    Copy("both", at_query(message(b"W", b"\0\0\0"))),
    Copy("out_short", at_query(message(OUT, b"\0"))),
    Copy("out_formats_missing", at_query(message(OUT, b"\0\0\3\0\0"))),
    Copy("out_format_7", at_query(copy(OUT, overall=7))),
    Copy("out_twice", at_query(copy(OUT, 0), data(), copy(OUT, 0)), pgasync.Error),
    Copy("out_then_in", at_query(copy(OUT, 0), data(), copy(IN, 0)), pgasync.Error),
    Copy("row", at_query(copy(OUT, 0), data(), ONE)),
    Copy("ready", at_query(copy(OUT, 0), data(), ready())),
    Copy("tag", at_query(copy(OUT, 0), data(), TOLD, ready())),
    Copy("done_twice", at_query(copy(OUT, 0), data(), DONE, DONE)),
    Copy("done_with_body", at_query(copy(OUT, 0), message(b"c", b"x"))),
    Copy("done_ready", at_query(copy(OUT, 0), DONE, ready())),
    Copy("data_after_done", at_query(copy(OUT, 0), DONE, data())),
    Copy("data_after_tag", at_query(copy(OUT, 0), DONE, TOLD, data())),
    Copy("huge", at_query(copy(OUT, 0), message(b"d", b"x", length=2**30))),
    Copy("length_3", at_query(copy(OUT, 0), message(b"d", b"", length=3))),
    Copy("suspended", at_query(copy(OUT, 0), SUSPENDED)),
    Copy(
        "refused",
        at_query(copy(OUT, 0), data(), REFUSED, ready()),
        pgasync.DataError,
        True,
    ),
    Copy(
        "refused_after_done",
        at_query(copy(OUT, 0), DONE, REFUSED, ready()),
        pgasync.DataError,
        True,
    ),
    Copy("stops", at_query(copy(OUT, 0), data()), TimeoutError),
    Copy("stops_after_done", at_query(copy(OUT, 0), DONE), TimeoutError),
]


@pytest.mark.parametrize("case", READS, ids=lambda case: case.name)
async def test_copy_out(case: Copy) -> None:
    await against(case, read)


# --- what does not end -------------------------------------------------------

HELD = 32 << 20  # more than what a connection and the sockets of both ends hold
A_ROW = data_row(int4(1)) * 1000


async def stuck(conn: Any, sql: str) -> None:
    """A sink that takes the first piece, and no more."""
    if sql == "copy":
        await conn.copy_from_table("t", output=lambda piece: asyncio.sleep(60))
    else:
        async with conn.stream(sql) as rows:
            async for _ in rows:
                await asyncio.sleep(60)


@pytest.mark.parametrize("sql", ["copy", "select v"])
async def test_endless(sql: str) -> None:
    """Data without an end stop where nobody takes them, and a cancel is bounded."""
    sent = 0

    def endless(peer: Peer) -> None:
        nonlocal sent
        if sql == "copy":
            peer.expect(b"Q")
            peer.send(copy(OUT, 0))
        piece = data(b"x" * 9999) if sql == "copy" else A_ROW
        while True:
            peer.send(piece)
            sent += len(piece)

    def script(peer: Peer) -> None:
        peer.startup()
        if sql == "copy":
            endless(peer)
        serve(peer, {sql: Answer(execute=endless)})

    with MockServer(script) as server:
        conn = await connect(server, cancel_timeout=0.3)
        task = asyncio.ensure_future(stuck(conn, sql))
        before = -1
        while sent != before or not sent:
            assert sent < HELD
            before = sent
            await asyncio.sleep(0.3)
        assert not task.done()
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, LIMIT_S)
        with pytest.raises(errors.ConnectionLost):
            await asyncio.wait_for(conn.fetchval("select 1"), LIMIT_S)
        assert time.monotonic() - started < LIMIT_S / 2
        assert conn.closed
        await conn.close()
    assert not server.failures


# --- rows of a COPY TO STDOUT ------------------------------------------------

HEAD = b"PGCOPY\n\xff\r\n\0" + int4(0) * 2
TRAILER = b"\xff\xff"
SEVEN = b"\0\1" + int4(4) + int4(7)


class Rows(NamedTuple):
    """The bytes of a binary COPY of one integer column, in one CopyData each."""

    name: str
    pieces: tuple[bytes, ...]
    error: Any = errors.ProtocolViolation


ROWS = [
    Rows("nothing", ()),
    Rows("empty_piece", (b"",)),
    Rows("text", (b"7\n",)),
    Rows("signature", (b"PGCOPY\n\xff\r\r\0" + int4(0) * 2 + TRAILER,)),
    Rows("half_a_head", (HEAD[:13],)),
    Rows("flag_of_oids", (HEAD[:11] + int4(1 << 16) + int4(0), SEVEN, TRAILER)),
    Rows("unknown_flag", (HEAD[:11] + int4(1 << 20) + int4(0), SEVEN, TRAILER)),
    Rows("extension_missing", (HEAD[:15] + int4(100), SEVEN, TRAILER)),
    Rows("extension_huge", (HEAD[:15] + int4(2**31 - 1), SEVEN, TRAILER)),
    Rows("extension_negative", (HEAD[:15] + int4(-1), SEVEN, TRAILER)),
    Rows("no_fields", (HEAD, b"\0\0", TRAILER), pgasync.DataError),
    Rows("two_fields", (HEAD, b"\0\2" + SEVEN[2:] * 2, TRAILER), pgasync.DataError),
    Rows("32767_fields", (HEAD, b"\x7f\xff" + SEVEN[2:], TRAILER)),
    Rows("count_minus_2", (HEAD, b"\xff\xfe", TRAILER)),
    Rows("length_minus_2", (HEAD, b"\0\1" + int4(-2), TRAILER)),
    Rows("length_huge", (HEAD, b"\0\1" + int4(2**31 - 1) + b"x" * 1000, TRAILER)),
    Rows("length_3", (HEAD, b"\0\1" + int4(3) + b"abc", TRAILER), pgasync.DataError),
    Rows("half_a_row", (HEAD, SEVEN, SEVEN[:7])),
    Rows("no_trailer", (HEAD, SEVEN)),
    Rows("behind_the_trailer", (HEAD, SEVEN, TRAILER, SEVEN)),
    Rows("trailer_twice", (HEAD, SEVEN, TRAILER + TRAILER)),
]


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
async def test_rows(case: Rows) -> None:
    """Rows that do not fit: an error, and the connection goes on, as the COPY itself
    has kept the rules."""
    sql = "copy (select 1 as v) to stdout (format binary)"

    def copied(peer: Peer) -> None:
        peer.send(copy(OUT, 1, overall=1), *map(data, case.pieces))
        peer.send(DONE, complete("COPY 1"), ready())

    def script(peer: Peer) -> None:
        peer.startup()
        honest(peer, copied)

    with MockServer(script) as server:
        conn = await connect(server, cancel_timeout=0.3)
        got = []
        with pytest.raises(case.error):
            async with conn.copy(sql) as copy_out:
                async for row in copy_out.rows():
                    got.append(row)
        assert got in ([], [(7,)])
        assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        await conn.close()
    assert not server.failures
