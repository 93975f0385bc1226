"""Engines over a PgBouncer in transaction mode, with nothing configured: the storm of
poolerstorm.py through a pool and through NullPool, and what users call."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

import pgbouncer
import poolerstorm
from dialect.cuts import needs_safe_sqlalchemy

pytestmark = [needs_safe_sqlalchemy, pytest.mark.usefixtures("poolers_expected")]


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "storm_item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


CLIENTS = 20
STATEMENTS = 400


@pytest.fixture
def bouncer(server: Any) -> Iterator[pgbouncer.PgBouncer]:
    pgbouncer.need()
    server.psql(poolerstorm.DROP + poolerstorm.SCHEMA)
    with pgbouncer.PgBouncer(server, default_pool_size=5) as started:
        yield started
        print(started.log()[-5000:])
    server.psql(poolerstorm.DROP)


@pytest.fixture
async def make(
    bouncer: pgbouncer.PgBouncer,
) -> AsyncIterator[Callable[..., AsyncEngine]]:
    engines: list[AsyncEngine] = []

    def factory(**keywords: Any) -> AsyncEngine:
        url = bouncer.tcp_dsn_for(sslmode="disable")
        url = url.replace("postgresql:", "postgresql+pgasync:")
        engines.append(create_async_engine(url, **keywords))
        return engines[-1]

    yield factory
    for engine in engines:
        await engine.dispose()


class EngineClient(poolerstorm.Client):
    """Takes a connection of the engine's for each piece of work."""

    counted = False

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def open(self, port: int) -> None:
        pass

    async def close(self) -> None:
        pass

    @staticmethod
    def statement(sql: str, params: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        text = sql.replace("::", r"\:\:").replace("$", ":p")
        return sa.text(text), {f"p{n}": value for n, value in enumerate(params, 1)}

    async def fetch(
        self, sql: str, params: Sequence[Any], timeout: float | None = None
    ) -> list[Any]:
        try:
            return await asyncio.wait_for(self.alone(sql, params), timeout)
        except asyncio.TimeoutError as error:
            raise TimeoutError from error  # the same from Python 3.11 on

    async def alone(self, sql: str, params: Sequence[Any]) -> list[Any]:
        async with self.engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            result = await conn.execute(*self.statement(sql, params))
            return list(result) if result.returns_rows else []

    async def transaction(
        self, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[Any]]:
        found = []
        async with self.engine.begin() as conn:
            for sql, params in statements:
                result = await conn.execute(*self.statement(sql, params))
                found.append(list(result) if result.returns_rows else [])
        return found

    async def executemany(self, sql: str, sets: list[Sequence[Any]]) -> None:
        text, _ = self.statement(sql, sets[0])
        async with self.engine.begin() as conn:
            await conn.execute(text, [self.statement(sql, row)[1] for row in sets])

    async def stream(self, sql: str, params: Sequence[Any], rows: int) -> list[Any]:
        found = []
        async with (
            self.engine.connect() as conn,
            conn.stream(*self.statement(sql, params)) as result,
        ):
            async for row in result:
                found.append(row)
                if len(found) == rows:
                    break
        return found


@pytest.mark.parametrize("pool", ["pool", "NullPool"])
async def test_storm(
    bouncer: pgbouncer.PgBouncer,
    make: Callable[..., AsyncEngine],
    pool: str,
    summary: list[str],
) -> None:
    seed = random.getrandbits(32)
    keywords: Any = {"poolclass": NullPool} if pool == "NullPool" else {"pool_size": 10}
    engine = make(**keywords)
    storm = poolerstorm.Storm(
        str(bouncer.socket_path), lambda number: EngineClient(engine), CLIENTS, seed
    )
    await storm.run(int(os.environ.get("PGASYNC_POOLER_STORM", STATEMENTS)))
    asked = "SELECT token || ' ' || count(*) FROM storm_kept GROUP BY token"
    rows = [line.split() for line in bouncer.server.psql(asked).splitlines()]
    assert storm.errors == {}, (seed, storm.first)
    assert storm.wrong == [], seed
    assert storm.missing(rows) is None, seed
    summary.append(
        f"PgBouncer, SQLAlchemy {sa.__version__}, {pool}: {storm.statements:,} "
        f"statements of {CLIENTS} tasks, 0 errors"
    )


async def test_orm_and_reflection(
    bouncer: pgbouncer.PgBouncer, make: Callable[..., AsyncEngine]
) -> None:
    """Two engines, as of two programs, with pool_pre_ping and savepoints."""
    engines = [make(pool_pre_ping=True), make(poolclass=NullPool)]
    async with engines[0].begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    try:
        for number, engine in enumerate(engines * 3):
            async with AsyncSession(engine) as session:
                session.add_all(Item(name=f"{number} {n}") for n in range(3))
                async with session.begin_nested():
                    session.add(Item(name=f"nested {number}"))
                await session.commit()
                query = sa.select(Item).where(Item.name == f"nested {number}")
                assert (await session.scalars(query)).one().id > 0
            async with engine.connect() as conn:
                names = await conn.run_sync(
                    lambda sync: [
                        column["name"]
                        for column in sa.inspect(sync).get_columns("storm_item")
                    ]
                )
                assert names == ["id", "name"]
                named = sa.text(
                    "select count(*) from pg_prepared_statements where name <> ''"
                )
                assert await conn.scalar(named) == 0
    finally:
        async with engines[0].begin() as conn:
            await conn.run_sync(Base.metadata.drop_all)
