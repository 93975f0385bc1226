"""Settings of a transaction: what SET LOCAL does, with bound parameters."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from uuid import UUID

from . import _core
from .errors import InterfaceError

# Letters of any language and digits, in parts that dots join; "app.user_id".
_NAME = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*")

# What the driver itself depends on, or what has a place of its own.
_REFUSED = {
    "transaction_isolation": "say transaction(isolation=…)",
    "transaction_read_only": "say transaction(readonly=…)",
    "transaction_deferrable": "say transaction(deferrable=…)",
    "client_encoding": "pgasync speaks UTF8 only",
}


async def make_due(core: _core.Connection) -> None:
    """Settings of a transaction that has sent nothing yet are made now: in front of
    what goes by the simple protocol, which has no parameters."""
    if core.settings_due:
        await core.execute("", None)


class Settings:
    """Checked names and values, as text. InterfaceError for what cannot be one."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        if not isinstance(settings, Mapping):
            raise InterfaceError(
                f"settings are a mapping of names to values, not {settings!r}"
            )
        self._pairs = [
            (_name(name), _text(name, value)) for name, value in settings.items()
        ]

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def behind(self, begin: str) -> str | tuple[str, str, tuple[str | None, ...]]:
        """For core.begin()."""
        return (begin, *_set(self._pairs)) if self._pairs else begin

    def make(self) -> tuple[str, tuple[str | None, ...]]:
        """A statement that makes them, and its parameters; its row has the values
        that they had before."""
        old, new = [], []
        for number in range(1, 2 * len(self._pairs), 2):
            old.append(f"pg_catalog.current_setting(${number}, true)")
            new.append(_call(number))
        # The target list is evaluated from left to right.
        return "SELECT " + ", ".join(old + new), _parameters(self._pairs)

    def former(self, row: Sequence[str | None]) -> tuple[str, tuple[str | None, ...]]:
        """The statement that undoes it, in reverse: a role may be what allows the
        others."""
        names = [name for name, _ in self._pairs]
        return _set([*zip(names, row, strict=False)][::-1])


def _set(
    pairs: Sequence[tuple[str, str | None]],
) -> tuple[str, tuple[str | None, ...]]:
    calls = ", ".join(_call(2 * index + 1) for index in range(len(pairs)))
    return "SELECT " + calls, _parameters(pairs)


def _call(number: int) -> str:
    return f"pg_catalog.set_config(${number}, ${number + 1}, true)"


def _parameters(pairs: Sequence[tuple[str, str | None]]) -> tuple[str | None, ...]:
    return tuple(part for pair in pairs for part in pair)


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InterfaceError(f"{name!r} is not a name of a setting")
    if name.lower() in _REFUSED:
        raise InterfaceError(
            f"{name!r} is none of the settings of a transaction: "
            f"{_REFUSED[name.lower()]}"
        )
    return name


def _text(name: object, value: object) -> str | None:
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "\0" in value:
            raise InterfaceError(f"the setting {name!r} contains a NUL character")
        return str(value)
    if isinstance(value, int | float | Decimal | UUID):
        return str(value)
    raise InterfaceError(
        f"the setting {name!r} is a {type(value).__name__}, {value!r}: give a str, "
        "int, float, bool, None, Decimal, UUID or an Enum of those"
    )
