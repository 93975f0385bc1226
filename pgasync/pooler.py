"""Poolers between us and the server (PgBouncer, Supavisor, RDS Proxy …), which may give
every transaction another session: what they refuse."""

import re

from .errors import Error

# What they refuse at the startup

_PARAMETER = re.compile(
    r"unsupported (?:\w+ )?startup parameter(?: in options)?: *(\S+)"
)
_CROWDED = ("no more connections allowed", "max_client_conn")


def explain(error: Error) -> None:
    """Gives the refusal of a session by a pooler its hint."""
    if error.sqlstate != "08P01" or error.hint:
        return
    text = str(error.message)
    match = _PARAMETER.search(text)
    if match is not None:
        error.hint = _of_parameter(match[1].strip('"'))
    elif any(words in text for words in _CROWDED):
        error.hint = (
            "the pooler has as many clients as it takes (PgBouncer: max_client_conn): "
            "raise that, or open fewer connections"
        )


def _of_parameter(name: str) -> str:
    if name == "options":
        return (
            "the pooler takes no options (nor PGOPTIONS): leave them out, and set what "
            "they set for each transaction, conn.transaction(settings={…}), or for the "
            "role, ALTER ROLE … SET …; or have PgBouncer drop them, "
            "ignore_startup_parameters = options"
        )
    return (
        f"the pooler takes no {name} from clients: leave it out of server_settings "
        f"and set it for each transaction, conn.transaction(settings={{{name!r}: …}}), "
        f"or for the role, ALTER ROLE … SET {name} = …; or have PgBouncer drop it, "
        f"ignore_startup_parameters = {name}"
    )
