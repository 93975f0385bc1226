"""The code of docs/sqlalchemy.md does what it says.

The blocks of a section run one after the other, as the body of one coroutine; what is
printed is compared with the comments of the lines that print.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pgasync
from pgasync import conninfo
from pgasync._sqlstates import BASES
from pgasync.keywords import KNOWN
from pgasync.sqlalchemy.url import ELSEWHERE

PAGE = Path(__file__).parents[2] / "docs" / "sqlalchemy.md"
ADDRESS = "://app@localhost/app"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.S | re.M)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
NAME = re.compile(r"`(\w+)`")
PRINTED = re.compile(r"^\s*print\(.*?\)  # (.*)$", re.M)

PROGRAMS = {
    title: "".join(BLOCK.findall(text))
    for title, text in SECTION.findall(PAGE.read_text())
    if BLOCK.search(text)
}


@pytest.fixture
async def address(dsn: str) -> Any:
    """The URL of the server behind the dialect, with an empty schema in the path."""
    scheme, _, rest = dsn.partition("://")
    assert scheme in ("postgresql", "postgres"), "PGASYNC_TEST_DSN has to be a URI"
    async with pgasync.connect(dsn) as conn:
        await conn.execute("drop schema if exists page cascade; create schema page")
    separator = "&" if "?" in rest else "?"
    yield f"://{rest}{separator}options=-csearch_path%3Dpage,public"
    async with pgasync.connect(dsn) as conn:
        await conn.execute("set client_min_messages = warning")
        await conn.execute("drop schema page cascade")


def rows_of(title: str) -> list[list[str]]:
    """Of the tables in a section, as their cells."""
    text = dict(SECTION.findall(PAGE.read_text()))[title]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]


def test_keywords() -> None:
    """Those in the table of connect_args are keywords, with these defaults."""
    title = "Engine options and connect_args"
    rows = rows_of(title)
    rows = rows[[row[0] for row in rows].index("keyword") + 1 :]
    keywords = [word for row in rows for word in NAME.findall(row[0])]
    assert len(keywords) > 20
    assert set(keywords) <= {*KNOWN}
    text = dict(SECTION.findall(PAGE.read_text()))[title]
    assert all(f"`{name}`" in text or f"`{name}=" in text for name in ELSEWHERE)
    config = conninfo.parse(None, {}, {"HOME": "/"})
    defaults = {row[0].strip("`"): row[1].strip("`") for row in rows}
    for name in ("statement_cache_size", "target_session_attrs", "sslmode"):
        shown = next(value for key, value in defaults.items() if key.startswith(name))
        assert shown.split("`")[0] == str(getattr(config, name))


def test_classes_of_errors() -> None:
    """The table has the class of each SQLSTATE."""
    shown: dict[str, str] = {}
    for cells in rows_of("Errors"):
        if re.fullmatch(r"[0-9A-Z]{2}(, [0-9A-Z]{2})*", cells[0]):
            shown.update(dict.fromkeys(cells[0].split(", "), cells[1].strip("`")))
    assert shown == {state: base.__name__ for state, base in BASES.items()}


@pytest.mark.parametrize("title", PROGRAMS)
async def test_section(
    title: str, address: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PROGRAMS[title]
    wanted = PRINTED.findall(source)
    source = textwrap.dedent(source).replace(ADDRESS, address)
    code = compile(
        source, f"docs/sqlalchemy.md, {title}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    done = eval(code, vars(module))
    if inspect.iscoroutine(done):
        await done
    assert capsys.readouterr().out.splitlines() == wanted
