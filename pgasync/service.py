"""Connection parameters under a name: service files.

PostgreSQL documentation, "The Connection Service File".
"""

import os
from collections.abc import Mapping

from .errors import InterfaceError
from .keywords import LIBPQ

# What packages are built with; PGSYSCONFDIR says otherwise.
SYSTEM_FOLDERS = ("/etc/postgresql-common", "/etc")
LINE_MAX = 1022  # bytes with the newline, as in libpq


def read_service(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the service. Raises InterfaceError when no file defines it, or
    a line cannot be understood."""
    given = environ.get("PGSERVICEFILE")
    own = given if given is not None else _home_file(environ)
    if given is not None or os.path.exists(own):
        found = _read(own, name)
        if found is not None:
            return found
    system = environ.get("PGSYSCONFDIR")
    for folder in SYSTEM_FOLDERS if system is None else (system,):
        path = f"{folder}/pg_service.conf"
        if os.path.exists(path):
            found = _read(path, name)
            if found is not None:
                return found
    raise InterfaceError(f"definition of service {name!r} not found")


def _home_file(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.join(home, ".pg_service.conf")


def _read(path: str, name: str) -> dict[str, str] | None:
    """The parameters of section `name`, None when there is no such section."""
    try:
        with open(
            path, encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise InterfaceError(
            f"service file {path!r} cannot be read: {error.strerror}"
        ) from error
    found: dict[str, str] | None = None
    for number, raw in enumerate(lines, 1):
        length = len(raw.encode("utf-8", "surrogateescape")) + (number < len(lines))
        if length > LINE_MAX:
            raise InterfaceError(f"line {number} of service file {path!r} is too long")
        line = raw.strip(" \t\n\r\v\f")
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            if line.startswith(f"[{name}]"):
                found = {}
        elif found is not None:
            _parameter(line, found, f"service file {path!r}, line {number}")
    return found


def _parameter(line: str, found: dict[str, str], where: str) -> None:
    key, equals, value = line.partition("=")
    if not equals or key not in LIBPQ:
        raise InterfaceError(f"syntax error in {where}")
    if key == "service":
        raise InterfaceError(
            f"nested service specifications are not supported: {where}"
        )
    found.setdefault(key, value)
