"""SQLAlchemy over each driver's dialect: Core, a select of `acc` by its key; the ORM;
all 1000 rows of `mixed`.

`core` and `intx` build the statement for every query, as applications do; building
it and its cache key is more than a third of the whole. The goals are for these.
`core_ready` and `intx_ready` execute one statement made beforehand.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import registry

import work

ACC = sa.Table(
    "acc",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("bid", sa.Integer),
    sa.Column("balance", sa.BigInteger),
    sa.Column("filler", sa.Text),
    sa.Column("ts", sa.DateTime(timezone=True)),
    sa.Column("u", sa.Uuid),
    sa.Column("num", sa.Numeric),
    sa.Column("flag", sa.Boolean),
)
MIXED = sa.Table(
    "mixed",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("day", sa.Date),
    sa.Column("score", sa.Double),
    sa.Column("amount", sa.Numeric(12, 4)),
    sa.Column("u", sa.Uuid),
    sa.Column("doc", postgresql.JSONB),
    sa.Column("tags", postgresql.ARRAY(sa.Integer)),
    sa.Column("note", sa.Text),
    sa.Column("flag", sa.Boolean),
)


class Account:
    balance: Any


class Mixed:
    pass


registry().map_imperatively(Account, ACC)
registry().map_imperatively(Mixed, MIXED)
BY_KEY = sa.select(ACC).where(ACC.c.id == sa.bindparam("key"))


class Driver:
    dialect: str

    async def open(self, dsn: str) -> None:
        url = dsn.replace("postgresql:", f"postgresql+{self.dialect}:")
        self.engine = create_async_engine(url)

    async def close(self) -> None:
        await self.engine.dispose()

    async def core(self, count: int) -> None:
        """A checkout from the pool, with its rollback at the end, a query."""
        for key in work.keys(count):
            async with self.engine.connect() as conn:
                (await conn.execute(sa.select(ACC).where(ACC.c.id == key))).all()

    async def intx(self, count: int) -> None:
        """All in one transaction."""
        async with self.engine.connect() as conn:
            for key in work.keys(count):
                (await conn.execute(sa.select(ACC).where(ACC.c.id == key))).all()

    async def core_ready(self, count: int) -> None:
        for key in work.keys(count):
            async with self.engine.connect() as conn:
                (await conn.execute(BY_KEY, {"key": key})).all()

    async def intx_ready(self, count: int) -> None:
        async with self.engine.connect() as conn:
            for key in work.keys(count):
                (await conn.execute(BY_KEY, {"key": key})).all()

    async def orm_get(self, count: int) -> None:
        """A session and an object by its key."""
        for key in work.keys(count):
            async with AsyncSession(self.engine) as session:
                await session.get_one(Account, key)

    async def orm_update(self, count: int) -> None:
        """An object fetched, changed and committed."""
        for key in work.keys(count):
            async with AsyncSession(self.engine) as session:
                account = await session.get_one(Account, key)
                account.balance += 1
                await session.commit()

    async def rows(self, count: int) -> None:
        """1000 rows of 11 columns as tuples."""
        async with self.engine.connect() as conn:
            for _ in range(count):
                (await conn.execute(sa.select(MIXED))).all()

    async def orm_rows(self, count: int) -> None:
        """The same as objects, of a new session each time."""
        for _ in range(count):
            async with AsyncSession(self.engine) as session:
                (await session.scalars(sa.select(Mixed))).all()


class Asyncpg(Driver):
    dialect = "asyncpg"


class Psycopg(Driver):
    dialect = "psycopg"


class Pgasync(Driver):
    dialect = "pgasync"
