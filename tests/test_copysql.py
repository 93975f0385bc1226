"""The text of a COPY … TO STDOUT, as it is written."""

from __future__ import annotations

import pytest

from pgasync import copysql
from pgasync.errors import InterfaceError, ProgrammingError


def test_from_table() -> None:
    assert copysql.from_table("t", None, None) == '"t"'
    assert copysql.from_table("; --", "s", ["a", 'b"']) == '"s"."; --" ("a", "b""")'
    with pytest.raises(InterfaceError):
        copysql.from_table("t", None, "a")
    with pytest.raises(InterfaceError):
        copysql.from_table("", None, None)


def test_from_query() -> None:
    assert copysql.from_query("select 1 -- one;\n;") == "(select 1 -- one;\n)"
    assert copysql.from_query("select 1 -- one") == "(select 1 -- one\n)"
    for text in ("", "--", "select 1; select 2"):
        with pytest.raises(ProgrammingError, match="one statement"):
            copysql.from_query(text)


def test_copy_to() -> None:
    assert copysql.copy_to("t", {"format": None}) == "COPY t TO STDOUT"
    options = {
        "format": "csv",
        "delimiter": "'",
        "null": "\\N",
        "header": True,
        "force_quote": ["a", 'b "c'],
    }
    assert copysql.copy_to("(table t)", options) == (
        "COPY (table t) TO STDOUT WITH (FORMAT 'csv', DELIMITER '''', NULL E'\\\\N', "
        'HEADER true, FORCE_QUOTE ("a", "b ""c"))'
    )
    for every in (True, "*"):
        text = copysql.copy_to("t", {"force_quote": every})
        assert text == "COPY t TO STDOUT WITH (FORCE_QUOTE *)"
    for wrong in ({"force_quote": "a"}, {"null": 1.5}, {"force_quote": [1]}):
        with pytest.raises(InterfaceError):
            copysql.copy_to("t", wrong)
