"""Where there is no memory for what the core has others do, the connection ends: nobody
waits for what will not come. tests/net/test_faults.py looks for such places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
import servers
from pgasync import link

SOON_S = 2


def no_memory(*args: object, **keywords: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("place", ["scram", "_find_key", "_answer"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_to_authenticate(
    place: str,
    hba_server: Any,
    connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No waiting for the connect_timeout."""
    monkeypatch.setattr(link.Link, place, no_memory)
    user = "scram_user"
    dsn = hba_server.tcp_dsn_for(user=user, password=servers.ROLES[user])
    with pytest.raises(pgasync.OperationalError):
        await asyncio.wait_for(connect(dsn, connect_timeout=30), SOON_S)


async def given_up(conn: Any) -> None:
    task = asyncio.create_task(conn.fetchval("select pg_sleep(20)"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(pgasync.OperationalError):
        await asyncio.wait_for(conn.fetchval("select 1"), SOON_S)
    assert conn.closed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_to_tell_of_a_cancellation(
    conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link.Link, "abandoned", no_memory)
    await given_up(conn)


async def test_to_begin_a_cancellation(
    conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "helper_task", no_memory)
    await given_up(conn)


async def test_to_wake_a_task(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is asked a second time."""
    loop = asyncio.get_running_loop()
    refused = []
    call_soon = loop.call_soon

    def scarce(callback: Any, *args: Any, **keywords: Any) -> Any:
        if "task_wakeup" in repr(callback) and not refused:
            refused.append(callback)
            raise MemoryError
        return call_soon(callback, *args, **keywords)

    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop's call_soon cannot be replaced")
    task = asyncio.create_task(conn.fetchval("select pg_sleep(20)"))
    await asyncio.sleep(0.05)
    monkeypatch.setattr(loop, "call_soon", scarce)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), SOON_S)
    assert refused
    assert await conn.fetchval("select 1") == 1
