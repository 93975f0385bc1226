"""Memory, descriptors and objects after many queries, texts and connections. Each
case is a process of its own, so that what it measures is its own.

PGASYNC_LEAK_QUERIES sets the number of queries (1,000,000)."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

QUERIES = int(os.environ.get("PGASYNC_LEAK_QUERIES", "1000000"))
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads /proc"
)

PRELUDE = """
import asyncio, gc, os, sys, time
import pgasync
from pgasync import _core

dsn = sys.argv[1]
count = int(sys.argv[2])


def rss():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def show(what, grown):
    print(f"{what}: memory {grown / 1024:+.0f} kB")
"""


def run_script(
    text: str,
    dsn: str,
    count: int,
    capsys: pytest.CaptureFixture[str],
    timeout: float = 300,
) -> float:
    """Runs a script and gives the growth of memory that it prints, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(text), dsn, str(count)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with capsys.disabled():
        print("\n" + done.stdout.strip(), end=" ")
    return float(done.stdout.rsplit("memory ", 1)[1].split(" kB")[0]) * 1024


@pytest.mark.slow
def test_queries(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One prepared statement, very often: RSS grows by less than 1 MB."""
    script = """
    async def main():
        conn = await pgasync.connect(dsn, autocommit=True)
        for _ in range(5000):
            await conn.fetchval("select 1")
        live, before, started = _core.live_objects(), rss(), time.perf_counter()
        for _ in range(count):
            await conn.fetchval("select 1")
        seconds = time.perf_counter() - started
        grown = rss() - before
        assert _core.live_objects() == live
        await conn.close()
        show(f"{count:,} queries in {seconds:.1f} s", grown)

    asyncio.run(main())
    """
    grown = run_script(script, dsn, QUERIES, capsys, timeout=900)
    assert SANITIZED or grown < 2**20


def test_other_ways(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows, parameters, errors, cursors, cancellations, timeouts, pipelines."""
    script = """
    async def turn(conn, n):
        sql = "select $1::int, $2::text from generate_series(1, 3)"
        await conn.fetch(sql, [n, "x"])
        row = await conn.fetchrow("select 1 as a, array[1, 2] as b, '{}'::jsonb as c")
        assert row["a"] == row.a == 1
        cur = await conn.execute("select 1, 2.5::numeric, now()")
        cur.description
        await cur.fetchall()
        try:
            await conn.fetchval("select 1 / $1::int", [0])
        except pgasync.DataError:
            pass
        try:
            await conn.fetchval("select $1::int", ["x" * 100])
        except pgasync.DataError:
            pass
        try:
            await conn.fetchval("select nothing")
        except pgasync.ProgrammingError:
            pass
        await asyncio.gather(*(conn.fetchval("select $1::int", [k]) for k in range(5)))
        async with conn.transaction():
            await conn.executemany("select $1::int", [[1], [2], [3]])
        await conn.fetchval("select 1", timeout=5)
        if n % 10 == 0:
            task = asyncio.ensure_future(conn.execute("select pg_sleep(1)"))
            await asyncio.sleep(0.001)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    async def main():
        conn = await pgasync.connect(dsn, autocommit=True)
        for n in range(300):
            await turn(conn, n)
        gc.collect()
        live, before = _core.live_objects(), rss()
        for n in range(count):
            await turn(conn, n)
        grown = rss() - before
        assert _core.live_objects() == live, (_core.live_objects(), live)
        await conn.close()
        show(f"{count:,} turns of other requests", grown)

    asyncio.run(main())
    """
    grown = run_script(script, dsn, max(200, QUERIES // 500), capsys)
    assert SANITIZED or grown < 2**20


def test_texts(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Distinct SQL texts: the cache evicts, here and on the server."""
    script = """
    async def main():
        conn = await pgasync.connect(dsn, autocommit=True, statement_cache_size=50)
        for n in range(500):
            await conn.fetchval(f"select {n} as c{n % 10}")
        live, before = _core.live_objects(), rss()
        for n in range(500, 500 + count):
            assert await conn.fetchval(f"select {n} as c{n % 10}") == n
        grown = rss() - before
        assert _core.live_objects() <= live
        for _ in range(2):  # what the first one evicts is closed with the second
            there = await conn.fetchval("select count(*) from pg_prepared_statements")
        assert there <= 50, there
        await conn.close()
        show(f"{count:,} distinct texts", grown)

    asyncio.run(main())
    """
    grown = run_script(script, dsn, max(1000, QUERIES // 100), capsys)
    assert SANITIZED or grown < 2 * 2**20


def test_connections(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Connections made and ended in every way leave neither descriptor nor memory."""
    script = """
    import warnings
    warnings.simplefilter("ignore", ResourceWarning)

    async def once(n):
        conn = await pgasync.connect(dsn, autocommit=n % 2 == 0)
        await conn.fetchval("select 1")
        how = n % 5
        if how == 0:
            await conn.close()
        elif how == 1:
            conn.terminate()
        elif how == 2:
            task = asyncio.ensure_future(conn.execute("select pg_sleep(5)"))
            await asyncio.sleep(0)
            conn.terminate()
            try:
                await task
            except pgasync.Error:
                pass
        elif how == 3:
            try:
                await conn.execute("select pg_terminate_backend(pg_backend_pid())")
            except pgasync.OperationalError:
                pass
        # else: dropped without a close

    async def refused():
        try:
            await pgasync.connect(dsn, dbname="does_not_exist")
        except pgasync.Error:
            pass

    async def main():
        for n in range(100):
            await once(n)
        await refused()
        gc.collect()
        live, files, before = _core.live_objects(), descriptors(), rss()
        for n in range(count):
            await once(n)
            if n % 20 == 0:
                await refused()
        await asyncio.sleep(0.05)
        grown = rss() - before
        assert _core.live_objects() <= live, (_core.live_objects(), live)
        assert descriptors() == files, (descriptors(), files)
        show(f"{count:,} connections", grown)

    asyncio.run(main())
    assert len(os.listdir("/proc/self/task")) < 50
    """
    grown = run_script(script, dsn, max(100, QUERIES // 1000), capsys)
    assert SANITIZED or grown < 2 * 2**20


def test_garbage(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Cycles through a connection and its requests are collected."""
    script = """
    import warnings
    warnings.simplefilter("ignore", ResourceWarning)

    async def main():
        async def cycle():
            conn = await pgasync.connect(dsn, autocommit=True)
            keep = [conn]
            conn.add_notice_listener(lambda *args: keep)
            cur = await conn.execute("select 1")
            keep.append(cur)
            row = await cur.fetchone()
            keep.append(row)

        await cycle()
        gc.collect()
        live, before = _core.live_objects(), rss()
        for _ in range(count):
            await cycle()
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()
        assert _core.live_objects() <= live, (_core.live_objects(), live)
        show(f"{count:,} cycles", rss() - before)

    asyncio.run(main())
    """
    grown = run_script(script, dsn, 50, capsys)
    assert SANITIZED or grown < 2 * 2**20
