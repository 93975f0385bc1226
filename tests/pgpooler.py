"""A pooler in transaction mode that has no habit of PgBouncer's: for what must not
depend on those.

    async with Pooler(server, sessions=2) as pooler:
        connect(pooler.dsn)

Every transaction of a client is given another real session than the one before, where
there is another. What a client is told at its startup is the pooler's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import struct
from collections import deque
from typing import Any

from servers import Server

STARTUP = struct.pack("!IHH", 0, 3, 0)[4:] + b"user\0postgres\0database\0postgres\0\0"
CANCEL = 80877102
REFUSED = (80877103, 80877104)  # SSLRequest, GSSENCRequest
KEYS = ("small", "none", "random")


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Its type and all of its bytes."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


class Session:
    """A real session with the server."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""  # its ParameterStatus
        self.key = b""

    @classmethod
    async def open(cls, path: str) -> Session:
        session = cls(*await asyncio.open_unix_connection(path))
        session.writer.write(struct.pack("!I", len(STARTUP) + 4) + STARTUP)
        while True:
            kind, data = await read_message(session.reader)
            if kind == b"S":
                session.greeting += data
            elif kind == b"K":
                session.key = data[5:]
            elif kind == b"Z":
                return session

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Work:
    """A session that works for a client."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending = 0  # ReadyForQuery that are due
        self.over = False
        self.task: Any = None


class Pooler:
    """key: what a client is told of its session's process: a "small" number that could
    be one, "none", or "random" bits. flush_s: how late a Flush is passed on."""

    def __init__(
        self, server: Server, sessions: int = 2, key: str = "small", flush_s: float = 0
    ) -> None:
        self.path = f"{server.socket_dir}/.s.PGSQL.{server.port}"
        self.count = sessions
        self.key = key
        self.flush_s = flush_s
        self.sessions: list[Session] = []
        self.idle: deque[Session] = deque()
        self.freed = asyncio.Condition()
        self.numbers = itertools.count(1)
        self.working: dict[bytes, Session] = {}  # client's key -> what works for it
        self.tasks: set[Any] = set()
        self.given = 0  # sessions, to transactions

    async def __aenter__(self) -> Pooler:
        for _ in range(self.count):
            self.sessions.append(await Session.open(self.path))
        self.idle.extend(self.sessions)
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        for task in [*self.tasks]:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for session in self.sessions:
            await session.close()

    @property
    def dsn(self) -> str:
        where = f"127.0.0.1:{self.port}/postgres?sslmode=disable"
        return f"postgresql://postgres@{where}"

    async def accept(self, reader: Any, writer: Any) -> None:
        task: Any = asyncio.current_task()
        self.tasks.add(task)
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, OSError, asyncio.CancelledError
            ):
                await self.talk(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def talk(self, reader: Any, writer: Any) -> None:
        while True:
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            (code,) = struct.unpack("!I", body[:4])
            if code not in REFUSED:
                break
            writer.write(b"N")
        if code == CANCEL:
            await self.cancel(body[4:])
            return
        key = self.new_key()
        greeting = self.sessions[0].greeting
        known = b"" if self.key == "none" else message(b"K", key)
        ready = message(b"Z", b"I")
        writer.write(message(b"R", bytes(4)) + greeting + known + ready)
        await self.serve(reader, writer, key)

    def new_key(self) -> bytes:
        if self.key == "random":
            return b"\xff" + secrets.token_bytes(7)
        return struct.pack("!I", next(self.numbers)) + secrets.token_bytes(4)

    async def cancel(self, key: bytes) -> None:
        session = self.working.get(key)
        if session is None:
            return
        _, writer = await asyncio.open_unix_connection(self.path)
        writer.write(struct.pack("!II", 16, CANCEL) + session.key)
        await writer.drain()
        writer.close()

    # One client

    async def serve(self, reader: Any, writer: Any, key: bytes) -> None:
        work: Work | None = None
        try:
            while True:
                kind, data = await read_message(reader)
                if kind == b"X":
                    break
                if work is None or work.over:
                    work = Work(await self.take())
                    self.working[key] = work.session
                    answers = self.answer(work, writer, key)
                    work.task = asyncio.ensure_future(answers)
                work.pending += kind in b"SQ"
                if kind == b"H":
                    await asyncio.sleep(self.flush_s)
                work.session.writer.write(data)
        finally:
            if work is not None and not work.over:
                self.working.pop(key, None)
                work.task.cancel()
                await asyncio.gather(work.task, return_exceptions=True)
                await self.replace(work.session)

    async def answer(self, work: Work, writer: Any, key: bytes) -> None:
        """Until the transaction is over."""
        while not work.over:
            kind, data = await read_message(work.session.reader)
            if kind == b"Z":
                work.pending -= 1
                work.over = work.pending == 0 and data[5:] == b"I"
            if work.over:
                self.working.pop(key, None)
            writer.write(data)
        await self.give_back(work.session)

    async def take(self) -> Session:
        async with self.freed:
            await self.freed.wait_for(lambda: self.idle)
            self.given += 1
            return self.idle.popleft()  # the one that has rested longest

    async def give_back(self, session: Session) -> None:
        async with self.freed:
            self.idle.append(session)
            self.freed.notify()

    async def replace(self, session: Session) -> None:
        """The client has gone in the middle of something."""
        await session.close()
        new = await Session.open(self.path)
        self.sessions[self.sessions.index(session)] = new
        await self.give_back(new)
