"""The storm of tests/poolerstorm.py with each driver's defaults: 20 clients over 5
server connections of a PgBouncer in transaction mode, their errors counted by class.

    python benchmarks/poolers.py [--statements 50000] [--drivers asyncpg pgasync]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg
import psycopg

import harness

import pgbouncer  # isort: skip  # of tests/, whose path harness has added
import poolerstorm  # isort: skip
import servers  # isort: skip

CLIENTS = 20
SERVERS = 5
SEED = 8
STATEMENTS = 50_000


class AsyncpgClient(poolerstorm.Client):
    """asyncpg.connect() with its defaults."""

    async def open(self, port: int) -> None:
        self.conn = await asyncpg.connect(
            host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False
        )

    async def close(self) -> None:
        await self.conn.close(timeout=5)

    async def fetch(
        self, sql: str, params: Sequence[Any], timeout: float | None = None
    ) -> list[Any]:
        try:
            return list(await self.conn.fetch(sql, *params, timeout=timeout))
        except asyncio.TimeoutError as error:
            raise TimeoutError from error  # the same from Python 3.11 on

    async def transaction(
        self, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[Any]]:
        async with self.conn.transaction():
            return [await self.conn.fetch(sql, *params) for sql, params in statements]

    async def executemany(self, sql: str, sets: list[Sequence[Any]]) -> None:
        await self.conn.executemany(sql, sets)

    async def stream(self, sql: str, params: Sequence[Any], rows: int) -> list[Any]:
        found = []
        async with self.conn.transaction():
            async for row in self.conn.cursor(sql, *params):
                found.append(row)
                if len(found) == rows:
                    break
        return found


class PsycopgClient(poolerstorm.Client):
    """psycopg.AsyncConnection.connect() with its defaults, but for `$1` in the SQL."""

    async def open(self, port: int) -> None:
        self.conn = await psycopg.AsyncConnection.connect(
            f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable",
            autocommit=True,
            cursor_factory=psycopg.AsyncRawCursor,
        )

    async def close(self) -> None:
        await self.conn.close()

    async def run(self, sql: str, params: Sequence[Any]) -> list[Any]:
        cursor = await self.conn.execute(sql, params)  # type: ignore[arg-type]
        return await cursor.fetchall() if cursor.description is not None else []

    async def fetch(
        self, sql: str, params: Sequence[Any], timeout: float | None = None
    ) -> list[Any]:
        try:
            return await asyncio.wait_for(self.run(sql, params), timeout)
        except asyncio.TimeoutError as error:
            raise TimeoutError from error

    async def transaction(
        self, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[Any]]:
        async with self.conn.transaction():
            return [await self.run(*statement) for statement in statements]

    async def executemany(self, sql: str, sets: list[Sequence[Any]]) -> None:
        await self.conn.cursor().executemany(sql, sets)  # type: ignore[arg-type]

    async def stream(self, sql: str, params: Sequence[Any], rows: int) -> list[Any]:
        found = []
        cursor = self.conn.cursor()
        async for row in cursor.stream(sql, params):  # type: ignore[arg-type]
            found.append(row)
            if len(found) == rows:
                break
        return found


CLASSES = {
    "asyncpg": AsyncpgClient,
    "psycopg": PsycopgClient,
    "pgasync": poolerstorm.PgasyncClient,
}


async def storm(driver: str, statements: int) -> dict[str, Any]:
    make = CLASSES[driver]
    with (
        servers.Server(18) as server,
        pgbouncer.PgBouncer(server, default_pool_size=SERVERS) as bouncer,
    ):
        server.psql(poolerstorm.SCHEMA)
        target = str(bouncer.socket_path)
        made = poolerstorm.Storm(target, lambda number: make(), CLIENTS, SEED)
        began = time.monotonic()
        await made.run(statements)
        took = time.monotonic() - began
        version = ".".join(map(str, bouncer.version))
        asked = "SELECT token || ' ' || count(*) FROM storm_kept GROUP BY token"
        rows = [line.split() for line in server.psql(asked).splitlines()]
    return {
        "pgbouncer": version,
        "seconds": round(took, 1),
        "statements": made.statements,
        "errors": dict(made.errors.most_common()),
        "first": made.first,
        "wrong": made.wrong[:10],
        "missing": made.missing(rows),
        "report": made.report(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statements", type=int, default=STATEMENTS)
    parser.add_argument("--drivers", nargs="*", choices=harness.DRIVERS)
    arguments = parser.parse_args()
    if pgbouncer.find() is None:
        raise SystemExit("PgBouncer is not installed (apt-get install pgbouncer)")
    results = {}
    for driver in harness.chosen(arguments.drivers):
        harness.progress(f"{driver}: {arguments.statements:,} statements")
        results[driver] = asyncio.run(storm(driver, arguments.statements))
        print(f"{driver}: {results[driver]['report']}")
        for text in results[driver]["wrong"]:
            print(f"  {text}")
    print(harness.save("poolers", results, clients=CLIENTS, servers=SERVERS))


if __name__ == "__main__":
    main()
