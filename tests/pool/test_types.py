"""What type checkers make of the pool: a program that uses it in every way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pgasync

PROGRAM = """
from dataclasses import dataclass
from typing import Any, assert_type

import pgasync

@dataclass
class Job:
    id: int

async def init(conn: pgasync.Connection) -> None:
    await conn.execute("set statement_timeout = '10s'")

async def check(conn: pgasync.PoolConnection) -> bool:
    return not conn.closed

async def claim(conn: pgasync.Connection, worker: str) -> Job | None:
    return await conn.fetchrow("x", [worker], row_factory=Job)

async def main() -> None:
    async with pgasync.create_pool(
        "postgresql:///", min_size=1, init=init, check=check, timeout=None, user="me"
    ) as pool:
        assert_type(pool, pgasync.Pool)
        async with pool.acquire(timeout=1) as conn:
            assert_type(conn, pgasync.PoolConnection)
            assert_type(await conn.fetch("x", row_factory=Job), list[Job])
        conn = await pool.acquire()
        await pool.release(conn)
        assert_type(await pool.fetch("x"), list[Any])
        assert_type(await pool.fetch("x", row_factory=Job), list[Job])
        assert_type(await pool.fetch("x", [1], row_factory=dict), list[dict[str, Any]])
        assert_type(await pool.fetchrow("x", row_factory=Job), Job | None)
        assert_type(await pool.fetchrow("x", row_factory=dict), dict[str, Any] | None)
        assert_type(await pool.fetchval("x", timeout=5), Any)
        assert_type(await pool.execute("x"), pgasync.Cursor)
        await pool.executemany("x", [(1,), (2,)])
        assert_type(await pool.run_transaction(claim, "me", retries=5), Job | None)
        async with pool.transaction(isolation="serializable", settings={"a.b": 1}) as c:
            assert_type(c, pgasync.PoolConnection)
        async with pool.pipeline() as pipeline:
            assert_type(pipeline, pgasync.Pipeline)
        async for _ in pool.stream("x", row_factory=Job):
            pass
        assert_type(pool.stats(), pgasync.PoolStats)
        assert_type(pool.stats().closed.get("lost", 0), int)
        pool.resize(max_size=3)
        pool.drain()
    other = await pgasync.create_pool("")
    assert_type(other, pgasync.Pool)
    await other.close(timeout=None)
    other.terminate()
"""


def test_program() -> None:
    options = "--strict", "--config-file=", "--python-version=3.11", "-c", PROGRAM
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options],
        capture_output=True,
        text=True,
        cwd=Path(pgasync.__file__).parents[1],
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_documented() -> None:
    """Every public method says what it does."""
    for name in dir(pgasync.Pool):
        if not name.startswith("_"):
            assert getattr(pgasync.Pool, name).__doc__, name
