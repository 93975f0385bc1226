"""Twenty clients over five server connections of a PgBouncer in transaction mode: no
error, nothing lost, one round trip for every warm statement."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

import pgasync
import pgbouncer
import poolerstorm

pytestmark = pytest.mark.usefixtures("poolers_expected")

CLIENTS = 20
STATEMENTS = 2000  # or as many as PGASYNC_POOLER_STORM says


@pytest.fixture
def bouncer(server: Any) -> Iterator[pgbouncer.PgBouncer]:
    pgbouncer.need()
    server.psql(poolerstorm.DROP + poolerstorm.SCHEMA)
    with pgbouncer.PgBouncer(server, default_pool_size=5) as started:
        yield started
        print(started.log()[-5000:])
    server.psql(poolerstorm.DROP)


async def storm(bouncer: pgbouncer.PgBouncer, make: Any) -> poolerstorm.Storm:
    seed = random.getrandbits(32)
    made = poolerstorm.Storm(str(bouncer.socket_path), make, CLIENTS, seed)
    await made.run(int(os.environ.get("PGASYNC_POOLER_STORM", STATEMENTS)))
    asked = "SELECT token || ' ' || count(*) FROM storm_kept GROUP BY token"
    rows = [line.split() for line in bouncer.server.psql(asked).splitlines()]
    assert made.errors == {}, (seed, made.first)
    assert made.wrong == [], seed
    assert made.missing(rows) is None, seed
    return made


async def test_connections(bouncer: pgbouncer.PgBouncer, summary: list[str]) -> None:
    make = poolerstorm.PgasyncClient
    made = await storm(bouncer, lambda number: make())
    assert set(made.calm_trips) == {0}, made.report()
    summary.append(f"PgBouncer: {made.report()}")


async def test_pool(bouncer: pgbouncer.PgBouncer, summary: list[str]) -> None:
    async with pgasync.create_pool(bouncer.dsn, max_size=10) as pool:
        made = await storm(bouncer, lambda number: poolerstorm.PoolClient(pool))
    errors = sum(made.errors.values())
    summary.append(
        f"PgBouncer, a pool: {made.statements:,} statements, {errors} errors"
    )
