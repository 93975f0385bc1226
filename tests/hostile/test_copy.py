"""COPY that nobody asked for. Through execute() it is refused, in a way that ends it at
the server, too; what breaks its rules breaks the connection."""

from __future__ import annotations

import asyncio
import struct
import time

import pytest

import pgasync
from hostile.scripts import (
    LIMIT_S,
    ONE,
    TAG,
    Query,
    at_execute,
    broken_answer,
    connect,
    leaves,
    waits,
)
from pgasync import errors
from pgmock import (
    NO_DATA,
    Answer,
    MockServer,
    Peer,
    Script,
    complete,
    error,
    message,
    parameter_description,
    serve,
)

IN, OUT, BOTH = b"G", b"H", b"W"
DONE = message(b"c")


def copy(tag: bytes, *formats: int, overall: int = 0) -> bytes:
    """CopyInResponse and its like."""
    body = struct.pack(f"!bH{len(formats)}h", overall, len(formats), *formats)
    return message(tag, body)


def data(content: bytes = b"1\n") -> bytes:
    return message(b"d", content)


COPY = [
    Query("in_empty", waits(message(IN))),
    Query("in_2_bytes", waits(message(IN, b"\0\0"))),
    Query("in_formats_missing", waits(message(IN, b"\0\0\3\0\0"))),
    Query("in_65535_formats", waits(message(IN, b"\0\xff\xff\0\0"))),
    Query("in_tail", waits(message(IN, b"\0\0\0x"))),
    Query("in_format_7", waits(copy(IN, overall=7))),
    Query("in_column_format_9", waits(copy(IN, 0, 9))),
    Query("in_column_format_negative", waits(copy(IN, -1))),
    Query("in_for_parse", Answer(parse=copy(IN))),
    Query("in_for_bind", Answer(bind=copy(IN))),
    Query("in_for_describe", Answer(describe=copy(IN))),
    Query("in_after_rows", waits(ONE, copy(IN))),
    Query("in_after_complete", waits(ONE, TAG, copy(IN))),
    Query("out_empty", waits(message(OUT))),
    Query("out_tail", waits(message(OUT, b"\0\0\0x"))),
    Query("out_format_7", waits(copy(OUT, overall=7))),
    Query("out_formats_missing", waits(message(OUT, b"\0\0\3\0\0"))),
    Query("both", waits(copy(BOTH))),
    Query("data_alone", waits(data())),
    Query("done_alone", waits(DONE)),
]

# It has begun: that it is refused is what the caller is told, whatever comes then.
BEGUN = [
    Query("in_twice", waits(copy(IN), copy(IN))),
    Query("in_then_out", waits(copy(IN), copy(OUT))),
    Query("in_then_data", waits(copy(IN), data())),
    Query("in_then_done", waits(copy(IN), DONE)),
    Query("in_then_row", waits(copy(IN), ONE)),
    Query("in_then_suspended", waits(copy(IN), message(b"s"))),
    Query("in_then_empty_query", waits(copy(IN), message(b"I"))),
    Query("in_then_eof", leaves(copy(IN))),
    Query("out_twice", waits(copy(OUT), copy(OUT))),
    Query("out_then_in", waits(copy(OUT), copy(IN))),
    Query("out_then_row", waits(copy(OUT), ONE)),
    Query("out_without_done", waits(copy(OUT), data(), complete("COPY 1"))),
    Query("out_without_done_or_tag", at_execute(copy(OUT), data())),
    Query("out_without_tag", at_execute(copy(OUT), data(), DONE)),
    Query("out_done_twice", waits(copy(OUT), data(), DONE, DONE)),
    Query("out_done_with_body", waits(copy(OUT), message(b"c", b"x"))),
    Query("out_data_after_done", waits(copy(OUT), DONE, data())),
    Query("out_row_after_done", waits(copy(OUT), DONE, ONE)),
    Query("out_tag_twice", waits(copy(OUT), DONE, *[complete("COPY 0")] * 2)),
    Query("out_data_over_1gb", waits(copy(OUT), message(b"d", b"x", length=2**30))),
    Query("out_data_length_3", waits(copy(OUT), message(b"d", b"", length=3))),
    Query(
        "out_data_1gb_then_eof",
        leaves(copy(OUT), message(b"d", b"x" * 1000, length=0x3FFFFFF0)),
    ),
    Query("out_then_eof", leaves(copy(OUT), data())),
    Query("fail_from_the_server", waits(copy(IN), message(b"f", b"no\0"))),
]


@pytest.mark.parametrize("case", COPY, ids=lambda case: case.name)
async def test_broken(case: Query) -> None:
    await broken_answer(case)


@pytest.mark.parametrize("case", BEGUN, ids=lambda case: case.name)
async def test_broken_after_its_begin(case: Query) -> None:
    await broken_answer(case._replace(error=errors.NotSupportedError))


def until_it_fails(peer: Peer) -> None:
    """An honest COPY FROM STDIN: the client must say that it has no data."""
    peer.send(copy(IN, 0))
    while peer.recv()[0] != b"f":
        pass
    peer.send(error("57014", "COPY from stdin failed"))


def much_data(peer: Peer) -> None:
    """200 MB, none of which may be kept."""
    peer.send(copy(OUT, 0))
    for _ in range(200):
        peer.send(data(b"x" * 2**20))
    peer.send(DONE, complete("COPY 200"))


def many_data(peer: Peer) -> None:
    peer.send(copy(OUT, 0), data() * 200_000, DONE, complete("COPY 200000"))


REFUSED: dict[str, Script] = {
    "in": until_it_fails,
    "out": lambda peer: peer.send(copy(OUT, 0), data(), DONE, complete("COPY 1")),
    "out_nothing": lambda peer: peer.send(copy(OUT), DONE, complete("COPY 0")),
    "out_binary": lambda peer: peer.send(
        copy(OUT, 1, 1, overall=1), data(b"PGCOPY"), DONE, complete("COPY 0")
    ),
    "out_error": lambda peer: peer.send(copy(OUT), data(), error("22012", "no")),
    "out_much": much_data,
    "out_many": many_data,
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(name: str) -> None:
    """COPY through execute() ends in an error, not in a wait, and the connection goes
    on."""
    answer = Answer(
        describe=parameter_description() + NO_DATA, execute=REFUSED[name], columns=()
    )

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": answer})

    with MockServer(script) as server:
        conn = await connect(server)
        with pytest.raises(pgasync.NotSupportedError):
            await asyncio.wait_for(conn.fetch(f"select v /* copy {name} */"), LIMIT_S)
        assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        await conn.close()
    assert not server.failures


async def test_endless_data() -> None:
    """A timeout bounds what the server does not end, and what follows it."""

    def endless(peer: Peer) -> None:
        peer.send(copy(OUT, 0))
        deadline = time.monotonic() + 2 * LIMIT_S
        while time.monotonic() < deadline:
            peer.send(data(b"x" * 1000) * 100)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=endless)})

    with MockServer(script) as server:
        conn = await connect(server, cancel_timeout=0.5)
        started = time.monotonic()
        with pytest.raises(pgasync.QueryTimeout):
            await conn.fetch("select v /* endless copy */", timeout=0.3)
        with pytest.raises(errors.ConnectionLost):
            await asyncio.wait_for(conn.fetchval("select 1"), LIMIT_S)
        assert time.monotonic() - started < 2
        assert conn.closed
        await conn.close()
