"""Ways in which a server's sessions end, for tests that go on working meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pgasync
from servers import Server

SERVICE_S = 30.0  # for the server to be there again
CLIENTS = (
    "select pid from pg_stat_activity where backend_type = 'client backend'"
    " and pid <> pg_backend_pid() order by random() limit "
)


async def away(call: Callable[..., Any], *arguments: Any) -> Any:
    """Blocking calls that are not for the loop to make."""
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def sigkill(server: Server) -> None:
    """Postmaster and backends, all at once; it is started again."""
    server.kill()
    server.start()


def fast_restart(server: Server) -> None:
    """Sessions are told that they end (57P01), and do at their next statement."""
    server.restart(fast=True)


def immediate_restart(server: Server) -> None:
    """Sessions end at once (57P02), and recovery is needed."""
    server.restart(fast=False)


def crash_of_one(server: Server) -> None:
    """One backend is killed: the postmaster ends all others and recovers."""
    for pid in map(int, server.psql(f"{CLIENTS} 1").split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def terminated(server: Server) -> None:
    """Some backends end, the server lives."""
    server.psql(f"select pg_terminate_backend(pid) from ({CLIENTS} 3) clients")


FAULTS = (sigkill, terminated, immediate_restart, crash_of_one, fast_restart)


async def accepts(server: Server) -> float:
    """When the server was there for somebody who asks every few milliseconds
    (time.monotonic()). The call that it answers first must be made after the fault."""
    deadline = time.monotonic() + SERVICE_S
    while True:
        with contextlib.suppress(pgasync.OperationalError):
            async with pgasync.connect(server.dsn, timeout=1) as conn:
                await conn.fetchval("select 1")
            return time.monotonic()
        assert time.monotonic() < deadline, "the server is not there again"
        await asyncio.sleep(0.005)


def clients_of(server: Server) -> int:
    """Sessions of the server, without the one that asks."""
    asked = "select count(*) from pg_stat_activity where pid <> pg_backend_pid()"
    return int(server.psql(f"{asked} and backend_type = 'client backend'"))
