"""What the scripts of hostile servers have in common: small scripts, and the runs
that a phase puts each of its behaviours through."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import pytest

import pgasync
from pgasync import errors
from pgmock import (
    Answer,
    MockServer,
    Peer,
    Script,
    auth_ok,
    complete,
    data_row,
    int4,
    serve,
)

LIMIT_S = 5.0
NO_SESSION = (errors.ConnectError, errors.ConnectionLost)

ONE = data_row(int4(1))
TAG = complete("SELECT 1")


async def connect(server: MockServer, **keywords: Any) -> Any:
    keywords.setdefault("connect_timeout", 4)
    return await asyncio.wait_for(
        pgasync.connect(server.dsn, autocommit=True, **keywords), LIMIT_S
    )


# --- scripts -----------------------------------------------------------------


def sends(*data: bytes) -> Script:
    """Sends this and waits for the client to leave."""

    def script(peer: Peer) -> None:
        peer.send(*data)
        peer.wait_closed()

    return script


def then_close(*data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(*data)

    return script


def booted(*data: bytes) -> Script:
    """AuthenticationOk, then this in place of the rest."""
    return sends(auth_ok(), *data)


def eof(peer: Peer) -> None:
    peer.close()


def rst(peer: Peer) -> None:
    peer.reset()


def stall(peer: Peer) -> None:
    peer.wait_closed()


# --- answers to a statement --------------------------------------------------


def at_execute(*data: bytes) -> Answer:
    return Answer(execute=b"".join(data))


def waits(*data: bytes) -> Answer:
    """At Execute sends this and nothing more: the client must not wait for more."""
    return Answer(execute=sends(*data))


def leaves(*data: bytes) -> Answer:
    def script(peer: Peer) -> None:
        peer.send(*data)
        peer.close()

    return Answer(execute=script)


# --- runs --------------------------------------------------------------------


class Startup(NamedTuple):
    """`script` runs after the StartupMessage has been read."""

    name: str
    script: Script
    keywords: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    error: Any = NO_SESSION


class Query(NamedTuple):
    """The answer to `select v`; the connection must be closed after it."""

    name: str
    answer: Answer
    error: Any = errors.ProtocolViolation


async def no_session(case: Startup) -> None:
    """The connection attempt ends in time, with an error of the right class that
    shows no secret."""

    def script(peer: Peer) -> None:
        peer.read_startup()
        case.script(peer)

    with MockServer(script) as server:
        started = time.monotonic()
        with pytest.raises(case.error) as caught:
            conn = await connect(server, **case.keywords)
            await conn.close()
        assert time.monotonic() - started < LIMIT_S
        assert "secret" not in str(caught.value)
    assert not server.failures


async def broken_answer(case: Query) -> None:
    """The statement, or the next one, ends in time with an error of the right class,
    and the connection is closed."""
    sql = f"select v /* {case.name} */"

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {sql: case.answer})

    with MockServer(script) as server:
        conn = await connect(server)
        assert await conn.fetchval("select 3") == 3
        started = time.monotonic()
        with pytest.raises(case.error) as caught:
            await asyncio.wait_for(conn.fetch(sql), LIMIT_S)
            # What came behind the answer is seen by the next one.
            await asyncio.wait_for(conn.fetch("select 4"), LIMIT_S)
        assert time.monotonic() - started < LIMIT_S
        assert conn.closed
        if case.error is not errors.NotSupportedError:  # refused here, not there
            assert caught.value.outcome in ("not_sent", "failed", "in_doubt")
        with pytest.raises(pgasync.Error):
            await conn.fetchval("select 5")
        await conn.close()
