"""psycopg 3 with its C implementation: autocommit, prepared statements, binary."""

from __future__ import annotations

import asyncio
import re

import psycopg

import probes
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

    async def pipelined(self, count: int, depth: int) -> None:
        sql = placeholders(work.PK)
        every = [*work.keys(count)]
        for start in work.times(count, depth):
            async with self.conn.pipeline():
                cursors = [
                    await self.conn.execute(sql, [key], prepare=True, binary=True)
                    for key in every[start : start + depth]
                ]
            for cursor in cursors:
                await cursor.fetchall()

    async def pipeline_10(self, count: int) -> None:
        await self.pipelined(count, 10)

    async def pipeline_100(self, count: int) -> None:
        await self.pipelined(count, 100)

    async def executemany(self, count: int) -> None:
        sql, sets = placeholders(work.INSERT), work.sets()
        async with self.conn.cursor(binary=True) as cursor:
            for _ in range(0, count, work.BATCH):
                async with self.conn.transaction():  # atomic, as the others are
                    await cursor.executemany(sql, sets)
        await self.conn.execute(work.TRUNCATE)

    async def returning(self, count: int) -> None:
        sql, sets = placeholders(work.INSERT_RETURNING), work.sets()
        async with self.conn.cursor(binary=True) as cursor:
            for _ in work.times(count, work.BATCH):
                async with self.conn.transaction():
                    await cursor.executemany(sql, sets, returning=True)
                    rows = 0
                    while True:
                        rows += len(await cursor.fetchall())
                        if not cursor.nextset():
                            break
                assert rows == work.BATCH
        await self.conn.execute(work.TRUNCATE)

    async def copy_records(self, count: int) -> None:
        sql = "copy many (id, name, score) from stdin (format binary)"
        async with self.conn.cursor() as cursor:
            for _ in work.times(count, work.COPIED):
                async with cursor.copy(sql) as copy:
                    copy.set_types(["int4", "text", "float8"])
                    for record in work.records():
                        await copy.write_row(record)
        await self.conn.execute(work.TRUNCATE)

    async def copy_in(self, count: int) -> None:
        async with self.conn.cursor() as cursor:
            for _ in work.times(count, work.COPIED):
                async with cursor.copy("copy many from stdin") as copy:
                    for piece in work.pieces():
                        await copy.write(piece)
        await self.conn.execute(work.TRUNCATE)

    async def copy_out(self, count: int) -> None:
        size = 0
        async with self.conn.cursor() as cursor:
            for _ in work.times(count, work.COPIED):
                async with cursor.copy(f"copy ({work.COPY_OUT}) to stdout") as copy:
                    async for data in copy:
                        size += len(data)
        assert size > count

    async def copy_rows(self, count: int) -> None:
        """It has to be told the types."""
        sql = f"copy ({work.COPY_OUT}) to stdout (format binary)"
        rows = 0
        async with self.conn.cursor() as cursor:
            for _ in work.times(count, work.COPIED):
                async with cursor.copy(sql) as copy:
                    copy.set_types(["int4", "text", "float8"])
                    async for _ in copy.rows():
                        rows += 1
        assert rows == count

    async def stream(self, count: int) -> None:
        for _ in work.times(count, work.STREAMED):
            assert await self.streamed(work.STREAMED) == work.STREAMED

    async def streamed(self, rows: int) -> int:
        seen = 0
        sql = placeholders(work.SERIES)
        async with self.conn.cursor(binary=True) as cursor:
            async for _ in cursor.stream(sql, [rows], size=work.FETCHED):
                seen += 1
        return seen

    async def stream_long(self, count: int) -> dict[str, float]:
        """All in one statement."""
        with probes.growing() as found:
            assert await self.streamed(count) == count
        return found

    async def stall(self, count: int) -> dict[str, float]:
        sql = placeholders(work.SERIES)
        async with probes.ticking() as found:
            rows = await self.fetch(sql, count)
        assert len(rows) == count
        return found

    async def notify(self, count: int) -> None:
        sender = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
        await self.conn.execute("listen bench")
        for _ in work.times(count, work.NOTIFIED):
            await sender.execute(work.NOTIFY.replace("$1", str(work.NOTIFIED)))
        seen = 0
        async for _ in self.conn.notifies(stop_after=count):
            seen += 1
        assert seen == count
        await self.conn.execute("unlisten bench")
        await sender.close()

    async def connect(self, count: int) -> None:
        for _ in range(count):
            conn = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
            await conn.close()
