"""Migrates from inside of a running event loop, as a program does at its start.

DATABASE_URL=postgresql+pgasync://app@localhost/app python upgrade.py
"""

import asyncio
import os
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

LOCK = 4_815_162_342  # any number, the same in every process of the application


def upgrade(connection: sa.Connection) -> None:
    config = Config(Path(__file__).with_name("alembic.ini"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(engine: AsyncEngine) -> None:
    """Upgrades to the newest revision; one process at a time does it.

    The connection is in no transaction, so that a revision can have its
    autocommit_block(). Nobody waits inside of pg_advisory_lock(): CREATE INDEX
    CONCURRENTLY would wait for them.
    """
    single = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with single.connect() as guard:
        while not await guard.scalar(sa.select(sa.func.pg_try_advisory_lock(LOCK))):
            await asyncio.sleep(0.2)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(upgrade)
        finally:
            await guard.execute(sa.select(sa.func.pg_advisory_unlock(LOCK)))


async def main() -> None:
    engine = create_async_engine(os.environ["DATABASE_URL"])
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
