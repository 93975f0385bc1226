"""Connecting somewhere with a DSN, an environment and files: what libpq would use, and
what we would. Nothing listens where they connect to."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dsns
import libpq
from pgasync.conninfo import parse
from pgasync.errors import InterfaceError, NotSupportedError
from pgasync.keywords import LIBPQ
from pgasync.sources import collect

# Left out of the comparison, or compared in another way (see ours() and compared()).
NOT_COMPARED = {
    "client_encoding": "the variable is ignored: a str is a str",
    "passfile": "libpq shows its default",
    "service": "shown since 18",
}
WITH_TLS_ONLY = ("sslmode", "sslcertmode", "channel_binding", "gssencmode")
BY_CONFIG = ("user", "dbname", "password")


@dataclass
class Situation:
    """`{home}` in texts stands for the folder that the files lie in."""

    dsn: str
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, home: Path) -> tuple[str, dict[str, str]]:
        """Writes the files. The DSN and the environment."""
        (home / "sys").mkdir(exist_ok=True)
        for name, text in self.files.items():
            path = home / name
            path.write_text(text)
            path.chmod(0o600)
        variables = {"HOME": "{home}", "PGSYSCONFDIR": "{home}/sys", **self.variables}
        return (
            self.dsn.replace("{home}", str(home)),
            {k: v.replace("{home}", str(home)) for k, v in variables.items()},
        )


def ours(dsn: str, oracle: libpq.LibPQ) -> dict[str, bytes] | str:
    """In libpq's terms, or the message of the refusal."""
    try:
        config, given = parse(dsn), collect(dsn, {}, os.environ)
    except (InterfaceError, NotSupportedError) as error:
        return str(error)
    builtin = {name: default for name, (_, default) in oracle.known.items()}
    found = {name: default for name, default in builtin.items() if default is not None}
    found |= {name: str(value) for name, value in given.items()}
    found |= {"user": config.user, "dbname": config.dbname}
    found |= {"sslmode": config.sslmode, "sslcertmode": config.sslcertmode}
    password = config.password or config.hosts[-1].password or ""
    assert isinstance(password, str)
    found["password"] = password
    return {k: v.encode("utf-8", "surrogateescape") for k, v in found.items()}


def compared(values: dict[str, bytes] | str, tls: bool) -> dict[str, bytes] | None:
    """What is compared of the values, None when they were refused."""
    if isinstance(values, str):
        return None
    left_out = (*NOT_COMPARED, *(() if tls else WITH_TLS_ONLY))
    found = {key: value for key, value in values.items() if value}
    found = {key: value for key, value in found.items() if key not in left_out}
    return dict.fromkeys(BY_CONFIG, b"") | found


def difference(
    oracle: libpq.LibPQ, situation: Situation, home: Path
) -> tuple[object, object] | None:
    """What libpq would use and what we would, None when that is the same."""
    dsn, variables = situation.prepare(home)
    with libpq.environment(variables):
        theirs = oracle.effective(dsn)
        mine = ours(dsn, oracle)
    if compared(theirs, oracle.has_tls) == compared(mine, oracle.has_tls):
        return None
    return theirs, mine


# ------------------------------------------------------------------ random ones

POOL = {
    "user": ("u", "v", "", "ü x", "a:b", "a\\b"),
    "dbname": ("d", "e", "", "d:b", "a=b"),
    "password": ("", "given"),
    "host": ("h1", "h2", "", "/nonexistent", "/tmp", "localhost", "h1,h2"),
    "port": ("", "1", "2", "0", "x", "1,2", "65536"),
    "passfile": ("{home}/other", "{home}/none"),
    "application_name": ("a", "", "it's \\"),
    "fallback_application_name": ("f", ""),
    "options": ("", "-c a=b"),
    "sslmode": ("disable", "allow", "prefer", "", "nonsense"),
    "target_session_attrs": ("any", "primary", "maybe", ""),
    "load_balance_hosts": ("disable", "random", ""),
    "connect_timeout": ("", "0", "-1", "3", "x"),
    "keepalives": ("0", "1", "x"),
    "keepalives_count": ("2", "3"),
    "require_auth": ("", "md5", "!md5,!none", "md5,!none"),
    "channel_binding": ("disable", "prefer", ""),
    "sslrootcert": ("", "{home}/root.crt"),
    "sslsni": ("0", "1"),
    "min_protocol_version": ("3.0", "3.2", "3.1"),
    "max_protocol_version": ("3.0", "latest", ""),
    "service": ("one", "two", "three", "", "on"),
    "gssencmode": ("disable",),
    "krbsrvname": ("x", ""),
}
TLS_POOL = {
    "sslmode": ("disable", "prefer", "require", "verify-ca", "verify-full", "x"),
    "sslrootcert": ("", "system", "system", "{home}/root.crt"),
    "sslnegotiation": ("postgres", "direct", "direct", "", "x"),
    "sslcertmode": ("allow", "disable", "require", "", "x"),
    "ssl_min_protocol_version": ("TLSv1.2", "tlsv1.3", "", "x"),
    "ssl_max_protocol_version": ("TLSv1.2", "tlsv1.3", "", "x"),
}
USUAL = ("user", "dbname", "host", "port")
FIELDS = ("*",) * 12 + ("**", "h1", "h2", "localhost", "127.0.0.1", "/tmp", "1", "2")
FIELDS += ("5432", "d", "e", "u", "v", "", "d\\:b", "a\\:b", "a\\\\b", "\\*", "u\\")
FIELDS += ("ü x", "x:y")
ODD_LINES = ("", " ", "#", "# *:*:*:*:no", "*:*:*", "[one]", " [two]", "[]", "x", "=")
# Around the longest line that libpq takes.
LONG_LINES = tuple(f"options={'x' * n}" for n in (1012, 1013, 1014, 1015, 2000))
LONG_LINES += tuple(f"# {'é' * n}" for n in (509, 510, 511))
ODD_SERVICE_LINES = ("colour=1", "service=one", "a b", "[one", "[one]]", "\tuser=u\t")
ODD_SERVICE_LINES += ("\v\f", "user=a b", "user='q'", "user=a=b", "=x", *LONG_LINES)


def _passfile(source: random.Random) -> str:
    lines = []
    for _ in range(source.randint(0, 6)):
        count = source.choice((5, 5, 5, 5, 4, 6))
        line = ":".join(source.choice(FIELDS) for _ in range(count))
        lines.append(source.choice((line, line, line, source.choice(ODD_LINES))))
    end = source.choice(("\n", "\n", "\r\n"))
    return end.join(lines) + source.choice((end, end, ""))


def _service_file(source: random.Random, pool: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for _ in range(source.randint(0, 8)):
        kind = source.random()
        if kind < 0.4:
            lines.append(source.choice(("[one]", "[two]", " [three] x", "[on]")))
        elif kind < 0.47:
            lines.append(source.choice((*ODD_LINES, *ODD_SERVICE_LINES)))
        else:
            key = source.choice((*USUAL, *pool))
            space = source.choice(("", "", "", "", "", " "))
            lines.append(
                f"{space}{key}{space}={space}{source.choice(pool[key])}{space}"
            )
    end = source.choice(("\n", "\n", "\r\n"))
    return end.join(lines) + source.choice((end, ""))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def random_situation(source: random.Random, oracle: libpq.LibPQ) -> Situation:
    """Some keywords, variables and lines of files; most of them are good."""
    pool = {**POOL, **(TLS_POOL if oracle.has_tls else {})}
    pool = {key: values for key, values in pool.items() if key in oracle.known}
    names = {source.choice((*USUAL, *pool)) for _ in range(source.randint(0, 5))}
    given = {name: source.choice(pool[name]) for name in names}
    if source.random() < 0.2:
        given["service"] = source.choice(pool["service"])
    variables = {}
    for _ in range(source.randint(0, 4)):
        keyword = source.choice((*USUAL, *pool))
        variable = LIBPQ[keyword].variable
        if variable is not None:
            variables[variable] = source.choice(pool[keyword])
    if source.random() < 0.1:
        variables["PGREQUIRESSL"] = source.choice("01" if oracle.has_tls else "02")
    if source.random() < 0.1:
        variables["PGSERVICEFILE"] = source.choice(("{home}/my.conf", "{home}/none"))
    address = source.choice(("127.0.0.1", "127.0.0.1", "127.0.0.1,127.0.0.2"))
    pairs = [f"{name}={_quoted(value)}" for name, value in given.items()]
    return Situation(
        " ".join((*pairs, f"hostaddr={address}")),
        variables,
        {
            ".pgpass": _passfile(source),
            "other": _passfile(source),
            ".pg_service.conf": _service_file(source, pool),
            "my.conf": _service_file(source, pool),
            "sys/pg_service.conf": _service_file(source, pool),
        },
    )


def compare(
    seconds: float, seed: int, home: Path
) -> tuple[int, int, str | Situation | None]:
    """How many random DSNs and situations libpq and we understood alike in that time,
    and the first that we did not."""
    oracles = [libpq.LibPQ(18), *([libpq.LibPQ(17)] if libpq.available(17) else [])]
    source = random.Random(seed)
    end = time.monotonic() + seconds
    count = tried = 0
    while time.monotonic() < end:
        for _ in range(2000):
            text = dsns.random_dsn(source)
            if dsns.differs(oracles[0], text):
                return count, tried, text
            count += 1
        for oracle in oracles * 5:
            situation = random_situation(source, oracle)
            if difference(oracle, situation, home) is not None:
                return count, tried, situation
            tried += 1
    return count, tried, None
