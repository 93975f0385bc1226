"""The code and the tables of docs/sqlalchemy.md; see tests/pages.py."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pages import Page, own_schema
from pgasync import conninfo
from pgasync._sqlstates import BASES
from pgasync.keywords import KNOWN
from pgasync.sqlalchemy.url import ELSEWHERE

PAGE = Page("sqlalchemy.md")
NAME = re.compile(r"`(\w+)`")


@pytest.fixture
async def address(dsn: str) -> Any:
    async with own_schema(dsn, "page") as address:
        yield address


def test_keywords() -> None:
    """Those in the table of connect_args are keywords, with these defaults."""
    title = "Engine options and connect_args"
    rows = PAGE.rows_of(title)
    rows = rows[[row[0] for row in rows].index("keyword") + 1 :]
    keywords = [word for row in rows for word in NAME.findall(row[0])]
    assert len(keywords) > 20
    assert set(keywords) <= {*KNOWN}
    text = PAGE.sections[title]
    assert all(f"`{name}`" in text or f"`{name}=" in text for name in ELSEWHERE)
    config = conninfo.parse(None, {}, {"HOME": "/"})
    defaults = {row[0].strip("`"): row[1].strip("`") for row in rows}
    for name in ("statement_cache_size", "target_session_attrs", "sslmode"):
        shown = next(value for key, value in defaults.items() if key.startswith(name))
        assert shown.split("`")[0] == str(getattr(config, name))


def test_classes_of_errors() -> None:
    """The table has the class of each SQLSTATE."""
    shown: dict[str, str] = {}
    for cells in PAGE.rows_of("Errors"):
        if re.fullmatch(r"[0-9A-Z]{2}(, [0-9A-Z]{2})*", cells[0]):
            shown.update(dict.fromkeys(cells[0].split(", "), cells[1].strip("`")))
    assert shown == {state: base.__name__ for state, base in BASES.items()}


@pytest.mark.parametrize("title", PAGE.programs)
async def test_section(
    title: str, address: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await PAGE.run(title, address, capsys, monkeypatch)
