"""BEGIN, COMMIT, ROLLBACK, savepoints and portals answered wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, ONE, TAG, connect
from pgasync import errors
from pgmock import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    EMPTY_QUERY,
    INT4,
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
    notice,
    ready,
)

OPEN = ready(b"T")
BEGUN = Answer(columns=(), execute=complete("BEGIN"))
INSERTED = Answer(columns=(), execute=complete("INSERT 0 1"), sync=OPEN)


class Bent(Server):
    """Answers `simple[word]` to a query that starts with the word, and `closing` to
    Close of a portal."""

    def __init__(
        self, peer: Peer, answers: Mapping[str, Answer], simple: Mapping[str, bytes]
    ) -> None:
        self.simple = {"SAVEPOINT": complete("SAVEPOINT") + OPEN, **simple}
        super().__init__(peer, {"BEGIN": BEGUN, "insert": INSERTED, **answers})

    def reply(self, tag: bytes, body: bytes) -> bytes:
        if tag == b"Q":
            word = body[:-1].decode().split(" ")[0].upper()
            if word in self.simple:
                return self.simple[word]
        if tag == b"C":
            return self.simple.get("close", CLOSE_COMPLETE)
        return super().reply(tag, body)


Work = Callable[[Any], Coroutine[Any, Any, Any]]


async def insert(conn: Any) -> None:
    async with conn.transaction():
        await conn.execute("insert into t values (1)")


async def nested(conn: Any) -> None:
    async with conn.transaction():
        await conn.execute("insert into t values (1)")
        async with conn.transaction():
            await conn.execute("insert into t values (2)")


async def undone(conn: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.execute("insert into t values (1)")
            raise ZeroDivisionError


async def portal(conn: Any) -> None:
    core = conn._core
    core.begin("BEGIN")
    opened = await core.open_portal("p", "select v", None, 2, False)
    assert len(opened.rows) == 2 and opened.suspended
    more = await core.fetch_portal("p", opened.statement, 2, False)
    assert len(more.rows) == 2 and more.suspended
    await core.close_portal("p")
    await conn.commit()


class Turn(NamedTuple):
    name: str
    work: Work
    simple: Mapping[str, bytes] = {}
    answers: Mapping[str, Answer] = {}
    error: Any = errors.ProtocolViolation


def commit(name: str, *data: bytes, error: Any = errors.ProtocolViolation) -> Turn:
    return Turn(f"commit_{name}", insert, {"COMMIT": b"".join(data)}, error=error)


def begin(name: str, answer: Answer) -> Turn:
    return Turn(f"begin_{name}", insert, {}, {"BEGIN": answer})


def bent_portal(name: str, first: bytes, *, close: bytes = CLOSE_COMPLETE) -> Turn:
    answer = Answer(columns=(("v", INT4),), execute=first, sync=OPEN)
    return Turn(f"portal_{name}", portal, {"close": close}, {"select v": answer})


COMMITTED, UNDONE = complete("COMMIT"), complete("ROLLBACK")
NOTED = notice() + error("40001")  # behind a notice: `serve` goes on at once

TURNS = [
    commit("ready_alone", ready()),
    commit("empty_query", EMPTY_QUERY, ready()),
    commit("another_tag", complete("SELECT 1"), ready()),
    commit("begun", complete("BEGIN"), ready()),
    commit("tag_cut", complete("COMMI"), ready()),
    commit("still_open", COMMITTED, OPEN),
    commit("failed_open", COMMITTED, ready(b"E")),
    commit("unknown_status", COMMITTED, ready(b"C")),
    commit("row", ONE, COMMITTED, ready()),
    commit(
        "copy_out", message(b"H", b"\0\0\0"), ready(), error=errors.NotSupportedError
    ),
    commit("copy_both", message(b"W", b"\0\0\0")),
    commit("parse_complete", message(b"1"), ready()),
    commit("twice_ready", COMMITTED, ready(), ready()),
    commit("error_twice", NOTED, NOTED, ready(), error=errors.SerializationFailure),
    commit("error", NOTED, ready(), error=errors.SerializationFailure),
    commit("rolled_back", UNDONE, ready(), error=errors.TransactionRolledBack),
    commit("error_behind", COMMITTED, error("XX000"), ready(), error=pgasync.Error),
    commit("fatal", error("57P01", severity="FATAL"), error=errors.ConnectionLost),
    begin("twice", Answer(columns=(), execute=complete("BEGIN") * 2)),
    begin("nothing", Answer(columns=(), execute=b"")),
    begin("copy_in", Answer(columns=(), execute=message(b"G", b"\0\0\0"))),
    begin("ready", Answer(columns=(), execute=complete("BEGIN") + OPEN)),
    begin("bind_twice", BEGUN._replace(bind=BIND_COMPLETE * 2)),
    begin("parse_missing", BEGUN._replace(parse=b"")),
    Turn("savepoint_row", nested, {"SAVEPOINT": ONE + OPEN}),
    Turn("savepoint_parse_complete", nested, {"SAVEPOINT": message(b"1") + OPEN}),
    Turn("release_ready_twice", nested, {"RELEASE": complete("RELEASE") + OPEN * 2}),
    Turn("rollback_row", undone, {"ROLLBACK": ONE + ready()}),
    Turn("rollback_copy", undone, {"ROLLBACK": message(b"W", b"\0\0\0")}),
    bent_portal("never_suspended", ONE * 2),
    bent_portal("suspended_twice", ONE * 2 + SUSPENDED * 2),
    bent_portal("suspended_and_complete", ONE * 2 + SUSPENDED + TAG),
    bent_portal("row_after_suspended", ONE * 2 + SUSPENDED + ONE),
    bent_portal("row_of_two", data_row(int4(1), int4(2)) + SUSPENDED),
    bent_portal("suspended_with_body", ONE * 2 + message(b"s", b"x")),
    bent_portal("copy", message(b"W", b"\0\0\0")),
    bent_portal("close_missing", ONE * 2 + SUSPENDED, close=b""),
    bent_portal("close_twice", ONE * 2 + SUSPENDED, close=CLOSE_COMPLETE * 2),
    bent_portal("close_with_body", ONE * 2 + SUSPENDED, close=message(b"3", b"x")),
    bent_portal("close_row", ONE * 2 + SUSPENDED, close=ONE),
]


def bent(case: Turn) -> MockServer:
    def script(peer: Peer) -> None:
        peer.startup()
        Bent(peer, case.answers, case.simple).run()

    return MockServer(script)


@pytest.mark.parametrize("case", TURNS, ids=lambda case: case.name)
async def test_turn(case: Turn) -> None:
    with bent(case) as server:
        conn = await connect(server)
        with pytest.raises(case.error) as caught:
            await asyncio.wait_for(case.work(conn), LIMIT_S)
            await asyncio.wait_for(conn.fetchval("select 4"), LIMIT_S)
        if isinstance(caught.value, pgasync.OperationalError):
            assert caught.value.outcome in ("failed", "in_doubt", "not_sent")
        if isinstance(caught.value, errors.ConnectionLost):
            assert conn.closed
            late = case.name == "commit_twice_ready"  # the COMMIT was over by then
            if "COMMIT" in case.simple and not late:
                assert caught.value.outcome == "in_doubt"
        elif not conn.closed:
            assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        await conn.close()


@pytest.mark.parametrize("work", [insert, nested, undone, portal])
async def test_honest(work: Work) -> None:
    """The script itself is right: unbent, all of it works."""
    answer = Answer(columns=(("v", INT4),), execute=ONE * 2 + SUSPENDED, sync=OPEN)
    released = {"RELEASE": complete("RELEASE") + OPEN}
    with bent(Turn("honest", work, released, {"select v": answer})) as server:
        conn = await connect(server)
        await asyncio.wait_for(work(conn), LIMIT_S)
        assert conn.info.transaction_status == "I"
        assert await conn.fetchval("select 7") == 7
        await conn.close()
    assert not server.failures
