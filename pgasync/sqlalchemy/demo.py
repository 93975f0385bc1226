"""The demo, and an example: the IANA time zone tables in an async SQLAlchemy ORM.

The package `tzdata` ships the tables: iso3166.tab (countries) and zone1970.tab
(zones, each with the countries that use it). They are loaded, looked up by many
tasks at once, streamed, and updated in a transaction that rolls back. What the driver
does beneath, with more rows: pgasync/demo.py.
"""

import asyncio
import math
import platform
import random
import re
import time

import sqlalchemy
from sqlalchemy import ForeignKey, MetaData, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    mapped_column,
    relationship,
    selectinload,
)

from pgasync import demo as bulk
from pgasync.demo import Progress, degrees, rows_of

SCHEMA = "pgasync_demo"
EARTH_RADIUS_KM = 6371
POOL_SIZE = 20

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    metadata = MetaData(schema=SCHEMA)


class CountryZone(Base):
    """A country uses a zone; position 1 is the most populous of a zone's countries."""

    __tablename__ = "country_zone"

    country_code: Mapped[str] = mapped_column(
        ForeignKey(f"{SCHEMA}.country.code"), primary_key=True
    )
    zone_id: Mapped[int] = mapped_column(
        ForeignKey(f"{SCHEMA}.zone.id"), primary_key=True
    )
    position: Mapped[int]

    country: Mapped["Country"] = relationship()


class Country(Base):
    __tablename__ = "country"

    code: Mapped[str] = mapped_column(primary_key=True)  # ISO 3166-1
    name: Mapped[str]


class Zone(Base):
    __tablename__ = "zone"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    latitude: Mapped[float]  # degrees, north is positive
    longitude: Mapped[float]  # degrees, east is positive
    comments: Mapped[str | None]

    links: Mapped[list[CountryZone]] = relationship(order_by=CountryZone.position)


# The tables


def read_tables() -> tuple[list[Country], list[Zone]]:
    countries = [Country(code=code, name=name) for code, name in rows_of("iso3166.tab")]
    by_code = {country.code: country for country in countries}
    zones = []
    for codes, place, name, *comments in rows_of("zone1970.tab"):
        latitude, longitude = re.findall(r"[+-]\d+", place)
        links = [
            CountryZone(country=by_code[code], position=position)
            for position, code in enumerate(codes.split(","), 1)
        ]
        zone = Zone(name=name, links=links, comments=comments[0] if comments else None)
        zone.latitude, zone.longitude = degrees(latitude), degrees(longitude)
        zones.append(zone)
    return countries, zones


# The steps


async def load(engine: AsyncEngine, sessions: Sessions) -> list[str]:
    """Creates the tables and fills them in one transaction; the zones' names."""
    progress = Progress("load")
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        await connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        await connection.run_sync(Base.metadata.create_all)
    countries, zones = read_tables()
    links = sum(len(zone.links) for zone in zones)
    names = [zone.name for zone in zones]
    async with sessions.begin() as session:
        session.add_all([*countries, *zones])
    rows = len(countries) + len(zones) + links
    progress.done(
        f"{len(countries)} countries, {len(zones)} zones, {links} links between them:"
        f" {rows / progress.seconds:,.0f} rows/s"
    )
    return names


async def lookup(sessions: Sessions, name: str) -> Zone:
    """A zone with its countries: two selects in a transaction of their own."""
    statement = (
        select(Zone)
        .where(Zone.name == name)
        .options(selectinload(Zone.links).joinedload(CountryZone.country))
    )
    async with sessions() as session:
        return (await session.scalars(statement)).one()


async def query(
    sessions: Sessions, names: list[str], tasks: int, seconds: float
) -> None:
    """Many tasks look zones up at the same time."""
    progress = Progress("query")
    lookups = countries = 0

    async def worker(seed: int) -> None:
        nonlocal lookups, countries
        pick = random.Random(seed)
        while progress.seconds < seconds:
            name = pick.choice(names)
            zone = await lookup(sessions, name)
            if zone.name != name:
                raise RuntimeError(f"asked for {name}, got {zone.name}")
            lookups += 1
            countries += len(zone.links)
            progress.update(
                f"{lookups:,} lookups, {max(0.0, seconds - progress.seconds):.1f} s"
            )

    await asyncio.gather(*(worker(seed) for seed in range(tasks)))
    progress.done(
        f"{lookups:,} zones with {countries:,} countries by {tasks} tasks:"
        f" {lookups / progress.seconds:,.0f} lookups/s,"
        f" {2 * lookups / progress.seconds:,.0f} selects/s"
    )


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Along the great circle; each point is (latitude, longitude) in degrees."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, point)) for point in (a, b))
    chord = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


async def stream(engine: AsyncEngine) -> None:
    """Every pair of zones, as the server makes them, never all in memory."""
    progress = Progress("stream")
    one, other = aliased(Zone), aliased(Zone)
    pairs = select(
        one.name,
        one.latitude,
        one.longitude,
        other.name,
        other.latitude,
        other.longitude,
    ).where(one.id < other.id)
    count, best = 0, (0.0, "", "")
    async with engine.connect() as connection:
        rows = await connection.stream(pairs.execution_options(yield_per=1000))
        async for name, lat, lon, other_name, other_lat, other_lon in rows:
            count += 1
            km = distance_km((lat, lon), (other_lat, other_lon))
            best = max(best, (km, name, other_name))
            progress.update(f"{count:,} rows")
    progress.done(
        f"{count:,} pairs of zones: {count / progress.seconds:,.0f} rows/s;"
        f" farthest apart: {best[1]} and {best[2]}, {best[0]:,.0f} km"
    )


class ChangedMyMindError(Exception):
    """Ends a transaction without committing it."""


async def roll_back(sessions: Sessions) -> None:
    """An update of every zone that leaves no trace."""
    progress = Progress("roll back")
    fingerprint = select(func.md5(func.string_agg(Zone.name, text("',' ORDER BY id"))))
    async with sessions() as session:
        before = await session.scalar(fingerprint)
    try:
        async with sessions.begin() as session:
            result = await session.execute(
                update(Zone)
                .values(name="Moon/" + Zone.name)
                .returning(Zone.id)
                .execution_options(synchronize_session=False)
            )
            renamed = len(result.all())
            inside = await session.scalar(fingerprint)
            raise ChangedMyMindError
    except ChangedMyMindError:
        pass
    async with sessions() as session:
        after = await session.scalar(fingerprint)
    if inside == before or after != before:
        raise RuntimeError("the update was not seen inside, or was not rolled back")
    progress.done(f"{renamed} zones renamed in a transaction, none of them after it")


async def run(dsn: str, *, rows: int, tasks: int, seconds: float) -> None:
    """The whole demo on the server of a postgresql:// URI."""
    url = sqlalchemy.make_url(dsn).set(drivername="postgresql+pgasync")
    engine = create_async_engine(url, pool_size=POOL_SIZE, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    try:
        async with engine.connect() as connection:
            version = await connection.scalar(text("SHOW server_version"))
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        print(
            f"PostgreSQL {version}, SQLAlchemy {sqlalchemy.__version__},"
            f" Python {platform.python_version()} on {loop}"
        )
        start = time.perf_counter()
        try:
            names = await load(engine, sessions)
            await query(sessions, names, tasks, seconds)
            await stream(engine)
            await roll_back(sessions)
            await bulk.run(dsn, SCHEMA, rows=rows, tasks=tasks, seconds=seconds)
        finally:
            async with engine.begin() as connection:
                await connection.execute(
                    text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
                )
        print(f"Done in {time.perf_counter() - start:.1f} s")
    except DBAPIError as error:
        raise SystemExit(f"The server or the driver failed: {error.orig}") from error
    finally:
        await engine.dispose()
