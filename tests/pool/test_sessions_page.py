"""docs/sessions.md: its code does what it says."""

from __future__ import annotations

from typing import Any

import pytest

from pages import Page, own_schema

PAGE = Page("sessions.md")


@pytest.mark.parametrize("title", PAGE.programs)
async def test_code(
    title: str, dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_schema(dsn, "sessions_page") as address:
        await PAGE.run(title, address, capsys, monkeypatch)


def test_every_section_but_one_has_code() -> None:
    assert PAGE.sections.keys() - PAGE.programs.keys() == {"What is undone"}
