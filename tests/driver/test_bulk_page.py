"""The code of docs/bulk.md; see tests/pages.py."""

from __future__ import annotations

import asyncio
import datetime
import io
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pages import Page, own_schema

PAGE = Page("bulk.md")


@pytest.mark.parametrize("title", PAGE.programs)
async def test_section(
    title: str,
    dsn: str,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with own_schema(dsn, "bulk_page") as address:
        uri = f"postgresql{address}"
        async with pgasync.connect(uri, autocommit=True) as conn:
            await PAGE.run(
                title,
                address,
                capsys,
                monkeypatch,
                conn=conn,
                folder=tmp_path,
                asyncio=asyncio,
                datetime=datetime.datetime,
                timedelta=datetime.timedelta,
                timezone=datetime.timezone,
                io=io,
                pgasync=pgasync,
            )
