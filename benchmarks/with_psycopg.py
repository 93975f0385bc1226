"""psycopg 3 with its C implementation: autocommit, prepared statements, binary."""

from __future__ import annotations

import asyncio
import re

import psycopg

import work


def placeholders(sql: str) -> str:
    """`$1` as psycopg wants it."""
    return re.sub(r"\$\d+", "%s", sql)


class Driver:
    async def open(self, dsn: str) -> None:
        self.dsn = dsn
        self.conn = await psycopg.AsyncConnection.connect(dsn, autocommit=True)

    async def close(self) -> None:
        await self.conn.close()

    async def fetch(self, sql: str, *params: object) -> list[tuple[object, ...]]:
        cursor = await self.conn.execute(sql, params, prepare=True, binary=True)
        return await cursor.fetchall()

    async def one(self, count: int) -> None:
        for _ in range(count):
            await self.fetch(work.ONE)

    async def pk(self, count: int) -> None:
        sql = placeholders(work.PK)
        for key in work.keys(count):
            await self.fetch(sql, key)

    async def mixed(self, count: int) -> None:
        sql = placeholders(work.MIXED)
        for _ in range(count):
            await self.fetch(sql, work.MIXED_FETCHED)

    async def pg_type(self, count: int) -> None:
        for _ in range(count):
            await self.fetch(work.PG_TYPE)

    async def tasks(self, count: int) -> None:
        """The connection has a lock of its own."""
        sql = placeholders(work.PK)

        async def task(share: list[int]) -> None:
            for key in share:
                await self.fetch(sql, key)

        await asyncio.gather(*(task(share) for share in work.shares(count)))

    async def executemany(self, count: int) -> None:
        sql, sets = placeholders(work.INSERT), work.sets()
        async with self.conn.cursor(binary=True) as cursor:
            for _ in range(0, count, work.BATCH):
                async with self.conn.transaction():  # atomic, as the others are
                    await cursor.executemany(sql, sets)
        await self.conn.execute(work.TRUNCATE)

    async def connect(self, count: int) -> None:
        for _ in range(count):
            conn = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
            await conn.close()
