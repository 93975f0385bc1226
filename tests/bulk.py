"""The ways that rows go in and out in bulk, each as a coroutine whose source or sink
something can be made to happen in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from steps import Room

PIECE = 50  # rows of a piece
WRITTEN = 16 * PIECE  # rows that are written
READ = 2000  # rows that are read: more than both ends hold between them
PAD = "x" * 1000
POINTS = ("first", "middle", "last")
PAUSE_S = 0.005


class Boom(Exception):
    """What a source or a sink raises."""


def series(rows: int = READ) -> str:
    """A query, which gives its rows as they are made."""
    return f"select n, '{PAD}' from (select generate_series(1, {rows}) n) s"


class Flow:
    """The rows that pass through a source or a sink.

    `act` is called when the first, the middle or the last of `rows` is about to.
    `endless`: the source goes on, and waits a little now and then, as the sink does.
    """

    def __init__(
        self,
        rows: int,
        point: str = "",
        act: Callable[[], object] = lambda: None,
        endless: bool = False,
    ) -> None:
        places = {"first": 0, "middle": rows // 2, "last": rows - 1}
        self.rows = rows
        self.at = places.get(point, -1)
        self.act = act
        self.sql = series()  # what is read
        self.pause = PAUSE_S if endless else 0
        self.endless = endless
        self.passed = 0

    def passing(self, rows: int = 1) -> None:
        """So many rows pass."""
        before, self.passed = self.passed, self.passed + rows
        if before <= self.at < self.passed:
            self.act()

    # Sources

    def records(self) -> Iterator[tuple[int, str]]:
        for n in range(self.rows):
            self.passing()
            yield n, PAD

    async def records_later(self) -> AsyncIterator[tuple[int, str]]:
        while True:
            for number, record in enumerate(self.records()):
                if number % PIECE == 0:
                    await asyncio.sleep(self.pause)
                yield record
            if not self.endless:
                break

    def texts(self) -> Iterator[bytes]:
        for start in range(0, self.rows, PIECE):
            self.passing(PIECE)
            numbers = range(start, start + PIECE)
            yield b"".join(f"{n}\t{PAD}\n".encode() for n in numbers)

    async def texts_later(self) -> AsyncIterator[bytes]:
        while True:
            for text in self.texts():
                await asyncio.sleep(self.pause)
                yield text
            if not self.endless:
                break

    # Sinks

    def output(self, data: bytes) -> None:
        self.passing(data.count(b"\n"))

    async def output_later(self, data: bytes) -> None:
        self.output(data)
        await asyncio.sleep(self.pause)

    async def row_later(self) -> None:
        self.passing()
        if self.passed % PIECE == 0:
            await asyncio.sleep(self.pause)


class File:
    """A file with such texts."""

    def __init__(self, flow: Flow) -> None:
        self.texts = flow.texts()

    def read(self, size: int = -1) -> bytes:
        return next(self.texts, b"")


class Kind(NamedTuple):
    work: Callable[[Room, Any, Flow], Coroutine[Any, Any, Any]]
    endless: bool = True  # it can wait for its source or sink
    autocommit: bool = True  # it needs no transaction


# --- writing -----------------------------------------------------------------


def insert(room: Room) -> str:
    return f"insert into {room.name} values ($1, $2)"


async def executemany(room: Room, conn: Any, flow: Flow) -> None:
    await conn.executemany(insert(room), flow.records())


async def executemany_later(room: Room, conn: Any, flow: Flow) -> None:
    await conn.executemany(insert(room), flow.records_later())


async def returning(room: Room, conn: Any, flow: Flow) -> None:
    sql = f"{insert(room)} returning pad, n"
    await conn.executemany(sql, flow.records(), returning=True)


async def pipeline(room: Room, conn: Any, flow: Flow) -> None:
    async with conn.pipeline() as pipeline:
        for record in flow.records():
            pipeline.execute(insert(room), record)


async def copy_file(room: Room, conn: Any, flow: Flow) -> None:
    await conn.copy_to_table(room.name, source=File(flow))


async def copy_texts(room: Room, conn: Any, flow: Flow) -> None:
    await conn.copy_to_table(room.name, source=flow.texts_later())


async def copy_records(room: Room, conn: Any, flow: Flow) -> None:
    await conn.copy_records_to_table(room.name, records=flow.records())


async def copy_records_later(room: Room, conn: Any, flow: Flow) -> None:
    await conn.copy_records_to_table(room.name, records=flow.records_later())


async def copy_write(room: Room, conn: Any, flow: Flow) -> None:
    async with conn.copy(f"copy {room.name} from stdin") as copy:
        async for text in flow.texts_later():
            await copy.write(text)


async def copy_write_row(room: Room, conn: Any, flow: Flow) -> None:
    async with conn.copy(f"copy {room.name} from stdin (format binary)") as copy:
        async for record in flow.records_later():
            await copy.write_row(record)


WRITING = {
    "executemany": Kind(executemany, endless=False),
    "executemany, async": Kind(executemany_later),
    "returning": Kind(returning, endless=False),
    "pipeline": Kind(pipeline, endless=False),
    "copy_to_table, file": Kind(copy_file, endless=False),
    "copy_to_table": Kind(copy_texts),
    "copy_records": Kind(copy_records, endless=False),
    "copy_records, async": Kind(copy_records_later),
    "write": Kind(copy_write),
    "write_row": Kind(copy_write_row),
}

# --- reading -----------------------------------------------------------------


async def copy_from_query(room: Room, conn: Any, flow: Flow) -> None:
    await conn.copy_from_query(flow.sql, output=flow.output)


async def copy_from_query_later(room: Room, conn: Any, flow: Flow) -> None:
    await conn.copy_from_query(flow.sql, output=flow.output_later)


async def copy_read(room: Room, conn: Any, flow: Flow) -> None:
    async with conn.copy(f"copy ({flow.sql}) to stdout") as copy:
        async for data in copy:
            await flow.output_later(data)


async def copy_rows(room: Room, conn: Any, flow: Flow) -> None:
    sql = f"copy ({flow.sql}) to stdout (format binary)"
    async with conn.copy(sql) as copy:
        async for _ in copy.rows():
            await flow.row_later()


async def stream(room: Room, conn: Any, flow: Flow) -> None:
    async with conn.stream(flow.sql) as rows:
        async for _ in rows:
            await flow.row_later()


async def stream_alone(room: Room, conn: Any, flow: Flow) -> None:
    """Nobody closes it but the collector."""
    async for _ in conn.stream(flow.sql):
        await flow.row_later()


async def cursor(room: Room, conn: Any, flow: Flow) -> None:
    cursor = conn.cursor(name="c")
    await cursor.execute(flow.sql)
    async for _ in cursor:
        await flow.row_later()
    await cursor.close()


async def cursor_hold(room: Room, conn: Any, flow: Flow) -> None:
    async with conn.cursor(name="c", withhold=True, scrollable=True) as cursor:
        await cursor.execute(flow.sql)
        async for _ in cursor:
            await flow.row_later()


READING = {
    "copy_from_query": Kind(copy_from_query, endless=False),
    "copy_from_query, async": Kind(copy_from_query_later),
    "read": Kind(copy_read),
    "rows": Kind(copy_rows),
    "stream": Kind(stream),
    "stream alone": Kind(stream_alone),
    "cursor": Kind(cursor, autocommit=False),
    "cursor with hold": Kind(cursor_hold),
}
