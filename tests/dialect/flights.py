"""Counts round trips from outside: a forwarder between a client and the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any


class FlightCounter:
    """Listens on a free TCP port and forwards to `target`, the path of a Unix
    socket or (host, port).

    `count` is the number of flights, over all connections: bytes of the client with
    no byte of the server in between are one. However the bytes are cut, a client
    that waits for an answer before it goes on makes one flight each time.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        self.target = target
        self.count = 0
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FlightCounter:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Ends all connections."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection(*self.target)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        writer.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        server_reader, server_writer = await self._dial()
        answered = True  # since the client's last byte

        async def forward_client() -> None:
            nonlocal answered
            while data := await reader.read(65536):
                if answered:
                    self.count += 1
                    answered = False
                server_writer.write(data)
                await server_writer.drain()

        async def forward_server() -> None:
            nonlocal answered
            while data := await server_reader.read(65536):
                answered = True
                writer.write(data)
                await writer.drain()

        ways = [asyncio.ensure_future(f()) for f in (forward_client, forward_server)]
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by cut()
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, server_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
