"""An SQLAlchemy URL and connect_args as the keywords of pgasync.connect()."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from ..errors import InterfaceError
from ..keywords import KNOWN

# Of asyncpg's and psycopg's dialects, so that they need not go when a URL changes.
# What has no purpose here is taken and means nothing: statements are named by a hash of
# their text, so that no two connections disagree, and prepared whatever their length;
# the loop is the one that runs.
ELSEWHERE = (
    "direct_tls",
    "loop",
    "max_cacheable_statement_size",
    "prepare_threshold",
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
)

HOST_AND_PORT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::(\d*))?")


def connect_keywords(url: URL) -> dict[str, Any]:
    """Those of the URL's parts and of its query, which wins. Raises ArgumentError."""
    keywords = url.translate_connect_args(username="user", database="dbname")
    if isinstance(keywords.get("host"), str):
        # Percent-encoded still: %2Frun%2Fpostgresql, fe80::1%25eth0.
        keywords["host"] = unquote(keywords["host"])
    keywords.update(url.query)
    if "host" in url.query:
        keywords["host"], ports = split_hosts(url.query["host"])
        if ports is not None and "port" in url.query:
            raise ArgumentError(
                "ports both in host= and in port=: write ?host=a:1&host=b:2 or "
                "?host=a,b&port=1,2"
            )
        if ports is not None:
            keywords["port"] = ports
    for name in ("port", "hostaddr"):
        if isinstance(keywords.get(name), tuple):
            keywords[name] = ",".join(keywords[name])
    return keywords


def split_hosts(query: str | Sequence[str]) -> tuple[str, str | None]:
    """host= of a URL's query, given once or more: a, a:1, [::1]:1 or a list of them,
    as the hosts and the ports; None when there is no port."""
    items = [query] if isinstance(query, str) else query
    hosts, ports = [], []
    for place in ",".join(items).split(","):
        match = HOST_AND_PORT.fullmatch(place)  # an IPv6 address without [] does not
        hosts.append((match[1] or match[2]) if match else place)
        ports.append((match[3] or "") if match else "")
    return ",".join(hosts), ",".join(ports) if any(ports) else None


def driver_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """connect_args with the names of pgasync.connect(). Naive datetimes are local time
    where a timestamptz is wanted, unless told else. Raises InterfaceError for a name
    that is nearly one of ELSEWHERE; the driver knows about all others."""
    keywords = dict(given)
    for keyword in keywords.keys() - {*KNOWN, *ELSEWHERE}:
        near = difflib.get_close_matches(keyword, ELSEWHERE, 1, 0.8)
        if near:
            raise InterfaceError(
                f"unknown connection keyword {keyword!r}; did you mean {near[0]!r}?"
            )
    found = {name: keywords.pop(name) for name in ELSEWHERE if name in keywords}
    if "database" in keywords:
        keywords.pop("dbname", None)  # that of the URL, over which everything wins
    size = found.get("prepared_statement_cache_size")
    if size is not None:
        keywords.setdefault("statement_cache_size", size)
    if found.get("direct_tls"):
        keywords.setdefault("sslnegotiation", "direct")
    if found.get("prepare_threshold", 0) is None:
        keywords.setdefault("prepared_statements", "unnamed")
    keywords.setdefault("naive_datetimes", "local")
    return keywords
