"""The run of SQLAlchemy's own tests fails when a skipped test has no known reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from run_sqlalchemy import SUITE

SKIPPING = """\
import pytest

def test_of_the_suite():
    pytest.skip("'test_of_the_suite (call)' : {reason}")
"""


@pytest.mark.parametrize(
    ("reason", "code", "line"),
    [
        ("PostgreSQL has ON UPDATE CASCADE", 0, "1 skipped: PostgreSQL has ON"),
        ("marked as skip", 1, "1 skipped: (unexplained) Skipped: 'test_of_the_suite"),
    ],
)
def test_unexplained_skip(tmp_path: Path, reason: str, code: int, line: str) -> None:
    (tmp_path / "test_suite.py").write_text(SKIPPING.format(reason=reason))
    paths = [str(SUITE), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "skips", "-p", "no:asyncio", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert line in done.stdout
