"""asyncpg, as its manual says: conn.fetch(), which prepares and caches by itself."""

from __future__ import annotations

import asyncio
import json

import asyncpg

import work


class Driver:
    async def open(self, dsn: str) -> None:
        self.dsn = dsn
        self.conn = await asyncpg.connect(dsn)

    async def close(self) -> None:
        await self.conn.close()

    async def one(self, count: int) -> None:
        for _ in range(count):
            await self.conn.fetch(work.ONE)

    async def pk(self, count: int) -> None:
        for key in work.keys(count):
            await self.conn.fetch(work.PK, key)

    async def mixed(self, count: int) -> None:
        """jsonb is str unless a codec is set."""
        await self.conn.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        await self.mixed_raw(count)

    async def mixed_raw(self, count: int) -> None:
        for _ in range(count):
            await self.conn.fetch(work.MIXED, work.MIXED_FETCHED)

    async def pg_type(self, count: int) -> None:
        for _ in range(count):
            await self.conn.fetch(work.PG_TYPE)

    async def tasks(self, count: int) -> None:
        """A connection in use raises InterfaceError: a lock lets one task in."""
        lock = asyncio.Lock()

        async def task(share: list[int]) -> None:
            for key in share:
                async with lock:
                    await self.conn.fetch(work.PK, key)

        await asyncio.gather(*(task(share) for share in work.shares(count)))

    async def executemany(self, count: int) -> None:
        sets = work.sets()
        for _ in range(0, count, work.BATCH):
            await self.conn.executemany(work.INSERT, sets)
        await self.conn.execute(work.TRUNCATE)

    async def connect(self, count: int) -> None:
        for _ in range(count):
            conn = await asyncpg.connect(self.dsn)
            await conn.close()
