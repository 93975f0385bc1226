"""The statement cache: what stays prepared on the server, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import pgasync

LIST = "select name, statement from pg_prepared_statements"


async def prepared(conn: Any) -> dict[str, str]:
    """What the server has prepared, by text: its name. Asked without preparing
    anything that stays."""
    rows = await conn.fetch(LIST)
    return {row[1]: row[0] for row in rows if row[1] != LIST}


async def test_kept(conn: Any) -> None:
    for _ in range(3):
        await conn.fetchval("select 1")
        await conn.fetchval("select $1::int", [2])
    assert set(await prepared(conn)) == {"select 1", "select $1::int"}


async def test_least_recently_used_goes(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, statement_cache_size=3)
    for text in ("select 1", "select 2", "select 1", "select 3"):
        await conn.fetchval(text)
    # LIST takes one of the three places; "select 2" was used longest ago.
    names = await prepared(conn)
    assert set(names) <= {"select 1", "select 3", "select 2"}
    names = await prepared(conn)  # the Close of the evicted one has ridden along
    assert set(names) == {"select 1", "select 3"}
    assert conn._core.cached_statements == 3


async def test_size_holds(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, statement_cache_size=10)
    for n in range(200):
        assert await conn.fetchval(f"select {n}") == n
    await conn.fetchval(LIST)
    assert len(await prepared(conn)) <= 10
    assert conn._core.cached_statements == 10


async def test_close_costs_no_round_trip_of_its_own(
    connect: Callable[..., Any],
) -> None:
    """An evicted statement is closed with the next request, and can come again."""
    conn = await connect(autocommit=True, statement_cache_size=1)
    for _ in range(20):
        assert await conn.fetchval("select 1") == 1
        assert await conn.fetchval("select 2") == 2
    assert len(await prepared(conn)) <= 1


async def test_off(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, statement_cache_size=0)
    for n in range(20):
        assert await conn.fetchval("select $1::int", [n]) == n
    assert await prepared(conn) == {}
    assert conn._core.cached_statements == 0


async def test_lifetime(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, max_cached_statement_lifetime=0.2)
    await conn.fetchval("select 1")
    first = await conn.fetchval(
        "select prepare_time::text from pg_prepared_statements"
        " where statement = 'select 1'"
    )
    await conn.fetchval("select 1")
    await asyncio.sleep(0.3)
    assert await conn.fetchval("select 1") == 1
    second = await conn.fetch(
        "select prepare_time::text from pg_prepared_statements"
        " where statement in ('select 1')"
    )
    assert first not in [row[0] for row in second]


async def test_same_name_everywhere(connect: Callable[..., Any]) -> None:
    """A text has one name in all sessions, so that a pooler may mix them."""
    first, second = [await connect(autocommit=True) for _ in range(2)]
    texts = ["select 1", "select $1::int8", "select 'ä'"]
    for text in texts:
        await first.fetchval(text, [1] if "$1" in text else None)
    for text in reversed(texts):
        await second.fetchval(text, [1] if "$1" in text else None)
    names = await prepared(first)
    assert names == await prepared(second)
    assert len(set(names.values())) == len(texts)


async def test_failed_parse_leaves_nothing(conn: Any) -> None:
    before = conn._core.cached_statements
    for _ in range(3):
        with pytest.raises(pgasync.ProgrammingError):
            await conn.fetchval("select * from does_not_exist")
    assert conn._core.cached_statements == before
    assert await prepared(conn) == {}
    await conn.execute("create temporary table does_not_exist (n int)")
    assert await conn.fetch("select * from does_not_exist") == []


async def test_failed_execution_keeps_it(conn: Any) -> None:
    with pytest.raises(pgasync.DataError):
        await conn.fetchval("select 1 / $1::int", [0])
    assert "select 1 / $1::int" in await prepared(conn)
    assert await conn.fetchval("select 1 / $1::int", [1]) == 1


async def test_cancelled_prepare(conn: Any) -> None:
    """Given up while it is being described: works the next time."""
    for n in range(50):
        sql = f"select $1::int + {n}"
        task = asyncio.ensure_future(conn.fetchval(sql, [n]))
        for _ in range(n % 4):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await conn.fetchval(sql, [n]) == 2 * n


@pytest.mark.parametrize("command", ["deallocate all", "discard all"])
async def test_forgotten_by_the_server(conn: Any, command: str) -> None:
    """Statements that the server has dropped are prepared again."""
    for _ in range(3):
        assert await conn.fetchval("select 1") == 1
        assert await conn.fetchval("select $1::int", [2]) == 2
        await conn.execute(command)
    assert await conn.fetchval("select 1") == 1


async def test_forgotten_behind_the_back(conn: Any) -> None:
    """As above, without a command tag that tells it."""
    for _ in range(3):
        assert await conn.fetchval("select 1") == 1
        await conn.execute("do $$ begin execute 'deallocate all'; end $$")
        assert await conn.fetchval("select 1") == 1


async def test_changed_result(conn: Any) -> None:
    """The table a cached statement reads gets another column."""
    await conn.execute("create temporary table t (a int)")
    await conn.execute("insert into t values (1)")
    assert [tuple(row) for row in await conn.fetch("select * from t")] == [(1,)]
    await conn.execute("alter table t add column b text default 'x'")
    assert [tuple(row) for row in await conn.fetch("select * from t")] == [(1, "x")]
    await conn.execute("alter table t alter column a type text")
    assert [tuple(row) for row in await conn.fetch("select * from t")] == [("1", "x")]


async def test_changed_result_in_a_transaction(connect: Callable[..., Any]) -> None:
    """The transaction's own changes are known, and those that it takes back."""
    conn = await connect()
    await conn.execute("create temporary table t (a int)")
    await conn.fetch("select * from t")
    await conn.commit()
    await conn.fetch("select * from t")
    await conn.execute("alter table t add column b text")
    assert [c[0] for c in (await conn.execute("select * from t")).description] == [
        "a",
        "b",
    ]
    await conn.rollback()
    assert [c[0] for c in (await conn.execute("select * from t")).description] == ["a"]
    await conn.rollback()


async def test_unnamed(connect: Callable[..., Any]) -> None:
    """prepared_statements="unnamed": nothing stays on the server."""
    conn = await connect(autocommit=True, prepared_statements="unnamed")
    for n in range(10):
        assert await conn.fetchval("select $1::int", [n]) == n
    names = await prepared(conn)
    assert all(name == "" for name in names.values())
