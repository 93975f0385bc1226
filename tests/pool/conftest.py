"""Pools that are closed with the test that made them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest


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
