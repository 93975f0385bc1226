"""Servers that break the rules in the middle of a cursor of theirs."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, ONE, TAG, connect
from pgasync import errors
from pgmock import (
    INT4,
    NO_DATA,
    SUSPENDED,
    Answer,
    MockServer,
    Peer,
    Server,
    complete,
    data_row,
    error,
    int4,
    message,
    ready,
    row_description,
)

TEXT = 25
SHAPE = row_description(("n", INT4))
FETCHED = complete("FETCH 1")
TWO = data_row(int4(1), int4(2))


class Case(NamedTuple):
    """What is sent in place of the honest answers. `goes_on`: the connection is
    usable afterwards."""

    name: str
    portal: bytes = SHAPE
    shape: bytes = SHAPE
    rows: bytes = ONE + FETCHED
    error: Any = errors.ProtocolViolation
    goes_on: bool = False


class CursorServer(Server):
    """Has a cursor; tells its columns as the case wants it."""

    portal = SHAPE

    def reply(self, tag: bytes, body: bytes) -> bytes:
        if tag == b"D" and body == b"Pc\0" and not self.failed:
            return self.portal
        return super().reply(tag, body)


CASES = [
    Case("portal_without_rows", NO_DATA, error=errors.ProgrammingError, goes_on=True),
    Case("portal_without_rows_gives_some", NO_DATA, NO_DATA),
    Case("portal_described_twice", SHAPE + SHAPE),
    Case("portal_answered_by_a_tag", TAG),
    Case(
        "portal_refused", error("34000"), error=errors.InvalidCursorName, goes_on=True
    ),
    Case("portal_description_cut", message(b"T", b"\0\x01n")),
    Case(
        "other_type",
        shape=row_description(("n", TEXT)),
        rows=data_row(b"text") + FETCHED,
        error=errors.ProgrammingError,
        goes_on=True,
    ),
    Case(
        "more_columns",
        shape=row_description(("n", INT4), ("m", INT4)),
        rows=TWO + TWO + FETCHED,
        error=errors.ProgrammingError,
        goes_on=True,
    ),
    Case("more_cells_than_columns", rows=TWO + FETCHED),
    Case("description_twice", shape=SHAPE + SHAPE),
    Case("description_missing", shape=b""),
    Case("suspended", rows=ONE + SUSPENDED),
    Case("tag_twice", rows=ONE + FETCHED + FETCHED),
    Case("rows_behind_the_tag", rows=FETCHED + ONE),
    Case(
        "bad_cell",
        rows=data_row(b"123") + FETCHED,
        error=errors.DataError,
        goes_on=True,
    ),
    Case(
        "error_behind_a_row",
        rows=ONE + error("22012"),
        error=errors.DivisionByZero,
        goes_on=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_cursor(case: Case) -> None:
    def script(peer: Peer) -> None:
        peer.startup()
        declared = Answer(columns=(), execute=complete("DECLARE CURSOR"))
        fetched = Answer(describe=case.shape, execute=case.rows)
        server = CursorServer(peer, {"DECLARE": declared, "FETCH": fetched})
        server.portal = case.portal
        server.run()

    async def work(conn: Any) -> None:
        cursor = conn.cursor("c", withhold=True)
        try:
            await cursor.execute("select 1")
            await cursor.fetchone()
            await conn.fetchval("select 4")  # meets what came behind the answer
        finally:
            await cursor.close()

    with MockServer(script) as server:
        conn = await connect(server)
        with pytest.raises(case.error):
            await asyncio.wait_for(work(conn), LIMIT_S)
        if case.goes_on:
            assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        else:
            assert conn.closed
            with pytest.raises(pgasync.Error):
                await conn.fetchval("select 5")
        await conn.close()


@pytest.mark.parametrize("tag", ["MOVE", "MOVE 0", "MOVE 2", "SELECT", ""])
async def test_move_that_is_answered_oddly(tag: str) -> None:
    """A move that has not reached its row is an IndexError."""

    class Mover(CursorServer):
        def reply(self, sent: bytes, body: bytes) -> bytes:
            if sent == b"Q":
                return complete(tag) + ready()
            return super().reply(sent, body)

    def script(peer: Peer) -> None:
        peer.startup()
        declared = Answer(columns=(), execute=complete("DECLARE CURSOR"))
        Mover(peer, {"DECLARE": declared}).run()

    with MockServer(script) as server:
        conn = await connect(server)
        async with conn.cursor("c", withhold=True) as cursor:
            await cursor.execute("select 1")
            with pytest.raises(IndexError):
                await asyncio.wait_for(cursor.scroll(3), LIMIT_S)
            assert cursor.rownumber is None
            assert tuple(await cursor.fetchone()) == (1,)
        await conn.close()
