"""Service files. What their lines mean is compared with libpq in test_sources.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgasync.conninfo import Config, parse
from pgasync.errors import InterfaceError, NotSupportedError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "sys").mkdir()
    return tmp_path


def config(home: Path, dsn: str = "service=s host=h", **environ: str) -> Config:
    base = {"HOME": str(home), "PGSYSCONFDIR": str(home / "sys")}
    return parse(dsn, {}, {**base, **environ})


def test_every_place(home: Path) -> None:
    (home / "sys" / "pg_service.conf").write_text("[s]\nuser=system\n[t]\nuser=t\n")
    assert config(home).user == "system"
    (home / ".pg_service.conf").write_text("[s]\nuser=mine\n")
    assert config(home).user == "mine"
    assert config(home, "service=t host=h").user == "t"
    (home / "named").write_text("[s]\nuser=named\n")
    assert config(home, PGSERVICEFILE=str(home / "named")).user == "named"
    assert config(home, "host=h", PGSERVICE="s").user == "mine"
    assert config(home, "service=t host=h", PGSERVICE="s").user == "t"
    assert parse(None, {"service": "s"}, {"HOME": str(home)}).user == "mine"


def test_precedence(home: Path) -> None:
    (home / ".pg_service.conf").write_text(
        "[s]\nuser=u\nuser=second\ndbname=d\nport=7\napplication_name=a\n"
    )
    found = config(home, "service=s port=8", PGDATABASE="env", PGAPPNAME="env")
    assert (found.user, found.dbname, found.application_name) == ("u", "d", "a")
    assert found.hosts[0].port == 8


def test_no_file_in_the_current_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "pg_service.conf").write_text("[s]\nuser=planted\n")
    monkeypatch.chdir(home)
    with pytest.raises(InterfaceError, match="'s' not found"):
        config(home, PGSYSCONFDIR="")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[t]\nuser=u\n", "definition of service 's' not found"),
        ("", "definition of service 's' not found"),
        ("[s]\nuser u\n", r"\.pg_service\.conf', line 2"),
        ("[s]\n\ncolour=blue\n", "line 3"),
        ("[s]\npassword s3cret\n", "line 2"),
        ("[s]\nautocommit=1\n", "line 2"),
        ("[s]\nservice=t\n", "nested"),
        (f"[s]\n#{'x' * 2000}\n", "line 2 .*too long"),
        ("[s]\nuser=\udcff\n", "user cannot be written in UTF-8"),
        ("[s]\nport=x\n", "port"),
    ],
)
def test_errors(home: Path, text: str, message: str) -> None:
    path = home / ".pg_service.conf"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(InterfaceError, match=message) as caught:
        config(home)
    assert "s3cret" not in str(caught.value)


def test_refused_keyword(home: Path) -> None:
    (home / ".pg_service.conf").write_text("[s]\nreplication=database\n")
    with pytest.raises(NotSupportedError, match="replication"):
        config(home)


def test_file_that_cannot_be_read(home: Path) -> None:
    for path in (home / "none", home):
        with pytest.raises(InterfaceError, match="cannot be read"):
            config(home, PGSERVICEFILE=str(path))


def test_password_in_any_bytes(home: Path) -> None:
    (home / ".pg_service.conf").write_bytes(b"[s]\r\npassword=caf\xe9\r\n")
    assert config(home).password == os.fsdecode(b"caf\xe9")
