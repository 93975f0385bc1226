"""Bit strings (PostgreSQL docs, 8.10)."""

from __future__ import annotations

from typing import final


@final
class BitString(str):
    """A bit or varbit: a str of 0 and 1, the most significant bit first. Raises
    ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, bits: str = "") -> BitString:
        if bits.strip("01"):
            raise ValueError(f"a bit string is made of 0 and 1, not {bits!r}")
        return super().__new__(cls, bits)

    @classmethod
    def from_int(cls, value: int, length: int) -> BitString:
        """`length` bits from a number that fits them. Raises ValueError."""
        if value < 0 or length < 0 or value.bit_length() > length:
            raise ValueError(f"{value} does not fit {length} bits")
        return cls(f"{value:0{length}b}" if length else "")

    @classmethod
    def from_bytes(cls, data: bytes, length: int | None = None) -> BitString:
        """The bits of `data`, the first `length` of them. Raises ValueError where it
        has fewer."""
        bits = "".join(f"{byte:08b}" for byte in data)
        if length is None:
            return cls(bits)
        if not 0 <= length <= len(bits):
            raise ValueError(f"{len(data)} bytes have no {length} bits")
        return cls(bits[:length])

    def __int__(self) -> int:
        """The number that the bits are, unsigned."""
        return int(str(self) or "0", 2)

    def to_bytes(self) -> bytes:
        """The bits, filled up with zeros to whole bytes."""
        size = (len(self) + 7) // 8
        return int(str(self).ljust(size * 8, "0") or "0", 2).to_bytes(size, "big")

    def __repr__(self) -> str:
        return f"BitString({str.__repr__(self)})"
