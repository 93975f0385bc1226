"""DSNs, good and bad: what the oracle test and the fuzz target compare."""

from __future__ import annotations

import random

import libpq
from pgasync.dsn import parse_dsn
from pgasync.errors import InterfaceError
from pgasync.keywords import LIBPQ

SEEDS = (
    "postgresql://user:pw@host:5432/db?sslmode=require&application_name=x",
    "postgres:///db?host=/tmp&ssl=true&requiressl=1",
    "postgresql://[::1]:1,h2:2,/d?port=3",
    "postgresql://%2Frun%2Fs:77/a%20b?options=-c%20x%3D1",
    "host=h user=u password='it\\'s' dbname = d port=1",
    "host=a,b hostaddr=10.0.0.1,::1 port=1,2 user='a b'",
)
ATOMS = (
    *"postgresql:// postgres:// user password host port dbname sslmode ssl".split(),
    *"true requiressl requiressl= 1 = & ? / @ : , [ ] [::1] ::1 %20 %2F".split(),
    *"%00 %zz %".split(),
    *"' \\ \\' '' a b é %C3%A9 options application_name .. 0 hostaddr # ; *".split(),
    *(" ", "  ", "\t", "\n", "\x0b", "\u00a0", "=", "=", "&", "%3D", "%0a", "\x7f"),
)

LETTERS = "ab0 '\\\":/?@[]&=%,#+.\t\u00a0é漢\U0001f418"
NAMES = (
    "user",
    "password",
    "host",
    "port",
    "dbname",
    "options",
    "requiressl",
    "sslmode",
)

SCRAM_KEY = "A" * 43 + "="
# One that shows in Config for each that is supported. "": accepted, without effect.
SHOWN: dict[str, tuple[str, str]] = {
    "user": ("x", "user dbname"),
    "password": ("x", "password"),
    "channel_binding": ("require", "channel_binding"),
    "connect_timeout": ("7", "connect_timeout"),
    "dbname": ("x", "dbname"),
    "host": ("x", "hosts"),
    "hostaddr": ("127.0.0.2", "hosts"),
    "port": ("7", "hosts"),
    "client_encoding": ("UTF8", ""),
    "options": ("-c a=b", "options"),
    "application_name": ("x", "application_name"),
    "fallback_application_name": ("x", "application_name"),
    "keepalives": ("0", "keepalives"),
    "keepalives_idle": ("7", "keepalives_idle"),
    "keepalives_interval": ("7", "keepalives_interval"),
    "keepalives_count": ("7", "keepalives_count"),
    "tcp_user_timeout": ("7", "tcp_user_timeout"),
    "sslmode": ("require", "sslmode"),
    "sslnegotiation": ("direct", "sslnegotiation"),
    "sslcompression": ("0", ""),
    "sslcert": ("x", "sslcert"),
    "sslkey": ("x", "sslkey"),
    "sslcertmode": ("require", "sslcertmode"),
    "sslpassword": ("x", "sslpassword"),
    "sslrootcert": ("system", "sslrootcert sslmode"),
    "sslcrl": ("x", "sslcrl"),
    "sslcrldir": ("x", "sslcrldir"),
    "sslsni": ("0", "sslsni"),
    "requirepeer": ("x", "requirepeer"),
    "require_auth": ("md5", "auth_methods"),
    "min_protocol_version": ("3.2", "min_protocol_version max_protocol_version"),
    "max_protocol_version": ("3.2", "max_protocol_version"),
    "ssl_min_protocol_version": ("TLSv1.3", "ssl_min_protocol_version"),
    "ssl_max_protocol_version": ("TLSv1.3", "ssl_max_protocol_version"),
    "gssencmode": ("prefer", ""),
    "krbsrvname": ("x", ""),
    "gsslib": ("gssapi", ""),
    "gssdelegation": ("1", ""),
    "target_session_attrs": ("primary", "target_session_attrs"),
    "load_balance_hosts": ("random", "load_balance_hosts"),
    "scram_client_key": (SCRAM_KEY, "scram_client_key"),
    "scram_server_key": (SCRAM_KEY, "scram_server_key"),
}


def _word(source: random.Random) -> str:
    return "".join(source.choice(LETTERS) for _ in range(source.randint(0, 4)))


def _encoded(source: random.Random) -> str:
    """With what a URI may not hold as it is, and some of the rest, as %xx."""
    parts = []
    for byte in _word(source).encode():
        plain = 48 < byte < 127 and source.random() < 0.8 and byte not in b":/?@[]&=%,"
        parts.append(chr(byte) if plain else f"%{byte:02{source.choice('xX')}}")
    return "".join(parts)


def _uri(source: random.Random) -> str:
    places = []
    for _ in range(source.choice((0, 1, 1, 1, 2, 3))):
        name = source.choice((_encoded(source), "[::1]", "[fe80::1%25lo]", "%2Frun"))
        places.append(name + source.choice(("", "", ":", ":1", ":54321", ":x")))
    login = source.choice(("", "", "@", f"{_encoded(source)}@"))
    login = source.choice((login, f"{_encoded(source)}:{_encoded(source)}@"))
    path = source.choice(("", "/", f"/{_encoded(source)}"))
    pairs = [
        f"{source.choice((*NAMES, 'ssl'))}={source.choice((_encoded(source), 'true'))}"
        for _ in range(source.choice((0, 0, 1, 2, 3)))
    ]
    query = "?" + "&".join(pairs) if pairs else source.choice(("", "", "?"))
    scheme = source.choice(("postgresql://", "postgres://"))
    return f"{scheme}{login}{','.join(places)}{path}{query}"


def _pairs(source: random.Random) -> str:
    text = source.choice(("", " "))
    for _ in range(source.randint(0, 4)):
        value = _word(source)
        if source.random() < 0.7:
            value = value.replace("\\", "\\\\").replace("'", "\\'")
        if source.random() < 0.7:
            value = f"'{value}'"
        equals = source.choice(("=", "=", "=", " = ", "\t=", "= "))
        space = source.choice((" ", " ", "  ", "\n", "\v", ""))
        text += f"{source.choice(NAMES)}{equals}{value}{space}"
    return text


def _mutated(source: random.Random, text: str, times: int) -> str:
    for _ in range(times):
        at = source.randint(0, len(text))
        cut = source.choice((0, 0, 1, 1, source.randint(1, 6)))
        put = source.choice(("", source.choice(ATOMS), source.choice(ATOMS)))
        text = text[:at] + put + text[at + cut :]
    return text


def random_dsn(source: random.Random) -> str:
    """Words put together, a DSN that is mostly good, or one with a few changes."""
    kind = source.random()
    if kind < 0.2:
        count = source.randint(1, 14)
        return "".join(source.choice(ATOMS) for _ in range(count))
    if kind < 0.4:
        return _mutated(source, source.choice(SEEDS), source.randint(1, 4))
    text = _uri(source) if kind < 0.75 else _pairs(source)
    return _mutated(source, text, source.choice((0, 0, 1)))


def ours(text: str) -> dict[str, bytes] | None:
    """What the text says to us, None when it is refused."""
    try:
        found = parse_dsn(text)
    except InterfaceError:
        return None
    if not found.keys() <= LIBPQ.keys():
        return None  # an unknown keyword, which conninfo.parse() refuses by name
    return {key: value.encode() for key, value in found.items()}


def is_stricter(text: str) -> bool:
    """One of the deliberate differences: refused here, accepted by libpq."""
    try:
        parse_dsn(text)
    except InterfaceError as error:
        return "second @" in str(error) or "not UTF-8" in str(error)
    return False


def differs(oracle: libpq.LibPQ, text: str) -> bool:
    """Whether libpq makes something else of the text."""
    return not is_stricter(text) and ours(text) != oracle.parse(text.encode())
