"""set_local(): settings of SQLAlchemy's transactions, in the flight of the first
statement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

WHO: list[int | None] = []
SHOW = text("select current_setting('app.user_id', true)")


@pytest.fixture
async def engine(dsn: str) -> AsyncIterator[Any]:
    """Every transaction has the last of WHO as app.user_id, unless that is None."""
    url = dsn.replace("postgresql://", "postgresql+pgasync://", 1)
    made: Any = create_async_engine(url, pool_size=1, max_overflow=0)
    WHO.clear()
    WHO.append(1)

    @event.listens_for(made.sync_engine, "begin")
    def begin(connection: Any) -> None:
        if WHO[-1] is not None:
            adapted = connection.connection.dbapi_connection
            adapted.set_local({"app.user_id": WHO[-1]})

    yield made
    await made.dispose()


async def test_each_transaction_has_its_own(engine: Any) -> None:
    for user in (1, 2):
        WHO.append(user)
        async with engine.begin() as conn:
            assert await conn.scalar(SHOW) == str(user)
            async with conn.begin_nested():
                assert await conn.scalar(SHOW) == str(user)
            assert await conn.scalar(SHOW) == str(user)
    WHO.append(None)
    async with engine.begin() as conn:
        assert await conn.scalar(SHOW) in (None, "")
    WHO.append(3)
    async with AsyncSession(engine) as session:
        assert await session.scalar(SHOW) == "3"
        await session.rollback()
        WHO.append(4)
        assert await session.scalar(SHOW) == "4"


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_a_transaction_without_statements_leaves_nothing(
    engine: Any, end: str
) -> None:
    async with engine.connect() as conn:
        transaction = await conn.begin()
        if end != "close":
            await getattr(transaction, end)()
    WHO.append(None)
    async with engine.begin() as conn:
        assert await conn.scalar(SHOW) in (None, "")


async def test_isolation_and_scripts(engine: Any) -> None:
    serializable = engine.execution_options(isolation_level="SERIALIZABLE")
    WHO.append(5)
    async with serializable.begin() as conn:
        assert await conn.scalar(text("show transaction_isolation")) == "serializable"
        assert await conn.scalar(SHOW) == "5"
    WHO.append(1)
    async with engine.begin() as conn:
        await conn.exec_driver_sql("create temp table a (n int); select 1")
        assert await conn.scalar(SHOW) == "1"


async def test_autocommit_is_refused(engine: Any) -> None:
    plain = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with plain.connect() as conn:
        with pytest.raises(Exception, match="AUTOCOMMIT"):
            await conn.execute(text("select 1"))


async def test_an_error_names_the_setting(engine: Any) -> None:
    async with engine.connect() as conn:
        adapted = (await conn.get_raw_connection()).dbapi_connection
        WHO.append(None)
        adapted.set_local({"no_such_setting": 1})
        with pytest.raises(exc.ProgrammingError, match="no_such_setting") as caught:
            await conn.execute(text("select 1"))
        original: Any = caught.value.orig
        assert original.safe_to_retry
