"""What keywords, a DSN, the service file and the environment say together.

PostgreSQL documentation, "Connection Strings", "Environment Variables". The first of
these that names a keyword decides it; only texts are put together here, conninfo makes
sense of them. No message shows a value.
"""

import difflib
import os
from collections.abc import Mapping
from typing import Any

from .dsn import is_dsn, parse_dsn, shown
from .errors import InterfaceError
from .keywords import ALIASES, KNOWN, LIBPQ, SESSION_VARIABLES
from .service import read_service

# None is a choice of its own; for all others it is as if they were not given.
_NONE_COUNTS = ("json_loads", "json_dumps")
# Texts are str whatever the terminal's encoding is: this variable means nothing here.
_VARIABLES_IGNORED = ("PGCLIENTENCODING",)
# Two ways to say one thing: where one of them decides, the other has no say.
_SAME = {"ssl": "sslmode", "sslmode": "ssl"}


def collect(
    dsn: str | None, keywords: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Each keyword that is given anywhere, by its own name. Reads the service file
    where one is asked for.

    Raises InterfaceError for a keyword that is not known, a text that cannot be read
    and a service that is not defined.
    """
    given = _named(dsn, keywords)
    service = given.get("service", environ.get("PGSERVICE"))
    if service is not None:
        check_text("service", service)
        given = _over(given, read_service(str(service), environ))
    given = _over(given, _environment(environ))
    for keyword, value in given.items():
        check_text(keyword, value)
    return given


def session_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """Run-time parameters that the environment asks for."""
    found = {
        parameter: environ[variable]
        for variable, parameter in SESSION_VARIABLES.items()
        if environ.get(variable, "default").lower() != "default"
    }
    for parameter, value in found.items():
        check_text(parameter, value)
    return found


def _named(dsn: str | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller says. A database name may be a DSN, which adds to the first."""
    given: dict[str, Any] = _canonical(parse_dsn(dsn)) if dsn else {}
    named = _canonical(keywords)
    if isinstance(named.get("dbname"), str) and is_dsn(named["dbname"]):
        given = _over(_canonical(parse_dsn(named.pop("dbname"))), given)
    return _over(named, given)


def _over(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Both; where both decide, the upper one."""
    kept = {k: v for k, v in lower.items() if _SAME.get(k) not in upper}
    return {**kept, **upper}


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for known in LIBPQ.values():
        variable = known.variable
        if variable is None or variable in _VARIABLES_IGNORED:
            continue
        if variable in environ:
            found[known.name] = environ[variable]
    if environ.get("PGREQUIRESSL", "").startswith("1"):  # before there was PGSSLMODE
        found.setdefault("sslmode", "require")
    return found


def _canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the names and replaces aliases; None means that nothing was given."""
    found: dict[str, Any] = {}
    for keyword, value in given.items():
        name = ALIASES.get(keyword, keyword)
        if keyword not in KNOWN:
            raise _unknown(keyword, value)
        if value is None and keyword not in _NONE_COUNTS:
            continue
        if isinstance(value, os.PathLike):
            value = os.fsdecode(value)
        if name in found and found[name] != value:
            raise InterfaceError(f"{keyword} and {name} are the same and differ")
        found[name] = value
    return found


def _unknown(keyword: str, value: object) -> InterfaceError:
    name = shown(keyword)
    if not name or (isinstance(value, str) and "@" in value):
        # user:1/x?word=rest@host: the name may be a piece of the password.
        return InterfaceError(
            "unknown connection keyword (not shown, as it may be part of a password: "
            "in a URI write %2F for / and %40 for @)"
        )
    near = difflib.get_close_matches(keyword, KNOWN, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InterfaceError(f"unknown connection keyword{name}{hint}")


def check_text(keyword: str, value: object) -> None:
    """No NUL (it ends a string in the startup packet) and no lone surrogates, but for
    a password from the environment that is no UTF-8: its bytes are sent as they are."""
    if not isinstance(value, (str, bytes)):
        return
    try:
        errors = "surrogateescape" if keyword == "password" else "strict"
        raw = value.encode("utf-8", errors) if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise InterfaceError(f"{keyword} cannot be written in UTF-8") from None
    if b"\0" in raw:
        raise InterfaceError(f"{keyword} contains a NUL character")
