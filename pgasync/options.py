"""connect()'s keywords about values: how they are decoded and what may be sent."""

import json
from collections.abc import Mapping
from typing import Any

from .errors import InterfaceError

# keyword: (default, what else it may be)
CHOICES: dict[str, tuple[str, ...]] = {
    "json_numbers": ("float", "exact"),
    "json_null": ("none", "sentinel"),
    "out_of_range": ("error", "clamp", "sentinel"),
    "timestamptz": ("utc", "session"),
    "naive_datetimes": ("error", "utc", "local"),
}
KEYWORDS = ("json_loads", "json_dumps", "money_digits", *CHOICES)


def codec_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the core's configure() takes, of the keywords that were given. Raises
    InterfaceError for a value that is none of a keyword's."""
    options: dict[str, Any] = {}
    for keyword in ("json_loads", "json_dumps"):
        if keyword in given:
            value = given[keyword]
            if value is not None and not callable(value):
                raise InterfaceError(f"{keyword} is a function or None, not {value!r}")
            if value is not (json.loads if keyword == "json_loads" else json.dumps):
                options[keyword] = value
    if "money_digits" in given:
        options["money_digits"] = _digits(given["money_digits"])
    chosen = {keyword: _choice(given, keyword) for keyword in CHOICES}
    if chosen["json_numbers"] == "exact":
        options["json_exact"] = True
    if chosen["json_null"] == "sentinel":
        options["json_null"] = True
    if chosen["out_of_range"] != "error":
        options["beyond"] = chosen["out_of_range"]
    if chosen["naive_datetimes"] == "utc":
        options["naive_utc"] = True
    if chosen["naive_datetimes"] == "local":
        options["naive_local"] = True
    return options


def session_zone(given: Mapping[str, Any]) -> bool:
    """Whether timestamptz values come in the session's time zone."""
    return _choice(given, "timestamptz") == "session"


def _choice(given: Mapping[str, Any], keyword: str) -> str:
    value = given.get(keyword, CHOICES[keyword][0])
    if value not in CHOICES[keyword]:
        words = " or ".join(repr(choice) for choice in CHOICES[keyword])
        raise InterfaceError(f"{keyword} is {words}, not {value!r}")
    return str(value)


def _digits(value: Any) -> int:
    text = str(value)
    if not text.isdecimal() or int(text) > 18:
        raise InterfaceError(f"money_digits is a number from 0 to 18, not {value!r}")
    return int(text)
