"""Messages without end."""

from __future__ import annotations

import asyncio
import time

import pytest

import pgasync
from hostile.scripts import LIMIT_S, TAG, at_execute, connect
from pgmock import (
    Answer,
    MockServer,
    Peer,
    data_row,
    error,
    int4,
    notice,
    notification,
    parameter,
    serve,
)

FEW = 100_000
FLOODS = {
    "notices": notice() * FEW,
    "long_notices": notice("x" * 20_000) * 500,
    "notifications": notification("c", "payload") * FEW,
    "parameters": parameter("application_name", "x") * 1000,
}


@pytest.mark.parametrize("name", FLOODS)
async def test_flood(name: str) -> None:
    """Asynchronous messages are allowed at any time, and none of them piles up."""
    sql = f"select 8 /* {name} */"
    answer = at_execute(FLOODS[name], data_row(int4(8)), TAG)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {sql: answer})

    with MockServer(script) as server:
        conn = await connect(server)
        assert await asyncio.wait_for(conn.fetchval(sql), 3 * LIMIT_S) == 8
        assert await conn.fetchval("select 9") == 9
        await conn.close()


async def test_endless_errors() -> None:
    """ErrorResponses without end instead of ReadyForQuery: no more than one is
    allowed for a statement."""

    def flood(peer: Peer) -> None:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            peer.send(error("XX000", "again") * 50)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=flood)})

    with MockServer(script) as server:
        conn = await connect(server)
        with pytest.raises(pgasync.Error):
            await asyncio.wait_for(conn.fetch("select v /* errors */"), LIMIT_S)
        conn.terminate()
