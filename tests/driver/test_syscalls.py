"""Each recv and send of a session goes wrong once: interrupted, short, not ready — the
session goes on; broken — a proper exception, in time, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driver import faulty

SCENARIO = """
LIMIT_S = 10


async def scenario(keywords):
    conn = await pgasync.connect(dsn, autocommit=True, **keywords)
    try:
        assert await conn.fetchval("select $1::int", [5]) == 5
        rows = await conn.fetch("select n, n::text from generate_series(1, 500) n")
        assert [*map(tuple, rows)] == [(n, str(n)) for n in range(1, 501)]
        await conn.execute("create temporary table t (n int)")
        await conn.executemany("insert into t values ($1)", [[n] for n in range(40)])
        assert await conn.fetchval("select $1::text", ["x" * 60_000]) == "x" * 60_000
        async with conn.transaction():
            await conn.execute("insert into t values (1)")
        try:
            await conn.execute("select 1/0")
        except pgasync.DataError:
            pass
        assert await conn.fetchval("select count(*) from t") == 41
    except BaseException as error:
        if conn.closed and isinstance(error, pgasync.Error):
            assert error.outcome in ("not_sent", "in_doubt", "failed", None)
            raise Lost from error
        raise
    finally:
        await conn.close()


class Lost(Exception):
    pass


def once(loop, keywords):
    return loop.run_until_complete(asyncio.wait_for(scenario(keywords), LIMIT_S))


def calls_of(loop, keywords):
    faulty.faulty_calls(0, 0, 0)
    once(loop, keywords)
    return faulty.faulty_calls_made()
"""

HARMLESS = (
    SCENARIO
    + """
loop = new_loop()
count = 0
for keywords in ({"sslmode": "disable"}, {"sslmode": "require"}):
    once(loop, keywords)
    before = descriptors()
    for error in (errno.EINTR, errno.EAGAIN, 0):
        for number in range(1, calls_of(loop, keywords) + 1):
            faulty.faulty_calls(number, error, 0)
            once(loop, keywords)
            count += 1
    faulty.faulty_calls(1, 0, 1)  # one byte each, always
    once(loop, keywords)
    faulty.faulty_calls(0, 0, 0)
    assert descriptors() == before
loop.close()
print(count)
"""
)

FATAL = (
    SCENARIO
    + """
loop = new_loop()
count = failures = 0
for keywords in ({"sslmode": "disable"}, {"sslmode": "require"}):
    once(loop, keywords)
    before = descriptors()
    for error in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ENOMEM):
        for number in range(1, calls_of(loop, keywords) + 1):
            faulty.faulty_calls(number, error, 0)
            count += 1
            try:
                once(loop, keywords)
            except (Lost, pgasync.ConnectError):
                failures += 1
    faulty.faulty_calls(0, 0, 0)
    gc.collect()
    assert descriptors() == before
loop.close()
assert failures > count * 0.9, (failures, count)
print(count)
"""
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty.build(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def count(summary: list[str]) -> Any:
    counted: list[int] = []
    yield counted.append
    summary.append(f"system calls gone wrong: {sum(counted):,}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_harmless(
    library: Path, tls_server: Any, kind: str, count: Callable[[int], None]
) -> None:
    """EINTR, EAGAIN, one byte instead of many, at each call."""
    count(int(faulty.run(library, HARMLESS, tls_server.tcp_dsn, kind)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_fatal(
    library: Path, tls_server: Any, kind: str, count: Callable[[int], None]
) -> None:
    """ECONNRESET, EPIPE, ETIMEDOUT, ENOMEM at each call."""
    count(int(faulty.run(library, FATAL, tls_server.tcp_dsn, kind)))
