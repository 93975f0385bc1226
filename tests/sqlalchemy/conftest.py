"""Loads SQLAlchemy's pytest plugin, which runs every test of the suite in a greenlet
on one event loop."""

import pytest
from sqlalchemy.dialects import registry

# What the entry point of an installed pgasync says: an uninstalled one works, too.
registry.register(
    "postgresql.pgasync", "pgasync.sqlalchemy.dialect", "PGDialect_pgasync"
)
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")
pytest_plugins = ["skips"]

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403
