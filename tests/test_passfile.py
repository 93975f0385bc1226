"""The password file. Which line fits is compared with libpq in test_sources.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pgasync.conninfo import parse
from pgasync.passfile import find_password

TEXT = """\
# comment
other:*:*:*:wrong
nobody.invalid:1:db:user:from passfile
10.0.0.1:*:*:*:by address
*:9:*:*:any host
localhost:*:*:*:of the socket
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no permissions there")


@pytest.fixture
def passfile(tmp_path: Path) -> Path:
    path = tmp_path / ".pgpass"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def passwords(passfile: Path, dsn: str, **environ: str) -> list[str | None]:
    found = parse(dsn, {}, {"HOME": str(passfile.parent), **environ})
    return [host.password for host in found.hosts]


def test_for_each_host(passfile: Path) -> None:
    text = "host=other,nobody.invalid,/run/x,h port=5,1,9,2 user=user dbname=db"
    found = parse(text, {}, {"HOME": str(passfile.parent)})
    assert [h.password for h in found.hosts] == [
        "wrong",
        "from passfile",
        "any host",
        None,
    ]
    assert found.password is None
    assert "passfile" not in repr(found) and "wrong" not in repr(found)


def test_by_address(passfile: Path) -> None:
    assert passwords(passfile, "hostaddr=10.0.0.1") == ["by address"]
    assert passwords(passfile, "hostaddr=10.0.0.1 host=h") == [None]


@pytest.mark.parametrize("host", ["/tmp", "/var/run/postgresql", "", "localhost"])
def test_default_socket_directory(passfile: Path, host: str) -> None:
    assert passwords(passfile, f"host='{host}'") == ["of the socket"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o601, 0o610, 0o620])
def test_that_others_may_read(
    passfile: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    passfile.chmod(mode)
    assert passwords(passfile, "host=other") == [None]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("pgasync", "WARNING")
    assert "0600" in record.getMessage() and str(passfile) in record.getMessage()


def test_no_plain_file(passfile: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert passwords(passfile, "host=other", PGPASSFILE=str(passfile.parent)) == [None]
    assert "plain file" in caplog.text


def test_another_file(passfile: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = passfile.with_name("other")
    other.write_bytes(b"other:*:*:*:caf\xe9\r\n")
    other.chmod(0o400)
    want = os.fsdecode(b"caf\xe9")
    assert passwords(passfile, "host=other", PGPASSFILE=str(other)) == [want]
    assert passwords(passfile, f"host=other passfile={other}") == [want]
    assert passwords(passfile, "host=other", PGPASSFILE="/nonexistent") == [None]
    assert not caplog.records


def test_not_read_with_a_password(
    passfile: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passfile.chmod(0o644)
    assert passwords(passfile, "host=other password=x") == [None]
    assert not caplog.records
    assert passwords(passfile, "host=other password=''") == [None]
    assert caplog.records


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("h:1:d:u:p", "p"),
        ("*:*:*:*:p", "p"),
        ("**:1:d:u:p", None),
        ("\\*:1:d:u:p", None),
        ("\\h:\\1:d:u:p", "p"),
        ("h:1:d:u", None),
        ("h:1:d:u:", None),
        ("h:1:d:u:p:q", "p"),
        ("h:1:d:u:p\\:q\\\\r\\", "p:q\\r\\"),
        (" h:1:d:u:p", None),
        ("h:01:d:u:p", None),
        ("#h:1:d:u:p", None),
        ("H:1:d:u:p", None),
        ("", None),
    ],
)
def test_line(line: str, password: str | None) -> None:
    assert find_password([line], "h", 1, "d", "u") == password


def test_the_first_line_that_fits_decides() -> None:
    def found(*lines: str) -> str | None:
        return find_password([*lines], "h", 1, "d", "u")

    assert found("x:*:*:*:a", "h:*:*:*:b", "*:*:*:*:c") == "b"
    assert found("h:*:*:*:", "*:*:*:*:c") is None
