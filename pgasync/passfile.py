"""Passwords by host, port, database and user: the password file.

PostgreSQL documentation, "The Password File". It is read where connect() is called,
once a call, and only when no password was given otherwise.
"""

import logging
import os
import re
import stat
from collections.abc import Iterator

log = logging.getLogger("pgasync")

_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|\Z)", re.DOTALL)


def read_passfile(path: str) -> list[str]:
    """The lines of the file; none when it is missing, or when others may read it, of
    which the log is told."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            log.warning("password file %r is not a plain file", path)
            return []
        if os.name != "nt" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            log.warning(
                "password file %r has group or world access and is ignored; "
                "permissions should be u=rw (0600) or less",
                path,
            )
            return []
        with open(
            path, encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError:
        return []


def find_password(
    lines: list[str], host: str, port: int, dbname: str, user: str
) -> str | None:
    """That of the first line whose four fields fit; `*` fits everything."""
    wanted = [host, str(port), dbname, user]
    for line in lines:
        if not line or line.startswith("#"):
            continue
        fields = list(_fields(line))
        if len(fields) < 5:
            continue
        if all(
            raw == "*" or _plain(raw) == value
            for raw, value in zip(fields, wanted, strict=False)
        ):
            return _plain(fields[4]) or None
    return None


def _fields(line: str) -> Iterator[str]:
    """Up to five fields, escapes still in them."""
    position = 0
    for _ in range(5):
        match = _FIELD.match(line, position)
        if match is None:
            return
        yield match[1]
        if match.end() == len(line) and not match.group().endswith(":"):
            return
        position = match.end()


def _plain(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field, flags=re.DOTALL)
