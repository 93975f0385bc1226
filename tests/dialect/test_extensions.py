"""Types of extensions: SQLAlchemy's own HSTORE, and pgvector's SQLAlchemy package."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from pgvector import SparseVector as PackageSparseVector
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR
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


async def test_values_of_the_driver(extended: AsyncEngine) -> None:
    sql = sa.text("select '[1,2]'::vector, '[1,2]'::halfvec, '{1:2}/3'::sparsevec")
    async with extended.connect() as conn:
        row = (await conn.execute(sql)).one()
        assert tuple(row) == (
            Vector([1, 2]),
            HalfVector([1, 2]),
            SparseVector(3, [0], [2.0]),
        )
