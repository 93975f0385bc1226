"""Answers to a pipeline that nobody asked for: every result ends, and the connection
is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import (
    LIMIT_S,
    ONE,
    TAG,
    at_execute,
    connect,
    eof,
    leaves,
    rst,
)
from pgasync import errors
from pgmock import (
    BIND_COMPLETE,
    EMPTY_QUERY,
    NO_DATA,
    PARSE_COMPLETE,
    SUSPENDED,
    Answer,
    MockServer,
    Peer,
    data_row,
    error,
    int4,
    message,
    notification,
    ready,
    serve,
)

COPY_IN = message(b"G", b"\0\0\0")
FATAL = error("57P01", severity="FATAL")


class Pipeline(NamedTuple):
    """What the second of three statements is answered with."""

    name: str
    answer: Answer


ANSWERS = (
    Pipeline("ready in the middle", at_execute(ready())),
    Pipeline("ready behind it", at_execute(ONE, TAG, ready())),
    Pipeline("completed twice", at_execute(ONE, TAG, TAG)),
    Pipeline("bound twice", Answer(bind=BIND_COMPLETE * 2)),
    Pipeline("not bound", Answer(bind=b"")),
    Pipeline("parsed", at_execute(PARSE_COMPLETE, ONE, TAG)),
    Pipeline("described", at_execute(NO_DATA)),
    Pipeline("empty, then a tag", at_execute(EMPTY_QUERY, TAG)),
    Pipeline("suspended", at_execute(ONE, SUSPENDED)),
    Pipeline("two columns", at_execute(data_row(int4(1), int4(2)), TAG)),
    Pipeline("no such message", at_execute(b"?\0\0\0\4")),
    Pipeline("an impossible length", at_execute(b"D\0\0\0\3")),
    Pipeline("an error, then a tag", at_execute(error("22012"), TAG)),
    Pipeline("an error, then a row", at_execute(error("22012"), ONE)),
    Pipeline("two errors", at_execute(error("22012"), error("22012"))),
    Pipeline("an error, then ready twice", at_execute(error("22012"), ready() * 2)),
    Pipeline("a COPY", at_execute(COPY_IN)),
    Pipeline("fatal", leaves(FATAL)),
    Pipeline("fatal behind it", leaves(ONE, TAG, FATAL)),
    Pipeline("the end", Answer(execute=eof)),
    Pipeline("the end behind a row", leaves(ONE)),
    Pipeline("a reset", Answer(execute=rst)),
)


async def three(conn: Any, inside: bool) -> list[Any]:
    """`select v` between two others; every result, and how the block ended."""
    results: list[Any] = []
    ended: BaseException | None = None
    try:
        async with conn.pipeline() as p:
            results = [p.fetchval(f"select {text}") for text in ("1", "v", "3")]
            if inside:
                await asyncio.gather(*results, return_exceptions=True)
    except pgasync.Error as error_:
        ended = error_
    assert all(result.done() for result in results)
    return [*await asyncio.gather(*results, return_exceptions=True), ended]


def answering(answers: Mapping[str, Answer]) -> MockServer:
    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, answers)

    return MockServer(script)


@pytest.mark.parametrize("inside", [False, True], ids=["at the end", "inside"])
@pytest.mark.parametrize("case", ANSWERS, ids=[case.name for case in ANSWERS])
async def test_answer(case: Pipeline, inside: bool) -> None:
    with answering({"select v": case.answer}) as server:
        conn = await connect(server)
        got = await asyncio.wait_for(three(conn, inside), LIMIT_S)
        assert any(isinstance(result, pgasync.Error) for result in got)
        if not conn.closed:  # what came too much is seen by the next one
            with pytest.raises(pgasync.Error):
                await asyncio.wait_for(conn.fetchval("select 4"), LIMIT_S)
        assert conn.closed
        assert conn._core.pending == 0
        await conn.close()


async def test_honest() -> None:
    """What may come in between."""
    answers = {"select v": at_execute(notification("x"), ONE, TAG)}
    with answering(answers) as server:
        conn = await connect(server)
        assert await asyncio.wait_for(three(conn, False), LIMIT_S) == [1, 1, 3, None]
        assert await conn.fetchval("select 4") == 4
        await conn.close()


async def test_error_keeps_the_connection() -> None:
    with answering({"select v": at_execute(error("22012"))}) as server:
        conn = await connect(server)
        first, failed, behind, ended = await asyncio.wait_for(
            three(conn, False), LIMIT_S
        )
        assert first == 1
        assert isinstance(failed, errors.DivisionByZero)
        assert isinstance(behind, errors.PipelineAborted)
        assert ended is failed
        assert await conn.fetchval("select 4") == 4
        await conn.close()
