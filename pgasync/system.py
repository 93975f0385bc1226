"""Values of PostgreSQL's own types for its log and its transactions."""

from __future__ import annotations

from typing import NamedTuple, final


@final
class Lsn(int):
    """A place in the write-ahead log (pg_lsn), in bytes; str() gives 16/B374D848."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({int(self)})"

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """From 16/B374D848. Raises ValueError."""
        high, _, low = text.partition("/")
        return cls(int(high, 16) << 32 | int(low, 16))


class Snapshot(NamedTuple):
    """pg_snapshot: transactions below xmin are over, those from xmax on had not begun,
    and of those between them the ones in xip were running."""

    xmin: int
    xmax: int
    xip: tuple[int, ...]
