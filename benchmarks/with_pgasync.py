"""pgasync: conn.fetch() in autocommit."""

from __future__ import annotations

import asyncio
import io

import pgasync
import probes
import work


class Driver:
    async def open(self, dsn: str) -> None:
        self.dsn = dsn
        self.conn = await pgasync.connect(dsn, autocommit=True)

    async def close(self) -> None:
        await self.conn.close()

    async def one(self, count: int) -> None:
        for _ in range(count):
            await self.conn.fetch(work.ONE)

    async def pk(self, count: int) -> None:
        for key in work.keys(count):
            await self.conn.fetch(work.PK, [key])

    async def mixed(self, count: int) -> None:
        for _ in range(count):
            await self.conn.fetch(work.MIXED, [work.MIXED_FETCHED])

    async def mixed_raw(self, count: int) -> None:
        """jsonb as its text."""
        async with pgasync.connect(self.dsn, autocommit=True, json_loads=None) as conn:
            for _ in range(count):
                await conn.fetch(work.MIXED, [work.MIXED_FETCHED])

    async def pg_type(self, count: int) -> None:
        for _ in range(count):
            await self.conn.fetch(work.PG_TYPE)

    async def tasks(self, count: int) -> None:
        """Tasks share the connection as it is; their queries are pipelined."""

        async def task(share: list[int]) -> None:
            for key in share:
                await self.conn.fetch(work.PK, [key])

        await asyncio.gather(*(task(share) for share in work.shares(count)))

    async def pipelined(self, count: int, depth: int) -> None:
        every = [*work.keys(count)]
        for start in work.times(count, depth):
            async with self.conn.pipeline() as pipeline:
                found = [
                    pipeline.fetch(work.PK, [key])
                    for key in every[start : start + depth]
                ]
            for rows in found:
                await rows

    async def pipeline_10(self, count: int) -> None:
        await self.pipelined(count, 10)

    async def pipeline_100(self, count: int) -> None:
        await self.pipelined(count, 100)

    async def executemany(self, count: int) -> None:
        sets = work.sets()
        for _ in range(0, count, work.BATCH):
            await self.conn.executemany(work.INSERT, sets)
        await self.conn.execute(work.TRUNCATE)

    async def returning(self, count: int) -> None:
        sets = work.sets()
        for _ in work.times(count, work.BATCH):
            cursor = await self.conn.executemany(
                work.INSERT_RETURNING, sets, returning=True
            )
            rows = 0
            async for result in cursor.results():
                rows += len(await result.fetchall())
            assert rows == work.BATCH
        await self.conn.execute(work.TRUNCATE)

    async def stream(self, count: int) -> None:
        for _ in work.times(count, work.STREAMED):
            assert await self.streamed(work.STREAMED) == work.STREAMED

    async def streamed(self, rows: int) -> int:
        seen = 0
        async with self.conn.stream(work.SERIES, [rows]) as stream:
            async for _ in stream:
                seen += 1
        return seen

    async def stream_long(self, count: int) -> dict[str, float]:
        """All in one statement."""
        with probes.growing() as found:
            assert await self.streamed(count) == count
        return found

    async def stall(self, count: int) -> dict[str, float]:
        async with probes.ticking() as found:
            rows = await self.conn.fetch(work.SERIES, [count])
        assert len(rows) == count
        return found

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

    async def notify(self, count: int) -> None:
        """An iterator, which is read while they come: its queue is bounded."""

        async def read(notifications: pgasync.Notifications) -> None:
            seen = 0
            async for _ in notifications:
                seen += 1
                if seen == count:
                    break

        sql = work.NOTIFY.replace("$1", str(work.NOTIFIED))
        async with (
            pgasync.connect(self.dsn, autocommit=True) as sender,
            self.conn.listen("bench") as notifications,
        ):
            reading = asyncio.ensure_future(read(notifications))
            for _ in work.times(count, work.NOTIFIED):
                await sender.execute(sql)
            await reading

    async def copy_out(self, count: int) -> None:
        size = 0

        async def output(data: bytes) -> None:
            nonlocal size
            size += len(data)

        for _ in work.times(count, work.COPIED):
            await self.conn.copy_from_query(work.COPY_OUT, output=output)
        assert size > count

    async def copy_rows(self, count: int) -> None:
        sql = f"copy ({work.COPY_OUT}) to stdout (format binary)"
        seen = 0
        for _ in work.times(count, work.COPIED):
            async with self.conn.copy(sql) as copy:
                async for _ in copy.rows():
                    seen += 1
        assert seen == count

    async def connect(self, count: int) -> None:
        for _ in range(count):
            conn = await pgasync.connect(self.dsn, autocommit=True)
            await conn.close()
