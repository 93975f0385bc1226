"""Types made of types: decorators, mutables, variants, arrays of all of them; rows of
composite types; every type as the sentinel of an insert of several rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.ext.mutable import MutableDict, MutableList

import pgasync
from codec.checks import with_extension

BitString: Any = getattr(pg, "BitString", str)  # of 2.1
NOON = dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone.utc)
KEY = uuid.UUID(int=5)


class Bracketed(sa.types.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else f"<{value}"

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value[1:]


class Wrapped(sa.types.TypeDecorator[Any]):
    impl = pg.JSONB
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return {"wrapped": value}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value["wrapped"]


class Bounds(sa.types.TypeDecorator[Any]):
    impl = pg.INT4RANGE
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return pg.Range(*value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.lower, value.upper


class Aware(sa.types.TypeDecorator[Any]):
    """Of another type than it was declared with."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(pg.TIMESTAMP(timezone=True))


class Number(sa.types.TypeDecorator[Any]):
    impl = sa.Numeric(10, 2)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return Decimal(value) / 100

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return int(value * 100)


class Words(sa.types.TypeDecorator[Any]):
    impl = pg.ARRAY(Bracketed)
    cache_ok = True


class Level(enum.Enum):
    low = 1
    high = 2


@dataclasses.dataclass
class Place:
    name: str
    mood: Level


LEVEL = sa.Enum(Level, name="level")
JSON_OR_JSONB = sa.JSON().with_variant(pg.JSONB(), "postgresql")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Bracketed, "a"),
        (Wrapped, [1, None]),
        (Bounds, (1, 5)),
        (Aware, NOON),
        (Number, 150),
        (Words, ["a", None]),
        (JSON_OR_JSONB, {"a": 1}),
        (sa.PickleType, {"a": {1, 2}}),
        (MutableList.as_mutable(pg.ARRAY(sa.Text)), ["a"]),
        (MutableDict.as_mutable(pg.JSONB), {"a": [1]}),
        (pg.ARRAY(Bracketed, as_tuple=True), ("a", None)),
        (pg.ARRAY(Bracketed, dimensions=2), [["a"], ["b"]]),
        (pg.ARRAY(Wrapped, dimensions=1), [[1], {"a": 2}]),
        (pg.ARRAY(Bounds, dimensions=1), [(1, 5)]),
        (pg.ARRAY(Aware), [NOON]),
        (pg.ARRAY(Number), [150, 0]),
        (pg.ARRAY(LEVEL, as_tuple=True), (Level.low, None)),
        (pg.ARRAY(sa.Uuid(as_uuid=False)), [str(KEY), None]),
        (pg.ARRAY(sa.Float), [1.5, None]),
        (pg.ARRAY(sa.SmallInteger), [1]),
        (pg.ARRAY(sa.BigInteger, as_tuple=True), (2**40,)),
        (pg.ARRAY(sa.CHAR(2)), ["ab"]),
        (pg.ARRAY(sa.Time), [dt.time(1)]),
        (pg.ARRAY(sa.Date), [NOON.date()]),
        (pg.ARRAY(sa.JSON), [{"a": 1}, "text", None]),
        (pg.ARRAY(pg.JSONB, dimensions=1), [[1, 2], [3], []]),
        (pg.ARRAY(sa.Enum("a", "b", name="ab", native_enum=False)), ["a"]),
        (pg.ARRAY(pg.TSVECTOR), ["'a'"]),
        (pg.ARRAY(pg.CIDR), []),
        (pg.ARRAY(sa.Integer, zero_indexes=True), [1, 2]),
        (pg.ARRAY(pg.TIMESTAMP(timezone=True, precision=3)), [NOON]),
        (pg.ARRAY(sa.LargeBinary, as_tuple=True), (b"a", None)),
    ],
    ids=repr,
)
async def test_types_of_types(engine: AsyncEngine, kind: Any, value: Any) -> None:
    """Inserted by itself, beside another and by executemany."""
    table = sa.Table(
        "made",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("v", kind),
    )
    insert, rows = sa.insert(table), [{"v": value}, {"v": value}]
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        one = await conn.scalar(insert.values(v=value).returning(table.c.v))
        assert one == value
        assert isinstance(one, type(value))
        many = insert.returning(table.c.v, sort_by_parameter_order=True)
        assert (await conn.scalars(many, rows)).all() == [value, value]
        await conn.execute(insert, rows)
        found = await conn.scalars(sa.select(table.c.v))
        assert found.all() == [value] * 5


async def test_mutables(engine: AsyncEngine) -> None:
    """A change in place is seen and written."""

    class Base(orm.DeclarativeBase):
        pass

    class Holder(Base):
        __tablename__ = "holder"
        id = sa.Column(sa.Integer, primary_key=True)
        many = sa.Column(MutableList.as_mutable(pg.ARRAY(sa.Integer)))
        named = sa.Column(MutableDict.as_mutable(pg.JSONB))

    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        session.add_all([Holder(many=[1], named={}), Holder(many=[], named={"a": 1})])
        await session.commit()
        for holder in await session.scalars(sa.select(Holder)):
            holder.many.append(2)
            holder.named["b"] = [None]
        await session.commit()
        found = await session.scalars(sa.select(Holder).order_by(Holder.id))
        assert [(holder.many, holder.named) for holder in found] == [
            ([1, 2], {"b": [None]}),
            ([2], {"a": 1, "b": [None]}),
        ]


async def test_composites(engine: AsyncEngine) -> None:
    """Rows in rows, by name; records; whole tables."""
    async with engine.begin() as conn:
        await conn.execute(sa.text("create type address as (street text, no int)"))
        await conn.execute(sa.text("create table homes (one address, many address[])"))
        given = {"one": ("x", 1), "many": [{"street": "y", "no": 2}, None]}
        insert = sa.text("insert into homes values (:one, :many)")
        await conn.execute(insert, given)
        row = (await conn.execute(sa.text("select * from homes"))).one()
        assert (row.one.street, row.one["no"], row.one) == ("x", 1, ("x", 1))
        assert row.many == [("y", 2), None]
        again = (
            "select count(*) from homes "
            "where one = cast(:one as address) and many = cast(:many as address[])"
        )
        assert await conn.scalar(sa.text(again), dict(row._mapping)) == 1
        whole = await conn.scalar(sa.text("select homes from homes"))
        assert whole.many[0].street == "y"
        assert await conn.scalar(sa.text("select row(1, 'a'::text)")) == (1, "a")


async def test_registered_composite(make_engine: Callable[..., AsyncEngine]) -> None:
    """And an enum, for every connection of the engine."""
    registry = pgasync.TypeRegistry()
    registry.register_enum(Level, "mood")
    registry.register_composite(Place, "place")
    engine = make_engine(connect_args={"types": registry})
    async with engine.begin() as conn:
        await conn.execute(sa.text("create type mood as enum ('low', 'high')"))
        moods = await conn.scalar(sa.text("select array['low', 'high']::mood[]"))
        assert moods == [Level.low, Level.high]
        echoed = sa.text("select cast(:mood as mood)")
        assert await conn.scalar(echoed, {"mood": Level.high}) is Level.high
        await conn.execute(sa.text("create type place as (name text, mood mood)"))
        echoed = sa.text("select cast(:place as place)")
        place = Place("home", Level.low)
        assert await conn.scalar(echoed, {"place": place}) == place


UUIDS = [uuid.UUID(int=n) for n in (3, 1, 2)]
SENTINELS: list[tuple[Any, list[Any]]] = [
    (sa.Uuid, UUIDS),
    (sa.Uuid(as_uuid=False), [str(key) for key in UUIDS]),
    (sa.Uuid(native_uuid=False), UUIDS),
    (sa.LargeBinary, [b"b", b"", b"\xff\0"]),
    (pg.BIT(3), [BitString(bits) for bits in ("101", "000", "001")]),
    (sa.SmallInteger, [3, 1, 2]),
    (sa.BigInteger, [2**40, 1, -(2**63)]),
    (sa.Numeric(5, 2), [Decimal("1.50"), Decimal(0), Decimal("-1")]),
    (sa.Float, [1.5, 0.1, -1e300]),
    (sa.String(5), ["b", "", "ä"]),
    (sa.CHAR(2), ["bb", "aa", "cc"]),
    (sa.Date, [dt.date(2024, 2, day) for day in (29, 1, 2)]),
    (sa.DateTime, [dt.datetime(2024, 2, day) for day in (29, 1, 2)]),
    (sa.DateTime(timezone=True), [NOON.replace(day=day) for day in (29, 1, 2)]),
    (sa.Time, [dt.time(hour) for hour in (3, 1, 2)]),
    (sa.Interval, [dt.timedelta(days) for days in (3, 1, 2)]),
    (pg.INT4RANGE, [pg.Range(low, 9) for low in (3, 1, 2)]),
    (pg.MACADDR, [f"08:00:2b:01:02:0{n}" for n in (3, 1, 2)]),
    (pg.OID, [3, 1, 2**32 - 1]),
    (sa.Enum("c", "a", "b", name="abc"), ["b", "c", "a"]),
]


@pytest.mark.parametrize(("kind", "values"), SENTINELS, ids=repr)
async def test_sentinels(
    make_engine: Callable[..., AsyncEngine], kind: Any, values: list[Any]
) -> None:
    """The keys come from the client: what returns is matched with what was sent."""
    engine = make_engine(insertmanyvalues_page_size=2)
    key = sa.Column("k", kind, primary_key=True, autoincrement=False)
    made = sa.Column("made", sa.Integer, server_default=sa.text("0"))
    n = sa.Column("n", sa.Integer)
    table = sa.Table("keyed", sa.MetaData(), key, made, n)
    insert = sa.insert(table).returning(key, n, made, sort_by_parameter_order=True)
    rows = [{"k": value, "n": n} for n, value in enumerate(values)]
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        returned = (await conn.execute(insert, rows)).all()
        assert returned == [(value, n, 0) for n, value in enumerate(values)]


async def test_objects_with_keys_of_the_client(engine: AsyncEngine) -> None:
    """The ORM does that: add_all() and a default of the server."""

    class Base(orm.DeclarativeBase):
        pass

    class Keyed(Base):
        __tablename__ = "keyed"
        id = sa.Column(sa.Uuid, primary_key=True, default=uuid.uuid4)
        at = sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now())
        __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        made = [Keyed() for _ in range(20)]
        session.add_all(made)
        await session.commit()
        assert all(one.at.tzinfo is not None for one in made)


async def test_ltree(
    conn: Any, make_engine: Callable[..., AsyncEngine], schema: str
) -> None:
    """A type that SQLAlchemy does not know."""
    await with_extension(conn, "ltree")

    class Ltree(sa.types.UserDefinedType[str]):
        cache_ok = True

        def get_col_spec(self, **keywords: Any) -> str:
            return "ltree"

    path = {"search_path": f"{schema}, public"}
    engine = make_engine(connect_args={"server_settings": path})
    table = sa.Table(
        "paths",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", Ltree),
    )
    async with engine.begin() as connection:
        await connection.run_sync(table.metadata.create_all)
        rows = [{"path": path} for path in ("a.b", "a.c", "b")]
        insert = sa.insert(table).returning(table.c.path, sort_by_parameter_order=True)
        assert (await connection.scalars(insert, rows)).all() == ["a.b", "a.c", "b"]
        below = sa.select(table.c.path).where(table.c.path.op("<@")("a"))
        assert (await connection.scalars(below)).all() == ["a.b", "a.c"]
