"""Fixtures of the dialect's tests. `make_engine` is what a user calls, on a schema
of the test's own; every engine is disposed of at the end.

The tests run on whichever SQLAlchemy is installed, 2.0.26 or newer.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import pgasync
from dialect.flights import FlightCounter
from pgasync import conninfo

# What the entry point of an installed pgasync says: an uninstalled one works, too.
registry.register(
    "postgresql.pgasync", "pgasync.sqlalchemy.dialect", "PGDialect_pgasync"
)


@pytest.fixture
def url(dsn: str) -> str:
    """The suite's server, as SQLAlchemy takes it."""
    scheme, _, rest = dsn.partition("://")
    assert scheme in ("postgresql", "postgres"), "PGASYNC_TEST_DSN has to be a URI"
    return f"postgresql+pgasync://{rest}"


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    """An empty schema, dropped at the end."""
    name = f"dialect_{secrets.token_hex(6)}"
    async with pgasync.connect(dsn) as conn:
        await conn.execute(f"create schema {name}")
    yield name
    async with pgasync.connect(dsn) as conn:
        await conn.execute("set client_min_messages = warning")
        await conn.execute(f"drop schema {name} cascade")


@pytest.fixture
async def make_engine(
    url: str, schema: str
) -> AsyncIterator[Callable[..., AsyncEngine]]:
    """`make_engine(query="a=1&b=2", url=…, **keywords of create_async_engine)`."""
    made: list[AsyncEngine] = []
    default = url

    def make(query: str = "", url: str = "", **keywords: Any) -> AsyncEngine:
        address = url or default
        if query:
            address += ("&" if "?" in address else "?") + query
        arguments = keywords.setdefault("connect_args", {})
        if "async_creator" not in keywords:
            arguments["server_settings"] = {
                "search_path": schema,
                **arguments.get("server_settings", {}),
            }
        made.append(create_async_engine(address, **keywords))
        return made[-1]

    yield make
    for engine in made:
        await engine.dispose()


@pytest.fixture
def engine(make_engine: Callable[..., AsyncEngine]) -> AsyncEngine:
    return make_engine()


@pytest.fixture
async def flights(dsn: str) -> AsyncIterator[FlightCounter]:
    """A forwarder in front of the server that counts round trips."""
    host = conninfo.parse(dsn).hosts[0]
    target: Any = host.socket_path if host.is_unix else (host.address, host.port)
    async with FlightCounter(target) as counter:
        yield counter


@pytest.fixture
def counted_url(dsn: str, flights: FlightCounter) -> str:
    """The server through `flights`."""
    config = conninfo.parse(dsn)
    user = config.user
    if isinstance(config.password, str):
        user += f":{config.password}"
    return (
        f"postgresql+pgasync://{user}@127.0.0.1:{flights.port}/{config.dbname}"
        "?sslmode=disable"
    )
