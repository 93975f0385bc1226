"""Twenty clients over five server connections of a PgBouncer in transaction mode: no
error, nothing lost, one round trip for every warm statement."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

import pgbouncer
import poolerstorm

CLIENTS = 20
STATEMENTS = 3000
ALL = 50_000  # with PGASYNC_POOLER_STORM=1, or its number


@pytest.fixture
def bouncer(server: Any) -> Iterator[pgbouncer.PgBouncer]:
    pgbouncer.need()
    server.psql(poolerstorm.DROP + poolerstorm.SCHEMA)
    with pgbouncer.PgBouncer(server, default_pool_size=5) as started:
        yield started
        print(started.log()[-5000:])
    server.psql(poolerstorm.DROP)


async def storm(
    bouncer: pgbouncer.PgBouncer, statements: int, **keywords: Any
) -> poolerstorm.Storm:
    seed = random.getrandbits(32)
    made = poolerstorm.Storm(
        str(bouncer.socket_path),
        lambda number: poolerstorm.PgasyncClient(**keywords),
        CLIENTS,
        seed,
    )
    await made.run(statements)
    asked = "SELECT token || ' ' || count(*) FROM storm_kept GROUP BY token"
    rows = [line.split() for line in bouncer.server.psql(asked).splitlines()]
    assert made.errors == {}, (seed, made.first)
    assert made.wrong == [], seed
    assert made.missing(rows) is None, seed
    return made


async def test_storm(bouncer: pgbouncer.PgBouncer, summary: list[str]) -> None:
    made = await storm(bouncer, int(os.environ.get("PGASYNC_POOLER_STORM", STATEMENTS)))
    summary.append(f"PgBouncer: {made.report()}")
