"""The code of docs/pipelines.md does what it says."""

from __future__ import annotations

from typing import Any

import pytest

from pages import Page, own_schema

PAGE = Page("pipelines.md")


@pytest.mark.parametrize("title", PAGE.programs)
async def test_program(
    title: str, dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_schema(dsn, "pipelines_page") as address:
        await PAGE.run(title, address, capsys, monkeypatch)
