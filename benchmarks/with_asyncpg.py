"""asyncpg, as its manual says: conn.fetch(), which prepares and caches by itself."""

from __future__ import annotations

import asyncio
import io
import json

import asyncpg

import probes
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

    async def pipeline_10(self, count: int) -> None:
        """There is no pipeline: one after the other."""
        await self.pk(count)

    async def pipeline_100(self, count: int) -> None:
        await self.pk(count)

    async def executemany(self, count: int) -> None:
        sets = work.sets()
        for _ in range(0, count, work.BATCH):
            await self.conn.executemany(work.INSERT, sets)
        await self.conn.execute(work.TRUNCATE)

    async def returning(self, count: int) -> None:
        sets = work.sets()
        for _ in work.times(count, work.BATCH):
            rows = await self.conn.fetchmany(work.INSERT_RETURNING, sets)
            assert len(rows) == work.BATCH
        await self.conn.execute(work.TRUNCATE)

    async def copy_records(self, count: int) -> None:
        records = work.records()
        for _ in work.times(count, work.COPIED):
            await self.conn.copy_records_to_table(
                "many", records=records, columns=work.COLUMNS
            )
        await self.conn.execute(work.TRUNCATE)

    async def copy_in(self, count: int) -> None:
        for _ in work.times(count, work.COPIED):
            source = io.BytesIO(work.text())
            await self.conn.copy_to_table("many", source=source)
        await self.conn.execute(work.TRUNCATE)

    async def copy_out(self, count: int) -> None:
        size = 0

        async def output(data: bytes) -> None:
            nonlocal size
            size += len(data)

        for _ in work.times(count, work.COPIED):
            await self.conn.copy_from_query(work.COPY_OUT, output=output)
        assert size > count

    async def stream(self, count: int) -> None:
        """A cursor, which needs a transaction; by default it gets 50 rows at a time."""
        for _ in work.times(count, work.STREAMED):
            assert await self.streamed(work.STREAMED) == work.STREAMED

    async def streamed(self, rows: int) -> int:
        seen = 0
        async with self.conn.transaction():
            async for _ in self.conn.cursor(work.SERIES, rows, prefetch=work.FETCHED):
                seen += 1
        return seen

    async def stream_long(self, count: int) -> dict[str, float]:
        """All in one statement."""
        with probes.growing() as found:
            assert await self.streamed(count) == count
        return found

    async def stall(self, count: int) -> dict[str, float]:
        async with probes.ticking() as found:
            rows = await self.conn.fetch(work.SERIES, count)
        assert len(rows) == count
        return found

    async def notify(self, count: int) -> None:
        sender = await asyncpg.connect(self.dsn)
        seen, all_seen = 0, asyncio.Event()

        def listener(*_: object) -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                all_seen.set()

        await self.conn.add_listener("bench", listener)
        for _ in work.times(count, work.NOTIFIED):
            await sender.execute(work.NOTIFY.replace("$1", str(work.NOTIFIED)))
        await all_seen.wait()
        await self.conn.remove_listener("bench", listener)
        await sender.close()

    async def connect(self, count: int) -> None:
        for _ in range(count):
            conn = await asyncpg.connect(self.dsn)
            await conn.close()
