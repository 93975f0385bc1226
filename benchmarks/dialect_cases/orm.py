"""The ORM, and reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
    selectinload,
)

from . import reasons as why
from .case import add, case, group
from .side import Side


class Base(DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "orm_parent"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)
    children: Mapped[list[Child]] = relationship(back_populates="parent")
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Child(Base):
    __tablename__ = "orm_child"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(sa.ForeignKey("orm_parent.id"))
    data: Mapped[dict[str, Any]] = mapped_column(pg.JSONB, default=dict)
    parent: Mapped[Parent] = relationship(back_populates="children")


@asynccontextmanager
async def session_of(side: Side) -> AsyncIterator[AsyncSession]:
    """With the tables of the models, and three parents of two children each."""
    async with side.connect() as conn:
        await conn.run_sync(Base.metadata.create_all)
        async with AsyncSession(conn, expire_on_commit=False) as session:
            for n in range(3):
                children = [Child(data={"n": m}) for m in range(2)]
                session.add(Parent(name=f"p{n}", children=children))
            await session.flush()
            yield session


with group("orm"):

    @case()
    async def get_and_update(side: Side) -> Any:
        async with session_of(side) as session:
            parent = await session.get_one(Parent, 2)
            parent.name = "new"
            await session.flush()
            await session.refresh(parent)
            return parent.name, parent.version

    @case()
    async def selectin(side: Side) -> Any:
        async with session_of(side) as session:
            session.expire_all()
            query = select(Parent).options(selectinload(Parent.children))
            parents = (await session.scalars(query.order_by(Parent.id))).all()
            return [(p.name, [c.data for c in p.children]) for p in parents]

    @case()
    async def joined(side: Side) -> Any:
        async with session_of(side) as session:
            query = select(Parent, Child).join(Parent.children).order_by(Child.id)
            rows = (await session.execute(query)).all()
            return [(p.name, c.id) for p, c in rows]

    @case()
    async def bulk_insert(side: Side) -> Any:
        async with session_of(side) as session:
            result = await session.scalars(
                sa.insert(Parent).returning(Parent),
                [{"name": f"b{n}"} for n in range(3)],
            )
            return [(p.id, p.name, p.version) for p in result]

    @case()
    async def bulk_update(side: Side) -> Any:
        async with session_of(side) as session:
            await session.execute(
                sa.update(Parent), [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
            )
            names = select(Parent.name).order_by(Parent.id)
            return (await session.scalars(names)).all()

    @case()
    async def update_and_delete_by_query(side: Side) -> Any:
        async with session_of(side) as session:
            updated = await session.execute(
                sa.update(Child).where(Child.id > 2).values(data={"z": 1})
            )
            deleted = await session.execute(sa.delete(Child).where(Child.id <= 2))
            return updated.rowcount, deleted.rowcount

    @case(why.STALE, "StaleDataError")
    async def stale_rows(side: Side) -> Any:
        async with session_of(side) as session:
            children = (await session.scalars(select(Child))).all()
            await session.execute(text("delete from orm_child where id = 1"))
            for child in children:
                child.data = {"new": True}
            try:
                await session.flush()
            except Exception as error:
                return error

    @case()
    async def stream_of_objects(side: Side) -> Any:
        async with session_of(side) as session:
            seen = []
            result = await session.stream_scalars(select(Child).order_by(Child.id))
            async for child in result.yield_per(2):
                seen.append(child.data)
            return seen

    @case()
    async def lazy_attribute(side: Side) -> Any:
        async with session_of(side) as session:
            session.expire_all()
            parent = await session.get_one(Parent, 1)
            return len(parent.children)

    @case()
    async def json_null_forms(side: Side) -> Any:
        async with session_of(side) as session:
            session.add(Child(id=90, parent_id=1, data=None))
            session.add(Child(id=91, parent_id=1, data=sa.JSON.NULL))
            await session.flush()
            query = text("select data::text from orm_child where id >= 90 order by id")
            return (await session.execute(query)).all()


with group("reflection"):

    @case()
    async def tables(side: Side) -> Any:
        def look_at(conn: Any) -> Any:
            inspector = sa.inspect(conn)
            return [
                inspector.get_table_names(),
                inspector.get_sequence_names(),
                [(e["name"], e["labels"]) for e in inspector.get_enums()],
                [d["name"] for d in inspector.get_domains()],
                inspector.has_table("item"),
                inspector.default_schema_name,
            ]

        async with side.connect() as conn:
            return await conn.run_sync(look_at)

    @case()
    async def columns_and_constraints(side: Side) -> Any:
        def look_at(conn: Any) -> Any:
            inspector = sa.inspect(conn)
            seen: list[Any] = []
            for name in ("item", "part", "counted"):
                for column in inspector.get_columns(name):
                    kind = column["type"].compile(dialect=conn.dialect)
                    words = [column[key] for key in ("name", "nullable", "default")]
                    seen.append([kind, *words])
                seen.append(inspector.get_pk_constraint(name))
                seen.append([dict(f) for f in inspector.get_foreign_keys(name)])
                seen.append([dict(u) for u in inspector.get_unique_constraints(name)])
                seen.append([i["name"] for i in inspector.get_indexes(name)])
                checks = inspector.get_check_constraints(name)
                seen.append([check["sqltext"] for check in checks])
                seen.append(inspector.get_table_comment(name))
            return seen

        async with side.connect() as conn:
            return await conn.run_sync(look_at)

    @case()
    async def metadata(side: Side) -> Any:
        async with side.connect() as conn:
            found = sa.MetaData()
            await conn.run_sync(found.reflect, only=["item", "part"])
            return [repr(c.type) for table in found.sorted_tables for c in table.c]


async def altered(side: Side, ddl: str) -> Any:
    """A statement that is prepared, before and after DDL of another program."""
    engine = side.engine()
    async with side.shared.begin() as other:
        await other.execute(text("create table altered (a int, m mood)"))
        await other.execute(text("insert into altered values (1, 'ok')"))
    try:
        async with engine.connect() as conn:
            first = (await conn.execute(text("select * from altered"))).all()
        async with side.plain_engine().begin() as other:
            await other.execute(text("set local search_path = side_by_side"))
            await other.execute(text(ddl))
        async with engine.connect() as conn:
            return first, (await conn.execute(text("select * from altered"))).all()
    finally:
        await side.tidy()
        async with side.shared.begin() as other:
            await other.execute(text("drop table altered"))


with group("ddl of another program"):
    for name, ddl in (
        ("a column more", "add column b text default 'new'"),
        ("another type", "alter column a type text"),
        ("an enum that becomes text", "alter column m type text"),
    ):

        async def run(side: Side, ddl: str = ddl) -> Any:
            return await altered(side, f"alter table altered {ddl}")

        add(name, run, why.HEALS, "[Row(1, 'ok')], [Row(")
