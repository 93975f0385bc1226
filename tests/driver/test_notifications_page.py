"""The code of docs/notifications.md; see tests/pages.py."""

from __future__ import annotations

from typing import Any

import pytest

from pages import Page, own_schema

PAGE = Page("notifications.md")


@pytest.mark.parametrize("title", PAGE.programs)
async def test_section(
    title: str, dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own_schema(dsn, "notifications_page") as address:
        await PAGE.run(title, address, capsys, monkeypatch)
