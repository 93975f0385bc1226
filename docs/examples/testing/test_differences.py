"""What differs between the two databases: what a test on SQLite does not show.

Each test says what either of them does.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from models import Customer, Json, Tags, UtcDateTime
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

pytestmark = pytest.mark.asyncio

HELSINKI = dt.timezone(dt.timedelta(hours=3))
MOMENT = dt.datetime(2026, 7, 1, 12, 30, tzinfo=HELSINKI)

table = sa.Table(
    "sample",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("moment", sa.DateTime(timezone=True)),
    sa.Column("utc", UtcDateTime),
    sa.Column("name", sa.String(10)),
    sa.Column("amount", sa.Numeric(30, 10)),
    sa.Column("tags", Tags),
    sa.Column("facts", Json),
)


@pytest_asyncio.fixture
async def sample(session: AsyncSession) -> AsyncSession:
    """A session with an empty table: on both, DDL is part of the transaction."""
    connection = await session.connection()
    await connection.run_sync(table.create)
    return session


async def stored(session: AsyncSession, **values: Any) -> Any:
    """The row with these values, as it comes back."""
    await session.execute(sa.insert(table).values(**values))
    return (await session.execute(sa.select(table))).one()


async def test_time_zones(sample: AsyncSession, database: str) -> None:
    """SQLite drops the offset of a DateTime(timezone=True), so that it gives another
    moment back; and two of them compare as digits. UtcDateTime is the remedy."""
    row = await stored(sample, moment=MOMENT, utc=MOMENT)
    assert row.utc == MOMENT
    if database == "postgresql":
        assert row.moment == MOMENT
        assert row.moment.utcoffset() == dt.timedelta(0)  # UTC, not Helsinki
    else:
        assert row.moment == MOMENT.replace(tzinfo=None)


async def test_decimals(sample: AsyncSession, database: str) -> None:
    """SQLite has no decimal numbers: about 15 digits of a Numeric are kept."""
    amount = Decimal("12345678901234567890.0123456789")
    row = await stored(sample, amount=amount)
    assert (row.amount == amount) is (database == "postgresql")


async def test_length_of_a_string(sample: AsyncSession, database: str) -> None:
    if database == "postgresql":
        with pytest.raises(DBAPIError, match="value too long"):
            await stored(sample, name="x" * 11)
    else:
        assert len((await stored(sample, name="x" * 11)).name) == 11


async def test_range_of_an_integer(sample: AsyncSession, database: str) -> None:
    if database == "postgresql":
        with pytest.raises(DBAPIError, match="int4 holds"):
            await stored(sample, id=2**31)
    else:
        assert (await stored(sample, id=2**31)).id == 2**31


async def test_names_in_errors(session: AsyncSession, database: str) -> None:
    """PostgreSQL tells the constraint and a code, SQLite a text about columns."""
    session.add_all([Customer(email="same"), Customer(email="same")])
    with pytest.raises(IntegrityError) as caught:
        await session.flush()
    if database == "postgresql":
        assert caught.value.orig.sqlstate == "23505"
        assert caught.value.orig.constraint_name == "uq_customer_email"
    else:
        assert "customer.email" in str(caught.value.orig)


async def test_after_an_error(sample: AsyncSession, database: str) -> None:
    """PostgreSQL takes nothing more in a transaction with an error: a statement that
    may fail belongs into session.begin_nested()."""
    await stored(sample, id=1)
    with pytest.raises(IntegrityError):
        await stored(sample, id=1)
    if database == "postgresql":
        with pytest.raises(DBAPIError, match="current transaction is aborted"):
            await sample.execute(sa.select(table.c.id))
    else:
        assert await sample.scalar(sa.select(table.c.id)) == 1


async def test_like(sample: AsyncSession, database: str) -> None:
    """LIKE is blind to the case of a-z on SQLite; ilike() is on both."""
    await stored(sample, name="Tea")
    found = await sample.scalar(sa.select(table.c.id).where(table.c.name.like("t%")))
    assert (found is None) is (database == "postgresql")
    where = table.c.name.ilike("t%")
    assert await sample.scalar(sa.select(table.c.id).where(where)) == 1


async def test_order_of_nulls(sample: AsyncSession, database: str) -> None:
    """Last on PostgreSQL, first on SQLite; nulls_last() is the same on both."""
    rows = [{"id": 1, "name": None}, {"id": 2, "name": "a"}]
    await sample.execute(sa.insert(table), rows)
    query = sa.select(table.c.id)
    plain = (await sample.scalars(query.order_by(table.c.name))).all()
    assert plain == ([2, 1] if database == "postgresql" else [1, 2])
    said = (await sample.scalars(query.order_by(table.c.name.nulls_last()))).all()
    assert said == [2, 1]


async def test_types_of_values(sample: AsyncSession, database: str) -> None:
    """PostgreSQL does not compare text with a number, nor does pgasync send one as
    the other; in SQLite any value can stand in any column."""
    query = sa.text("select id from sample where id = :id")
    await stored(sample, id=1)
    if database == "postgresql":
        with pytest.raises(DBAPIError):
            await sample.scalar(query, {"id": "one"})
    else:
        assert await sample.scalar(query, {"id": "one"}) is None


async def test_elements_of_an_array(sample: AsyncSession, database: str) -> None:
    """The variant is another type: its operators are another's, too, and arrays
    count from 1."""
    row = await stored(sample, tags=["a", "b"])
    assert row.tags == ["a", "b"]
    first = "tags[1]" if database == "postgresql" else "tags ->> 0"
    assert await sample.scalar(sa.text(f"select {first} from sample")) == "a"


async def test_keys_of_json(sample: AsyncSession, database: str) -> None:
    """JSONB keeps what a document says, not the order of its keys."""
    row = await stored(sample, facts={"long": 1, "b": 2})
    assert row.facts == {"long": 1, "b": 2}
    keys = ["b", "long"] if database == "postgresql" else ["long", "b"]
    assert list(row.facts) == keys


async def test_locks(sample: AsyncSession, database: str) -> None:
    """FOR UPDATE is not there on SQLite, where one transaction writes at a time."""
    query = sa.select(table.c.id).with_for_update()
    await sample.execute(query)
    text = str(query.compile(dialect=sample.get_bind().dialect))
    assert ("FOR UPDATE" in text) is (database == "postgresql")


async def test_the_clock(session: AsyncSession, database: str) -> None:
    """PostgreSQL's stands still in a transaction and counts microseconds; that of
    SQLite goes on, in seconds."""
    now = sa.select(sa.cast(sa.func.current_timestamp(), sa.String))
    digits = await session.scalar(now)
    assert ("." in digits) is (database == "postgresql")
