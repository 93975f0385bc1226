"""What a case is, and how the modules beside this one declare theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy

from .side import Side

Run = Callable[[Side], Awaitable[Any]]


@dataclass
class Case:
    """Something that a program does with a dialect; its result is what it sees."""

    name: str
    run: Run
    why: str = ""  # the reason of a difference; "": there is to be none
    ours: str = ""  # what pgasync's outcome holds
    only: str = ""  # the series of SQLAlchemy on which it differs; "": all

    @property
    def differs(self) -> bool:
        """Whether it is to."""
        return bool(self.why) and sqlalchemy.__version__.startswith(self.only)


CASES: list[Case] = []
_group = ""


@contextmanager
def group(name: str) -> Iterator[None]:
    """The cases declared in the block have `name` before theirs."""
    global _group
    outer, _group = _group, f"{_group}{name}: "
    try:
        yield
    finally:
        _group = outer


def add(name: str, run: Run, why: str = "", ours: str = "", only: str = "") -> None:
    """Declares a case; see Case."""
    CASES.append(Case(_group + name, run, why, ours, only))


def case(why: str = "", ours: str = "", only: str = "") -> Callable[[Run], Run]:
    """Declares a function as a case, by its name; see Case."""

    def declare(run: Run) -> Run:
        add(run.__name__.replace("_", " "), run, why, ours, only)
        return run

    return declare
