"""docs/examples/testing: its suite, run as a user runs it, on both databases."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

import pgasync

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "testing"
TIMEOUT_S = 170
SESSION_LOOP = (
    "-oasyncio_default_test_loop_scope=session",
    "-oasyncio_default_fixture_loop_scope=session",
)
# Counts the loops that tests run on, and fails when none is of the wanted kind.
PLUGIN = """
import asyncio
import os

import pytest_asyncio

loops = {}

@pytest_asyncio.fixture(autouse=True)
async def the_loop():
    loop = asyncio.get_running_loop()
    loops[id(loop)] = loop  # kept: an id is not given twice

def pytest_sessionfinish():
    kinds = {type(loop).__module__.partition(".")[0] for loop in loops.values()}
    print(f"{len(loops)} loops of {kinds}")
"""


def results(path: Path) -> Counter[str]:
    """How many tests of each database came to which end."""
    counts: Counter[str] = Counter()
    for case in ET.parse(path).iter("testcase"):
        database = re.search(r"\[(sqlite|postgresql)\b", case.attrib["name"])
        assert database is not None, case.attrib["name"]
        end = case[0].tag if len(case) else "passed"
        counts[f"{database[1]} {end}"] += 1
    return counts


def run(tmp_path: Path, url: str | None, *options: str) -> tuple[Counter[str], str]:
    """What became of the tests, and the output."""
    (tmp_path / "the_loops.py").write_text(PLUGIN)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env.get("PYTHONPATH", "")])
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env.pop("TEST_POSTGRESQL_URL", None)
    if url is not None:
        env["TEST_POSTGRESQL_URL"] = url
    report = tmp_path / "report.xml"
    arguments = ["-q", "-s", "-pthe_loops", "-pno:cacheprovider", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments],
        cwd=EXAMPLE,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return results(report), output


@pytest.fixture
def url(dsn: str) -> str:
    return f"postgresql+pgasync://{dsn.partition('://')[2]}"


@pytest.mark.parametrize(
    ("scope", "mode", "kind"),
    [
        ("function", "auto", "asyncio"),
        ("function", "strict", "asyncio"),
        ("session", "auto", "asyncio"),
        ("session", "strict", "uvloop"),
        ("function", "auto", "uvloop"),
    ],
)
def test_both_databases(
    tmp_path: Path, url: str, scope: str, mode: str, kind: str
) -> None:
    options = [f"-oasyncio_mode={mode}", "-Werror"]
    options += SESSION_LOOP if scope == "session" else ()
    options += ["--uvloop"] if kind == "uvloop" else ()
    counts, output = run(tmp_path, url, *options)
    each = counts["postgresql passed"]
    assert counts == {"sqlite passed": each, "postgresql passed": each}
    assert each >= 30
    loops = 2 * each if scope == "function" else 1
    assert f"{loops} loops of {{'{kind}'}}" in output


def test_without_a_server(tmp_path: Path) -> None:
    counts, _ = run(tmp_path, None)
    each = counts["sqlite passed"]
    assert counts == {"sqlite passed": each, "postgresql skipped": each}


def test_processes_side_by_side(tmp_path: Path, url: str, dsn: str) -> None:
    """pytest-xdist: as many schemas as processes, and none is left."""
    counts, _ = run(tmp_path, url, "-n2")
    each = counts["postgresql passed"]
    assert counts == {"sqlite passed": each, "postgresql passed": each}
    assert asyncio.run(schemas(dsn)) == []


async def schemas(dsn: str) -> list[str]:
    async with pgasync.connect(dsn) as conn:
        sql = "select nspname from pg_namespace where nspname ~ '^test_(gw|main)'"
        return [row[0] for row in await conn.fetch(sql)]
