"""Tables and types change all the time under fifty tasks of a pool: no error outside of
transactions and of a transaction's first statement, and no value that was taken for one
of another type. For longer than a few seconds: PGASYNC_DDL_SECONDS."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import pgasync
from ddlcases import CHANGES, Change, Mood, Read
from stalecases import own_schema

SECONDS = float(os.environ.get("PGASYNC_DDL_SECONDS", "3"))
PAUSE_S = 0.02  # between two changes of one kind
TASKS = 50
Connect = Callable[..., Any]

# Ways to run a statement


async def in_autocommit(pool: pgasync.Pool, read: Read) -> None:
    read.check(await pool.fetch(read.sql, read.args))


async def first(pool: pgasync.Pool, read: Read) -> None:
    async with pool.acquire() as conn:
        read.check(await conn.fetch(read.sql, read.args))


async def later(pool: pgasync.Pool, read: Read) -> None:
    """Behind earlier work the whole transaction has to be run again."""
    try:
        async with pool.acquire() as conn:
            await conn.fetchval("select 5")
            read.check(await conn.fetch(read.sql, read.args))
    except pgasync.DatabaseError as error:
        let_pass(error, read)


async def repeated(pool: pgasync.Pool, read: Read) -> None:
    """The same, run again by the pool."""

    async def work(conn: Any) -> None:
        await conn.fetchval("select 5")
        read.check(await conn.fetch(read.sql, read.args))

    try:
        await pool.run_transaction(work, retries=20)
    except pgasync.DatabaseError as error:
        assert not isinstance(error, pgasync.InvalidCachedStatement)
        let_pass(error, read)


async def many(pool: pgasync.Pool, read: Read) -> None:
    """What has begun is not begun again."""
    if read.args and read.locked:
        await pool.executemany(read.sql, [read.args, read.args])


async def streamed(pool: pgasync.Pool, read: Read) -> None:
    async with pool.acquire() as conn, conn.stream(read.sql, read.args) as rows:
        read.check([row async for row in rows])


async def prepared(pool: pgasync.Pool, read: Read) -> None:
    async with pool.acquire() as conn:
        statement = await conn.prepare(read.sql)
        await conn.rollback()
        await asyncio.sleep(PAUSE_S)
        read.check(await statement.fetch(read.args))


async def by_cursor(pool: pgasync.Pool, read: Read) -> None:
    if read.sql.startswith("select"):
        async with pool.acquire() as conn, conn.cursor() as cursor:
            await cursor.execute(read.sql, read.args)
            read.check(await cursor.fetchall())


async def pipelined(pool: pgasync.Pool, read: Read) -> None:
    """One transaction, of which nothing is sent again."""
    try:
        async with pool.acquire() as conn, conn.pipeline() as pipe:
            results = [pipe.fetch(read.sql, read.args) for _ in range(2)]
    except pgasync.DatabaseError as error:
        let_pass(error, read)
    else:
        for result in results:
            read.check(await result)


def let_pass(error: pgasync.DatabaseError, read: Read) -> None:
    if isinstance(error, pgasync.InvalidCachedStatement):
        assert error.retryable
    elif not error.retryable and (
        not read.typed or error.sqlstate not in ("22P02", "22P03")
    ):
        raise error


WAYS: tuple[Callable[[pgasync.Pool, Read], Awaitable[None]], ...] = (
    in_autocommit,
    first,
    later,
    repeated,
    many,
    streamed,
    prepared,
    by_cursor,
    pipelined,
)

# The storm


async def change(changer: Any, change: Change, other: str, end: float) -> int:
    """Makes one version after the other, in turn told by command tags and not."""
    count = 0
    for text in itertools.cycle(change.versions):
        if time.monotonic() > end:
            break
        text = text.replace("OTHER", other)
        hidden = count // len(change.versions) % 2
        async with changer.transaction():
            await changer.execute(f"do $do$ begin {text}; end $do$" if hidden else text)
        count += 1
        await asyncio.sleep(PAUSE_S)
    return count


async def use(
    pool: pgasync.Pool, work: Iterator[Any], done: Counter[str], failed: dict[Any, Any]
) -> None:
    while (step := next(work, None)) is not None:
        case, read, way = step
        try:
            await way(pool, read)
            done[way.__name__] += 1
        except Exception as error:
            failed.setdefault((case.name, way.__name__, read.sql, repr(error)), error)


def available(extensions: list[str]) -> tuple[Change, ...]:
    return tuple(c for c in CHANGES if not c.extension or c.extension in extensions)


@pytest.fixture
async def alone(server: Any, connect: Connect) -> AsyncIterator[str]:
    """A database of the test's own, as extensions are dropped in it."""
    name = f"ddl_{secrets.token_hex(6)}"
    boss = await connect(autocommit=True)
    await boss.execute(f"create database {name}")
    yield server.dsn_for(name)
    await boss.execute(f"drop database {name} with (force)")


async def test_storm(alone: str, connect: Connect, summary: list[str]) -> None:
    boss = await connect(alone, autocommit=True)
    names = await boss.fetch("select name::text from pg_available_extensions")
    changes = available([row[0] for row in names])
    types = pgasync.TypeRegistry()
    types.register_enum(Mood, "feeling")
    done: Counter[str] = Counter()
    failed: dict[Any, Any] = {}
    async with own_schema(alone) as place:
        other = f"{place}_other"
        settings = {"search_path": f"{other}, {place}"}
        changers = []
        for one in changes:
            changer = await connect(alone, autocommit=True, server_settings=settings)
            changers.append(changer)
            await changer.execute(f"set search_path = {place}")
            await changer.execute(one.setup.replace("OTHER", other))
        end = time.monotonic() + SECONDS
        every = [(c, r, w) for w in WAYS for c in changes for r in c.reads]
        work = itertools.takewhile(
            lambda _: time.monotonic() < end, itertools.cycle(every)
        )
        pool = pgasync.create_pool(
            alone, max_size=10, types=types, server_settings=settings
        )
        async with pool:
            tasks = [
                asyncio.ensure_future(use(pool, work, done, failed))
                for _ in range(TASKS)
            ]
            counts = await asyncio.gather(
                *(
                    change(who, one, other, end)
                    for who, one in zip(changers, changes, strict=True)
                )
            )
            await asyncio.gather(*tasks)
            assert pool.stats().errors == 0
        for who in changers:
            await who.close()
    for error in failed.values():
        raise AssertionError(f"{len(failed)} kinds of errors: {[*failed]}") from error
    assert min(counts) > 2 and len(done) == len(WAYS)
    summary.append(
        f"DDL under {TASKS} tasks: {sum(counts)} changes of {len(changes)} kinds, "
        f"{sum(done.values())} pieces of work, no error outside of transactions"
    )
