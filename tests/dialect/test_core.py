"""SQLAlchemy Core: DDL, statements, results, types, errors."""

from __future__ import annotations

import datetime as dt
import enum
import json
import pickle
import uuid
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import numpy
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine

import pgasync
from pgasync import errors
from pgasync.types import Array

METADATA = sa.MetaData()
ITEMS = sa.Table(
    "items",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40), unique=True),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Index("items_price", sa.desc("price"), "name"),
)


@pytest.fixture
async def items(engine: AsyncEngine) -> AsyncEngine:
    """The engine, with a table that holds three rows."""
    rows = [{"name": name, "price": price} for price, name in enumerate("abc", 1)]
    async with engine.begin() as conn:
        await conn.run_sync(METADATA.create_all)
        await conn.execute(sa.insert(ITEMS), rows)
    return engine


async def names(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as conn:
        found = await conn.scalars(sa.select(ITEMS.c.name).order_by(ITEMS.c.id))
        return list(found)


# Schema


async def test_create_reflect_drop(items: AsyncEngine) -> None:
    async with items.begin() as conn:
        await conn.run_sync(METADATA.create_all)  # asks first: nothing to do
        reflected = sa.MetaData()
        await conn.run_sync(reflected.reflect)
        table = reflected.tables["items"]
        assert list(table.c.keys()) == ["id", "name", "price"]
        assert isinstance(table.c.name.type, sa.VARCHAR)
        assert (table.c.price.type.precision, table.c.price.type.scale) == (10, 2)
        indexes = await conn.run_sync(lambda c: sa.inspect(c).get_indexes("items"))
        assert {"items_price": ["price", "name"]}.items() <= {
            index["name"]: index["column_names"] for index in indexes
        }.items()
        sorting = [index.get("column_sorting") for index in indexes]
        assert {"price": ("desc",)} in sorting
        await conn.run_sync(METADATA.drop_all)
        assert not await conn.run_sync(lambda c: sa.inspect(c).has_table("items"))


async def test_reflected_keys_and_enum(engine: AsyncEngine) -> None:
    metadata = sa.MetaData()
    sa.Table("parent", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "child",
        metadata,
        sa.Column("parent_id", sa.ForeignKey("parent.id"), primary_key=True),
        sa.Column("mood", sa.Enum("sad", "ok", name="mood")),
        sa.CheckConstraint("parent_id > 0", name="positive"),
    )
    async with engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
        reflected = sa.MetaData()
        await conn.run_sync(reflected.reflect)
        child = reflected.tables["child"]
        (key,) = child.c.parent_id.foreign_keys
        assert key.target_fullname == "parent.id"
        assert child.c.mood.type.enums == ["sad", "ok"]
        checks = await conn.run_sync(
            lambda c: sa.inspect(c).get_check_constraints("child")
        )
        assert [check["name"] for check in checks] == ["positive"]


# Statements


async def test_insert_one(items: AsyncEngine) -> None:
    async with items.begin() as conn:
        result = await conn.execute(sa.insert(ITEMS).values(name="d", price=4))
        assert result.inserted_primary_key == (4,)
        returned = await conn.execute(
            sa.insert(ITEMS).values(name="e").returning(ITEMS.c.id, ITEMS.c.price)
        )
        assert returned.one() == (5, None)
    assert await names(items) == list("abcde")


async def test_insert_many(items: AsyncEngine) -> None:
    """Without RETURNING: executemany(), which counts."""
    rows = [{"name": f"n{n}", "price": n} for n in range(1000)]
    async with items.begin() as conn:
        result = await conn.execute(sa.insert(ITEMS), rows)
        assert result.rowcount == 1000
        assert await conn.scalar(sa.select(sa.func.count()).select_from(ITEMS)) == 1003


async def test_insertmanyvalues(items: AsyncEngine) -> None:
    """Three batches; the ids come back in the order of the rows."""
    rows = [{"name": f"n{n}", "price": n % 7} for n in range(2500)]
    statement = sa.insert(ITEMS).returning(
        ITEMS.c.id, ITEMS.c.name, sort_by_parameter_order=True
    )
    async with items.begin() as conn:
        returned = (await conn.execute(statement, rows)).all()
    assert [name for _, name in returned] == [row["name"] for row in rows]
    assert [key for key, _ in returned] == list(range(4, 2504))


async def test_update_and_delete(items: AsyncEngine) -> None:
    async with items.begin() as conn:
        raised = sa.update(ITEMS).where(ITEMS.c.price >= 2).values(price=9)
        assert (await conn.execute(raised)).rowcount == 2
        returned = await conn.execute(
            sa.update(ITEMS).where(ITEMS.c.id == 1).values(name="A").returning(ITEMS)
        )
        assert returned.all() == [(1, "A", Decimal("1.00"))]
        by_name = sa.delete(ITEMS).where(ITEMS.c.name == sa.bindparam("gone"))
        gone = [{"gone": name} for name in ("b", "c", "nobody")]
        assert (await conn.execute(by_name, gone)).rowcount == 2
    assert await names(items) == ["A"]


async def test_on_conflict(items: AsyncEngine) -> None:
    insert = pg.insert(ITEMS).values(name="a", price=5)
    upsert = insert.on_conflict_do_update(
        index_elements=[ITEMS.c.name], set_={"price": insert.excluded.price}
    ).returning(ITEMS.c.id, ITEMS.c.price)
    async with items.begin() as conn:
        assert (await conn.execute(upsert)).one() == (1, 5)


async def test_expanding_in(items: AsyncEngine) -> None:
    by_id = sa.select(ITEMS.c.name).where(ITEMS.c.id.in_(sa.bindparam("ids")))
    async with items.connect() as conn:
        for ids, wanted in (([1, 3], "ac"), ([2], "b"), ([], "")):
            found = await conn.scalars(by_id.order_by(ITEMS.c.id), {"ids": ids})
            assert "".join(found) == wanted


async def test_text_and_driver_sql(items: AsyncEngine) -> None:
    async with items.connect() as conn:
        named = sa.text("select name || ':' from items where id = :key")
        assert await conn.scalar(named, {"key": 2}) == "b:"
        result = await conn.exec_driver_sql(
            "select name from items where id > $1 and name <> '%'", (1,)
        )
        assert result.scalars().all() == ["b", "c"]


async def test_script(items: AsyncEngine) -> None:
    """Several statements in one text, which has no parameters."""
    async with items.connect() as conn:
        result = await conn.exec_driver_sql(
            "insert into items (name) values ('x;y'); select count(*) from items"
        )
        assert result.scalar() == 4
        await conn.rollback()
        assert len(await names(items)) == 3


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("select 1; select 2", [(2,)]),
        ("select 1;", [(1,)]),
        ("select ';'; -- ;", [(";",)]),
        ("create temp table s (n int); insert into s values (1); table s", [(1,)]),
        ("do $$ begin perform 1; end $$; select 3", [(3,)]),
        ("select 1; create temp table s (n int)", None),
        (";", None),
        ("", None),
        ("-- only a comment", None),
    ],
)  # fmt: skip
async def test_scripts(engine: AsyncEngine, script: str, wanted: Any) -> None:
    """The result is that of the last statement; in autocommit and in a transaction."""
    auto = engine.execution_options(isolation_level="AUTOCOMMIT")
    for one in (engine, auto):
        async with one.connect() as conn:
            result = await conn.execute(sa.text(script))
            assert (result.all() if result.returns_rows else None) == wanted
            if one is auto:
                raw = await conn.get_raw_connection()
                assert raw.driver_connection.info.transaction_status == "I"


async def test_scripts_that_fail(items: AsyncEngine) -> None:
    """In autocommit all of it is one transaction; there is none with parameters."""
    auto = items.execution_options(isolation_level="AUTOCOMMIT")
    async with auto.connect() as conn:
        with pytest.raises(exc.DataError):
            await conn.execute(sa.text("delete from items; select 1/0; select 2"))
    assert len(await names(items)) == 3
    async with items.connect() as conn:
        with pytest.raises(exc.ProgrammingError, match="multiple commands"):
            await conn.execute(sa.text("select :a; select 2"), {"a": 1})


async def test_commands(items: AsyncEngine) -> None:
    """What is neither a plain query nor a plain change."""
    async with items.connect() as conn:

        async def run(sql: str) -> Any:
            return await conn.execute(sa.text(sql))

        assert (await run("explain select 1")).scalar().startswith("Result")
        assert len((await run("show all")).all()) > 100
        assert (await run("values (1), (2)")).scalars().all() == [1, 2]
        made = await run("create temp table made as select * from items")
        assert (made.rowcount, made.returns_rows) == (3, False)
        await run("declare few cursor for select id from items order by id")
        assert (await run("fetch 2 from few")).scalars().all() == [1, 2]
        merged = await run(
            "merge into items using (values (1), (9)) v (n) on v.n = id"
            " when matched then delete when not matched then do nothing"
        )
        assert merged.rowcount == 1
        assert (await run("select")).all() == [()]
        assert (await run("select 1 as a, 2 as a")).one() == (1, 2)


async def test_result_access(items: AsyncEngine) -> None:
    everything = sa.select(ITEMS.c.id, ITEMS.c.name).order_by(ITEMS.c.id)
    async with items.connect() as conn:
        result = await conn.execute(everything)
        assert list(result.keys()) == ["id", "name"]
        assert result.fetchone() == (1, "a")
        assert result.fetchmany(1) == [(2, "b")]
        assert result.fetchmany() == [(3, "c")]
        assert result.fetchone() is None
        assert (await conn.execute(everything)).mappings().first() == {
            "id": 1,
            "name": "a",
        }
        assert [row.name for row in await conn.execute(everything)] == ["a", "b", "c"]


async def test_cursor_of_the_adapter(items: AsyncEngine) -> None:
    """What events and raw DBAPI code see: PEP 249, without a copy of the rows."""

    def use(sync: sa.Connection) -> None:
        adapted: Any = sync.connection.dbapi_connection
        with adapted.cursor() as cursor:
            cursor.execute("select id, name from items order by id")
            assert [column[:2] for column in cursor.description] == [
                ("id", 23),
                ("name", 1043),
            ]
            assert cursor.rowcount == 3
            assert type(cursor.fetchone()) is tuple
            assert cursor.fetchmany(1) == [(2, "b")]
            assert list(cursor) == [(3, "c")]
            assert cursor.fetchall() == []
            cursor.execute("update items set price = price")
            assert (cursor.description, cursor.rowcount) == (None, 3)
            cursor.executemany("delete from items where id = $1", [(1,), (2,)])
            assert cursor.rowcount == 2
        assert adapted.execute("select 1").fetchall() == [(1,)]

    async with items.connect() as conn:
        await conn.run_sync(use)


# Transactions


async def test_rollback_and_commit(items: AsyncEngine) -> None:
    async with items.connect() as conn:
        await conn.execute(sa.delete(ITEMS))
        await conn.rollback()
        await conn.execute(sa.delete(ITEMS).where(ITEMS.c.id == 1))
        await conn.commit()
        await conn.execute(sa.delete(ITEMS))  # dropped by the check-in
    assert await names(items) == ["b", "c"]


async def test_begin_block_rolls_back(items: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with items.begin() as conn:
            await conn.execute(sa.delete(ITEMS))
            _ = 1 / 0
    assert await names(items) == ["a", "b", "c"]


async def test_savepoint(items: AsyncEngine) -> None:
    async with items.begin() as conn:
        with pytest.raises(exc.IntegrityError):
            async with conn.begin_nested():
                await conn.execute(sa.insert(ITEMS).values(name="d"))
                await conn.execute(sa.insert(ITEMS).values(name="a"))
        async with conn.begin_nested():
            await conn.execute(sa.insert(ITEMS).values(name="e"))
    assert await names(items) == ["a", "b", "c", "e"]


async def test_two_phase(items: AsyncEngine) -> None:
    ending = uuid.uuid4().hex

    def use(sync: sa.Connection) -> None:
        for verb in ("commit", "rollback"):
            transaction = sync.begin_twophase(f"{verb} {ending}")
            sync.execute(sa.insert(ITEMS).values(name=verb))
            transaction.prepare()
            getattr(transaction, verb)()
        unprepared = sync.begin_twophase()
        sync.execute(sa.insert(ITEMS).values(name="unprepared"))
        unprepared.rollback()
        left = sync.begin_twophase(f"left {ending}")
        sync.execute(sa.insert(ITEMS).values(name="left"))
        left.prepare()
        sync.invalidate()  # the session is gone, what it prepared stays

    def recover(sync: sa.Connection) -> list[str]:
        found = [xid for xid in sync.recover_twophase() if xid.endswith(ending)]
        for xid in found:
            sync.commit_prepared(xid, recover=True)
        return found

    async with items.connect() as conn:
        await conn.run_sync(use)
    async with items.connect() as conn:
        assert await conn.run_sync(recover) == [f"left {ending}"]
    assert await names(items) == ["a", "b", "c", "commit", "left"]


# Types


class Color(enum.Enum):
    red = 1
    blue = 2


class Name(str, enum.Enum):
    ADA = "ada"


class Size(enum.IntEnum):
    big = 3


AWARE = dt.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=dt.timezone.utc)
KEY = uuid.UUID(int=2**127 + 5)
MOOD = sa.Enum(Color, name="color")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (sa.SmallInteger, -(2**15)),
        (sa.Integer, 2**31 - 1),
        (sa.BigInteger, -(2**63)),
        (sa.Float, 1.5),
        (sa.Double, 1e300),
        (pg.REAL, 0.25),
        (sa.Float(asdecimal=True), Decimal("1.5")),
        (sa.Numeric(12, 4), Decimal("12.3400")),
        (sa.Numeric(asdecimal=False), 12.5),
        (sa.Boolean, True),
        (sa.String(10), "käse"),
        (sa.Text, "a\nb"),
        (sa.CHAR(3), "abc"),
        (sa.Date, dt.date(2024, 2, 29)),
        (sa.Time, dt.time(23, 59, 59, 999999)),
        (sa.DateTime, AWARE.replace(tzinfo=None)),
        (sa.DateTime(timezone=True), AWARE),
        (pg.TIMESTAMP(timezone=True, precision=6), AWARE),
        (sa.Interval, dt.timedelta(days=-1, microseconds=5)),
        (pg.INTERVAL, dt.timedelta(hours=25)),
        (sa.LargeBinary, b"\0\xff'"),
        (sa.Uuid, KEY),
        (sa.Uuid(as_uuid=False), str(KEY)),
        (pg.UUID, KEY),
        (MOOD, Color.blue),
        (sa.Enum(Color, native_enum=False), Color.red),
        (sa.JSON, {"a": [1, None, "ü"]}),
        (pg.JSONB, [1.5, {"b": True}]),
        (pg.JSONB, "a string"),
        (pg.INET, ip_address("10.0.0.1")),
        (pg.MACADDR, "08:00:2b:01:02:03"),
        (pg.OID, 2**32 - 1),
        (pg.ARRAY(sa.Integer), [1, None, 3]),
        (pg.ARRAY(sa.Integer), []),
        (pg.ARRAY(sa.Integer, dimensions=2), [[1, 2], [3, 4]]),
        (pg.ARRAY(sa.Integer, as_tuple=True), (1, 2)),
        (pg.ARRAY(sa.Text), ["a,b", 'q"', "\\", "", "NULL", None]),
        (pg.ARRAY(sa.Numeric), [Decimal("1.10"), None]),
        (pg.ARRAY(sa.Numeric(asdecimal=False)), [1.5, 2.0]),
        (pg.ARRAY(sa.Uuid), [KEY]),
        (pg.ARRAY(sa.Interval), [dt.timedelta(1)]),
        (pg.ARRAY(sa.LargeBinary), [b"\0", b""]),
        (pg.ARRAY(MOOD), [Color.red, None, Color.blue]),
        (pg.ARRAY(MOOD, as_tuple=True), (Color.red,)),
        (pg.ARRAY(MOOD), []),
        (pg.ARRAY(pg.INET), [ip_address("10.0.0.1"), ip_address("::1")]),
        (pg.ARRAY(pg.JSONB), [{"a": 1}, "x", 2]),
        (pg.ARRAY(pg.JSONB), Array([{"a": 1}, [2]], (1,))),
        (sa.ARRAY(sa.Boolean), [True, False]),
    ],
    ids=repr,
)
async def test_types(engine: AsyncEngine, kind: Any, value: Any) -> None:
    """Inserted, returned, selected, compared; NULL as well; many at once."""
    table = sa.Table(
        "typed",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("v", kind),
    )
    column = table.c.v
    is_json = isinstance(column.type, sa.JSON)
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        returned = await conn.scalar(
            sa.insert(table).values(id=1, v=value).returning(column)
        )
        assert (returned, type(returned)) == (value, type(value))
        rows = [{"id": 2, "v": value}, {"id": 3, "v": None}]
        many = sa.insert(table).returning(column, sort_by_parameter_order=True)
        if is_json:
            rows[1]["v"] = sa.null()  # None is JSON's null
            for row in rows:
                await conn.execute(sa.insert(table).values(row))
        else:
            assert (await conn.scalars(many, rows)).all() == [value, None]
        found = await conn.scalars(sa.select(column).order_by(table.c.id))
        assert found.all() == [value, value, None]
        if not is_json:  # SQLAlchemy takes a str for SQL's, and json has no =
            same = column == sa.literal(value, column.type)
            equal = sa.select(sa.func.count()).where(same)
            assert await conn.scalar(equal) == 2


async def test_subclasses_of_str(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        echoed = sa.select(sa.cast(sa.bindparam("v"), sa.String))
        for value in (sa.sql.quoted_name("q", True), Name.ADA):
            assert await conn.scalar(echoed, {"v": value}) == str.__str__(value)


LENIENT: list[tuple[Any, Any, Any]] = [
    (sa.Integer, Size.big, 3),
    (sa.Integer, True, 1),
    (sa.Integer, numpy.int64(3), 3),
    (sa.Integer, Decimal("3.0"), 3),
    (sa.Integer, 5.0, 5),
    (sa.Integer, "5", 5),
    (sa.Numeric, 1, Decimal(1)),
    (sa.Numeric, 1.1, Decimal("1.1")),
    (sa.Numeric, numpy.float64(1.5), Decimal("1.5")),
    (sa.Float, Decimal("1.5"), 1.5),
    (sa.Float, numpy.float32(1.5), 1.5),
    (sa.Boolean, numpy.bool_(True), True),
    (sa.Boolean, 1, True),
    (sa.String, 5, "5"),
    (sa.String, numpy.str_("x"), "x"),
    (sa.LargeBinary, bytearray(b"x"), b"x"),
    (sa.LargeBinary, memoryview(b"x"), b"x"),
    (sa.Uuid, str(KEY), KEY),
    (sa.Date, "2024-02-29", dt.date(2024, 2, 29)),
    (sa.DateTime, dt.date(2024, 2, 29), dt.datetime(2024, 2, 29)),
    (sa.DateTime, numpy.datetime64("2024-02-29T10:00"), dt.datetime(2024, 2, 29, 10)),
    (sa.Interval, "1 day", dt.timedelta(1)),
    (pg.ARRAY(sa.Integer), numpy.array([1, 2]), [1, 2]),
    (pg.ARRAY(sa.BigInteger), (1, Size.big), [1, 3]),
    (pg.ARRAY(sa.Text), {"a"}, ["a"]),
]
REFUSED: list[tuple[Any, Any, str]] = [
    (sa.Integer, 5.5, "not an integer"),
    (sa.SmallInteger, 2**15, "int2"),
    (sa.String, b"x", "give a str"),
    (sa.Interval, 5, "give a datetime.timedelta"),
    (sa.DateTime, AWARE, "its zone would be lost"),
    (sa.Time, AWARE.timetz(), "its zone would be lost"),
]


@pytest.mark.parametrize(("kind", "value", "wanted"), LENIENT, ids=repr)
async def test_lenient_values(
    engine: AsyncEngine, kind: Any, value: Any, wanted: Any
) -> None:
    """What loses nothing is taken, by itself and by executemany."""
    table = sa.Table("given", sa.MetaData(), sa.Column("v", kind))
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        found = await conn.scalar(sa.select(sa.literal(value, kind)))
        assert (found, type(found)) == (wanted, type(wanted))
        await conn.execute(sa.insert(table), [{"v": value}, {"v": None}])
        assert (await conn.scalars(sa.select(table.c.v))).all() == [wanted, None]


@pytest.mark.parametrize(("kind", "value", "message"), REFUSED, ids=repr)
async def test_refused_values(
    engine: AsyncEngine, kind: Any, value: Any, message: str
) -> None:
    """Before anything is sent: the transaction goes on."""
    async with engine.connect() as conn:
        await conn.execute(sa.text("create table before (n int)"))
        with pytest.raises(exc.DataError, match=message):
            await conn.execute(sa.select(sa.literal(value, kind)))
        assert await conn.scalar(sa.text("select count(*) from before")) == 0


async def test_number_conversions(engine: AsyncEngine) -> None:
    """What the statement says wins over what the server sends."""
    async with engine.connect() as conn:
        for sql, kind, wanted in (
            ("1.5::float8", sa.Numeric, Decimal("1.5")),
            ("1.5::numeric", sa.Float, 1.5),
            ("2::int", sa.Float, 2.0),
            ("2::bigint", sa.Numeric, 2),
            ("null::numeric", sa.Float, None),
        ):
            statement = sa.text(f"select {sql} as x").columns(x=kind)
            found = await conn.scalar(statement)
            assert (found, type(found)) == (wanted, type(wanted))
        with pytest.raises(exc.InvalidRequestError, match="OID 25"):
            (
                await conn.execute(
                    sa.text("select 'x'::text as x").columns(x=sa.Numeric)
                )
            ).all()


async def test_a_datetime_stands_for_its_date(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        date = sa.select(sa.cast(sa.literal(AWARE, sa.Date), sa.Date))
        assert await conn.scalar(date) == AWARE.date()


async def test_a_datetime_stands_for_its_time(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        time = sa.select(sa.literal(AWARE, sa.Time))
        assert await conn.scalar(time) == AWARE.time()
        time = sa.select(sa.literal(AWARE, pg.TIME(timezone=True)))
        assert await conn.scalar(time) == AWARE.timetz()


async def test_json_null(engine: AsyncEngine) -> None:
    table = sa.Table(
        "docs",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.JSON),
        sa.Column("b", pg.JSONB(none_as_null=True)),
    )
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        await conn.execute(sa.insert(table), [{"a": None, "b": None}])
        await conn.execute(sa.insert(table), [{"a": sa.null(), "b": sa.JSON.NULL}])
        texts = sa.select(sa.cast(table.c.a, sa.Text), sa.cast(table.c.b, sa.Text))
        assert (await conn.execute(texts.order_by(table.c.id))).all() == [
            ("null", None),
            (None, "null"),
        ]
        assert (await conn.execute(sa.select(table.c.a, table.c.b))).all() == [
            (None, None),
            (None, None),
        ]


async def test_json_paths(engine: AsyncEngine) -> None:
    table = sa.Table("paths", sa.MetaData(), sa.Column("d", pg.JSONB))
    d = table.c.d
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        await conn.execute(sa.insert(table), [{"d": {"a": [10, {"b": "x"}], "n": 2}}])
        for expression, wanted in (
            (d["a"][0].as_integer(), 10),
            (d["a", 1, "b"].as_string(), "x"),
            (d["n"].as_float(), 2.0),
            (d["a"], [10, {"b": "x"}]),
            (d["nothing"], None),
            (d.contains({"n": 2}), True),
            (d.has_key("a"), True),
            (d.op("#>")(sa.cast(["a", "1"], pg.ARRAY(sa.Text))), {"b": "x"}),
        ):
            assert await conn.scalar(sa.select(expression)) == wanted


async def test_json_serializers(make_engine: Callable[..., AsyncEngine]) -> None:
    """The deserializer is called by the driver, once for a value."""
    seen: list[str] = []

    def loads(text: str) -> Any:
        seen.append(text)
        return {"loaded": json.loads(text)}

    engine = make_engine(
        json_serializer=lambda value: json.dumps({"dumped": value}),
        json_deserializer=loads,
    )
    async with engine.connect() as conn:
        for kind in (pg.JSONB, sa.JSON):
            found = await conn.scalar(sa.select(sa.cast([1], kind)))
            assert found == {"loaded": {"dumped": [1]}}
    assert seen == ['{"dumped": [1]}'] * 2


async def test_a_json_serializer_of_bytes(make_engine: Callable[..., Any]) -> None:
    """orjson.dumps, as it is."""
    engine = make_engine(json_serializer=lambda value: json.dumps(value).encode())
    async with engine.connect() as conn:
        for kind in (pg.JSONB, sa.JSON, pg.ARRAY(pg.JSONB, dimensions=1)):
            echoed = sa.select(sa.cast([{"a": 1}, None], kind))
            assert await conn.scalar(echoed) == [{"a": 1}, None]


# Errors


@pytest.mark.parametrize(
    ("sql", "wrapper", "original"),
    [
        ("select 1/0", exc.DataError, errors.DivisionByZero),
        ("selec", exc.ProgrammingError, errors.SyntaxError),
        ("select * from nowhere", exc.ProgrammingError, errors.UndefinedTable),
        (
            "insert into items (name) values ('a')",
            exc.IntegrityError,
            errors.UniqueViolation,
        ),
        (
            "create database postgres template nowhere",
            exc.InternalError,
            errors.ActiveSqlTransaction,
        ),
        (
            "set local statement_timeout = '1ms'; select pg_sleep(5)",
            exc.OperationalError,
            errors.QueryCanceled,
        ),
        (
            "select lo_import('/nowhere/at/all')",
            exc.OperationalError,
            errors.UndefinedFile,
        ),
    ],
)
async def test_error_classes(
    items: AsyncEngine, sql: str, wrapper: type[Exception], original: type[Exception]
) -> None:
    async with items.connect() as conn:
        with pytest.raises(wrapper) as caught:
            await conn.exec_driver_sql(sql)
        error: Any = caught.value
        assert type(error) is wrapper
        assert type(error.orig) is original
        assert error.orig.pgcode == error.orig.sqlstate
        assert len(error.orig.pgcode) == 5
        assert not error.connection_invalidated
        await conn.rollback()
        assert await conn.scalar(sa.text("select 1")) == 1


async def test_a_value_that_does_not_fit(items: AsyncEngine) -> None:
    """Nothing was sent: neither the connection nor the transaction suffers."""
    async with items.connect() as conn:
        await conn.execute(sa.insert(ITEMS).values(name="d"))
        with pytest.raises(exc.DataError, match=r"\$1.*int4"):
            await conn.exec_driver_sql("select $1::int4", (2**40,))
        assert await conn.scalar(sa.select(sa.func.count()).select_from(ITEMS)) == 4


async def test_the_cause_of_an_error(items: AsyncEngine) -> None:
    """Where asyncpg's dialect has the driver's error."""
    async with items.connect() as conn:
        with pytest.raises(exc.ProgrammingError) as caught:
            await conn.exec_driver_sql("select nothing")
        orig: Any = caught.value.orig
        assert orig.__cause__ is not orig
        assert type(orig.__cause__) is type(orig)
        assert vars(orig.__cause__) == vars(orig)
        assert orig.__cause__.__cause__ is None


async def test_errors_pickle(items: AsyncEngine) -> None:
    async with items.connect() as conn:
        with pytest.raises(exc.IntegrityError) as caught:
            await conn.execute(sa.insert(ITEMS).values(name="a"))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy.orig, errors.UniqueViolation)
    assert copy.orig.constraint_name == "items_name_key"


def test_the_dbapi() -> None:
    from pgasync.sqlalchemy.dialect import PGDialect_pgasync

    dbapi = PGDialect_pgasync.import_dbapi()
    assert dbapi.Error is pgasync.Error
    assert dbapi.paramstyle == pgasync.paramstyle == "numeric_dollar"
    for name in ("STRING", "BINARY", "NUMBER", "DATETIME", "ROWID", "Binary"):
        assert getattr(dbapi, name) == getattr(pgasync, name)
