"""Answers to the first flights of a statement, and to those that carry their Parse."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

import pytest

from hostile.scripts import LIMIT_S, connect
from pgasync import errors
from pgmock import (
    INT4,
    INT8,
    TEXT,
    MockServer,
    Peer,
    Server,
    complete,
    data_row,
    int4,
    parameter_description,
    row_description,
)

FLOAT8 = 701
SHAPES: list[tuple[int, bytes, Any]] = [
    (INT8, struct.pack("!q", 7), 7),
    (FLOAT8, struct.pack("!d", 0.5), 0.5),
    (INT4, int4(-1), -1),
    (TEXT, b"text", "text"),
]


class Shifting(Server):
    """Describes "select v" as something else each time."""

    turn = -1

    def describe(self, statement: bool) -> bytes:
        self.turn += 1
        oid = SHAPES[self.turn % len(SHAPES)][0]
        return parameter_description() + row_description(("v", oid))

    def execute(self) -> bytes:
        return data_row(SHAPES[self.turn % len(SHAPES)][1]) + complete("SELECT 1")


async def test_other_columns_each_time() -> None:
    """Each row is what the server says that it is."""

    def script(peer: Peer) -> None:
        peer.startup()
        Shifting(peer, {}).run()

    with MockServer(script) as mock:
        conn = await connect(mock, prepared_statements="unnamed")
        for n in range(12):
            value = await asyncio.wait_for(conn.fetchval("select v"), LIMIT_S)
            expected = SHAPES[n % len(SHAPES)][2]
            assert value == expected and type(value) is type(expected)
        await conn.close()
    assert not mock.failures


@pytest.mark.parametrize("runs", [0, 1], ids=["described", "together"])
async def test_parse_complete_missing(runs: int) -> None:
    class Silent(Server):
        left = runs

        def reply(self, tag: bytes, body: bytes) -> bytes:
            answer = super().reply(tag, body)
            if tag == b"P":
                self.left -= 1
                return b"" if self.left < 0 else answer
            return answer

    def script(peer: Peer) -> None:
        peer.startup()
        Silent(peer, {}).run()

    with MockServer(script) as mock:
        conn = await connect(mock, prepared_statements="unnamed")
        for _ in range(runs):
            assert await conn.fetchval("select 7") == 7
        with pytest.raises(errors.ProtocolViolation):
            await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S)
        assert conn.closed
    assert not mock.failures


@pytest.mark.parametrize("size", [1, 7, 20])
async def test_cut_in_two(size: int) -> None:
    """What is described comes in pieces: nothing is sent before it is whole."""

    class Halving(Server):
        def reply(self, tag: bytes, body: bytes) -> bytes:
            answer = super().reply(tag, body)
            if tag == b"D":
                self.peer.send(answer[:size])
                time.sleep(0.02)
                return answer[size:]
            return answer

    def script(peer: Peer) -> None:
        peer.startup()
        Halving(peer, {}).run()

    with MockServer(script) as mock:
        conn = await connect(mock)
        for n in (7, 8, 7):
            sql = f"select {n}"
            assert await asyncio.wait_for(conn.fetchval(sql), LIMIT_S) == n
        await conn.close()
    assert not mock.failures
