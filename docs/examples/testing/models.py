"""One set of models for PostgreSQL and SQLite.

Where the two have different types, a variant says which one PostgreSQL gets.
"""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

# SQLite numbers rows by itself only in an INTEGER PRIMARY KEY.
BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Json = sa.JSON().with_variant(pg.JSONB, "postgresql")
Tags = sa.JSON().with_variant(pg.ARRAY(sa.Text), "postgresql")


class UtcDateTime(sa.TypeDecorator[dt.datetime]):
    """A moment: aware on every database, whatever the session's time zone is.

    PostgreSQL's timestamptz keeps the moment. SQLite keeps digits: DateTime(timezone=
    True) would take 12:00+02:00 and give 12:00 back, naive.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; give it tzinfo")
        return value.astimezone(dt.timezone.utc)

    def process_result_value(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=dt.timezone.utc)


class Base(AsyncAttrs, DeclarativeBase):
    # Constraints have the same names on both, which SQLite's errors do not all tell.
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Status(enum.Enum):
    OPEN = "open"
    PAID = "paid"
    SENT = "sent"


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(sa.String(200), unique=True)
    settings: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    joined: Mapped[dt.datetime] = mapped_column(
        UtcDateTime, server_default=sa.func.current_timestamp()
    )
    orders: Mapped[list["Order"]] = relationship(
        back_populates="customer", cascade="all, delete-orphan", order_by="Order.id"
    )


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (sa.CheckConstraint("total >= 0", name="total"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    customer_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("customer.id", ondelete="CASCADE"), index=True
    )
    status: Mapped[Status] = mapped_column(
        sa.Enum(Status, name="order_status"), server_default=Status.OPEN.name
    )
    total: Mapped[Decimal] = mapped_column(sa.Numeric(12, 2), server_default="0")
    tags: Mapped[list[str]] = mapped_column(Tags, default=list)
    due: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(sa.Integer, nullable=False)
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012

    customer: Mapped[Customer] = relationship(back_populates="orders")
    lines: Mapped[list["Line"]] = relationship(
        back_populates="order", cascade="all, delete-orphan", order_by="Line.position"
    )


class Line(Base):
    __tablename__ = "line"
    __table_args__ = (sa.CheckConstraint("quantity > 0", name="quantity"),)

    order_id: Mapped[int] = mapped_column(
        sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(sa.String(100))
    quantity: Mapped[int] = mapped_column(server_default="1")
    price: Mapped[Decimal] = mapped_column(sa.Numeric(12, 2))

    order: Mapped[Order] = relationship(back_populates="lines")


class Stock(Base):
    __tablename__ = "stock"

    product: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    left: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    __table_args__ = (sa.CheckConstraint(left >= 0, name="left"),)
