"""The README's examples do what they say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pages import own_schema

README = Path(__file__).parents[1] / "README.md"
ADDRESS = "postgresql://app@localhost/app"


def test_example(dsn: str) -> None:
    code = re.search(r"```python\n(import asyncio.*?)```", README.read_text(), re.S)
    assert code is not None
    program = code[1]
    assert program.count(ADDRESS) == 1
    schema = "create schema if not exists readme; set search_path = readme"
    program = program.replace(ADDRESS, dsn).replace(
        "as conn:\n", f"as conn:\n        await conn.execute({schema!r})\n", 1
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["jobs_pkey failed", "2"]
    assert re.match(r"2 paint \d{4}-", done.stdout)


async def test_pool(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    section = README.read_text().partition("\n## A pool\n")[2]
    code = re.search(r"```python\n(.*?)```", section, re.S)
    assert code is not None
    async with own_schema(dsn, "readme_pool") as address:
        async with pgasync.connect(f"postgresql{address}") as conn:
            await conn.execute("create table jobs (id int primary key, what text)")
            await conn.execute("insert into jobs values (1, 'sweep')")
        program = code[1].replace(ADDRESS, f"postgresql{address}")
        mode = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        names: dict[str, Any] = {"pgasync": pgasync}
        await eval(compile(program, "README.md, A pool", "exec", mode), names)
        async with pgasync.connect(f"postgresql{address}") as conn:
            assert await conn.fetchval("select what from jobs") == "me"
    assert names["job"].what == "sweep"
    assert capsys.readouterr().out.startswith("PoolStats(min_size=1, max_size=10")
