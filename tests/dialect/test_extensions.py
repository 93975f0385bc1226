"""Types of extensions: SQLAlchemy's own HSTORE, and pgvector's SQLAlchemy package."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import sqlalchemy as sa
from pgvector import SparseVector as PackageSparseVector
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR, avg
from pgvector.sqlalchemy import sum as total
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from codec.checks import with_extension
from pgasync.types import HalfVector, SparseVector, Vector


def numbers(vector: Any) -> list[float]:
    """A list is what newer versions of the package give for a vector, an array or an
    object of its own what older ones do."""
    listed: Any = getattr(vector, "to_list", None) or getattr(vector, "tolist", None)
    return list(listed() if listed else vector)


@pytest.fixture
async def extended(conn: Any, url: str) -> Any:
    for name in ("hstore", "vector"):
        await with_extension(conn, name)
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


async def test_hstore(extended: AsyncEngine) -> None:
    table = sa.Table(
        "settings",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("one", pg.HSTORE),
        sa.Column("many", pg.ARRAY(pg.HSTORE)),
        prefixes=["TEMPORARY"],
    )
    row = {"id": 1, "one": {"a": "1", "b": None}, "many": [{"c": "2"}, {}, None]}
    async with extended.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        await conn.execute(sa.insert(table), row)
        found = (await conn.execute(sa.select(table))).one()
        assert found._asdict() == row
        value = await conn.scalar(sa.select(table.c.one["a"]))
        assert value == "1"
        where = table.c.one.contains({"a": "1"})
        assert await conn.scalar(sa.select(table.c.id).where(where)) == 1


async def test_pgvector_package(extended: AsyncEngine) -> None:
    table = sa.Table(
        "embeddings",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("full", VECTOR(3)),
        sa.Column("half", HALFVEC(3)),
        sa.Column("sparse", SPARSEVEC(5)),
        prefixes=["TEMPORARY"],
    )
    sparse = PackageSparseVector({0: 1.5, 3: -2.0}, 5)
    row = {"id": 1, "full": [1.0, 2.5, 0.5], "half": [1.0, 2.5, 3.0], "sparse": sparse}
    other = {"id": 2, "full": [9, 9, 9], "half": None}
    async with extended.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        await conn.execute(sa.insert(table), [row, {**row, **other}])
        found = (await conn.execute(sa.select(table).where(table.c.id == 1))).one()
        assert (found.id, numbers(found.full)) == (1, row["full"])
        assert numbers(found.half) == row["half"]
        assert found.sparse == sparse
        nearest = table.c.full.l2_distance([9, 9, 8])
        assert await conn.scalar(sa.select(table.c.id).order_by(nearest).limit(1)) == 2
        assert await conn.scalar(sa.select(table.c.half).where(table.c.id == 2)) is None


async def test_distances(extended: AsyncEngine) -> None:
    """Every operator of pgvector's types, with lists, arrays and their own objects."""
    table = sa.Table(
        "distances",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("full", VECTOR(3)),
        sa.Column("half", HALFVEC(3)),
        sa.Column("sparse", SPARSEVEC(3)),
        sa.Column("bits", BIT(3)),
        sa.Column("many", pg.ARRAY(VECTOR(3), dimensions=1)),
        prefixes=["TEMPORARY"],
    )
    one, two = numpy.array([1, 2, 3]), [4, 5, 6]
    sparse = [PackageSparseVector({0: 1.0}, 3), PackageSparseVector([1, 0, 2])]
    rows = [
        {"full": one, "half": two, "sparse": sparse[0], "bits": "101", "many": [one]},
        {"full": two, "half": one, "sparse": sparse[1], "bits": "000", "many": []},
    ]
    wanted = {
        "l2_distance": ([27**0.5, 0], [0, 27**0.5], [0, 2]),
        "max_inner_product": ([-32, -77], [-77, -32], [-1, -1]),
        "cosine_distance": ([0.0254, 0], [0, 0.0254], [0, 0.5528]),
        "l1_distance": ([9, 0], [0, 9], [0, 2]),
    }
    insert = sa.insert(table).returning(table, sort_by_parameter_order=True)
    async with extended.begin() as conn:
        await conn.run_sync(table.metadata.create_all)
        first, second = (await conn.execute(insert, rows)).all()
        assert numbers(first.full) == numbers(second.half) == [1, 2, 3]
        assert ([first.sparse, second.sparse], first.bits) == (sparse, "101")
        assert [numbers(vector) for vector in first.many] == [[1, 2, 3]]
        for name, expected in wanted.items():
            for column, given, distances in zip(
                ("full", "half", "sparse"), (two, two, sparse[0]), expected, strict=True
            ):
                distance = getattr(table.c[column], name)(given)
                found = await conn.scalars(sa.select(distance).order_by(table.c.id))
                assert found.all() == pytest.approx(distances, abs=1e-4)
        for name, distances in (("hamming", [1, 1]), ("jaccard", [0.5, 1])):
            distance = getattr(table.c.bits, f"{name}_distance")("100")
            found = await conn.scalars(sa.select(distance).order_by(table.c.id))
            assert found.all() == distances
        means = sa.select(avg(table.c.full), total(table.c.half))
        mean, summed = (await conn.execute(means)).one()
        assert (numbers(mean), numbers(summed)) == ([2.5, 3.5, 4.5], [5, 7, 9])


async def test_values_of_the_driver(extended: AsyncEngine) -> None:
    sql = sa.text("select '[1,2]'::vector, '[1,2]'::halfvec, '{1:2}/3'::sparsevec")
    async with extended.connect() as conn:
        row = (await conn.execute(sql)).one()
        assert tuple(row) == (
            Vector([1, 2]),
            HalfVector([1, 2]),
            SparseVector(3, [0], [2.0]),
        )
