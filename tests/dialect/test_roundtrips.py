"""How often the client waits for the server, counted between the two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from dialect.flights import FlightCounter

SELECT = sa.select(sa.literal(1, sa.Integer) + sa.bindparam("n", type_=sa.Integer))

Expect = Callable[[int], Any]


@pytest.fixture
def expect(flights: FlightCounter) -> Expect:
    """`with expect(2):` asserts that the block makes two round trips."""

    @contextmanager
    def block(wanted: int) -> Any:
        before = flights.count
        yield
        assert flights.count - before == wanted

    return block


@pytest.fixture
async def counted(
    make_engine: Callable[..., AsyncEngine], counted_url: str
) -> AsyncEngine:
    """An engine behind the counter, with one connection in its pool that has
    prepared SELECT."""
    engine = make_engine(url=counted_url)
    async with engine.connect() as conn:
        await conn.execute(SELECT, {"n": 1})
    return engine


async def test_checkout_and_one_select(counted: AsyncEngine, expect: Expect) -> None:
    """BEGIN rides with the statement; ROLLBACK is the second trip."""
    for n in range(3):
        with expect(2):
            async with counted.connect() as conn:
                assert (await conn.execute(SELECT, {"n": n})).scalar() == n + 1


async def test_inside_a_transaction(counted: AsyncEngine, expect: Expect) -> None:
    async with counted.connect() as conn:
        await conn.execute(SELECT, {"n": 0})
        for n in range(3):
            with expect(1):
                assert (await conn.execute(SELECT, {"n": n})).scalar() == n + 1
        with expect(1):
            await conn.commit()


async def test_nothing_is_sent_for_nothing(
    counted: AsyncEngine, expect: Expect
) -> None:
    with expect(0):
        async with counted.connect() as conn:
            await conn.rollback()
            await conn.commit()
        async with counted.begin():
            pass


async def test_autocommit(counted: AsyncEngine, expect: Expect) -> None:
    engine = counted.execution_options(isolation_level="AUTOCOMMIT")
    with expect(1):
        async with engine.connect() as conn:
            assert (await conn.execute(SELECT, {"n": 1})).scalar() == 2


async def test_isolation_level_costs_nothing(
    counted: AsyncEngine, expect: Expect
) -> None:
    engine = counted.execution_options(
        isolation_level="SERIALIZABLE", postgresql_readonly=True
    )
    with expect(2):
        async with engine.connect() as conn:
            await conn.execute(SELECT, {"n": 1})


async def test_pre_ping(
    make_engine: Callable[..., AsyncEngine], counted_url: str, expect: Expect
) -> None:
    engine = make_engine(url=counted_url, pool_pre_ping=True)
    async with engine.connect() as conn:
        await conn.execute(SELECT, {"n": 1})
    with expect(1):
        async with engine.connect():
            pass
    with expect(3):
        async with engine.connect() as conn:
            await conn.execute(SELECT, {"n": 1})


async def test_further_connections_ask_nothing(
    counted: AsyncEngine, expect: Expect, flights: FlightCounter
) -> None:
    """Startup (trust or a password's exchange) and no query: what the engine
    wants to know was asked on its first connection."""
    async with counted.connect():
        before = flights.count
        async with counted.connect() as second:
            assert flights.connections == 2
            startup = flights.count - before
            assert startup <= 3  # StartupMessage, two of SCRAM
            with expect(0):
                raw = await second.get_raw_connection()
                assert raw.driver_connection.info.transaction_status == "I"


async def test_first_connection(
    make_engine: Callable[..., AsyncEngine], counted_url: str, flights: FlightCounter
) -> None:
    """Version and escapes come from ParameterStatus: two queries are left
    (current_schema, isolation level), of two trips each, and a ROLLBACK."""
    engine = make_engine(url=counted_url)
    async with engine.connect():
        first = flights.count
    async with engine.connect() as one, engine.connect() as two:
        assert one is not two
        startup = flights.count - first
    assert first - startup <= 5


async def test_many_rows_one_flight(
    counted: AsyncEngine, expect: Expect, schema: str
) -> None:
    """executemany() takes one flight behind the statement's first use."""
    many = sa.Table("many", sa.MetaData(), sa.Column("n", sa.Integer))
    async with counted.begin() as conn:
        await conn.run_sync(many.metadata.create_all)
    async with counted.connect() as conn:
        insert, rows = sa.insert(many), [{"n": n} for n in range(500)]
        await conn.execute(insert, rows)
        with expect(1):
            result = await conn.execute(insert, rows)
        assert result.rowcount == 500


@pytest.mark.parametrize(
    ("rows", "yield_per", "trips"),
    [
        (40, None, 2),  # the rows, ROLLBACK
        (200, None, 3),
        (200, 500, 2),
        (2600, 1000, 4),
        (2600, 10, 13),  # 50, then 250 a trip
        (2600, None, 6),  # 50, 250, then what SQLAlchemy asks for: up to 1000
    ],
)
async def test_stream(
    counted: AsyncEngine, expect: Expect, rows: int, yield_per: int | None, trips: int
) -> None:
    statement = sa.text("select generate_series(1, (:n)::int) as n")
    if yield_per is not None:
        statement = statement.execution_options(yield_per=yield_per)

    async def stream() -> int:
        async with counted.connect() as conn:
            result = await conn.stream(statement, {"n": rows})
            return sum([1 async for _ in result])

    await stream()
    with expect(trips):
        assert await stream() == rows


async def test_stream_that_is_left(counted: AsyncEngine, expect: Expect) -> None:
    """Closing the portal is one trip, whatever is left of it."""
    statement = sa.text("select generate_series(1, 100000) as n")
    for wanted in (5, 4):  # the statement is new, then known
        with expect(wanted):
            async with counted.connect() as conn:
                result = await conn.stream(statement)
                async for row in result:
                    if row.n == 100:
                        break
                await result.close()
