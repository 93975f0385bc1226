"""Passwords by host, port, database and user: the password file.

PostgreSQL documentation, "The Password File". It is read where connect() is called,
once a call, and only when no password was given otherwise.
"""

import logging
import os
import stat

log = logging.getLogger("pgasync")


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
    for line in lines:
        if line.startswith("#"):
            continue
        rest: str | None = line
        for wanted in (host, str(port), dbname, user):
            rest = None if rest is None else _after(rest, wanted)
        if rest is not None:
            return _take(rest)[0] or None
    return None


def _after(line: str, wanted: str) -> str | None:
    """What follows the line's first field, None when that does not fit."""
    if line.startswith("*:"):
        return line[2:]
    field, rest = _take(line)
    return rest if field == wanted else None


def _take(line: str) -> tuple[str, str | None]:
    """The first field without its escapes, and what follows its colon, if one does. A
    backslash at the line's end stands for itself."""
    field = ""
    position = 0
    while position < len(line):
        if line[position] == ":":
            return field, line[position + 1 :]
        if line[position] == "\\" and position + 1 < len(line):
            position += 1
        field += line[position]
        position += 1
    return field, None
