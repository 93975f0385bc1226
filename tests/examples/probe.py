"""The example's service as it is, with one more page: what the process holds.

SHOP_PRE_PING=1 gives the engine pool_pre_ping, to compare.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any

import app as example  # of docs/examples/fastapi
from fastapi import Request

app = example.app
if os.environ.get("SHOP_PRE_PING"):
    example.create_async_engine = functools.partial(
        example.create_async_engine, pool_pre_ping=True
    )


@app.get("/probe")
async def probe(request: Request) -> dict[str, Any]:
    pool = request.app.state.engine.pool
    return {
        "checked_out": pool.checkedout(),
        "checked_in": pool.checkedin(),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
