"""Stale statements as servers of other languages and other makes tell them, and without
end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from hostile.scripts import LIMIT_S, connect
from pgmock import Answer, MockServer, Peer, Server, complete, fields, message

GERMAN = "gecachter Plan darf den Ergebnistyp nicht ändern"
BEGUN = Answer(columns=(), execute=complete("BEGIN"))


def refusal(sqlstate: str, **more: str) -> bytes:
    return message(b"E", fields(S="FEHLER", V="ERROR", C=sqlstate, M=GERMAN, **more))


REVALIDATE = refusal("0A000", R="RevalidateCachedQuery", F="plancache.c")


class Forgetful(Server):
    """Answers `error` to the binds of "select 7" whose numbers are in `times`, counted
    from 0; a failed transaction takes ROLLBACK only."""

    def __init__(
        self, peer: Peer, error: bytes, times: Callable[[int], bool], binds: list[int]
    ) -> None:
        super().__init__(peer, {"BEGIN": BEGUN, "ROLLBACK": Answer(columns=())})
        self.error = error
        self.times = times
        self.binds = binds

    def reply(self, tag: bytes, body: bytes) -> bytes:
        if tag == b"B" and not self.failed:
            text = self.statements.get(body.split(b"\0")[1], "")
            if text == "BEGIN":
                self.status = b"T"
            if text == "ROLLBACK":
                self.status = b"I"
            if text.startswith("select 7"):
                self.binds.append(len(self.binds))
                if self.times(self.binds[-1]):
                    self.status = b"E" if self.status == b"T" else b"I"
                    return self.error
        return super().reply(tag, body)


def server(error: bytes, times: Callable[[int], bool], binds: list[int]) -> MockServer:
    def script(peer: Peer) -> None:
        peer.startup()
        Forgetful(peer, error, times, binds).run()

    return MockServer(script)


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
@pytest.mark.parametrize(
    "error",
    [
        REVALIDATE,
        refusal("0A000"),
        refusal("26000"),
        refusal("XX000"),
        refusal("42P01"),
    ],
    ids=["revalidate", "0A000", "26000", "XX000", "42P01"],
)
async def test_languages(error: bytes, transaction: bool) -> None:
    """By SQLSTATE, not by words: a statement that was prepared before is prepared
    again."""
    binds: list[int] = []
    with server(error, lambda n: n == 1, binds) as mock:
        conn = await connect(mock)
        assert await conn.fetchval("select 7") == 7
        if transaction:
            conn._core.begin("BEGIN")
        assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        assert len(binds) == 3
        await conn.close()
    assert not mock.failures


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
async def test_without_end(transaction: bool) -> None:
    """It is tried some times, then it is an error, and the connection goes on."""
    binds: list[int] = []
    with server(REVALIDATE, lambda n: True, binds) as mock:
        conn = await connect(mock)
        if transaction:
            conn._core.begin("BEGIN")
        with pytest.raises(pgasync.InvalidCachedStatement, match="Ergebnistyp"):
            await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S)
        assert 5 < len(binds) < 20
        await conn.rollback()
        assert await conn.fetchval("select 8") == 8
        await conn.close()
    assert not mock.failures


@pytest.mark.parametrize("sqlstate", ["42P01", "XX000", "0A000"])
async def test_refused_for_other_reasons(sqlstate: str) -> None:
    """A statement prepared just now is not prepared again for what it may well mean."""
    binds: list[int] = []
    with server(refusal(sqlstate), lambda n: True, binds) as mock:
        conn = await connect(mock)
        with pytest.raises(pgasync.DatabaseError) as caught:
            await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S)
        assert not isinstance(caught.value, pgasync.InvalidCachedStatement)
        assert len(binds) == 1
        await conn.close()


async def test_lost_while_held_back() -> None:
    """The connection ends while a pipeline is held back: what was, was not sent."""

    def script(peer: Peer) -> None:
        peer.startup()
        said = 0

        class Dying(Server):
            def reply(self, tag: bytes, body: bytes) -> bytes:
                nonlocal said
                if tag == b"B":
                    said += 1
                    if said == 2:
                        return REVALIDATE
                    if said == 3:
                        peer.close()
                        return b""
                return super().reply(tag, body)

        Dying(peer, {}).run()

    with MockServer(script) as mock:
        conn = await connect(mock)
        assert await conn.fetchval("select 7") == 7
        outcome: list[Any] = await asyncio.wait_for(
            asyncio.gather(
                conn.fetchval("select 7"),
                conn.fetchval("select 7"),
                return_exceptions=True,
            ),
            LIMIT_S,
        )
        assert [type(error) for error in outcome] == [pgasync.ConnectionLost] * 2
        assert [error.outcome for error in outcome] == ["not_sent", "in_doubt"]
        await conn.close()
