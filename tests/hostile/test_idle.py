"""Messages while nothing was asked."""

from __future__ import annotations

import asyncio
import time

import pytest

import pgasync
from hostile.scripts import LIMIT_S, ONE, TAG, connect
from pgmock import (
    INT4,
    PARSE_COMPLETE,
    MockServer,
    Peer,
    auth_ok,
    message,
    ready,
    row_description,
)

IDLE = {
    "row": ONE,
    "complete": TAG,
    "ready": ready(),
    "description": row_description(("v", INT4)),
    "parse_complete": PARSE_COMPLETE,
    "unknown_tag": message(b"!"),
    "copy_in": message(b"G", b"\0\0\0"),
    "authentication": auth_ok(),
}


@pytest.mark.parametrize("name", IDLE)
async def test_idle(name: str) -> None:
    """Unasked answers close the connection as soon as they come."""

    def script(peer: Peer) -> None:
        peer.startup()
        peer.send(IDLE[name])
        peer.wait_closed()

    with MockServer(script) as server:
        conn = await connect(server)
        deadline = time.monotonic() + LIMIT_S
        while not conn.closed and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert conn.closed
        with pytest.raises(pgasync.Error):
            await conn.fetchval("select 1")
        await conn.close()
