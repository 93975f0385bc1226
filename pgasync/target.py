"""Whether a session is of the kind that was asked for (target_session_attrs)."""

from ._core import Connection


async def mismatch(core: Connection, wanted: str) -> str | None:
    """What the session is, when that is not `wanted`. Servers before 14 and poolers do
    not say it by themselves: they are asked, as libpq does. Raises Error."""
    if wanted == "any":
        return None
    if wanted in ("read-write", "read-only"):
        kind = "read-only" if await _is_read_only(core) else "read-write"
        return None if kind == wanted else f"the session is {kind}"
    kind = "standby" if await _is_standby(core) else "primary"
    return None if kind == wanted.removeprefix("prefer-") else f"the server is a {kind}"


async def _is_read_only(core: Connection) -> bool:
    known = core.parameters
    if "in_hot_standby" in known and "default_transaction_read_only" in known:
        return "on" in (known["in_hot_standby"], known["default_transaction_read_only"])
    return await _ask(core, "SHOW transaction_read_only") == "on"


async def _is_standby(core: Connection) -> bool:
    known = core.parameters.get("in_hot_standby")
    if known is not None:
        return known == "on"
    return await _ask(core, "SELECT pg_catalog.pg_is_in_recovery()") == "t"


async def _ask(core: Connection, sql: str) -> str | None:
    rows = await core.look_up(sql)
    return rows[0][0] if rows else None
