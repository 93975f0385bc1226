"""The types of SQLAlchemy's PostgreSQL dialect, and those of a database's own."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.ext.asyncio import AsyncEngine

import pgasync
from codec.checks import with_extension
from dialect.flights import FlightCounter
from pgasync.types import Interval

BitString: Any = getattr(pg, "BitString", str)  # of 2.1
# Of 2.0.40 or so: what is compared with an address is one, and needs no cast.
COMPARES_TEXT = isinstance((sa.column("v", pg.INET) == "::1").right.type, pg.INET)
Range = pg.Range
UTC = dt.timezone.utc
NOONS = [dt.datetime(2024, 2, day, 12) for day in (1, 3, 29)]
SIZE = pg.ENUM("small", "large", name="size")
PRICE = pg.DOMAIN("price", sa.Numeric(10, 2), check="value > 0")
LABEL = pg.DOMAIN("label", pg.CITEXT)


class Level(enum.Enum):
    low = 1
    high = 2


LEVEL = sa.Enum(Level, name="level")
LEVELS = pg.DOMAIN("levels", pg.ARRAY(sa.Integer))


def ranges_of(kind: Any, multi: Any, *bounds: Any) -> list[tuple[Any, Any, Any]]:
    """Cases of a range type and its multirange type."""
    low, middle, high = bounds
    closed, opened = Range(low, middle), Range(high, None)
    several = MultiRange([closed, opened])
    return [
        (kind, closed, Range(None, high)),
        (kind, Range(empty=True), opened),
        (multi, several, MultiRange([opened])),
        (multi, MultiRange(), several),
        (pg.ARRAY(kind), [closed, None], []),
        (pg.ARRAY(multi), [several, MultiRange(), None], [several]),
    ]


CASES: list[tuple[Any, Any, Any]] = [
    (SIZE, "small", "large"),
    (pg.ARRAY(SIZE), ["small", None, "large"], []),
    (pg.ARRAY(SIZE, dimensions=2), [["small"], ["large"]], [["large"]]),
    (LEVEL, Level.low, Level.high),
    (pg.ARRAY(LEVEL), [Level.high, None], [Level.low]),
    (pg.ARRAY(LEVEL, as_tuple=True), (Level.high,), (Level.low, None)),
    (PRICE, Decimal("1.50"), Decimal("2.00")),
    (pg.ARRAY(PRICE), [Decimal("1.50"), None], []),
    (LABEL, "Ä", "b"),
    (LEVELS, [1, 2], [None]),
    *ranges_of(pg.INT4RANGE, pg.INT4MULTIRANGE, 1, 5, 9),
    *ranges_of(pg.INT8RANGE, pg.INT8MULTIRANGE, 1, 2**40, 2**41),
    *ranges_of(pg.NUMRANGE, pg.NUMMULTIRANGE, *map(Decimal, ("1.5", "2.0", "3"))),
    *ranges_of(pg.DATERANGE, pg.DATEMULTIRANGE, *(noon.date() for noon in NOONS)),
    *ranges_of(pg.TSRANGE, pg.TSMULTIRANGE, *NOONS),
    *ranges_of(
        pg.TSTZRANGE, pg.TSTZMULTIRANGE, *(noon.replace(tzinfo=UTC) for noon in NOONS)
    ),
    (pg.NUMRANGE, Range(1, Decimal("2.5"), bounds="(]"), Range(bounds="()")),
    (pg.HSTORE, {"a": "1", "b": None, 'q"\\': "ü"}, {}),
    (pg.ARRAY(pg.HSTORE), [{"a": "1"}, None, {}], []),
    (pg.CITEXT, "Käse", ""),
    (pg.ARRAY(pg.CITEXT), ["A", None, "NULL"], []),
    (pg.MACADDR, "08:00:2b:01:02:03", "00:00:00:00:00:00"),
    (pg.MACADDR8, "08:00:2b:01:02:03:04:05", "00:00:00:00:00:00:00:01"),
    (pg.MONEY, "$1,234.50", "-$0.01"),
    (pg.ARRAY(pg.MONEY), ["$1.00", None], ["$2.00"]),
    (pg.BIT(5), BitString("10110"), BitString("00000")),
    (pg.BIT(varying=True), BitString("1"), BitString("")),
    (pg.ARRAY(pg.BIT(3)), [BitString("101"), None], [BitString("000")]),
    (pg.TSVECTOR, "'a':1 'b'", ""),
    (pg.TSQUERY, "'a' & 'b'", "'c'"),
    (pg.JSONPATH, '$."a"[*]', "$"),
    (pg.INTERVAL, Interval(months=1, days=2, microseconds=3), dt.timedelta(5)),
    (sa.Interval, dt.timedelta(1, 2, 3), dt.timedelta()),
    (pg.ARRAY(pg.INTERVAL), [Interval(months=-1), dt.timedelta(1)], []),
    (pg.TIME(timezone=True), dt.time(1, 2, tzinfo=UTC), dt.time(tzinfo=UTC)),
    (pg.ARRAY(sa.Time(timezone=True)), [dt.time(1, 2, tzinfo=UTC)], []),
    (pg.ARRAY(pg.MACADDR), ["08:00:2b:01:02:03"], []),
    (pg.REGCLASS, "pg_class", "pg_type"),
    (pg.ARRAY(pg.JSONB), [{"a": 1}, "x", None], []),
]  # fmt: skip


def assert_same(got: Any, wanted: Any) -> None:
    """Equal, and of the same class, elements too."""
    assert (got, type(got)) == (wanted, type(wanted))
    if isinstance(wanted, (list, tuple)):
        assert list(map(type, got)) == list(map(type, wanted))


def table_of(kind: Any) -> sa.Table:
    return sa.Table(
        "typed",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("v", kind),
    )


@pytest.fixture
async def settings(conn: Any, schema: str) -> dict[str, Any]:
    """Keywords of an engine whose search path has the extensions, too."""
    for name in ("hstore", "citext"):
        await with_extension(conn, name)
    search_path = {"search_path": f"{schema}, public"}
    return {"connect_args": {"server_settings": search_path}}


# SQLAlchemy 2.1 has not made up its mind about the operators of money and domains.
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
@pytest.mark.parametrize(("kind", "one", "other"), CASES, ids=repr)
async def test_types(
    make_engine: Callable[..., AsyncEngine],
    settings: dict[str, Any],
    kind: Any,
    one: Any,
    other: Any,
) -> None:
    """Inserted, returned, selected, compared, updated; NULL as well; many at once."""
    engine = make_engine(**settings)
    table = table_of(kind)
    column = table.c.v
    insert, ordered = sa.insert(table), sa.select(column).order_by(table.c.id)
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        first = insert.values(id=1, v=one).returning(column)
        assert_same(await conn.scalar(first), one)
        rows = [{"id": 2, "v": other}, {"id": 3, "v": None}]
        many = insert.returning(column, sort_by_parameter_order=True)
        returned = (await conn.scalars(many, rows)).all()
        assert_same(returned[0], other)
        assert returned[1] is None
        await conn.execute(insert, [{"id": 4, "v": one}, {"id": 5, "v": other}])
        found = (await conn.scalars(ordered)).all()
        assert found == [one, other, None, one, other]
        assert_same(found[3], one)
        update = sa.update(table).where(table.c.id == 3).values(v=one)
        assert_same(await conn.scalar(update.returning(column)), one)
        if kind is not pg.JSONPATH:  # which has no =
            where = column == sa.literal(one, column.type)
            same = sa.select(table.c.id).where(where).order_by(table.c.id)
            assert (await conn.scalars(same)).all() == [1, 3, 4]
        await conn.run_sync(table.metadata.drop_all)


@pytest.mark.skipif(not COMPARES_TEXT, reason="older ones reflect no domain")
async def test_reflected_types(
    make_engine: Callable[..., AsyncEngine], settings: dict[str, Any]
) -> None:
    """What reflection makes of them takes and gives the same values."""
    kinds = [SIZE, pg.ARRAY(SIZE), PRICE, pg.INT4RANGE, pg.HSTORE, pg.CITEXT, pg.INET]
    values = ["large", ["small"], Decimal("1.00"), Range(1, 2), {"a": "b"}, "X"]
    named = {f"v{n}": value for n, value in enumerate(values)}
    metadata = sa.MetaData()
    columns = [sa.Column(f"v{n}", kind) for n, kind in enumerate(kinds)]
    sa.Table("typed", metadata, *columns)
    engine = make_engine(**settings)
    async with engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
        reflected = sa.MetaData()
        await conn.run_sync(reflected.reflect, only=["typed"])
        table = reflected.tables["typed"]
        assert [type(c.type) for c in table.c] == [
            type(k) if isinstance(k, sa.types.TypeEngine) else k for k in kinds
        ]
        await conn.execute(sa.insert(table).values(named))
        assert (await conn.execute(sa.select(table))).one() == (*values, None)


@pytest.mark.parametrize("native", [True, None, False])
async def test_network_addresses(
    make_engine: Callable[..., AsyncEngine], native: bool | None
) -> None:
    """Objects of ipaddress, or text; what came goes back, and so does the other."""
    engine = make_engine(native_inet_types=native)
    table = sa.Table(
        "hosts",
        sa.MetaData(),
        sa.Column("host", pg.INET),
        sa.Column("net", pg.CIDR),
        sa.Column("many", pg.ARRAY(pg.INET)),
    )
    host, net = ip_address("10.0.0.1"), ip_network("10.0.0.0/8")
    objects = {"host": host, "net": net, "many": [host, None]}
    text = {"host": str(host), "net": str(net), "many": [str(host), None]}
    wanted = tuple((text if native is False else objects).values())
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        for row in (text, objects):
            await conn.execute(sa.insert(table), row)
            where = [table.c[name] == row[name] for name in ("host", "net")]
            if not COMPARES_TEXT:
                where = []
            found = (await conn.execute(sa.select(table).where(*where))).all()
            assert {tuple(map(repr, one)) for one in found} == {
                tuple(map(repr, wanted))
            }
            assert await conn.scalar(
                sa.select(sa.func.count()).where(table.c.many == row["many"])
            ) == len(found)


DOMAINS: list[tuple[Any, list[Any]]] = [
    (sa.Uuid, [uuid.UUID(int=1), uuid.UUID(int=2)]),
    (sa.LargeBinary, [b"\xff", b""]),
    (sa.DateTime(timezone=True), [noon.replace(tzinfo=UTC) for noon in NOONS]),
    (sa.Interval, [dt.timedelta(1), dt.timedelta(2)]),
    (sa.Boolean, [True, False]),
    (sa.Float, [1.5, 2.5]),
    (pg.ARRAY(sa.Integer), [[1], []]),
    (pg.INT4RANGE, [Range(1, 2), Range(3, 4)]),
    (pg.INET, [ip_address("::1"), ip_address("10.0.0.1")]),
]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
@pytest.mark.parametrize(("kind", "values"), DOMAINS, ids=repr)
@pytest.mark.parametrize("is_domain", [True, False])
async def test_values_beside_others(
    engine: AsyncEngine, kind: Any, values: list[Any], is_domain: bool
) -> None:
    """What the ORM writes for several objects: INSERT … SELECT … FROM (VALUES …), where
    a parameter without a cast is text to the server."""
    table = table_of(pg.DOMAIN("of_mine", kind) if is_domain else kind)
    insert = sa.insert(table).returning(table.c.v, sort_by_parameter_order=True)
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        rows = [{"v": value} for value in values]
        assert (await conn.scalars(insert, rows)).all() == values
        where = sa.select(table.c.v).where(table.c.v == values[0])
        assert (await conn.scalars(where)).all() == values[:1]


async def test_networks_of_addresses(engine: AsyncEngine) -> None:
    """What is compared with a cidr need not be one."""
    table = sa.Table("nets", sa.MetaData(), sa.Column("net", pg.CIDR))
    inside = table.c.net.op(">>", is_comparison=True)
    async with engine.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        nets = [{"net": ip_network("10.0.0.0/8")}, {"net": "192.168.0.0/16"}]
        await conn.execute(sa.insert(table), nets)
        for given in ("10.1.2.3/24", ip_interface("10.1.2.3/24")):
            literal = sa.literal(given, pg.CIDR)
            found = await conn.scalars(sa.select(table.c.net).where(inside(literal)))
            assert found.all() == [ip_network("10.0.0.0/8")]


async def test_ranges_of_sqlalchemy(engine: AsyncEngine) -> None:
    """Without a type's processor too; lists of ranges and text are taken as well."""
    async with engine.connect() as conn:
        found = await conn.scalar(sa.text("select '(1,5]'::numrange"))
        assert_same(found, Range(Decimal(1), Decimal(5), bounds="(]"))
        assert found.contains(Decimal(5))
        for given in ([Range(1, 5)], MultiRange([Range(1, 5)]), "{[1,5)}"):
            echoed = sa.select(sa.bindparam("v", given, pg.INT4MULTIRANGE))
            assert_same(await conn.scalar(echoed), MultiRange([Range(1, 5)]))
        inside = sa.select(
            sa.literal(Range(1, 9), pg.INT4RANGE).contains(Range(2, 3)),
            sa.literal(Range(1, 9), pg.INT4RANGE).contains(4),
            sa.literal("[1,9)", pg.INT4RANGE).overlaps(Range(8, 20)),
        )
        assert (await conn.execute(inside)).one() == (True, True, True)


async def test_text_of_an_array(engine: AsyncEngine) -> None:
    """A str that is not one is a sequence of characters."""
    async with engine.connect() as conn:
        for given, wanted in (
            ("{a,NULL}", ["a", None]),
            ("[0:1]={a,b}", ["a", "b"]),
            ("ab", ["a", "b"]),
            (("a", "b"), ["a", "b"]),
        ):
            echoed = sa.select(sa.literal(given, pg.ARRAY(sa.Text)))
            assert await conn.scalar(echoed) == wanted


async def test_vectors_of_the_catalogues(engine: AsyncEngine) -> None:
    from sqlalchemy.dialects.postgresql.pg_catalog import pg_index

    column = pg_index.c.indkey
    async with engine.connect() as conn:
        keys = (await conn.scalars(sa.select(column).limit(20))).all()
        assert all(isinstance(n, int) for key in keys for n in key)
        echoed = sa.text("select cast(:key as int2vector)")
        assert await conn.scalar(echoed, {"key": keys[0]}) == keys[0]


async def test_registered_types_win(make_engine: Callable[..., AsyncEngine]) -> None:
    """Over what the dialect makes of money."""
    registry = pgasync.TypeRegistry()
    registry.set_type_codec(
        "money",
        encoder=lambda value: f"{value:.2f}",
        decoder=lambda text: Decimal(text.lstrip("$")),
    )
    engine = make_engine(connect_args={"types": registry})
    async with engine.connect() as conn:
        echoed = sa.select(sa.cast(Decimal("1.50"), pg.MONEY))
        assert_same(await conn.scalar(echoed), Decimal("1.50"))
    assert "bit" not in registry


async def test_json_in_containers(make_engine: Callable[..., AsyncEngine]) -> None:
    """The deserializer is called for the elements of arrays."""
    engine = make_engine(json_deserializer=lambda text: ["loaded", json.loads(text)])
    async with engine.connect() as conn:
        echoed = sa.select(sa.cast([{"a": 1}, None], pg.ARRAY(pg.JSONB)))
        assert await conn.scalar(echoed) == [["loaded", {"a": 1}], ["loaded", None]]


async def test_one_lookup_for_the_process(
    make_engine: Callable[..., AsyncEngine],
    settings: dict[str, Any],
    counted_url: str,
    flights: FlightCounter,
) -> None:
    """The first statement with a type asks for it; no other does, on no connection."""
    table = sa.Table(
        "typed", sa.MetaData(), sa.Column("a", SIZE), sa.Column("b", pg.ARRAY(SIZE))
    )
    async with make_engine(**settings).begin() as conn:
        await conn.run_sync(table.metadata.create_all)
    engine = make_engine(url=counted_url, **settings)
    insert = sa.insert(table).values(a="small", b=["large"]).returning(table)
    trips = []
    async with engine.connect() as one, engine.connect() as two:
        for conn in (one, two, one, two):
            before = flights.count
            assert (await conn.execute(insert)).one() == ("small", ["large"])
            trips.append(flights.count - before)
    assert trips == [3, 2, 1, 1]
