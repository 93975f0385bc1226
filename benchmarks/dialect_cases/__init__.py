"""The cases of benchmarks/dialects.py, a module for each part of what programs do."""

from . import constructs, errors, look, orm, statements, values
from .case import CASES, Case
from .side import SETUP, Place, Side

__all__ = [
    "CASES",
    "SETUP",
    "Case",
    "Place",
    "Side",
    "constructs",
    "errors",
    "look",
    "orm",
    "statements",
    "values",
]
