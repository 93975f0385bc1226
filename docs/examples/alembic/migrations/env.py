"""How Alembic reaches the database: by an async engine, or by the connection that a
program gives in config.attributes["connection"] (see upgrade.py)."""

import asyncio
import logging.config
import os
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from enum_types import add_enums, render_enum
from models import Base
from sqlalchemy.ext.asyncio import async_engine_from_config

config = context.config
settings = config.get_section(config.config_ini_section, {})
if "DATABASE_URL" in os.environ:
    settings["sqlalchemy.url"] = os.environ["DATABASE_URL"]

schemas = {table.schema for table in Base.metadata.tables.values()}


def ours(name: str | None, kind: str, parents: Any) -> bool:
    """Which schemas autogenerate looks at: None is the default one."""
    return kind != "schema" or name in schemas


def render(kind: str, item: Any, autogen: AutogenContext) -> str | bool:
    """Types of other packages, such as pgvector, and our own come with their import."""
    module = type(item).__module__
    if kind == "type" and not module.startswith("sqlalchemy."):
        autogen.imports.add(f"import {module}")
    return render_enum(kind, item, autogen)


def migrate(connection: sa.Connection | None, **more: Any) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_schemas=True,
        include_name=ours,
        compare_type=True,
        compare_server_default=True,
        process_revision_directives=add_enums,
        render_item=render,
        transaction_per_migration=True,  # autocommit_block() commits what came before
        **more,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate() -> None:
    engine = async_engine_from_config(settings, poolclass=sa.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


def main() -> None:
    given: sa.Connection | None = config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    if config.config_file_name is not None:
        logging.config.fileConfig(config.config_file_name)
    if context.is_offline_mode():
        migrate(None, url=settings["sqlalchemy.url"], literal_binds=True)
    else:
        asyncio.run(connect_and_migrate())


main()
