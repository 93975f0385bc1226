"""docs/pool.md: its code does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pages import ADDRESS, Page, own_schema
from pgasync.pool import create_pool

PAGE = Page("pool.md")
FIXTURES = "Tests"  # a section that pytest has to run


@pytest.mark.parametrize("title", [x for x in PAGE.programs if x != FIXTURES])
async def test_code(
    title: str, dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_schema(dsn, "pool_page") as address:
        await PAGE.run(title, address, capsys, monkeypatch)


def test_fixtures(dsn: str, tmp_path: Path) -> None:
    """By pytest-asyncio: what a test has done is not there for the next one."""
    address = "://" + dsn.partition("://")[2]
    (tmp_path / "conftest.py").write_text(
        PAGE.programs[FIXTURES].replace(ADDRESS, address)
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.parametrize('n', range(3))\n"
        "async def test_it(conn, n):\n"
        "    await conn.execute('create table of_a_test (n int)')\n"
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_test_loop_scope = session\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env["PYTHONPATH"] = str(Path(pgasync.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-Werror::ResourceWarning"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_defaults() -> None:
    """The table has those of create_pool()."""
    found = {
        row[0].strip("`"): row[1] for row in PAGE.rows_of("Limits") if row[0][0] == "`"
    }
    defaults = create_pool.__kwdefaults__
    hooks = {"init", "setup", "check", "reset"}
    assert found.keys() == defaults.keys() - hooks
    for name, shown in found.items():
        assert float(shown) == defaults[name], name


def test_hooks() -> None:
    found = {row[0].strip("`") for row in PAGE.rows_of("Hooks") if row[0][0] == "`"}
    assert found == {"init", "setup", "check", "reset"}
