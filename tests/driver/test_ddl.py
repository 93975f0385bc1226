"""The schema changes while statements run: types that others drop, make again and
alter. Tables are in test_stale.py."""

from __future__ import annotations

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
