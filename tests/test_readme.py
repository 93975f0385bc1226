"""The README's example does what its comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
