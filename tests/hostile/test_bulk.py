"""Servers that break the rules in the middle of what moves rows in bulk."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import pytest

from hostile.scripts import LIMIT_S, connect
from hostile.test_copy import DONE, IN, OUT, copy, data
from pgasync import errors
from pgmock import (
    BIND_COMPLETE,
    INT4,
    NO_DATA,
    PARSE_COMPLETE,
    SUSPENDED,
    Answer,
    MockServer,
    Peer,
    complete,
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
    Case("copy_in", copy(IN, 0), errors.NotSupportedError),
    Case("copy_out", copy(OUT, 0), errors.NotSupportedError),
    Case(
        "copy_out_done",
        copy(OUT) + DONE + complete("COPY 0"),
        errors.NotSupportedError,
        True,
    ),
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
