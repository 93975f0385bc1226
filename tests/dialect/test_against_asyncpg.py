"""Every case of benchmarks/dialect_cases/ through asyncpg's dialect and ours: no
difference without a reason, no reason without a difference."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy

import servers

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "dialects.py"
SHARES = 3  # each has its own time limit
VERSION = tuple(int(part) for part in re.findall(r"\d+", sqlalchemy.__version__)[:3])


@pytest.mark.slow
@pytest.mark.skipif(not servers.installed(17), reason="needs PostgreSQL 17 for TLS")
@pytest.mark.skipif(VERSION < (2, 0, 58), reason="asyncpg's dialect had other faults")
@pytest.mark.parametrize("share", range(1, SHARES + 1))
def test_differences_have_reasons(share: int, summary: list[str]) -> None:
    command = [sys.executable, SCRIPT, "--wrong", f"--share={share}/{SHARES}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    summary.append(done.stdout.strip())
