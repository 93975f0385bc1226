"""The cases of benchmarks/dialects.py, a module for each part of what programs do."""

from . import (
    connecting,
    constructs,
    errors,
    look,
    orm,
    raw,
    statements,
    transactions,
    values,
)
from .case import CASES, Case
from .side import SETUP, Place, Side

__all__ = [
    "CASES",
    "SETUP",
    "Case",
    "Place",
    "Side",
    "connecting",
    "constructs",
    "errors",
    "look",
    "orm",
    "raw",
    "statements",
    "transactions",
    "values",
]
