"""Servers that break the rules in the middle of what moves rows in bulk."""

from __future__ import annotations

import asyncio
import time
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
    error,
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


async def write(conn: Any, pieces: int) -> int:
    """COPY of so many pieces; the number of rows that the server has told."""
    core = conn._core
    operation = core.copy("copy t from stdin")
    try:
        await core.copy_started(operation)
        for _ in range(pieces):
            if not core.copy_write(operation, PIECE):
                await core.drain()
            await asyncio.sleep(0)
        core.copy_done(operation)
        await operation
    except BaseException:
        operation.cancel()
        raise
    return int(operation.rowcount)


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


def honest(peer: Peer) -> None:
    """Serves what follows; what is left of the data does not count, as it does not
    with PostgreSQL."""
    server = Server(peer, {})
    while True:
        tag, body = peer.recv()
        if tag == b"X":
            return
        if tag not in b"dcf":
            peer.send(server.reply(tag, body))


@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.name)
async def test_copy_in(case: Copy) -> None:
    def script(peer: Peer) -> None:
        peer.startup()
        case.script(peer)
        if case.goes_on:
            honest(peer)
        else:
            peer.wait_closed()

    with MockServer(script) as server:
        conn = await connect(server, cancel_timeout=0.3)
        started = time.monotonic()
        limit = 1 if case.error is TimeoutError else LIMIT_S
        with pytest.raises(case.error) as caught:
            pieces = 20 if "middle" not in case.name else 1_000_000
            await asyncio.wait_for(write(conn, pieces), limit)
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
