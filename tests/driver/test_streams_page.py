"""docs/streams.md: its code does what it says."""

from __future__ import annotations

from typing import Any

import pytest

from pages import Page, own_schema

PAGE = Page("streams.md")


def test_sections() -> None:
    assert PAGE.programs.keys() == PAGE.sections.keys()


@pytest.mark.parametrize("title", PAGE.programs)
async def test_code(
    title: str, dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_schema(dsn, "streams_page") as address:
        await PAGE.run(title, address, capsys, monkeypatch)
