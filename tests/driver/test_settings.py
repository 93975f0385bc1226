"""Settings from files and variables, with real servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from pgasync import errors

Connect = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGPASSWORD", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


async def test_service_and_passfile(
    connect: Connect, hba_server: servers.Server, home: Path
) -> None:
    lines = [
        f"{hba_server.host}:{hba_server.port}:*:{role}:{password}"
        for role, password in servers.ROLES.items()
    ]
    write(home / ".pgpass", "\n".join(["*:1:*:*:wrong", *lines]))
    write(
        home / ".pg_service.conf",
        f"[ours]\nhost={hba_server.host}\nport={hba_server.port}\ndbname=postgres\n",
    )
    for role in ("md5_user", "scram_user", "unicode_user"):
        conn = await connect("service=ours", user=role)
        assert await conn.fetchval("select current_user::text") == role
    write(home / ".pgpass", f"*:*:*:*:{servers.ROLES['md5_user']}")
    with pytest.raises(errors.InvalidPassword):
        await connect("service=ours", user="scram_user")
    (home / ".pgpass").chmod(0o644)
    with pytest.raises(errors.Error, match="password"):
        await connect("service=ours", user="md5_user")


async def test_password_of_its_own_host(
    connect: Connect, hba_server: servers.Server, home: Path
) -> None:
    """The second host does not see the first one's password."""
    port = servers.free_port()
    secret = servers.ROLES["scram_user"]
    write(
        home / ".pgpass",
        f"*:{port}:*:*:for the other\n*:{hba_server.port}:*:*:{secret}\n",
    )
    conn = await connect(
        f"host={hba_server.host},{hba_server.host} port={port},{hba_server.port} "
        "dbname=postgres user=scram_user"
    )
    assert await conn.fetchval("select current_user::text") == "scram_user"


async def test_session_variables(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGGEQO", "default")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB")
    monkeypatch.setenv("PGAPPNAME", "from the environment")
    conn = await connect()
    for name, value in (
        ("timezone", "Asia/Tokyo"),
        ("datestyle", "German, DMY"),
        ("geqo", "on"),
        ("work_mem", "5MB"),
        ("application_name", "from the environment"),
    ):
        assert await conn.fetchval(f"show {name}") == value
    own = await connect(server_settings={"TimeZone": "UTC"})
    assert await own.fetchval("show timezone") == "UTC"
    # Dates and times come in binary: no style changes what they are.
    assert await conn.fetchval("select date '2024-02-29'") == await own.fetchval(
        "select date '2024-02-29'"
    )
    assert await conn.fetchval("select array['2024-02-29'::timestamptz]") != []


async def test_engine_with_a_service(hba_server: servers.Server, home: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import create_async_engine

    write(home / ".pgpass", f"*:*:*:*:{servers.ROLES['scram_user']}")
    write(
        home / ".pg_service.conf",
        f"[ours]\nhost=127.0.0.1\nport={hba_server.port}\ndbname=postgres\n",
    )
    engine = create_async_engine("postgresql+pgasync://scram_user@?service=ours")
    try:
        async with engine.connect() as conn:
            user = await conn.scalar(sqlalchemy.text("select current_user::text"))
        assert user == "scram_user"
    finally:
        await engine.dispose()


async def test_database_name_that_is_a_dsn(connect: Connect, dsn: str) -> None:
    conn = await connect(dbname=dsn, application_name="over it")
    assert await conn.fetchval("show application_name") == "over it"
