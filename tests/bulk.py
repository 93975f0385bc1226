"""The ways that rows go in and out in bulk, each as a coroutine whose source or sink
something can be made to happen in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from steps import Room

PIECES = 16
PIECE = 50  # rows of a piece
ROWS = PIECES * PIECE
PAD = "x" * 1000
POINTS = {"first": 0, "middle": ROWS // 2, "last": ROWS - 1}
LARGE = 4000  # rows to read: more than the client and the sockets between hold


class Boom(Exception):
    """What a source or a sink raises."""


class Flow:
    """The rows that have gone through a source or a sink. `act` is called when row
    `at` is about to. `endless`: the source goes on, waiting a little now and then,
    and so does the sink."""

    def __init__(
        self,
        at: int = -1,
        act: Callable[[], object] = lambda: None,
        endless: bool = False,
    ) -> None:
        self.at = at
        self.act = act
        self.endless = endless
        self.seen = 0

    def passing(self, rows: int = 1) -> None:
        """So many rows pass."""
        if self.seen <= self.at < self.seen + rows:
            self.act()
        self.seen += rows

    # Sources

    def records(self) -> Iterator[tuple[int, str]]:
        for n in range(ROWS):
            self.passing()
            yield n, PAD

    async def records_later(self) -> AsyncIterator[tuple[int, str]]:
        while True:
            for number, record in enumerate(self.records()):
                if number % PIECE == 0:
                    await asyncio.sleep(0.005 if self.endless else 0)
                yield record
            if not self.endless:
                break

    def texts(self) -> Iterator[bytes]:
        for piece in range(PIECES):
            self.passing(PIECE)
            numbers = range(piece * PIECE, (piece + 1) * PIECE)
            yield b"".join(f"{n}\t{PAD}\n".encode() for n in numbers)

    async def texts_later(self) -> AsyncIterator[bytes]:
        while True:
            for text in self.texts():
                await asyncio.sleep(0.005 if self.endless else 0)
                yield text
            if not self.endless:
                break


class File:
    """A file with such texts."""

    def __init__(self, flow: Flow) -> None:
        self.texts = flow.texts()

    def read(self, size: int = -1) -> bytes:
        return next(self.texts, b"")


class Kind(NamedTuple):
    work: Callable[[Room, Any, Flow], Coroutine[Any, Any, Any]]
    endless: bool = True  # it can wait for its source or sink


# --- writing -----------------------------------------------------------------


def insert(room: Room) -> str:
    return f"insert into {room.name} values ($1, $2)"


async def executemany(room: Room, conn: Any, flow: Flow) -> None:
    await conn.executemany(insert(room), flow.records())


WRITING = {
    "executemany": Kind(executemany, endless=False),
}
