"""SQLAlchemy's own tests of a dialect. tests/run_sqlalchemy.py runs them."""

from typing import Any

from sqlalchemy.testing.suite import *  # noqa: F403
from sqlalchemy.testing.suite import ServerSideCursorsTest as _ServerSideCursorsTest


class ServerSideCursorsTest(_ServerSideCursorsTest):
    def _is_server_side(self, cursor: Any) -> bool:
        """The suite knows it of the dialects that come with SQLAlchemy."""
        return bool(cursor.server_side)
