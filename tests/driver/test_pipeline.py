"""Concurrent awaits on one connection are pipelined: each gets its own answer, in
the order in which they were sent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgmock import Proxy


async def test_thousand(conn: Any) -> None:
    """Results and errors stay with those who asked."""
    order: list[int] = []

    async def ask(n: int) -> Any:
        try:
            if n % 7 == 3:
                return await conn.fetchval("select 1 / ($1::int - $1::int)", [n])
            return await conn.fetchval("select $1::int", [n])
        finally:
            order.append(n)

    outcome = await asyncio.gather(*map(ask, range(1000)), return_exceptions=True)
    for n, got in enumerate(outcome):
        if n % 7 == 3:
            assert isinstance(got, pgasync.DataError)
            assert got.sqlstate == "22012"
            assert got.outcome == "failed"
        else:
            assert got == n
    assert order == list(range(1000))


async def test_many_texts(conn: Any) -> None:
    """Statements not prepared before, some of which cannot be."""

    async def ask(n: int) -> Any:
        if n % 5 == 2:
            return await conn.fetchval(f"select nothing_{n}")
        return await conn.fetchval(f"select {n}")

    outcome = await asyncio.gather(*map(ask, range(300)), return_exceptions=True)
    for n, got in enumerate(outcome):
        if n % 5 == 2:
            assert isinstance(got, pgasync.ProgrammingError)
            assert f"nothing_{n}" in str(got)
        else:
            assert got == n


async def test_same_new_text_together(conn: Any) -> None:
    """The same text, new to the connection, from many tasks at once."""
    for round_ in range(20):
        sql = f"select $1::int + {round_}"
        outcome = await asyncio.gather(*(conn.fetchval(sql, [n]) for n in range(10)))
        assert outcome == [n + round_ for n in range(10)]


async def test_bad_argument_inside(conn: Any) -> None:
    """An argument that cannot be sent fails alone, and nothing of it is sent."""
    sql = "select $1::int"
    assert await conn.fetchval(sql, [0]) == 0
    values: list[Any] = [1, "two", 3, object(), 5, 2**40]
    asked = [conn.fetchval(sql, [value]) for value in values]
    outcome = await asyncio.gather(*asked, return_exceptions=True)
    assert [outcome[0], outcome[2], outcome[4]] == [1, 3, 5]
    for bad in (1, 3, 5):
        assert isinstance(outcome[bad], pgasync.DataError)
    assert await conn.fetchval(sql, [6]) == 6


async def test_wrong_number_of_parameters_inside(conn: Any) -> None:
    asked = [conn.fetchval("select $1::int", [1] * n) for n in (1, 0, 2, 1)]
    outcome = await asyncio.gather(*asked, return_exceptions=True)
    assert [outcome[0], outcome[3]] == [1, 1]
    assert isinstance(outcome[1], pgasync.Error)
    assert isinstance(outcome[2], pgasync.Error)
    assert await conn.fetchval("select 2") == 2


async def test_mixed_kinds(conn: Any) -> None:
    """Every method beside every other, in random order; seeded."""
    rng = random.Random(4)

    async def one(n: int) -> None:
        kind = rng.randrange(5)
        if kind == 0:
            assert await conn.fetchval("select $1::int", [n]) == n
        elif kind == 1:
            rows = await conn.fetch("select $1::int from generate_series(1, 3)", [n])
            assert [row[0] for row in rows] == [n] * 3
        elif kind == 2:
            assert await conn.fetchrow("select $1::int where false", [n]) is None
        elif kind == 3:
            cur = await conn.execute("select $1::int, $1::int", [n])
            assert tuple(await cur.fetchone()) == (n, n)
        else:
            with pytest.raises(pgasync.DataError):
                await conn.fetchval("select $1::int / 0", [n])

    await asyncio.gather(*map(one, range(500)))


async def test_in_a_transaction(connect: Callable[..., Any]) -> None:
    """An error fails what comes after it in the same transaction, and only that."""
    conn = await connect()
    asked = [
        conn.fetchval("select 1"),
        conn.fetchval("select 2 / 0"),
        conn.fetchval("select 3"),
    ]
    first, second, third = await asyncio.gather(*asked, return_exceptions=True)
    assert first == 1
    assert second.sqlstate == "22012"
    assert third.sqlstate == "25P02"
    await conn.rollback()
    assert await conn.fetchval("select 4") == 4
    await conn.rollback()


async def test_one_begin(connect: Callable[..., Any]) -> None:
    """Several first statements at once share one transaction."""
    conn = await connect()
    asked = [conn.fetchval("select pg_current_xact_id()::text") for _ in range(5)]
    assert len(set(await asyncio.gather(*asked))) == 1
    await conn.rollback()


async def test_round_trips(server: Any) -> None:
    """Prepared statements awaited together leave in few flights."""
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        async with pgasync.connect(dsn, autocommit=True) as conn:
            await conn.fetchval("select $1::int", [0])
            before = proxy.round_trips
            await conn.fetchval("select $1::int", [0])
            assert proxy.round_trips - before == 1
            before = proxy.round_trips
            asked = (conn.fetchval("select $1::int", [n]) for n in range(100))
            assert await asyncio.gather(*asked) == list(range(100))
            assert proxy.round_trips - before < 100


async def test_backpressure_of_a_long_queue(conn: Any) -> None:
    """Ten thousand requests at once."""
    asked = (conn.fetchval("select $1::int", [n]) for n in range(10_000))
    assert await asyncio.gather(*asked) == list(range(10_000))
