"""What the application does. It knows a session, not which database is behind it."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from models import Customer, Line, Order, Status, Stock
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

UPSERTS = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class NotAvailable(Exception):
    """More was ordered than there is."""


class Shop:
    """Orders of customers. Every method that changes something commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def customer(self, email: str, **settings: Any) -> Customer:
        """The customer with this address, made where there is none."""
        query = sa.select(Customer).where(Customer.email == email)
        found = await self.session.scalar(query)
        if found is None:
            found = Customer(email=email, settings=settings)
            try:
                async with self.session.begin_nested():
                    self.session.add(found)
            except IntegrityError:  # somebody else was faster
                found = (await self.session.scalars(query)).one()
            await self.session.commit()
        return found

    async def deliver(self, amounts: Mapping[str, int]) -> None:
        """Adds to what is in stock."""
        bind = self.session.get_bind()
        insert = UPSERTS[bind.dialect.name](Stock)
        rows = [{"product": key, "left": value} for key, value in amounts.items()]
        await self.session.execute(
            insert.on_conflict_do_update(
                index_elements=[Stock.product],
                set_={"left": Stock.left + insert.excluded.left},
            ),
            rows,
        )
        await self.session.commit()

    async def stock(self) -> dict[str, int]:
        rows = await self.session.execute(sa.select(Stock.product, Stock.left))
        return {row.product: row.left for row in rows}

    async def order(
        self,
        customer: Customer,
        lines: Sequence[tuple[str, int, Decimal]],
        *,
        tags: Sequence[str] = (),
        due: dt.datetime | None = None,
    ) -> Order:
        """An order of (product, quantity, price); takes it from the stock. Raises
        NotAvailable, and has then taken nothing."""
        try:
            async with self.session.begin_nested():
                for product, quantity, _ in lines:
                    await self._take(product, quantity)
                order = Order(
                    customer_id=customer.id,
                    tags=list(tags),
                    due=due,
                    total=sum((n * price for _, n, price in lines), Decimal()),
                    lines=[
                        Line(position=n, product=p, quantity=q, price=price)
                        for n, (p, q, price) in enumerate(lines, 1)
                    ],
                )
                self.session.add(order)
        except NotAvailable:
            await self.session.rollback()
            raise
        await self.session.commit()
        return order

    async def _take(self, product: str, quantity: int) -> None:
        left = await self.session.scalar(
            sa.update(Stock)
            .where(Stock.product == product, Stock.left >= quantity)
            .values(left=Stock.left - quantity)
            .returning(Stock.left)
        )
        if left is None:
            raise NotAvailable(f"{quantity} of {product}")

    async def set_status(self, order: Order, status: Status) -> None:
        order.status = status
        await self.session.commit()

    async def with_tag(self, tag: str) -> list[Order]:
        """Arrays are a matter of the database: each has its own way to look inside."""
        if self.session.get_bind().dialect.name == "postgresql":
            holds = sa.type_coerce(Order.tags, postgresql.ARRAY(sa.Text)).contains(
                [tag]
            )
        else:
            each = sa.func.json_each(Order.tags).table_valued("value")
            holds = sa.exists().select_from(each).where(each.c.value == tag)
        query = sa.select(Order).where(holds).order_by(Order.id)
        return list(await self.session.scalars(query))

    async def overdue(self, now: dt.datetime) -> list[Order]:
        query = (
            sa.select(Order)
            .where(Order.due < now, Order.status != Status.SENT)
            .order_by(Order.due)
            .options(selectinload(Order.lines))
        )
        return list(await self.session.scalars(query))

    async def by_theme(self, theme: str) -> list[Customer]:
        query = sa.select(Customer).where(
            Customer.settings["theme"].as_string() == theme
        )
        return list(await self.session.scalars(query.order_by(Customer.email)))

    async def turnover(self) -> dict[uuid.UUID, Decimal]:
        rows = await self.session.execute(
            sa.select(
                Order.customer_id, sa.func.sum(Order.total).label("sum")
            ).group_by(Order.customer_id)
        )
        return {row.customer_id: row.sum for row in rows}
