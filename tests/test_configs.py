from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pgasync import configs, conninfo

DSN = "postgresql://app:secret@db.example/app"


def test_found_again() -> None:
    first = configs.find(DSN, {"autocommit": True, "server_settings": {"a": "b"}})
    again = configs.find(DSN, {"autocommit": True, "server_settings": {"a": "b"}})
    assert again is first
    assert first == conninfo.parse(
        DSN, {"autocommit": True, "server_settings": {"a": "b"}}
    )


@pytest.mark.parametrize(
    ("dsn", "keywords"),
    [
        (DSN + "?application_name=mine", {"connect_timeout": 1}),
        (DSN, {"connect_timeout": 2}),
        (DSN, {"connect_timeout": 1, "autocommit": True}),
        (DSN, {"connect_timeout": 1, "server_settings": {"geqo": "off"}}),
        (DSN, {"connect_timeout": 1, "password": "another"}),
        (DSN, {"connect_timeout": 1, "row_factory": dict}),
    ],
)
def test_differs(dsn: str, keywords: dict[str, Any]) -> None:
    first = configs.find(DSN, {"connect_timeout": 1})
    found = configs.find(dsn, keywords)
    assert found != first
    assert found == conninfo.parse(dsn, keywords)


def test_equal_values_of_other_types() -> None:
    kept = configs.find(DSN, {"connect_timeout": 1})
    assert kept.connect_timeout == 1
    with pytest.raises(pgasync.InterfaceError, match="number of seconds"):
        configs.find(DSN, {"connect_timeout": True})


def test_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = configs.find(DSN, {})
    monkeypatch.setenv("PGAPPNAME", "changed")
    second = configs.find(DSN, {})
    assert second.application_name == "changed" != first.application_name
    monkeypatch.delenv("PGAPPNAME")
    assert configs.find(DSN, {}) is first
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    assert dict(configs.find(DSN, {}).server_settings) == {"timezone": "Asia/Kathmandu"}


def test_every_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in conninfo.LIBPQ.values():
        if known.variable is not None:
            before = configs._key(DSN, {})
            monkeypatch.setenv(known.variable, "1")
            assert configs._key(DSN, {}) != before


def test_another_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in its place, it is asked."""
    kept = configs.find(DSN, {})
    monkeypatch.setattr(os, "environ", {"PGAPPNAME": "mine", "HOME": "/"})
    assert configs.find(DSN, {}).application_name == "mine"
    assert kept.application_name != "mine"


def test_nothing_is_kept() -> None:
    before = len(configs._used)
    found = configs.find(DSN.replace("secret", "thistest"), {})
    assert len(configs._used) == before + 1
    del found
    gc.collect()
    assert len(configs._used) == before


@pytest.mark.parametrize(
    "dsn", ["postgresql:///app?user=u", "postgresql://db.example/app", "service=s"]
)
def test_defaults_are_looked_up_each_time(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's name, the socket's directory, the service file."""
    for variable in ("PGUSER", "PGHOST", "PGHOSTADDR"):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / "services"
    file.write_text("[s]\nhost=h\nuser=u\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    found = configs.find(dsn, {})
    assert configs.find(dsn, {}) is not found


def test_the_password_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "passwords"

    def password() -> str | None:
        found = configs.find("postgresql://app@db.example/app", {"passfile": str(file)})
        kept.append(found)
        return found.hosts[0].password

    kept: list[object] = []
    assert password() is None
    for line in ("first", "second"):
        file.write_text(f"*:*:*:*:{line}\n")
        file.chmod(0o600)
        assert password() == line
    file.unlink()
    assert password() is None


def test_what_cannot_be_compared() -> None:
    class Strange:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> str:
            return "x"

    asked = Strange()
    first = configs.find(DSN, {"password": asked})
    assert configs.find(DSN, {"password": asked}) is not first
    assert first.password is asked
    with pytest.raises(pgasync.InterfaceError, match="unknown connection keyword"):
        configs.find(DSN, {"hots": []})
