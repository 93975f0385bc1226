"""The schema changes while statements run: types that others drop, make again and
alter. Tables are in test_stale.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stalecases import own_schema

Connect = Callable[..., Any]


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[str]:
    async with own_schema(dsn) as name:
        yield name


class Stage:
    """A connection, and another program that changes the schema."""

    def __init__(self, actor: Any, changer: Any) -> None:
        self.actor = actor
        self.changer = changer

    async def change(self, text: str) -> None:
        """No command tag tells it."""
        await self.changer.execute(f"do $hidden$ begin {text}; end $hidden$")


@pytest.fixture
async def stage(place: str, connect: Connect) -> Stage:
    settings = {"search_path": place}
    actor = await connect(autocommit=True, server_settings=settings)
    changer = await connect(autocommit=True, server_settings=settings)
    return Stage(actor, changer)


CONTAINERS = {
    "select p from pair p": lambda row: row,
    "select array_agg(p) from pair p": lambda row: [row],
    "select array[array[p]] from pair p": lambda row: [[row]],
    "select row(p, 1) from pair p": lambda row: (row, 1),
    "select array[row(p)] from pair p": lambda row: [(row,)],
}


@pytest.mark.parametrize("sql", CONTAINERS)
@pytest.mark.parametrize("value", [7, 100, 200])
async def test_values_of_an_altered_composite(
    stage: Stage, sql: str, value: int
) -> None:
    """It is part of what is read, at any depth: its bytes are never taken for those of
    something else."""
    conn = stage.actor
    await stage.changer.execute("create table pair (x int, y int)")
    await stage.changer.execute("insert into pair values (1, 2)")
    assert await conn.fetchval(sql) == CONTAINERS[sql]((1, 2))
    await stage.change(f"alter table pair add z int default {value}")
    assert await conn.fetchval(sql) == CONTAINERS[sql]((1, 2, value))
    await stage.change("alter table pair drop z, alter y type text")
    assert await conn.fetchval(sql) == CONTAINERS[sql]((1, "2"))


@pytest.mark.parametrize("pipeline", [False, True], ids=["tasks", "pipeline"])
async def test_several_results_wait_for_types(stage: Stage, pipeline: bool) -> None:
    """Each of them holds values that were not known: one lookup after the other."""
    conn = stage.actor
    for name in ("a", "b", "c"):
        await stage.changer.execute(f"create table {name} (x int)")
        await stage.changer.execute(f"insert into {name} values (1)")
    texts = [
        f"select row(array_agg({n})), array_agg({n}) from {n}" for n in ("a", "b", "c")
    ]
    for value in (7, 200):
        if pipeline:
            async with conn.pipeline() as p:
                results = [p.fetchrow(text) for text in texts * 2]
        else:
            results = [conn.fetchrow(text) for text in texts * 2]
        kept = [(1,)] if value == 7 else [(1, 7)]
        for row in await asyncio.gather(*results):
            assert row == ((kept,), kept)
        for name in ("a", "b", "c"):
            await stage.change(f"alter table {name} add y{value} int default {value}")


@pytest.mark.parametrize("turns", range(0, 12, 2))
@pytest.mark.parametrize("given_up", range(4))
async def test_given_up_while_it_waits_for_types(
    stage: Stage, given_up: int, turns: int
) -> None:
    conn = stage.actor
    for name in ("a", "b", "c", "d"):
        await stage.changer.execute(f"create table {name} (x int)")
        await stage.changer.execute(f"insert into {name} values (1)")
    texts = [f"select row(array_agg({n})) from {n}" for n in ("a", "b", "c", "d")]
    tasks = [asyncio.ensure_future(conn.fetchval(text)) for text in texts]
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    tasks[given_up].cancel()
    outcome = await asyncio.gather(*tasks, return_exceptions=True)
    for n, value in enumerate(outcome):
        if n == given_up:
            assert isinstance(value, asyncio.CancelledError) or value == ([(1,)],)
        else:
            assert value == ([(1,)],)
    assert await conn.fetchval(texts[0]) == ([(1,)],)
