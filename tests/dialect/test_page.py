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

PAGE = Path(__file__).parents[2] / "docs" / "sqlalchemy.md"
ADDRESS = "://app@localhost/app"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.S | re.M)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
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
