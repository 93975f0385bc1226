"""What became of a statement when its session ends: `outcome` and `safe_to_retry` by
what the server had said before. Each row of the table in docs/reliability.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, connect
from pgmock import (
    BIND_COMPLETE,
    Answer,
    MockServer,
    Peer,
    Server,
    complete,
    data_row,
    error,
    fields,
    int4,
    message,
    notice,
    ready,
    serve,
)

WARM = "select 7"


def fatal(sqlstate: str, routine: str | None = "ProcessInterrupts") -> bytes:
    """As a server sends it; as a pooler does, which names no routine."""
    named = {} if routine is None else {"F": "postgres.c", "L": "1", "R": routine}
    body = fields(S="FATAL", V="FATAL", C=sqlstate, M="the end", **named)
    return message(b"E", body)


def farewell(routine: str) -> bytes:
    body = fields(S="WARNING", V="WARNING", C="57P02", M="the end", R=routine)
    return message(b"N", body)


class Ending(Server):
    """Honest until `armed`: then `flights` are read to their ends, `last` is the
    answer, and the connection is cut."""

    def __init__(self, peer: Peer, last: bytes, how: str = "fin", flights: int = 1):
        super().__init__(peer, {})
        self.last, self.how, self.flights = last, how, flights
        self.armed = False

    def run(self) -> None:
        while self.flights > 0:
            tag, body = self.peer.recv()
            if self.armed:
                self.flights -= tag in (b"S", b"Q")
            elif out := self.reply(tag, body):
                self.peer.send(out)
        if self.last:
            self.peer.send(self.last)
        if self.how == "rst":
            time.sleep(0.05)  # what was sent last is to arrive
            self.peer.reset()
        else:
            self.peer.close()

    def reply(self, tag: bytes, body: bytes) -> bytes:
        if tag == b"P" and b"BEGIN" in body:
            self.status = b"T"
        return super().reply(tag, body)

    def arm(self) -> None:
        self.armed = True


Arm = Callable[[], None]


async def one(conn: Any, arm: Arm) -> None:
    arm()
    await conn.fetchval(WARM)


async def text(conn: Any, arm: Arm) -> None:
    arm()
    await conn._core.query(WARM)


async def in_a_block(conn: Any, arm: Arm) -> None:
    async with conn.transaction():
        await conn.fetchval(WARM)
        await one(conn, arm)


async def first_in_a_block(conn: Any, arm: Arm) -> None:
    async with conn.transaction():
        await one(conn, arm)


async def committed(conn: Any, arm: Arm) -> None:
    async with conn.transaction():
        await conn.fetchval(WARM)
        arm()


class Row(NamedTuple):
    work: Callable[[Any], Any]
    last: bytes
    outcome: str
    safe: bool
    how: str = "fin"


B = BIND_COMPLETE
ROW = data_row(int4(7))
DONE = complete("SELECT 1")

ROWS = {
    # The server's last words, before it came to the statement.
    "57P01": Row(one, fatal("57P01"), "failed", True),
    "57P02": Row(one, fatal("57P02"), "failed", True),
    "57P05": Row(one, fatal("57P05"), "failed", True),
    "25P03": Row(one, fatal("25P03"), "failed", True),
    "25P04": Row(one, fatal("25P04"), "failed", True),
    "57P01, reset": Row(one, fatal("57P01"), "failed", True, how="rst"),
    "quickdie": Row(one, farewell("quickdie"), "failed", True),
    "57P01 in a block": Row(first_in_a_block, fatal("57P01"), "failed", True),
    # The same while it ran: undone, but it had begun.
    "57P01 behind Bind": Row(one, B + fatal("57P01"), "failed", False),
    "57P01 behind rows": Row(one, B + ROW + fatal("57P01"), "failed", False),
    "quickdie behind Bind": Row(one, B + farewell("quickdie"), "in_doubt", False),
    "57P01 behind the tag": Row(one, B + DONE + fatal("57P01"), "in_doubt", False),
    # A simple query has no Bind; a session that timed out idle has read nothing.
    "57P01, simple": Row(text, fatal("57P01"), "failed", False),
    "57P05, simple": Row(text, fatal("57P05"), "failed", True),
    # Words that prove nothing.
    "57P01 of a pooler": Row(one, fatal("57P01", None), "in_doubt", False),
    "08P01 of a pooler": Row(one, fatal("08P01", None), "in_doubt", False),
    "a warning": Row(one, farewell("exec_stmt_raise"), "in_doubt", False),
    "a notice": Row(one, notice(), "in_doubt", False),
    # No words.
    "cut": Row(one, b"", "in_doubt", False),
    "reset": Row(one, b"", "in_doubt", False, how="rst"),
    "cut behind Bind": Row(one, B, "in_doubt", False),
    # In a transaction, whose end is not under way: it is rolled back.
    "cut in a block": Row(in_a_block, b"", "failed", False),
    "cut in a block, first": Row(first_in_a_block, b"", "failed", False),
    # Its end is.
    "cut at commit": Row(committed, b"", "in_doubt", False),
    "57P01 at commit": Row(committed, fatal("57P01"), "in_doubt", False),
    "25P03 at commit": Row(committed, fatal("25P03"), "failed", True),
}


@pytest.fixture
def endings() -> list[Ending]:
    return []


def ending_with(endings: list[Ending], *args: Any) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.startup()
        endings.append(Ending(peer, *args))
        endings[0].run()

    return script


@pytest.mark.parametrize("name", ROWS)
async def test_the_session_ends(name: str, endings: list[Ending]) -> None:
    row = ROWS[name]
    with MockServer(ending_with(endings, row.last, row.how)) as server:
        conn = await connect(server)
        await conn.fetchval(WARM)
        with pytest.raises(pgasync.errors.ConnectionLost) as caught:
            await asyncio.wait_for(row.work(conn, endings[0].arm), LIMIT_S)
        assert (caught.value.outcome, caught.value.safe_to_retry) == row[2:4]
        assert conn.closed
        await conn.close()
    assert not server.failures


async def test_those_behind_it_have_not_run(endings: list[Ending]) -> None:
    """Of requests that are in flight together the server has begun the first alone."""
    with MockServer(ending_with(endings, B + fatal("57P01"), "fin", 3)) as server:
        conn = await connect(server)
        await conn.fetchval(WARM)
        endings[0].arm()
        core = conn._core
        operations = [core.execute(WARM), core.query(WARM), core.execute(WARM)]
        lost = [await failure(operation) for operation in operations]
        assert [error.outcome for error in lost] == ["failed"] * 3
        assert [error.safe_to_retry for error in lost] == [False, True, True]
        await conn.close()
    assert not server.failures


async def failure(operation: Any) -> Any:
    with pytest.raises(pgasync.errors.ConnectionLost) as caught:
        await operation
    return caught.value


async def test_nothing_has_left() -> None:
    """The socket takes nothing any more: the statement was not sent."""

    def script(peer: Peer) -> None:
        peer.startup()
        server = Server(peer, {})
        while b"S" not in peer.received:
            if out := server.reply(*peer.recv()):
                peer.send(out)
        peer.reset()

    with MockServer(script) as server:
        conn = await connect(server)
        await conn.fetchval(WARM)
        server.threads[-1].join(LIMIT_S)  # the loop does not get to know of it
        error = await failure(conn._core.execute(WARM))
        assert (error.outcome, error.safe_to_retry) == ("not_sent", True)
        await conn.close()
    assert not server.failures


REFUSALS: dict[str, tuple[dict[str, Any], bool]] = {
    "Parse": ({"parse": error("42601")}, True),
    "Bind": ({"bind": error("22P02")}, True),
    "Execute": ({"execute": error("23505")}, False),
    "Sync": ({"sync": notice() + error("40001") + ready()}, False),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals(name: str) -> None:
    """What is refused before it is executed has not run; what has failed is not
    "safe", though it has left nothing behind: to repeat it is for the program."""
    parts, safe = REFUSALS[name]

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"the last": Answer(rows=(ROW,), **parts)})

    with MockServer(script) as server:
        conn = await connect(server)
        with pytest.raises(pgasync.Error) as caught:
            await conn.fetchval("select 7 /* the last */")
        assert (caught.value.outcome, caught.value.safe_to_retry) == ("failed", safe)
        assert await conn.fetchval(WARM) == 7
        await conn.close()
    assert not server.failures
