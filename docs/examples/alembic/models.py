"""What the database is to look like at the newest revision."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    # Every constraint has a name, by which a downgrade can drop it.
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Kind(enum.Enum):
    sale = "sale"
    refund = "refund"
    gift = "gift"


class Account(Base):
    __tablename__ = "account"

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, server_default=sa.text("gen_random_uuid()")
    )
    email: Mapped[str] = mapped_column(sa.String(200), unique=True)
    domain: Mapped[str] = mapped_column(sa.String(200), server_default="")
    created: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )


class Entry(Base):
    __tablename__ = "entry"
    __table_args__ = (
        sa.CheckConstraint("amount <> 0", name="amount"),
        sa.Index("ix_entry_account_id_booked", "account_id", sa.text("booked DESC")),
        sa.Index("ix_entry_tags", "tags", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.Identity(always=True), primary_key=True
    )
    account_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("account.id", ondelete="CASCADE")
    )
    kind: Mapped[Kind] = mapped_column(
        sa.Enum(Kind, name="entry_kind"), server_default=Kind.sale.name
    )
    amount: Mapped[Decimal] = mapped_column(sa.Numeric(12, 2))
    tags: Mapped[list[str]] = mapped_column(pg.ARRAY(sa.Text), server_default="{}")
    details: Mapped[dict[str, Any]] = mapped_column(
        pg.JSONB, server_default=sa.text("'{}'::jsonb")
    )
    booked: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )


class Change(Base):
    __tablename__ = "change"
    __table_args__ = {"schema": "audit", "comment": "Who did what"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp()
    )
    what: Mapped[str] = mapped_column(sa.Text, comment="One sentence")
