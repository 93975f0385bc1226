"""Every case of benchmarks/dialect_cases/ through asyncpg's dialect and ours: no
difference without a reason, no reason without a difference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import servers

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "dialects.py"


@pytest.mark.skipif(not servers.installed(17), reason="needs PostgreSQL 17 for TLS")
def test_differences_have_reasons(summary: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--wrong"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    summary.append(done.stdout.strip())
