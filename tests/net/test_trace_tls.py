"""The trace of a session that is encrypted: the request for it, then what is inside."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgasync


def context(tls_server: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=tls_server.certificates.root.file)


TRANSPORTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "ours": lambda server: {"sslmode": "require"},
    "SSLContext": lambda server: {"ssl": context(server)},
}


@pytest.mark.parametrize("how", TRANSPORTS)
async def test_tls(
    how: str,
    tls_server: Any,
    connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace"
    monkeypatch.setenv("PGASYNC_TRACE", str(path))
    tls_server.show(tls_server.certificates.server["good"])
    conn = await connect(tls_server.tcp_dsn, **TRANSPORTS[how](tls_server))
    assert conn.info.ssl
    assert await conn.fetchval("select 'inside'") == "inside"
    with pytest.raises(pgasync.errors.QueryTimeout):
        await conn.fetchval("select pg_sleep(30)", timeout=0.1)
    await conn.rollback()
    await conn.close()
    lines = [line.split("\t")[1:] for line in path.read_text().splitlines()]
    assert lines[0] == ["F", "8", "SSLRequest", " 1234 5679"]
    assert lines[1] == ["B", "1", "SSLResponse", " S"]
    names = [line[2] for line in lines]
    assert names[2] == "StartupMessage"
    assert names[-1] == "Terminate"
    assert ["B", "16", "DataRow", " 1 6 'inside'"] in lines
    asked = names.index("CancelRequest")
    assert names[asked - 2 : asked] == ["SSLRequest", "SSLResponse"]
    assert "Unknown" not in path.read_text()
