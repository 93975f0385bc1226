"""Our trace against libpq's own, of the same bytes: libpq talks to a server through a
proxy that keeps them, and writes its trace; ours of what the proxy kept must have the
same lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import servers
from pgasync import _core
from pgmock import Proxy

HERE = Path(__file__).parent
SUPPRESS_TIMESTAMPS, REGRESS_MODE = 1, 2  # PQTRACE_…

NOT_THEIRS = ("AuthenticationOk",)  # libpq does not trace it
MASKED = ("BackendKeyData",)  # written differently, so that no secret is shown
# Before 18 libpq had no trace of these, or one without their contents.
NOT_IN_17 = ("StartupMessage", "Unknown message: length", "BackendKeyData", "CopyData")


def talk(major: int, server: Any, path: Path, flags: int) -> tuple[bytes, bytes]:
    """What libpq sent and received."""
    tree = servers.find_tree(major)
    library = tree / "lib" / "libpq.so.5"
    if not library.is_file():
        pytest.skip(f"PostgreSQL {major} came without {library.name}")
    with Proxy(str(server.socket_dir), server.port) as proxy:
        proxy.record = []
        conninfo = (
            f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres "
            "sslmode=disable gssencmode=disable client_encoding=UTF8"
        )
        command = [sys.executable, str(HERE / "libpq_calls.py"), str(library)]
        done = subprocess.run(
            [*command, conninfo, str(path), str(flags)],
            env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    up = b"".join(part for way, part in proxy.record if way == "up")
    down = b"".join(part for way, part in proxy.record if way == "down")
    return up, down


def lines_of(text: str, side: str, left_out: tuple[str, ...]) -> list[str]:
    """The lines of one side, with what a newline in a string has made lines of."""
    chosen: list[str] = []
    ours = False
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) > 2 and parts[0] in ("F", "B"):
            name = parts[2] or "CopyData"  # as 17 has it
            ours = parts[0] == side and not name.startswith(left_out)
        if ours:
            chosen.append(line)
    return chosen


@pytest.mark.parametrize("regress", [False, True])
@pytest.mark.parametrize("major", [17, 18])
def test_same_lines(major: int, regress: bool, server: Any, tmp_path: Path) -> None:
    if not servers.installed(major):
        pytest.skip(f"PostgreSQL {major} is not installed")
    path = tmp_path / "trace"
    flags = SUPPRESS_TIMESTAMPS | (REGRESS_MODE if regress else 0)
    up, down = talk(major, server, path, flags)
    theirs = path.read_bytes().decode("utf-8", "backslashreplace")
    ours = _core.trace_exchange(up, down, False, regress).decode()
    left_out = NOT_THEIRS + (() if regress else MASKED)
    if major == 17:
        left_out += NOT_IN_17
    for side, least in ("F", 40), ("B", 90):
        expected = lines_of(theirs, side, left_out)
        assert lines_of(ours, side, left_out) == expected
        assert len(expected) > least
