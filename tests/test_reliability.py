"""docs/reliability.md names tests as proof: all of them are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def test_the_tests_named_exist() -> None:
    named = set(NAMED.findall(PAGE.read_text()))
    assert len(named) > 80
    sources = {path: TESTS / path for path, _ in named}
    missing = [path for path, file in sources.items() if not file.is_file()]
    assert missing == []
    unknown = [
        f"{path}::{test}"
        for path, test in named
        if test
        and f"\nasync def {test}(" not in sources[path].read_text()
        and f"\ndef {test}(" not in sources[path].read_text()
    ]
    assert unknown == []


def test_every_row_has_its_proof() -> None:
    """In the tables that have such a column."""
    rows, proven = 0, False
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            proven = False
        elif "proven by" in line:
            proven = True
        elif proven and not line.startswith("|---"):
            rows += 1
            assert NAMED.search(line.rstrip("| ").rpartition("|")[2]), line
    assert rows > 50
