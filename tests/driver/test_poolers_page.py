"""docs/poolers.md: its code does what it says, through a PgBouncer."""

from __future__ import annotations

from typing import Any

import pytest

import pgbouncer
from pages import Page

pytestmark = pytest.mark.usefixtures("poolers_expected")
PAGE = Page("poolers.md")


def test_sections() -> None:
    assert len(PAGE.programs) == 3


@pytest.mark.parametrize("title", PAGE.programs)
async def test_code(
    title: str, server: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if title == "SQLAlchemy":
        pytest.importorskip("sqlalchemy")
    with pgbouncer.PgBouncer(server) as bouncer:
        address = bouncer.dsn.removeprefix("postgresql")
        await PAGE.run(title, address, capsys, monkeypatch)
