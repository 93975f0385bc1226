"""Where to connect and how: DSN, keywords and PG* variables to one Config.

The rules are libpq's (PostgreSQL documentation, "Database Connection Control
Functions"): a keyword wins over the DSN, the DSN over the environment, the
environment over the default. No message here shows a password.
"""

import difflib
import getpass
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import InterfaceError, NotSupportedError
from .options import KEYWORDS as _CODEC_KEYWORDS
from .options import codec_options, session_zone

if TYPE_CHECKING:
    import ssl

    from .registry import Registry

Password = str | bytes | Callable[[], str | bytes | Awaitable[str | bytes]]

DEFAULT_PORT = 5432
SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")
AUTH_METHODS = ("none", "password", "md5", "scram-sha-256")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "sslmode": "PGSSLMODE",
    "options": "PGOPTIONS",
    "require_auth": "PGREQUIREAUTH",
}
_ALIASES = {"database": "dbname", "timeout": "connect_timeout"}
_KEYWORDS = (
    *_ENVIRONMENT,
    *_ALIASES,
    "autocommit",
    "cancel_timeout",
    "client_encoding",
    "command_timeout",
    "fallback_application_name",
    "max_cached_statement_lifetime",
    "prepared_statements",
    "row_factory",
    "server_settings",
    "ssl",
    "statement_cache_size",
    "types",
    *_CODEC_KEYWORDS,
)
# None is a choice of its own; for all others it is as if they were not given.
_NONE_COUNTS = ("json_loads", "json_dumps")
# Known to libpq, asked for by someone who would be misled by silence.
_NOT_YET = frozenset(
    (
        "channel_binding",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "passfile",
        "replication",
        "requirepeer",
        "scram_client_key",
        "scram_server_key",
        "service",
        "servicefile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
    )
)


@dataclass(frozen=True)
class Host:
    """One place to try: `host` is the name given, `address` what is dialled."""

    host: str
    address: str
    port: int
    password: str | None = field(default=None, repr=False)  # from the passfile

    @property
    def is_unix(self) -> bool:
        """Whether the address is a socket directory ("@": an abstract name)."""
        return self.address.startswith(("/", "@"))

    @property
    def socket_path(self) -> str:
        path = f"{self.address}/.s.PGSQL.{self.port}"
        return "\0" + path[1:] if path.startswith("@") else path

    def __str__(self) -> str:
        if self.is_unix:
            return f"{self.address}/.s.PGSQL.{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        text = f"{host}:{self.port}"
        return text if self.address == self.host else f"{text} ({self.address})"


@dataclass(frozen=True)
class Config:
    """Everything connect() was told, checked. Times are in seconds."""

    hosts: tuple[Host, ...]
    user: str
    dbname: str
    password: Password | None = field(default=None, repr=False)
    connect_timeout: float | None = 60.0  # per host; None: no limit
    application_name: str | None = None
    options: str | None = None
    target_session_attrs: str = "any"
    load_balance_hosts: str = "disable"
    keepalives: bool = True
    keepalives_idle: int | None = None  # s; None: the driver's default
    keepalives_interval: int | None = None  # s
    keepalives_count: int | None = None
    tcp_user_timeout: int | None = None  # ms
    requirepeer: str | None = None
    gssencmode: str = "disable"
    sslmode: str = "prefer"
    sslnegotiation: str = "postgres"
    sslcert: str | None = None
    sslkey: str | None = None
    sslpassword: str | None = field(default=None, repr=False)
    sslcertmode: str = "allow"
    sslrootcert: str | None = None
    sslcrl: str | None = None
    sslcrldir: str | None = None
    sslsni: bool = True
    sslkeylogfile: str | None = None
    ssl_min_protocol_version: str | None = "TLSv1.2"
    ssl_max_protocol_version: str | None = None
    ssl_context: "ssl.SSLContext | None" = None
    channel_binding: str = "prefer"
    scram_client_key: bytes | None = field(default=None, repr=False)
    scram_server_key: bytes | None = field(default=None, repr=False)
    scram_max_iterations: int = 100_000
    min_protocol_version: int = 0x30000
    max_protocol_version: int = 0x30000
    server_settings: tuple[tuple[str, str], ...] = ()
    autocommit: bool = False
    row_factory: Any = True  # as the core takes it: True is Row
    command_timeout: float | None = None
    cancel_timeout: float = 5.0
    statement_cache_size: int = 100
    max_cached_statement_lifetime: float = 0.0
    auth_methods: frozenset[str] = frozenset(AUTH_METHODS)
    codec_options: Mapping[str, Any] = field(default_factory=dict)
    session_zone: bool = False  # timestamptz in the session's zone, else UTC
    types: "Registry | None" = None
    cleartext_anywhere: bool = False  # asked for by name, not only on this machine

    def startup_parameters(self) -> list[tuple[str, str]]:
        """The startup packet's pairs. Poolers refuse what they do not know: no
        more than these are ever sent."""
        pairs = [
            ("user", self.user),
            ("database", self.dbname),
            ("client_encoding", "UTF8"),
        ]
        if self.application_name:
            pairs.append(("application_name", self.application_name))
        if self.options:
            pairs.append(("options", self.options))
        return pairs + list(self.server_settings)

    def catalog_key(self, host: Host) -> tuple[Any, ...]:
        """What connections have in common that see the same types under the same
        names."""
        path = tuple(pair for pair in self.server_settings if pair[0] == "search_path")
        return (host.address, host.port, self.dbname, self.user, self.options, path)

    def allowed_auth(self, local: bool) -> frozenset[str]:
        """The methods the server may ask for. `local`: over a Unix socket, a loopback
        address or TLS, where nobody else sees a cleartext password."""
        if local or self.cleartext_anywhere:
            return self.auth_methods
        return self.auth_methods - {"password"}


def parse(
    dsn: str | None = None,
    keywords: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The Config of a DSN (URI or `key=value` string), keywords and environment.

    Raises InterfaceError for what cannot be understood, NotSupportedError for
    what this version cannot do.
    """
    env = os.environ if environ is None else environ
    given: dict[str, Any] = _canonical(parse_dsn(dsn) if dsn else {})
    given |= _canonical(keywords or {})
    for keyword, variable in _ENVIRONMENT.items():
        if keyword not in given and variable in env:
            given[keyword] = env[variable]
    for keyword, value in given.items():
        _check_text(keyword, value)
    return _build(given)


def parse_dsn(dsn: str) -> dict[str, str]:
    """The keywords of a URI or a `key=value` string, not yet checked."""
    if not isinstance(dsn, str):
        raise InterfaceError(f"the DSN is a str, not a {type(dsn).__name__}")
    for scheme in ("postgresql://", "postgres://"):
        if dsn.startswith(scheme):
            return _parse_uri(dsn[len(scheme) :])
    return _parse_pairs(dsn)


# ------------------------------------------------------------------ the DSN's text


def _parse_uri(rest: str) -> dict[str, str]:
    """What follows `postgresql://`: [user[:password]@][hosts][/dbname][?params]."""
    found: dict[str, str] = {}
    at = re.match(r"[^@/]*@", rest)
    if at:
        user, _, password = at.group()[:-1].partition(":")
        found |= {"user": user, "password": password}
        rest = rest[at.end() :]
    rest, _, query = rest.partition("?")
    hosts, _, found["dbname"] = rest.partition("/")
    found |= _uri_hosts(hosts)
    found = {key: _unquote(value, key) for key, value in found.items() if value}
    return found | _uri_query(query)


def _uri_hosts(text: str) -> dict[str, str]:
    hosts, ports = [], []
    for netloc in text.split(","):
        if "@" in netloc:  # part of a password, so it is not shown
            raise InterfaceError("the URI has a second @: write %40 in a password")
        match = re.fullmatch(r"(?:\[([^\]]+)\]|(?!\[)([^:]*))(?::(.*))?", netloc)
        if match is None:
            raise InterfaceError("a host of the URI cannot be understood")
        hosts.append(match[1] or match[2] or "")
        ports.append(match[3] or "")
    return {"host": ",".join(hosts), "port": ",".join(ports)}


def _uri_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        key = _unquote(key, "a parameter's name")
        if not equals or not key or "=" in value:
            raise InterfaceError(
                f"the URI's parameter {key!r} is not written as key=value"
            )
        found[key] = _unquote(value, key)
    return found


def _unquote(text: str, what: str) -> str:
    """Percent-decodes as libpq: every % must be followed by two hex digits."""
    if "%" not in text:
        return text
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise InterfaceError(
            f"the URI's {what} has a % that no two hex digits follow: write %25"
        )
    raw = re.sub(
        rb"%(..)", lambda m: bytes([int(m[1], 16)]), text.encode("utf-8"), flags=re.S
    )
    if b"\0" in raw:
        raise InterfaceError(f"the URI's {what} contains a NUL character")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InterfaceError(f"the URI's {what} is not UTF-8 when decoded") from None


_PAIR = re.compile(
    r"""\s*(?P<key>[^\s=]+)\s*=\s*
        (?:'(?P<quoted>(?:[^'\\]|\\.)*)'|(?!')(?P<plain>(?:[^\s\\]|\\.|\\\Z)*))
        \s*""",
    re.VERBOSE | re.DOTALL,
)


def _parse_pairs(text: str) -> dict[str, str]:
    """`key=value key='va lue'`, with backslashes before quotes and backslashes."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text) and not text[position:].isspace():
        match = _PAIR.match(text, position)
        if match is None:
            raise InterfaceError(
                "the DSN is neither a postgresql:// URI nor key=value pairs "
                f"(at character {position})"
            )
        value = match["plain"] if match["quoted"] is None else match["quoted"]
        found[match["key"]] = re.sub(r"\\(.?)", r"\1", value, flags=re.DOTALL)
        position = match.end()
    return found


# --------------------------------------------------------------- keywords to Config


def _canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the names and replaces aliases; None means that nothing was given."""
    found: dict[str, Any] = {}
    for keyword, value in given.items():
        name = _ALIASES.get(keyword, keyword)
        if keyword not in _KEYWORDS:
            raise _unknown(keyword)
        if value is None and keyword not in _NONE_COUNTS:
            continue
        if name in found and found[name] != value:
            raise InterfaceError(f"{keyword} and {name} are the same and differ")
        found[name] = value
    return found


def _unknown(keyword: str) -> Exception:
    if keyword in _NOT_YET:
        return NotSupportedError(
            f"the connection keyword {keyword!r} is not supported in this version"
        )
    near = difflib.get_close_matches(keyword, _KEYWORDS, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InterfaceError(f"unknown connection keyword {keyword!r}{hint}")


def _check_text(keyword: str, value: object) -> None:
    """No NUL (it ends a string in the startup packet) and no lone surrogates."""
    if isinstance(value, bytes):
        if b"\0" in value:
            raise InterfaceError(f"{keyword} contains a NUL character")
        return
    if not isinstance(value, str):
        return
    if "\0" in value:
        raise InterfaceError(f"{keyword} contains a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InterfaceError(f"{keyword} cannot be written in UTF-8") from None


def _build(given: dict[str, Any]) -> Config:
    user = _text(given, "user") or _os_user()
    methods, cleartext = _auth(_text(given, "require_auth"))
    _check_encoding(given.get("client_encoding", "UTF8"))
    name = _text(given, "application_name")
    return Config(
        hosts=_hosts(given),
        user=user,
        dbname=_text(given, "dbname") or user,
        password=_password(given.get("password")),
        connect_timeout=_limit(given, "connect_timeout", 60.0),
        application_name=name or _text(given, "fallback_application_name"),
        options=_text(given, "options"),
        sslmode=_sslmode(given),
        server_settings=_settings(given.get("server_settings", {}), name),
        autocommit=_flag(given, "autocommit", False),
        row_factory=_row_factory(given.get("row_factory")),
        command_timeout=_limit(given, "command_timeout", None),
        cancel_timeout=_seconds(given, "cancel_timeout", 5.0),
        statement_cache_size=_cache_size(given),
        max_cached_statement_lifetime=_seconds(
            given, "max_cached_statement_lifetime", 0.0
        ),
        codec_options=codec_options(given),
        session_zone=session_zone(given),
        types=_types(given.get("types")),
        auth_methods=methods,
        cleartext_anywhere=cleartext,
    )


def _text(given: Mapping[str, Any], keyword: str) -> str | None:
    value = given.get(keyword)
    if value is None or isinstance(value, str):
        return value or None
    raise InterfaceError(f"{keyword} is a str, not a {type(value).__name__}")


def _os_user() -> str:
    try:
        return getpass.getuser() if os.name == "nt" else _passwd_name()
    except (ImportError, KeyError, OSError):
        raise InterfaceError(
            "no user given, and the operating system has no name for this one"
        ) from None


def _passwd_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _password(value: object) -> Password | None:
    if value is None or isinstance(value, (str, bytes)) or callable(value):
        return value or None
    raise InterfaceError(
        f"password is a str, bytes or a callable, not a {type(value).__name__}"
    )


def _list(value: object, keyword: str) -> list[str]:
    """A comma-separated list, or the sequence that SQLAlchemy's URLs give."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return ["" if item is None else str(item) for item in value]
    raise InterfaceError(f"{keyword} is a str, not a {type(value).__name__}")


def _hosts(given: Mapping[str, Any]) -> tuple[Host, ...]:
    names = _list(given.get("host", ""), "host")
    addresses = _list(given.get("hostaddr", ""), "hostaddr")
    if addresses == [""]:
        addresses = names
    elif names == [""]:
        names = addresses
    ports = _list(given.get("port", ""), "port")
    if len(names) != len(addresses):
        raise InterfaceError(
            f"{len(names)} host names and {len(addresses)} hostaddr values"
        )
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise InterfaceError(f"{len(ports)} ports for {len(names)} hosts")
    default = _default_host()
    return tuple(
        Host(name or address or default, address or name or default, _port(port))
        for name, address, port in zip(names, addresses, ports, strict=True)
    )


def _default_host() -> str:
    for directory in SOCKET_DIRECTORIES:
        if os.path.isdir(directory):
            return directory
    return "localhost"


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 65536:
        return int(text)
    # The text is not shown: it is a piece of a password that was not encoded,
    # when the URI is user:pass/word@host.
    raise InterfaceError(
        "a port is not a number from 1 to 65535 (in a URI write %2F for / and "
        "%3A for : in a user or password)"
    )


def _number(keyword: str, value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if number == number:
            return number
    raise InterfaceError(f"{keyword} is a number of seconds, not {value!r}")


def _seconds(given: Mapping[str, Any], keyword: str, default: float) -> float:
    number = _number(keyword, given.get(keyword, default))
    if number < 0:
        raise InterfaceError(f"{keyword} cannot be negative: {number:g}")
    return number


def _limit(
    given: Mapping[str, Any], keyword: str, default: float | None
) -> float | None:
    """Seconds; 0, a negative number and infinity mean no limit, as in libpq."""
    if keyword not in given:
        return default
    number = _number(keyword, given[keyword])
    return number if 0 < number < float("inf") else None


def _flag(given: Mapping[str, Any], keyword: str, default: bool) -> bool:
    value = given.get(keyword, default)
    if isinstance(value, bool):
        return value
    known = {"true": True, "on": True, "yes": True, "1": True}
    known |= {"false": False, "off": False, "no": False, "0": False}
    if str(value).lower() in known:
        return known[str(value).lower()]
    raise InterfaceError(f"{keyword} is True or False, not {value!r}")


def _check_encoding(value: object) -> None:
    name = str(value).lower().replace("-", "").replace("_", "")
    if name not in ("utf8", "unicode"):
        raise NotSupportedError(
            f"client_encoding {value!r}: pgasync speaks UTF8 only; the server "
            "converts from and to whatever the database is stored in"
        )


def _sslmode(given: Mapping[str, Any]) -> str:
    ssl = given.get("ssl")
    mode = _text(given, "sslmode")
    if ssl is not None:
        if isinstance(ssl, str) and ssl in SSL_MODES:
            mode = ssl
        elif isinstance(ssl, (bool, str)):
            mode = "require" if _flag(given, "ssl", False) else "disable"
        else:
            mode = "require"
    mode = mode or "prefer"
    if mode not in SSL_MODES:
        raise InterfaceError(f"sslmode {mode!r} is not one of {', '.join(SSL_MODES)}")
    return mode


def _settings(value: object, name: str | None) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InterfaceError(
            f"server_settings is a dict of str, not a {type(value).__name__}"
        )
    pairs = []
    for key, setting in value.items():
        if not isinstance(key, str) or not isinstance(setting, str) or not key:
            raise InterfaceError(f"server_settings: {key!r} and its value must be str")
        _check_text(f"server_settings: {key!r}", key)
        _check_text(f"server_settings: {key!r}", setting)
        if key.lower() in ("user", "database", "replication", "options") or (
            key.startswith("_pq_.")
        ):
            raise InterfaceError(f"{key!r} cannot be given in server_settings")
        if key.lower() == "client_encoding":
            _check_encoding(setting)
        elif not (key == "application_name" and name):
            pairs.append((key, setting))
    return tuple(pairs)


def _row_factory(factory: object) -> Any:
    if factory is None:
        return True
    if callable(factory):
        return factory
    raise InterfaceError(
        f"row_factory is None (for Row), a class or a function, not {factory!r}"
    )


def _types(value: object) -> "Registry | None":
    from .registry import Registry

    if value is None or isinstance(value, Registry):
        return value
    raise InterfaceError(f"types is a pgasync.TypeRegistry, not {value!r}")


def _cache_size(given: Mapping[str, Any]) -> int:
    value = given.get("statement_cache_size", 100)
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", text):
        raise InterfaceError(f"statement_cache_size is a number from 0, not {value!r}")
    mode = given.get("prepared_statements", "auto")
    if mode not in ("auto", "named", "unnamed"):
        raise InterfaceError(
            f"prepared_statements is 'auto', 'named' or 'unnamed', not {mode!r}"
        )
    return 0 if mode == "unnamed" else int(text)


def _auth(text: str | None) -> tuple[frozenset[str], bool]:
    """require_auth: the methods accepted, and whether `password` was named."""
    if text is None:
        return frozenset(AUTH_METHODS), False
    items = [item.strip() for item in text.split(",")]
    negated = [item.startswith("!") for item in items]
    if any(negated) and not all(negated):
        raise InterfaceError("require_auth mixes methods with and without !")
    names = [item.removeprefix("!") for item in items]
    _check_methods(names)
    if negated[0]:
        return frozenset(AUTH_METHODS) - set(names), False
    methods = frozenset(names) & set(AUTH_METHODS)
    if not methods:
        raise NotSupportedError(f"require_auth={text}: not supported in this version")
    return methods, "password" in methods


def _check_methods(names: Iterable[str]) -> None:
    known = (*AUTH_METHODS, "gss", "sspi", "oauth")
    seen: set[str] = set()
    for name in names:
        if name not in known:
            raise InterfaceError(
                f"require_auth: {name!r} is not one of {', '.join(known)}"
            )
        if name in seen:
            raise InterfaceError(f"require_auth names {name!r} twice")
        seen.add(name)


def is_loopback(address: str) -> bool:
    """Whether a numeric IP address is this machine's own."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
