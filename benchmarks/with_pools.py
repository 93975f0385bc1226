"""The pools: 10 connections in autocommit, statements prepared, with their defaults
otherwise. `pool` is the shortest way that a pool has to run one statement, `pool_with`
takes a connection for it. A pool is made by the first repetition that needs one.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import psycopg_pool

import pgasync
import work
from with_psycopg import placeholders

MS = 1e3


class Driver:
    """What the three have in common."""

    async def open(self, dsn: str) -> None:
        self.dsn = dsn
        self.made: Any = None

    async def close(self) -> None:
        if self.made is not None:
            await self.made.close()

    async def create(self) -> Any:
        """An open pool of 10 connections."""
        raise NotImplementedError

    async def row(self, pool: Any, key: int) -> Any:
        """A row by the shortest way."""
        raise NotImplementedError

    async def row_of(self, conn: Any, key: int) -> Any:
        """A row by a connection that was taken."""
        raise NotImplementedError

    def taken(self, pool: Any) -> AbstractAsyncContextManager[Any]:
        """A connection of the pool's."""
        return pool.acquire()  # type: ignore[no-any-return]

    async def given(self) -> Any:
        if self.made is None:
            self.made = await self.create()
        return self.made

    async def pool(self, count: int) -> None:
        pool, row = await self.given(), self.row

        async def task(share: list[int]) -> None:
            for key in share:
                await row(pool, key)

        shares = work.shares(count, work.POOL_TASKS)
        await asyncio.gather(*(task(share) for share in shares))

    async def pool_with(self, count: int) -> None:
        pool, row_of = await self.given(), self.row_of

        async def task(share: list[int]) -> None:
            for key in share:
                async with self.taken(pool) as conn:
                    await row_of(conn, key)

        shares = work.shares(count, work.POOL_TASKS)
        await asyncio.gather(*(task(share) for share in shares))

    async def pool_crowd(self, count: int) -> dict[str, float]:
        """How long (ms) each of very many tasks waits for a connection."""
        pool, row_of = await self.given(), self.row_of
        waits: list[float] = []

        async def task(share: list[int]) -> None:
            for key in share:
                began = time.perf_counter()
                async with self.taken(pool) as conn:
                    waits.append(time.perf_counter() - began)
                    await row_of(conn, key)

        shares = work.shares(count, work.POOL_CROWD)
        await asyncio.gather(*(task(share) for share in shares))
        percent = statistics.quantiles(waits, n=100)
        return {
            "wait_50": percent[49] * MS,
            "wait_99": percent[98] * MS,
            "wait_max": max(waits) * MS,
        }

    async def pool_cold(self, count: int) -> None:
        """A pool is made, runs its first statement, and is closed."""
        for key in work.keys(count):
            pool = await self.create()
            await self.row(pool, key)
            await pool.close()

    async def pool_idle(self, count: int) -> None:
        """Nobody waits, nothing is asked."""
        pool = await self.given()
        for _ in range(count):
            async with self.taken(pool):
                pass


class Pgasync(Driver):
    async def create(self) -> Any:
        return await pgasync.create_pool(
            self.dsn, min_size=work.POOLED, max_size=work.POOLED, autocommit=True
        )

    async def row(self, pool: Any, key: int) -> Any:
        return await pool.fetchrow(work.PK, [key])

    async def row_of(self, conn: Any, key: int) -> Any:
        return await conn.fetchrow(work.PK, [key])

    async def pool_fetchval(self, count: int) -> None:
        pool = await self.given()
        for _ in range(count):
            await pool.fetchval(work.ONE)

    async def fetchval(self, count: int) -> None:
        async with pgasync.connect(self.dsn, autocommit=True) as conn:
            for _ in range(count):
                await conn.fetchval(work.ONE)


class Asyncpg(Driver):
    async def create(self) -> Any:
        return await asyncpg.create_pool(
            self.dsn, min_size=work.POOLED, max_size=work.POOLED
        )

    async def row(self, pool: Any, key: int) -> Any:
        return await pool.fetchrow(work.PK, key)

    async def row_of(self, conn: Any, key: int) -> Any:
        return await conn.fetchrow(work.PK, key)

    async def pool_fetchval(self, count: int) -> None:
        pool = await self.given()
        for _ in range(count):
            await pool.fetchval(work.ONE)

    async def fetchval(self, count: int) -> None:
        conn = await asyncpg.connect(self.dsn)
        for _ in range(count):
            await conn.fetchval(work.ONE)
        await conn.close()


class Psycopg(Driver):
    """Its pool has no statements of its own: both ways are one."""

    sql = placeholders(work.PK)

    async def create(self) -> Any:
        pool = psycopg_pool.AsyncConnectionPool(
            self.dsn,
            min_size=work.POOLED,
            max_size=work.POOLED,
            kwargs={"autocommit": True},
            open=False,
        )
        await pool.open(wait=True)
        return pool

    def taken(self, pool: Any) -> AbstractAsyncContextManager[Any]:
        return pool.connection()  # type: ignore[no-any-return]

    async def row(self, pool: Any, key: int) -> Any:
        async with pool.connection() as conn:
            return await self.row_of(conn, key)

    async def row_of(self, conn: Any, key: int) -> Any:
        cursor = await conn.execute(self.sql, [key], prepare=True, binary=True)
        return await cursor.fetchone()
