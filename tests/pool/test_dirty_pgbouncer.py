"""Resets behind a pooler in transaction mode, where the session may be another one with
each transaction: no error, and what the pooler keeps for its clients stays theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgasync
import pgbouncer

pytestmark = pytest.mark.usefixtures("poolers_expected")

QUESTION = (
    "select current_setting('TimeZone') as zone,"
    " current_setting('application_name') as name,"
    " current_setting('DateStyle') as style, current_setting('work_mem') as work_mem,"
    " current_user::text as role"
)
DIRT = (
    "set time zone 'Asia/Tokyo'",
    "select set_config('application_name', 'evil', false)",
    "set work_mem = '1MB'; set role pg_monitor",
    "create temp table dirty_pooled (x int)",
    "select pg_advisory_lock(1)",
    "listen dirty_pooled",
    "prepare dirty_pooled as select 1",
    "declare dirty_pooled cursor with hold for select 1",
    "do $$ begin perform set_config('datestyle', 'german', false); end $$",
)


@pytest.fixture(scope="module")
def one(server: Any) -> Iterator[pgbouncer.PgBouncer]:
    """One server connection, for everybody."""
    pgbouncer.need()
    with pgbouncer.PgBouncer(server, default_pool_size="1") as started:
        yield started


@pytest.mark.parametrize("mode", ["auto", "unnamed"])
async def test_no_error_and_nothing_left(
    make_pool: Callable[..., Any], one: pgbouncer.PgBouncer, mode: str
) -> None:
    keywords = {
        "server_settings": {"TimeZone": "Europe/Paris"},
        "application_name": "mine",
        "prepared_statements": mode,
    }
    async with (
        make_pool(one.dsn, max_size=1, **keywords) as pool,
        pgasync.connect(one.dsn, application_name="other", autocommit=True) as other,
    ):
        clean = await pool.fetchrow(QUESTION)
        assert clean[:2] == ("Europe/Paris", "mine")
        for sql in DIRT:
            await pool.execute(sql)
            assert await pool.fetchrow(QUESTION) == clean, sql
            assert (await other.fetchrow(QUESTION))[1:] == ("other", *clean[2:])
        assert pool.stats().opened == 1
        assert pool.stats().errors == 0
