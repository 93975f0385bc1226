"""docs/errors.md: its code does what it says, its tables are what the classes are."""

from __future__ import annotations

import re
from typing import Any

import pytest

import errorspage
import pgasync
from pages import Page, own_schema
from pgasync import errors
from pgasync._sqlstates import SQLSTATES
from pgasync._transient import FINAL, TRANSIENT

PAGE = Page("errors.md")


@pytest.mark.parametrize("title", PAGE.programs)
async def test_code(
    title: str, dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_schema(dsn, "errors_page") as address:
        await PAGE.run(title, address, capsys, monkeypatch)


def test_table_of_sqlstates() -> None:
    """`python tests/errorspage.py` makes it anew."""
    text = errorspage.PAGE.read_text()
    assert text.partition(errorspage.HEADING)[2] == errorspage.table()


def test_sqlstates_exist() -> None:
    assert {*TRANSIENT} < {*SQLSTATES}
    assert {*FINAL} < {*SQLSTATES} and not {*FINAL} & {*TRANSIENT}


def test_classes_of_the_driver() -> None:
    """All of them are in the table, with what they are when nothing else is known."""
    told = {}
    for cells in PAGE.rows_of("Errors of the driver"):
        if found := re.fullmatch(r"`(\w+)`", cells[0]):
            told[found[1]] = cells[3].startswith("yes")
    own = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type)
        and issubclass(cls, pgasync.Error)
        and cls not in SQLSTATES.values()
        and not name.startswith("_")
    }
    tree = "Error DatabaseError DataError OperationalError IntegrityError InternalError"
    bases = {*tree.split(), "ProgrammingError", "NotSupportedError"}
    assert {*own} - bases == {*told}
    refused = OSError(111, "refused")
    for name, transient in told.items():
        error = own[name]("x")
        error.__cause__ = refused if name == "ConnectError" else None
        assert error.transient == transient, name


def test_transient_of_connects() -> None:
    def failed(sqlstate: str | None = None, cause: Any = None) -> errors.ConnectError:
        error = errors.ConnectError("x")
        error.sqlstate, error.__cause__ = sqlstate, cause
        return error

    assert failed("57P03").transient and failed("53300").transient
    assert not failed("28P01").transient
    assert not failed("3D000", OSError()).transient
    assert failed(cause=EOFError()).transient
    assert not failed().transient
    several = failed()
    several.failures = (failed("28P01"), failed(cause=OSError()))
    assert several.transient
    several.failures = (failed("28P01"), errors.TLSError("x"))
    assert not several.transient


def test_transient_of_losses() -> None:
    lost = errors.ConnectionLost("x")
    assert lost.transient
    for sqlstate, transient in (("57P01", True), ("25P03", True), ("57P04", False)):
        lost.sqlstate = sqlstate
        assert lost.transient == transient
    aborted = errors.PipelineAborted("x")
    assert not aborted.transient
    aborted.__cause__ = errors.SerializationFailure("x")
    assert aborted.transient
