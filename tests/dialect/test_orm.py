"""The ORM: what a session does to the driver."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import (
    AsyncAttrs,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import StaleDataError

Sessions = async_sessionmaker[AsyncSession]


class Base(AsyncAttrs, orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    name: Mapped[str] = mapped_column(sa.String(40))
    tags: Mapped[Any] = mapped_column(pg.ARRAY(sa.Text), default=list)
    profile: Mapped[Any] = mapped_column(pg.JSONB, default=dict)
    joined: Mapped[dt.datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )
    books: Mapped[list[Book]] = relationship(
        back_populates="author", order_by="Book.id", cascade="all, delete-orphan"
    )


class Book(Base):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("author.id"))
    title: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012
    author: Mapped[Author] = relationship(back_populates="books")


@pytest.fixture
async def sessions(engine: AsyncEngine) -> Sessions:
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    return async_sessionmaker(engine)


@pytest.fixture
async def stored(sessions: Sessions) -> Sessions:
    """Twenty authors of three books each."""
    async with sessions.begin() as session:
        for n in range(1, 21):
            books = [Book(title=f"book {n}.{k}") for k in range(3)]
            session.add(Author(name=f"author {n}", tags=[f"t{n}"], books=books))
    return sessions


async def test_add_flush_refresh(sessions: Sessions) -> None:
    async with sessions() as session:
        author = Author(name="Ada", tags=["a", "b"], profile={"x": [1, None]})
        session.add(author)
        await session.flush()
        assert author.id == 1
        await session.refresh(author)
        assert author.joined.tzinfo is not None
        key = author.key
        await session.commit()
    async with sessions() as session:
        again = await session.get_one(Author, 1)
        assert (again.key, again.tags, again.profile) == (
            key,
            ["a", "b"],
            {"x": [1, None]},
        )


@pytest.mark.parametrize("load", [orm.selectinload, orm.joinedload])
async def test_eager_loading(stored: Sessions, load: Callable[..., Any]) -> None:
    async with stored() as session:
        found = await session.scalars(
            sa.select(Author).options(load(Author.books)).order_by(Author.id)
        )
        authors = found.unique().all()
        assert [author.name for author in authors] == [
            f"author {n}" for n in range(1, 21)
        ]
        assert [book.title for book in authors[6].books] == [
            f"book 7.{k}" for k in range(3)
        ]


async def test_lazy_loading(stored: Sessions) -> None:
    async with stored() as session:
        author = await session.get_one(Author, 3)
        with pytest.raises(exc.MissingGreenlet):
            _ = author.books
        assert len(await author.awaitable_attrs.books) == 3


async def test_update_delete_rollback(stored: Sessions) -> None:
    async with stored() as session:
        author = await session.get_one(
            Author, 1, options=[orm.selectinload(Author.books)]
        )
        author.name = "changed"
        author.books.pop()
        await session.flush()
        assert await session.scalar(sa.select(sa.func.count(Book.id))) == 59
        await session.rollback()
        assert await session.scalar(sa.select(sa.func.count(Book.id))) == 60
        author = await session.get_one(Author, 1)
        assert author.name == "author 1"
        await session.delete(await session.get_one(Author, 2))
        await session.commit()
        assert await session.scalar(sa.select(sa.func.count(Book.id))) == 57


async def test_bulk(stored: Sessions) -> None:
    async with stored.begin() as session:
        ids = await session.scalars(
            sa.insert(Author).returning(Author.id, sort_by_parameter_order=True),
            [{"name": f"more {n}"} for n in range(1500)],
        )
        assert ids.all() == list(range(21, 1521))
        await session.execute(
            sa.update(Author), [{"id": n, "name": f"new {n}"} for n in range(1, 11)]
        )
        changed = await session.execute(
            sa.update(Author).where(Author.id > 20).values(profile={"bulk": True})
        )
        assert changed.rowcount == 1500
    async with stored() as session:
        assert (await session.get_one(Author, 4)).name == "new 4"


async def test_batched_updates_are_verified(stored: Sessions) -> None:
    """executemany() counts its rows: a vanished row is noticed in a batch, too."""
    async with stored() as session:
        books = (await session.scalars(sa.select(Book).limit(5))).all()
        async with stored.begin() as other:
            await other.execute(
                sa.update(Book)
                .where(Book.id == books[2].id)
                .values(version=Book.version + 1)
            )
        for book in books:
            book.title += "!"
        with pytest.raises(StaleDataError):
            await session.flush()


async def test_nested_transaction(stored: Sessions) -> None:
    async with stored.begin() as session:
        author = await session.get_one(Author, 1)
        with pytest.raises(exc.IntegrityError):
            async with session.begin_nested():
                session.add(Book(author_id=-1, title="nobody's"))
        author.name = "kept"
    async with stored() as session:
        assert (await session.get_one(Author, 1)).name == "kept"


async def test_stream(stored: Sessions) -> None:
    async with stored() as session:
        statement = sa.select(Book).order_by(Book.id).execution_options(yield_per=7)
        titles = []
        async for book in await session.stream_scalars(statement):
            titles.append(book.title)
        assert len(titles) == 60
        assert titles[0] == "book 1.0"


async def test_many_sessions_at_once(stored: Sessions) -> None:
    """More tasks than connections in the pool."""

    async def rename(n: int) -> None:
        async with stored.begin() as session:
            author = await session.get_one(Author, n, with_for_update=True)
            author.name += "+"

    keys = [n % 20 + 1 for n in range(60)]
    await asyncio.gather(*map(rename, keys))
    async with stored() as session:
        names = await session.scalars(sa.select(Author.name).order_by(Author.id))
        assert names.all() == [f"author {n}+++" for n in range(1, 21)]
