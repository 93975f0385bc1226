"""Where to connect and how: DSN, keywords and PG* variables to one Config.

The rules are libpq's (PostgreSQL documentation, "Database Connection Control
Functions"): a keyword wins over the DSN, the DSN over the service file, that over the
environment, the environment over the default. No message here shows a password.
"""

import base64
import binascii
import getpass
import ipaddress
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import values
from .errors import InterfaceError, NotSupportedError
from .keywords import LIBPQ
from .options import codec_options, session_zone
from .passfile import find_password, read_passfile
from .sources import check_text, collect, session_defaults
from .tlskeywords import tls_settings

if TYPE_CHECKING:
    import ssl

    from .registry import Registry

Password = str | bytes | Callable[[], str | bytes | Awaitable[str | bytes]]

DEFAULT_PORT = 5432
SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")
AUTH_METHODS = ("none", "password", "md5", "scram-sha-256")
PROTOCOLS = {"3.0": 0x30000, "3.2": 0x30002, "latest": 0x30002}
SCRAM_KEY_BYTES = 32
NO = ("", "false", "off", "no", "0")


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
    connect_timeout: float | None = 60.0  # per host and address; None: no limit
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
    prepared_statements: str = "auto"
    max_cached_statement_lifetime: float = 0.0
    auth_methods: frozenset[str] = frozenset(AUTH_METHODS)
    codec_options: Mapping[str, Any] = field(default_factory=dict)
    session_zone: bool = False  # timestamptz in the session's zone, else UTC
    types: "Registry | None" = None
    cleartext_anywhere: bool = False  # asked for by name, not only on this machine
    passfile: str | None = field(default=None, repr=False, compare=False)
    given: bool = field(default=False, repr=False, compare=False)
    """Nothing was looked up on this machine to make it: no file, no default."""

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
    Reads the service file where one is asked for, and the password file.

    Raises InterfaceError for what cannot be understood, NotSupportedError for
    what this version cannot do.
    """
    env = os.environ if environ is None else environ
    given = collect(dsn, keywords or {}, env)
    defaults = session_defaults(env)
    if defaults:
        given["server_settings"] = _with_defaults(given, defaults)
    return with_passwords(_build(given, env))


def _with_defaults(given: Mapping[str, Any], defaults: dict[str, str]) -> Any:
    settings = given.get("server_settings", {})
    if not isinstance(settings, Mapping):
        return settings  # an error, which _settings() reports
    named = {str(name).lower() for name in settings}
    return {**{k: v for k, v in defaults.items() if k not in named}, **settings}


def with_passwords(config: Config) -> Config:
    """Each host with its password from the password file; the same Config where a
    password was given or the file has none."""
    if config.password or config.passfile is None:
        return config
    lines = read_passfile(config.passfile)
    if not lines and not any(host.password for host in config.hosts):
        return config
    hosts = []
    for host in config.hosts:
        name = "localhost" if host.host in SOCKET_DIRECTORIES else host.host
        password = find_password(lines, name, host.port, config.dbname, config.user)
        hosts.append(replace(host, password=password))
    return replace(config, hosts=tuple(hosts))


# --------------------------------------------------------------- keywords to Config


def _build(given: dict[str, Any], env: Mapping[str, str]) -> Config:
    _check_refused(given)
    named = values.text(given, "user")
    user = named or _os_user()
    methods, cleartext = _auth(values.text(given, "require_auth"))
    _check_encoding(given.get("client_encoding") or "UTF8")
    name = values.text(given, "application_name")
    lowest, highest = _protocols(given)
    return Config(
        hosts=_hosts(given),
        user=user,
        dbname=values.text(given, "dbname") or user,
        password=_password(given.get("password")),
        connect_timeout=values.limit(given, "connect_timeout", 60.0),
        application_name=name or values.text(given, "fallback_application_name"),
        options=values.text(given, "options"),
        target_session_attrs=values.choice(given, "target_session_attrs"),
        load_balance_hosts=values.choice(given, "load_balance_hosts"),
        keepalives=values.integer(given, "keepalives") != 0,
        keepalives_idle=values.integer(given, "keepalives_idle"),
        keepalives_interval=values.integer(given, "keepalives_interval"),
        keepalives_count=values.integer(given, "keepalives_count"),
        tcp_user_timeout=values.integer(given, "tcp_user_timeout"),
        requirepeer=values.text(given, "requirepeer"),
        **tls_settings(given),
        channel_binding=values.choice(given, "channel_binding"),
        scram_client_key=_scram_key(given, "scram_client_key"),
        scram_server_key=_scram_key(given, "scram_server_key"),
        scram_max_iterations=_iterations(given),
        min_protocol_version=lowest,
        max_protocol_version=highest,
        server_settings=_settings(given.get("server_settings", {}), name),
        autocommit=values.flag(given, "autocommit", False),
        row_factory=_row_factory(given.get("row_factory")),
        command_timeout=values.limit(given, "command_timeout", None),
        cancel_timeout=values.seconds(given, "cancel_timeout", 5.0),
        statement_cache_size=_cache_size(given),
        prepared_statements=given.get("prepared_statements", "auto"),
        max_cached_statement_lifetime=values.seconds(
            given, "max_cached_statement_lifetime", 0.0
        ),
        codec_options=codec_options(given),
        session_zone=session_zone(given),
        types=_types(given.get("types")),
        auth_methods=methods,
        cleartext_anywhere=cleartext,
        passfile=values.text(given, "passfile") or _default_passfile(env),
        given=named is not None and _names_hosts(given) and "service" not in given,
    )


def _names_hosts(given: Mapping[str, Any]) -> bool:
    """Whether no default is needed."""
    lists = (values.items(given.get(x, ""), x) for x in ("host", "hostaddr"))
    return any(map(all, lists))


def _default_passfile(env: Mapping[str, str]) -> str:
    return os.path.join(env.get("HOME") or os.path.expanduser("~"), ".pgpass")


def _check_refused(given: Mapping[str, Any]) -> None:
    for name in given:
        keyword = LIBPQ.get(name)
        if keyword is None or keyword.refused is None:
            continue
        off = NO if name == "replication" else ("",)
        if str(given[name]).lower() not in off:
            raise NotSupportedError(
                f"the connection keyword {name!r} is not supported: {keyword.refused}"
            )
    if values.choice(given, "gssencmode") == "require":
        raise NotSupportedError("gssencmode=require: pgasync has no GSSAPI")


def _iterations(given: Mapping[str, Any]) -> int:
    number = values.integer(given, "scram_max_iterations")
    if number is not None and not 1 <= number < 2**31:
        raise InterfaceError(
            f"scram_max_iterations is a number from 1 to {2**31 - 1}, not {number}"
        )
    return 100_000 if number is None else number


def _protocols(given: Mapping[str, Any]) -> tuple[int, int]:
    def version(keyword: str) -> int | None:
        value = given.get(keyword)
        if value is None:
            return None
        if str(value) not in PROTOCOLS:
            raise InterfaceError(
                f"{keyword} {value!r} is not one of {', '.join(PROTOCOLS)}"
            )
        return PROTOCOLS[str(value)]

    oldest = PROTOCOLS["3.0"]
    lowest = version("min_protocol_version") or oldest
    highest = version("max_protocol_version")
    if highest is None:
        highest = PROTOCOLS["latest"] if lowest > oldest else oldest
    if lowest > highest:
        raise InterfaceError("min_protocol_version is higher than max_protocol_version")
    return lowest, highest


def _scram_key(given: Mapping[str, Any], keyword: str) -> bytes | None:
    if keyword not in given:
        return None
    encoded = values.text(given, keyword) or ""
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != SCRAM_KEY_BYTES:
        raise InterfaceError(f"{keyword} is {SCRAM_KEY_BYTES} bytes in base64")
    return key


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


def _hosts(given: Mapping[str, Any]) -> tuple[Host, ...]:
    names = values.items(given.get("host", ""), "host")
    addresses = values.items(given.get("hostaddr", ""), "hostaddr")
    if addresses == [""]:
        addresses = names
    else:
        _check_addresses(addresses)
        names = addresses if names == [""] else names
    ports = values.items(given.get("port", ""), "port")
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


def _check_addresses(addresses: Iterable[str]) -> None:
    for address in filter(None, addresses):
        try:
            number = address.partition("%")[0]  # behind it: a network interface
            socket.getaddrinfo(number, None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            raise InterfaceError(
                f"hostaddr {address!r} is not an IP address; a name goes into host"
            ) from None


def _default_host() -> str:
    for directory in SOCKET_DIRECTORIES:
        if os.path.isdir(directory):
            return directory
    return "localhost"


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if re.fullmatch(r"\+?[0-9]{1,5}", text) and 0 < int(text) < 65536:
        return int(text)
    # The text is not shown: it is a piece of a password that was not encoded,
    # when the URI is user:pass/word@host.
    raise InterfaceError(
        "a port is not a number from 1 to 65535 (in a URI write %2F for / and "
        "%3A for : in a user or password)"
    )


def _check_encoding(value: object) -> None:
    name = str(value).lower().replace("-", "").replace("_", "")
    if name not in ("utf8", "unicode", "auto"):
        raise NotSupportedError(
            f"client_encoding {value!r}: pgasync speaks UTF8 only; the server "
            "converts from and to whatever the database is stored in"
        )


def _settings(value: object, name: str | None) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InterfaceError(
            f"server_settings is a dict of str, not a {type(value).__name__}"
        )
    pairs = []
    for key, setting in value.items():
        if not isinstance(key, str) or not isinstance(setting, str) or not key:
            raise InterfaceError(f"server_settings: {key!r} and its value must be str")
        check_text(f"server_settings: {key!r}", key)
        check_text(f"server_settings: {key!r}", setting)
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
        raise NotSupportedError(f"require_auth={text}: pgasync has none of these")
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
