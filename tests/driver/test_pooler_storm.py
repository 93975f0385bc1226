"""Twenty clients over five server connections of a PgBouncer in transaction mode: no
error, nothing lost, one round trip for every warm statement. The same, with fewer
statements, of another pooler, whose keys could be a server's."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

import pgasync
import pgbouncer
import pgpooler
import poolerstorm

pytestmark = pytest.mark.usefixtures("poolers_expected")

CLIENTS = 20
STATEMENTS = 1500  # or as many as PGASYNC_POOLER_STORM says


@pytest.fixture
def tables(server: Any) -> Iterator[None]:
    server.psql(poolerstorm.DROP + poolerstorm.SCHEMA)
    yield
    server.psql(poolerstorm.DROP)


@pytest.fixture
def bouncer(server: Any, tables: None) -> Iterator[pgbouncer.PgBouncer]:
    with pgbouncer.PgBouncer(server, default_pool_size=5) as started:
        yield started
        print(started.log()[-5000:])


async def storm(
    server: Any, target: Any, make: Any, statements: int, clients: int = CLIENTS
) -> poolerstorm.Storm:
    seed = random.getrandbits(32)
    made = poolerstorm.Storm(target, make, clients, seed)
    await made.run(int(os.environ.get("PGASYNC_POOLER_STORM", statements)))
    asked = "SELECT token || ' ' || count(*) FROM storm_kept GROUP BY token"
    rows = [line.split() for line in server.psql(asked).splitlines()]
    assert made.errors == {}, (seed, made.first)
    assert made.wrong == [], seed
    assert made.missing(rows) is None, seed
    return made


def connection(number: int) -> poolerstorm.Client:
    return poolerstorm.PgasyncClient()


async def test_connections(bouncer: pgbouncer.PgBouncer, summary: list[str]) -> None:
    target = str(bouncer.socket_path)
    made = await storm(bouncer.server, target, connection, STATEMENTS)
    assert set(made.calm_trips) == {0}, made.report()
    summary.append(f"PgBouncer: {made.report()}")


async def test_pool(bouncer: pgbouncer.PgBouncer, summary: list[str]) -> None:
    async with pgasync.create_pool(bouncer.dsn, max_size=10) as pool:
        target = str(bouncer.socket_path)
        made = await storm(
            bouncer.server,
            target,
            lambda number: poolerstorm.PoolClient(pool),
            STATEMENTS,
        )
    errors = sum(made.errors.values())
    summary.append(
        f"PgBouncer, a pool: {made.statements:,} statements, {errors} errors"
    )


async def test_another_pooler(server: Any, tables: None, summary: list[str]) -> None:
    async with pgpooler.Pooler(server, 3, key="small", flush_s=0.001) as behind:
        target = ("127.0.0.1", behind.port)
        made = await storm(server, target, connection, STATEMENTS // 4, 8)
    assert set(made.calm_trips) == {0}, made.report()
    summary.append(f"another pooler: {made.report()}")
