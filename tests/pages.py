"""The code of the pages in docs/ does what it says.

The blocks of a section run one after the other, as the body of one coroutine; what is
printed is compared with the comments of the lines that print.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pgasync

DOCS = Path(__file__).parents[1] / "docs"
ADDRESS = "://app@localhost/app"  # of the server, in all pages
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.S | re.M)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
PRINTED = re.compile(r"^\s*print\(.*?\)  # (.*)$", re.M)


@contextlib.asynccontextmanager
async def own_schema(dsn: str, name: str) -> AsyncIterator[str]:
    """What takes the place of ADDRESS: the server, with an empty schema in the path."""
    scheme, _, rest = dsn.partition("://")
    assert scheme in ("postgresql", "postgres"), "PGASYNC_TEST_DSN has to be a URI"
    async with pgasync.connect(dsn) as conn:
        await conn.execute(
            f"drop schema if exists {name} cascade; create schema {name};"
            f"grant usage on schema {name} to public"
        )
    separator = "&" if "?" in rest else "?"
    yield f"://{rest}{separator}options=-csearch_path%3D{name},public"
    async with pgasync.connect(dsn) as conn:
        await conn.execute("set client_min_messages = warning")
        await conn.execute(f"drop schema {name} cascade")


class Page:
    """docs/NAME. `sections`: title -> text; `programs`: title -> the code in it."""

    def __init__(self, name: str) -> None:
        self.path = DOCS / name
        self.sections = dict(SECTION.findall(self.path.read_text()))
        self.programs = {
            title: "".join(BLOCK.findall(text))
            for title, text in self.sections.items()
            if BLOCK.search(text)
        }

    def rows_of(self, title: str) -> list[list[str]]:
        """Of the tables in a section, as their cells."""
        lines = [x for x in self.sections[title].splitlines() if x.startswith("| ")]
        return [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]

    async def run(
        self,
        title: str,
        address: str,
        capsys: Any,
        monkeypatch: pytest.MonkeyPatch,
        **given: Any,
    ) -> None:
        """Runs the code of a section; `address` takes the place of ADDRESS, `given` are
        names that the code may use."""
        source = self.programs[title]
        wanted = PRINTED.findall(source)
        source = textwrap.dedent(source).replace(ADDRESS, address)
        where = f"docs/{self.path.name}, {title}"
        code = compile(source, where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        module = ModuleType("page")
        vars(module).update(given)
        monkeypatch.setitem(sys.modules, "page", module)
        done = eval(code, vars(module))
        if inspect.iscoroutine(done):
            await done
        assert capsys.readouterr().out.splitlines() == wanted
