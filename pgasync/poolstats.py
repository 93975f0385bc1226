"""What a pool tells about itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .poolstate import CLEANING, IDLE, OPENING, USED, PoolState


@dataclass(frozen=True)
class PoolStats:
    """The state of a pool at one moment, and what it has counted since its beginning.

    `size == idle + used + cleaning == opened - sum(closed.values())`, and once nobody
    is waiting `acquired == released + used` and `sum(waits.values()) == waited`.
    """

    min_size: int
    max_size: int
    size: int
    """Connections that are open."""
    idle: int
    used: int
    """By whoever has acquired them."""
    cleaning: int
    """Given back, and not yet fit for the next one."""
    opening: int
    waiting: int
    """Tasks in the queue."""
    acquired: int
    released: int
    waited: int
    """How often a connection was got after waiting for it."""
    wait_seconds: float
    """The sum of these waits."""
    waits: Mapping[float, int]
    """Their histogram: {upper bound in ms: waits below it}, each bound is twice the one
    before, the last is infinite; empty ones are left out."""
    timeouts: int
    """Acquires that ended in PoolTimeout."""
    cancelled: int
    """Acquires that were cancelled while they waited."""
    rejected: int
    """Acquires that ended in TooManyWaiting."""
    refused: int
    """Acquires that waited and got another error: the pool was closed, or no connection
    can be opened."""
    opened: int
    closed: Mapping[str, int]
    """Connections closed by the pool, or found closed, by reason: "lifetime", "idle",
    "uses", "resized", "drained", "closed", "terminated", "lost", "broken" (by its
    holder's doing), "hook"."""
    errors: int
    """Failed attempts to open a connection."""


def stats_of(state: PoolState) -> PoolStats:
    """The state's numbers."""
    counts = dict.fromkeys((OPENING, IDLE, USED, CLEANING), 0)
    for member in state.members:
        counts[member.state] += 1
    last = len(state.waits) - 1
    waits = {
        float("inf") if power == last else float(2**power): number
        for power, number in enumerate(state.waits)
        if number
    }
    return PoolStats(
        min_size=state.min_size,
        max_size=state.max_size,
        size=counts[IDLE] + counts[USED] + counts[CLEANING],
        idle=counts[IDLE],
        used=counts[USED],
        cleaning=counts[CLEANING],
        opening=counts[OPENING],
        waiting=len(state.waiters),
        acquired=state.acquired,
        released=state.released,
        waited=state.waited,
        wait_seconds=state.wait_seconds,
        waits=MappingProxyType(waits),
        timeouts=state.timeouts,
        cancelled=state.cancelled,
        rejected=state.rejected,
        refused=state.refused,
        opened=state.opened,
        closed=MappingProxyType(dict(state.closed)),
        errors=state.errors,
    )
