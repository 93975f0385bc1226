"""Prepared statements that are not what they were: prepared again and sent once more
where that cannot be noticed, and never run twice."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import pgasync
from stalecases import CASES, COUNT, Case, fitted, name_of

Connect = Callable[..., Any]
DEFERRABLE = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[str]:
    """A schema of the test's own, with another one beside it, and the sequence."""
    name = f"stale_{secrets.token_hex(6)}"
    async with pgasync.connect(dsn, autocommit=True) as conn:
        await conn.execute(f"create schema {name}; create schema {name}_other")
        await conn.execute(f"create sequence {name}.ticks")
    yield name
    async with pgasync.connect(dsn, autocommit=True) as conn:
        await conn.execute("set client_min_messages = warning")
        await conn.execute(f"drop schema {name}, {name}_other cascade")


class Stage:
    """A connection whose statements become stale, and one that changes the schema."""

    def __init__(self, place: str, actor: Any, changer: Any) -> None:
        self.place = place
        self.actor = actor
        self.changer = changer

    def fitted(self, text: str) -> str:
        return fitted(text, self.place)

    async def ticks(self) -> int:
        """How often the statement has run."""
        count: int = await self.changer.fetchval(COUNT)
        return count

    async def begin(self, case: Case) -> None:
        """The statement is prepared, and has run."""
        await self.changer.execute(self.fitted(case.setup))
        if case.name.startswith("temporary"):
            await self.actor.execute(
                "create temp table only_here (n int); insert into only_here values (7)"
            )
        for _ in range(2):
            assert await run(self, case, case.args, "autocommit") == case.before

    async def change(self, case: Case, hidden: bool) -> None:
        who = self.actor if case.own else self.changer
        await who.execute(self.fitted(case.changes(hidden)))


@pytest.fixture
async def stage(place: str, connect: Connect) -> Stage:
    settings = {"search_path": place}
    actor = await connect(autocommit=True, server_settings=settings)
    changer = await connect(autocommit=True, server_settings=settings)
    return Stage(place, actor, changer)


def shown(rows: Any) -> list[tuple[object, ...]]:
    """Without the sequence's value, which is the last."""
    return [tuple(row)[:-1] for row in rows]


async def run(
    stage: Stage, case: Case, args: tuple[object, ...], way: str
) -> list[tuple[object, ...]]:
    """Runs the statement once, in that way."""
    conn = stage.actor
    sql = stage.fitted(case.sql)
    if way == "autocommit":
        return shown(await conn.fetch(sql, args))
    conn._core.begin("BEGIN")
    if way == "later":
        await conn.fetchval("select 1")
    if way == "portal":
        opened = await conn._core.open_portal("p", sql, args, 50, False)
        rows = opened.rows
    else:
        rows = await conn.fetch(sql, args)
    await conn.commit()
    return shown(rows)


@pytest.mark.parametrize("hidden", [False, True], ids=["told", "hidden"])
@pytest.mark.parametrize("way", ["autocommit", "first", "portal"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_healed(stage: Stage, case: Case, way: str, hidden: bool) -> None:
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden)
    assert await run(stage, case, case.then, way) == case.after
    assert await stage.ticks() == before + len(case.after)
    assert not stage.actor._core.in_transaction


@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_later(stage: Stage, case: Case) -> None:
    """Behind earlier work of the transaction, nothing can be sent again: an error that
    says so, and the whole transaction again is the remedy."""
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden=True)
    if case.refused:
        kind = pgasync.ProgrammingError if case.natural else pgasync.OperationalError
        with pytest.raises(kind) as caught:
            await run(stage, case, case.then, "later")
        await stage.actor.rollback()
        assert await stage.ticks() == before
        if not case.natural:
            assert isinstance(caught.value, pgasync.InvalidCachedStatement)
            assert caught.value.retryable
            assert caught.value.outcome == "failed"
            assert "run the transaction again" in str(caught.value)
            assert caught.value.sqlstate in ("0A000", "26000", "XX000")
    assert await run(stage, case, case.then, "later") == case.after
    assert await stage.ticks() == before + len(case.after)


@pytest.mark.parametrize("case", [c for c in CASES if not c.own], ids=name_of)
async def test_later_told(stage: Stage, case: Case) -> None:
    """What this process has changed itself, by any connection, is known."""
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden=False)
    assert await run(stage, case, case.then, "later") == case.after
    assert await stage.ticks() == before + len(case.after)


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_executemany(stage: Stage, case: Case, transaction: bool) -> None:
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden=True)
    if transaction:
        stage.actor._core.begin("BEGIN")
    done = await stage.actor._core.executemany(stage.fitted(case.sql), [case.then] * 3)
    assert done.rowcount == 3 * len(case.after)
    await stage.actor.commit()
    assert await stage.ticks() == before + 3 * len(case.after)


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_pipelined(stage: Stage, case: Case, transaction: bool) -> None:
    """Two tasks, both with the stale statement in flight; in the transaction a third
    one whose statement the server would take."""
    await stage.begin(case)
    conn = stage.actor
    sql = stage.fitted(case.sql)
    assert await conn.fetchval("select $1::int", [1]) == 1
    before = await stage.ticks()
    await stage.change(case, hidden=True)
    tasks: list[Awaitable[Any]] = [conn.fetch(sql, case.then) for _ in range(2)]
    if transaction:
        conn._core.begin("BEGIN")
        tasks.append(conn.fetchval("select $1::int", [5]))
    first, second, *rest = await asyncio.gather(*tasks)
    assert shown(first) == shown(second) == case.after
    assert rest == ([5] if transaction else [])
    assert [row[-1] for row in first] < [row[-1] for row in second]  # in their order
    await conn.commit()
    assert await stage.ticks() == before + 2 * len(case.after)


@pytest.mark.parametrize("case", [c for c in CASES if c.reads], ids=name_of)
async def test_begun_in_the_same_way(stage: Stage, case: Case) -> None:
    """The transaction that is begun again is of the same kind."""
    reading = Case(
        case.name,
        case.setup,
        case.sql.replace("nextval('ticks')", "0"),
        case.change,
        case.before,
        case.after,
        case.args,
        case.args_after,
        case.own,
    )
    await stage.begin(reading)
    await stage.change(reading, hidden=True)
    conn = stage.actor
    conn._core.begin(DEFERRABLE)
    assert shown(await conn.fetch(reading.sql, reading.then)) == reading.after
    for setting in ("read_only", "deferrable"):
        assert await conn.fetchval(f"show transaction_{setting}") == "on"
    assert await conn.fetchval("show transaction_isolation") == "serializable"
    await conn.commit()
