"""make_pool  makes pools that are closed with the test that made them
victim     a server that the storms kill and start again; nobody else's"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from servers import Server


@pytest.fixture
async def make_pool(dsn: str) -> AsyncIterator[Callable[..., Any]]:
    import pgasync

    made: list[pgasync.Pool] = []

    def factory(address: str | None = None, **keywords: Any) -> pgasync.Pool:
        pool = pgasync.create_pool(address or dsn, **keywords)
        made.append(pool)
        return pool

    yield factory
    for pool in made:
        pool.terminate()


@pytest.fixture(scope="package")
def victim() -> Iterator[Server]:
    """What is committed is there after a crash of it: fsync stays off, since it is
    processes that crash here, not the machine."""
    settings = {"synchronous_commit": "on", "restart_after_crash": "on"}
    with Server(18, settings=settings) as server:
        yield server
