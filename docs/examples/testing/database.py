"""The engine, for either database."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def make_engine(url: str, **keywords: Any) -> AsyncEngine:
    """create_async_engine(), with SQLite made to keep its promises."""
    engine = create_async_engine(url, **keywords)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine.sync_engine, "connect", _configure_sqlite)
        sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, record: Any) -> None:
    """Foreign keys count, and Python's sqlite3 leaves BEGIN to us: by itself it would
    begin no transaction before a SAVEPOINT or a SELECT."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
