"""What execute() takes, copy_records_to_table() takes: every value of every type, by
itself and, as text, in containers, is on the server what it was. In binary they are
what parameters are: test_roundtrip.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import contexts
from contexts import Context, Tables
from literals import TYPES, Type
from pgasync.errors import DataError

# A str is sent as the text of a document, and a Decimal spells numbers in its own way:
# see test_roundtrip.py.
NOT_IDENTICAL = {("json", '"text"'), ("json", '""'), ("jsonb", '"text"')}
NOT_IDENTICAL |= {("jsonb", '""'), ("json", "1e400")}


@pytest.fixture(scope="module")
def tables(dsn: str) -> Iterator[Tables]:
    yield asyncio.run(contexts.create(dsn, TYPES))
    asyncio.run(contexts.drop(dsn))


@pytest.mark.parametrize("one", TYPES, ids=lambda one: one.name)
def test_every_type(dsn: str, tables: Tables, one: Type) -> None:
    if one not in tables.types:
        pytest.skip(f"the server has no {one.name}")

    async def run() -> list[str]:
        async with contexts.connected(dsn) as conn:
            wrong = await copied(conn, one, contexts.BARE, "auto")
            for context in tables.contexts(one):
                wrong += await copied(conn, one, context, "text")
            return wrong

    wrong = asyncio.run(run())
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


async def copied(conn: Any, one: Type, context: Context, form: str) -> list[str]:
    """What has become something else."""
    k, made = contexts.number(one), context.sql(one)
    spelled = context.spelled.format(t=one.name, k=k)
    left_out = [text for name, text in NOT_IDENTICAL if name == one.name]
    values = await conn.fetch(
        f"select i, {made} from v{k} where literal <> all($1) and (i = 0 or $2)",
        [left_out, not context.once],
        row_factory=tuple,
    )
    await conn.execute(
        f"drop table if exists copied; create temp table copied (i int, w {spelled})"
    )
    try:
        await conn.copy_records_to_table("copied", records=values, format=form)
    except DataError as error:
        return [] if is_money_as_text(one, form, error) else [f"{form}: {error}"]
    differ = await conn.fetch(
        f"select literal, w::text, ({made})::text from v{k} join copied using (i)"
        f" where w::text is distinct from ({made})::text",
        row_factory=tuple,
    )
    count = await conn.fetchval("select count(*) from copied")
    assert count == len(values)
    return [f"{context.name}, {form}: {row}" for row in differ]


def is_money_as_text(one: Type, form: str, error: DataError) -> bool:
    """A number is none: its text depends on the server's locale."""
    return one.name == "money" and form == "text" and "give a str" in str(error)
