"""What a COPY … TO STDOUT copies, and parameters put into a text."""

from __future__ import annotations

import pytest

from pgasync import sql as lexer
from pgasync.copysource import Source, source_of
from pgasync.errors import ProgrammingError


@pytest.mark.parametrize(
    ("sql", "source"),
    [
        ("copy t to stdout", Source(None, "t", None, False)),
        ("COPY s.t TO STDOUT (FORMAT binary)", Source(None, "s.t", None, True)),
        ("copy t to stdout with (format 'Binary')", Source(None, "t", None, True)),
        (
            '-- c\ncopy /* x */ "S" . "a ""to"" b" (a, "B") to stdout binary;',
            Source(None, '"S"."a ""to"" b"', '(a, "B")', True),
        ),
        (
            "copy (select ')' , (1) to from x) to stdout",
            Source("select ')' , (1) to from x", None, None, False),
        ),
        (
            "copy (select 1 -- )\n) to stdout",
            Source("select 1 -- )", None, None, False),
        ),
        ("copy t from stdin", None),
        ("copy t to 'file'", None),
        ("copy t to program 'x'", None),
        ("copy to stdout", None),
        ("select 1", None),
        ("copy (select 1", None),
        ("", None),
    ],
)
def test_source_of(sql: str, source: Source | None) -> None:
    assert source_of(sql) == source


def test_replace_parameters() -> None:
    kept = """'$1', "$1", $$ $1 $$, $a$ $2 $a$, a$1, E'\\'$1', /* $1 */ '$2' -- $1"""
    made = lexer.replace_parameters(f"select $1, $2||$1, {kept}", ["<1>", "<2>"])
    assert made == f"select <1>, <2>||<1>, {kept}"


def test_replace_parameters_where_backslashes_escape() -> None:
    """Under standard_conforming_strings off this is one literal and no parameter."""
    text = "select '\\' $1 '"
    assert lexer.replace_parameters(text, ["x"]) == "select '\\' x '"
    with pytest.raises(ProgrammingError, match="standard_conforming_strings"):
        lexer.replace_parameters(text, ["x"], backslashes=False)
    text = r"select E'\\', $1, B'0', $$ \ $$"
    assert "x" in lexer.replace_parameters(text, ["x"], backslashes=False)
