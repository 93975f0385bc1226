"""Rows: a tuple that answers to the names of its columns too."""

from typing import Any

from ._core import Row, row_type

__all__ = ["Row", "restore"]


def restore(fields: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    """A Row again, from its pickle."""
    return row_type(fields)(values)
