"""Poolers between us and the server (PgBouncer, Supavisor, RDS Proxy …), which may
give every transaction another session: what tells of one, and what they refuse."""

import logging
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import Error

if TYPE_CHECKING:
    from . import _core

log = logging.getLogger("pgasync")

# What a process id may be: Linux ends there (PID_MAX_LIMIT), others before.
PID_MAX = 4_194_304
PLACES_MAX = 1000

Place: TypeAlias = tuple[str, int]

# (address, port) -> whether a pooler is there.
_seen: dict[Place, bool] = {}
unknown: bool | None = None  # what the others are taken for; None: they are asked


def is_process(pid: int) -> bool:
    """Whether the number in a BackendKeyData can be a server's process: poolers make
    keys of their own, nearly all of them of random bits."""
    return 0 < pid <= PID_MAX


def remember(place: Place, pooled: bool) -> None:
    """What stands there, for all connections of this process."""
    if len(_seen) >= PLACES_MAX and place not in _seen:
        _seen.clear()
    _seen[place] = pooled


def begin(core: "_core.Connection", mode: str, place: Place) -> None:
    """The session is open: says whether the server may keep statements for it, and
    whether that has to be found out. `mode` is prepared_statements."""
    if mode != "auto":
        core.unnamed = mode == "unnamed"
        return
    core.detects = True
    if not is_process(core.backend_pid):
        remember(place, True)
    pooled = _seen.get(place, unknown)
    core.asking = pooled is None
    core.unnamed = pooled is not False


def answered(core: "_core.Connection", pid: int, place: Place) -> None:
    """The process that works for the session now, which is the one that its key names
    unless a pooler made the key."""
    core.unnamed = pid != core.backend_pid
    remember(place, core.unnamed)


_warned: set[Place] = set()


def warn_listener(core: Any) -> None:
    """One line in the log for a pooler at which somebody LISTENs."""
    host = core.link.address.host
    place = (host.address, host.port)
    if core.unnamed and _seen.get(place) and place not in _warned:
        _warned.add(place)
        log.warning(
            "%s is a pooler: what is listened to arrives only where it keeps a session "
            "for each client (PgBouncer: pool_mode = session); listeners had better "
            "connect to the server itself",
            host,
        )


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
