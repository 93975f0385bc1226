"""Every test runs on SQLite in memory and on PostgreSQL.

TEST_POSTGRESQL_URL names a database that tests may write to, such as
postgresql+pgasync://postgres@localhost/test; without it those tests are skipped.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from database import make_engine
from models import Base
from service import Shop
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

# A schema for each process of pytest-xdist: they do not meet.
SCHEMA = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="run the tests on uvloop")


def pytest_asyncio_loop_factories(config: pytest.Config) -> dict[str, Any]:
    """The event loop that pytest-asyncio makes."""
    if not config.getoption("--uvloop"):
        return {"asyncio": asyncio.new_event_loop}
    import uvloop

    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The name of the database that the test runs on."""
    name: str = request.param
    if name == "postgresql" and "TEST_POSTGRESQL_URL" not in os.environ:
        pytest.skip("TEST_POSTGRESQL_URL is not set")
    return name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """One engine and one create_all() for the whole run. Its connections serve the
    loop of any test: those of pgasync move from one event loop to another."""
    if database == "sqlite":
        engine = make_engine("sqlite+aiosqlite://")
    else:
        engine = make_engine(
            os.environ["TEST_POSTGRESQL_URL"],
            connect_args={"server_settings": {"search_path": SCHEMA}},
        )
        async with engine.begin() as conn:
            await conn.execute(
                sa.schema.DropSchema(SCHEMA, cascade=True, if_exists=True)
            )
            await conn.execute(sa.schema.CreateSchema(SCHEMA))
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    yield engine
    if database == "postgresql":
        async with engine.begin() as conn:
            await conn.execute(sa.schema.DropSchema(SCHEMA, cascade=True))
    await engine.dispose()


@pytest_asyncio.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """A session in a transaction that is rolled back after the test: what the test
    commits is a savepoint of it."""
    async with engine.connect() as conn:
        transaction = await conn.begin()
        async with AsyncSession(
            conn, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
        await transaction.rollback()


@pytest.fixture
def shop(session: AsyncSession) -> Shop:
    return Shop(session)
