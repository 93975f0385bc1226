"""SQLAlchemy Core over each driver's dialect: a select of `acc` by its key.

`core` and `intx` build the statement for every query, as applications do; building
it and its cache key is more than a third of the whole. The goals are for these.
`core_ready` and `intx_ready` execute one statement made beforehand.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

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


class Asyncpg(Driver):
    dialect = "asyncpg"


class Psycopg(Driver):
    dialect = "psycopg"


class Pgasync(Driver):
    dialect = "pgasync"
