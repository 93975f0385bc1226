"""docs/examples/worker/pool_worker.py: jobs on pgasync's own pool."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

import pgasync
import servers

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "worker"
TABLE = "create table documents (id int primary key, text text not null, words int)"
FILL = "insert into documents select n, 'one two three' from generate_series(1, 5) n"


async def test_jobs(
    own_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as ARQ would run at once, some of them for the same document; between two
    of them the server is started again."""
    own_server.psql(TABLE)
    own_server.psql(FILL)
    monkeypatch.setenv("DATABASE_DSN", own_server.dsn)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "pool_worker", raising=False)
    import pool_worker

    ctx: dict[str, Any] = {}
    settings = pool_worker.WorkerSettings
    await settings.on_startup(ctx)
    try:
        (job,) = settings.functions
        found = await asyncio.gather(*(job(ctx, n % 5 + 1) for n in range(20)))
        assert found == [3] * 20
        await asyncio.to_thread(own_server.restart)
        assert await job(ctx, 1) == 3
        with pytest.raises(LookupError, match="no document 99"):
            await job(ctx, 99)
    finally:
        await settings.on_shutdown(ctx)
    async with pgasync.connect(own_server.dsn) as conn:
        assert await conn.fetchval("select sum(words) from documents") == 15
