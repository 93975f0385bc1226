"""Rows that the garbage collector need not see, and those that it must: a long list of
rows that it walks through would hold the loop up again and again."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

import literals
import pgasync

FACTORIES = [tuple, pgasync.Row]


@pytest.fixture
async def typed(conn: Any) -> AsyncIterator[Any]:
    """A connection with the types that tests/types makes, and a domain of documents."""
    for name in literals.EXTENSIONS:
        known = "select count(*) from pg_available_extensions where name = $1"
        if await conn.fetchval(known, [name]):
            await conn.execute(f"create extension if not exists {name}")
    await conn.execute("create schema collector; set search_path = collector, public")
    await conn.execute(literals.SETUP)
    await conn.execute("create domain document as jsonb")
    yield conn
    await conn.execute("drop schema collector cascade")


def may_change(value: object) -> bool:
    """Whether it can be made to refer to any object: it holds some, or has a dict."""
    if isinstance(value, (list, dict)) or hasattr(value, "__dict__"):
        return True
    return isinstance(value, tuple) and any(map(may_change, value))


@pytest.mark.parametrize("factory", FACTORIES)
async def test_rows_that_may_be_part_of_a_cycle(typed: Any, factory: Any) -> None:
    """Each type of the server, and each of its values: what can be changed is seen."""
    seen = unseen = 0
    for one in literals.TYPES:
        for literal in one.literals:
            try:
                sql = f"select $1::text::{one.name}"
                (row,) = await typed.fetch(sql, [literal], row_factory=factory)
            except (pgasync.Error, ValueError):  # of a server that is older, or smaller
                continue
            if may_change(row[0]):
                assert gc.is_tracked(row), (one.name, row)
                seen += 1
            else:
                unseen += not gc.is_tracked(row)
    assert seen > 50
    assert unseen > 300


DOCUMENTS = (
    """select '{"a": 1}'::jsonb""",
    """select '{"a": 1}'::json""",
    """select '{"a": 1}'::collector.document""",
    "select array[1, 2]",
    """select 1, '[1]'::jsonb, 'x'""",
)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("sql", DOCUMENTS)
async def test_cycles_are_collected(typed: Any, factory: Any, sql: str) -> None:
    class Mark:
        pass

    (row,) = await typed.fetch(sql, row_factory=factory)
    document = next(cell for cell in row if isinstance(cell, (list, dict)))
    mark = Mark()
    gone = weakref.ref(mark)
    if isinstance(document, dict):
        document.update(row=row, mark=mark)
    else:
        document += [row, mark]
    del row, document, mark
    await asyncio.sleep(0)  # whoever has woken this task holds the result
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("factory", FACTORIES)
async def test_rows_of_plain_values(conn: Any, factory: Any) -> None:
    sql = (
        "select g, g::text, g / 7.0, g::float8, now(), current_date, g % 2 = 0, null,"
        " gen_random_uuid(), '\\x00'::bytea, interval '1 day', point(1, 2)"
        " from generate_series(1, 1000) g"
    )
    rows = await conn.fetch(sql, row_factory=factory)
    assert not any(map(gc.is_tracked, rows))
    gc.collect()
    assert [row[0] for row in rows] == [*range(1, 1001)]
    types = {type(row) for row in rows}
    assert len(types) == 1
    # Their type lives as long as one of them, and not because of them.
    (kind,) = types
    before = sys.getrefcount(kind)
    last = rows.pop()
    del rows[:]
    gc.collect()
    assert type(last) is kind
    if factory is pgasync.Row:
        assert before - sys.getrefcount(kind) == 999
        assert last._fields[0] == "g"


async def test_a_million_rows_leave_the_collector_little_to_do(conn: Any) -> None:
    """A full collection takes what it takes for the rest of the program."""
    gc.collect()
    before = len(gc.get_objects())
    rows = await conn.fetch("select generate_series(1, 200000), 'x'")
    gc.collect()
    assert len(gc.get_objects()) - before < 1000
    assert len(rows) == 200_000
