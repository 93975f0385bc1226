"""The application's tests: the same on both databases."""

import datetime as dt
import uuid
from decimal import Decimal

import pytest
import sqlalchemy as sa
from models import Customer, Line, Order, Status, Stock
from service import NotAvailable, Shop
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError

pytestmark = pytest.mark.asyncio  # for asyncio_mode = strict

NOON = dt.datetime(2026, 3, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
TEA = ("tea", 2, Decimal("3.95"))
POT = ("pot", 1, Decimal("20.10"))


async def test_customer_is_made_once(shop: Shop, session: AsyncSession) -> None:
    ada = await shop.customer("ada@example.org", theme="dark")
    assert isinstance(ada.id, uuid.UUID)
    assert await shop.customer("ada@example.org", theme="light") is ada
    session.expunge_all()
    again = await shop.customer("ada@example.org")
    assert (again.id, again.settings) == (ada.id, {"theme": "dark"})


async def test_server_default_is_a_moment(shop: Shop, session: AsyncSession) -> None:
    ada = await shop.customer("ada@example.org")
    await session.refresh(ada)
    assert ada.joined.tzinfo is not None
    age = dt.datetime.now(dt.timezone.utc) - ada.joined
    assert dt.timedelta(minutes=-5) < age < dt.timedelta(minutes=5)


async def test_order(shop: Shop, session: AsyncSession) -> None:
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10, "pot": 1})
    made = await shop.order(ada, [TEA, POT], tags=["gift", "fast"], due=NOON)
    session.expunge_all()
    order = await session.get_one(Order, made.id, options=[selectinload(Order.lines)])
    assert order.status is Status.OPEN
    assert order.total == Decimal("28.00")
    assert order.tags == ["gift", "fast"]
    assert order.due == NOON
    assert [(line.product, line.quantity, line.price) for line in order.lines] == [
        TEA,
        POT,
    ]
    assert await shop.stock() == {"tea": 8, "pot": 0}
    assert await shop.turnover() == {ada.id: Decimal("28.00")}


async def test_nothing_is_taken_for_an_order_that_fails(shop: Shop) -> None:
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10})
    with pytest.raises(NotAvailable, match="1 of pot"):
        await shop.order(ada, [TEA, POT])
    assert await shop.stock() == {"tea": 10}
    assert await shop.turnover() == {}


async def test_deliveries_add_up(shop: Shop) -> None:
    await shop.deliver({"tea": 10, "pot": 1})
    await shop.deliver({"tea": 5, "cup": 6})
    assert await shop.stock() == {"tea": 15, "pot": 1, "cup": 6}


async def test_relationships_load_when_awaited(
    shop: Shop, session: AsyncSession
) -> None:
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10})
    for _ in range(3):
        await shop.order(ada, [TEA])
    session.expunge_all()
    found = await session.get_one(Customer, ada.id)
    orders = await found.awaitable_attrs.orders
    assert len(orders) == 3
    lines = await orders[0].awaitable_attrs.lines
    assert [line.product for line in lines] == ["tea"]


async def test_tags(shop: Shop) -> None:
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10})
    first = await shop.order(ada, [TEA], tags=["gift"])
    await shop.order(ada, [TEA], tags=["fast"])
    third = await shop.order(ada, [TEA], tags=["fast", "gift"])
    assert await shop.with_tag("gift") == [first, third]
    assert await shop.with_tag("gif") == []


async def test_overdue_compares_moments(shop: Shop) -> None:
    """10:30 in London is after noon in Berlin."""
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10})
    order = await shop.order(ada, [TEA], due=NOON)
    london = dt.timezone(dt.timedelta(hours=1))
    assert await shop.overdue(NOON.replace(hour=10, minute=30, tzinfo=london)) == []
    assert await shop.overdue(NOON.replace(hour=11, minute=30, tzinfo=london)) == [
        order
    ]
    await shop.set_status(order, Status.SENT)
    assert await shop.overdue(NOON + dt.timedelta(days=1)) == []


async def test_a_datetime_needs_a_zone(shop: Shop) -> None:
    ada = await shop.customer("ada@example.org")
    with pytest.raises(StatementError, match="has no time zone"):
        await shop.order(ada, [], due=NOON.replace(tzinfo=None))


async def test_json(shop: Shop, session: AsyncSession) -> None:
    deep = {"theme": "dark", "size": [1, 2.5, None], "nested": {"ä": True}}
    await shop.customer("ada@example.org", **deep)
    await shop.customer("bob@example.org", theme="light")
    session.expunge_all()
    (ada,) = await shop.by_theme("dark")
    assert ada.settings == deep


async def test_unique_constraint(session: AsyncSession) -> None:
    session.add(Customer(email="ada@example.org"))
    await session.commit()
    session.add(Customer(email="ada@example.org"))
    with pytest.raises(IntegrityError):
        await session.flush()
    await session.rollback()
    assert await session.scalar(sa.select(sa.func.count()).select_from(Customer)) == 1


@pytest.mark.parametrize("quantity", [0, -1])
async def test_check_constraint(
    shop: Shop, session: AsyncSession, quantity: int
) -> None:
    ada = await shop.customer("ada@example.org")
    line = Line(position=1, product="tea", quantity=quantity, price=Decimal(1))
    session.add(Order(customer_id=ada.id, lines=[line]))
    with pytest.raises(IntegrityError, match="ck_line_quantity"):
        await session.flush()


async def test_foreign_key(session: AsyncSession) -> None:
    session.add(Order(customer_id=uuid.uuid4()))
    with pytest.raises(IntegrityError):
        await session.flush()


async def test_deleting_cascades(shop: Shop, session: AsyncSession) -> None:
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10})
    await shop.order(ada, [TEA])
    await session.execute(sa.delete(Customer).where(Customer.id == ada.id))
    for table in (Order, Line):
        left = await session.scalar(sa.select(sa.func.count()).select_from(table))
        assert left == 0


async def test_two_writers_of_one_row(shop: Shop, session: AsyncSession) -> None:
    ada = await shop.customer("ada@example.org")
    await shop.deliver({"tea": 10})
    order = await shop.order(ada, [TEA])
    other = sa.update(Order).values(version=Order.version + 1)
    await session.execute(other.execution_options(synchronize_session=False))
    with pytest.raises(StaleDataError):
        await shop.set_status(order, Status.PAID)


async def test_many_rows(session: AsyncSession) -> None:
    """insertmanyvalues with RETURNING, in the order of the objects."""
    ada = Customer(email="ada@example.org")
    ada.orders = [Order(total=Decimal(n) / 100, tags=[str(n)]) for n in range(500)]
    session.add(ada)
    await session.commit()
    numbers = [order.id for order in ada.orders]
    assert numbers == sorted(numbers)
    session.expunge_all()
    total = 0
    stream = await session.stream_scalars(
        sa.select(Order).order_by(Order.id).execution_options(yield_per=100)
    )
    async for order in stream:
        assert order.total == Decimal(order.tags[0]) / 100
        total += 1
    assert total == 500


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_finds_empty_tables(shop: Shop, turn: int) -> None:
    """The commit of the first is gone in the second."""
    assert await shop.stock() == {}
    await shop.deliver({"tea": turn})
    assert await shop.stock() == {"tea": turn}


async def test_a_rollback_stops_at_the_commit(
    shop: Shop, session: AsyncSession
) -> None:
    await shop.deliver({"tea": 1})
    session.add(Stock(product="pot", left=1))
    await session.flush()
    await session.rollback()
    assert await shop.stock() == {"tea": 1}
