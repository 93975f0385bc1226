"""The table of SQLSTATEs in docs/errors.md, made of the classes themselves.

`python tests/errorspage.py` writes it into the page."""

from __future__ import annotations

from pathlib import Path

from pgasync import errors
from pgasync._sqlstates import BASES, SQLSTATES
from pgasync._transient import TRANSIENT

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
HEADING = "## Every SQLSTATE\n"


def table() -> str:
    lines = [
        "",
        "| SQLSTATE | `pgasync.errors.` | PEP 249 | transient |",
        "|---|---|---|---|",
    ]
    for sqlstate, cls in sorted(SQLSTATES.items()):
        made = errors.from_fields({"C": sqlstate, "M": ""}, None, "failed")
        base = BASES.get(sqlstate[:2], errors.DatabaseError)
        why = f"yes: {TRANSIENT[sqlstate]}" if made.transient else ""
        lines.append(f"| {sqlstate} | `{cls.__name__}` | `{base.__name__}` | {why} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    text, heading, _ = PAGE.read_text().partition(HEADING)
    PAGE.write_text(text + heading + table())


if __name__ == "__main__":
    main()
