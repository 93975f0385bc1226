"""Every connection keyword of libpq 18: its variable, and what becomes of it.

Source: PostgreSQL documentation, "Parameter Key Words" and "Environment Variables".
docs/connecting.md shows this table; a test compares the two.
"""

from typing import NamedTuple

from .options import KEYWORDS as VALUE_KEYWORDS


class Keyword(NamedTuple):
    """`refused`: why giving it is an error; None: it is supported."""

    name: str
    variable: str | None
    note: str
    refused: str | None = None


_NO_OAUTH = "pgasync cannot log in by OAuth; give a token as the password where allowed"

LIBPQ = {
    keyword.name: keyword
    for keyword in (
        Keyword("service", "PGSERVICE", "a section of the service file"),
        Keyword("user", "PGUSER", "default: the operating system's name for the user"),
        Keyword("password", "PGPASSWORD", "also a callable, asked at every connect"),
        Keyword("passfile", "PGPASSFILE", "default ~/.pgpass"),
        Keyword("channel_binding", "PGCHANNELBINDING", "disable, prefer, require"),
        Keyword("connect_timeout", "PGCONNECT_TIMEOUT", "s per address; 60, 0: none"),
        Keyword("dbname", "PGDATABASE", "default: the user; may be a DSN itself"),
        Keyword("host", "PGHOST", "names, addresses, socket directories; a list"),
        Keyword("hostaddr", "PGHOSTADDR", "addresses to dial in place of the names"),
        Keyword("port", "PGPORT", "default 5432; a list"),
        Keyword(
            "client_encoding",
            "PGCLIENTENCODING",
            "UTF8 or auto; the variable is ignored",
        ),
        Keyword("options", "PGOPTIONS", "command-line options for the server"),
        Keyword("application_name", "PGAPPNAME", ""),
        Keyword("fallback_application_name", None, ""),
        Keyword("keepalives", None, "1 (default) or 0"),
        Keyword("keepalives_idle", None, "s; default 15, 0: the system's"),
        Keyword("keepalives_interval", None, "s; default 5, 0: the system's"),
        Keyword("keepalives_count", None, "default 3, 0: the system's"),
        Keyword("tcp_user_timeout", None, "ms; default 30000, 0: the system's"),
        Keyword(
            "sslmode",
            "PGSSLMODE",
            "disable, allow, prefer (default), require, verify-ca, verify-full",
        ),
        Keyword("sslnegotiation", "PGSSLNEGOTIATION", "postgres (default), direct"),
        Keyword("sslcompression", "PGSSLCOMPRESSION", "0 or 1; there is never any"),
        Keyword("sslcert", "PGSSLCERT", "default ~/.postgresql/postgresql.crt"),
        Keyword("sslkey", "PGSSLKEY", "default ~/.postgresql/postgresql.key"),
        Keyword("sslcertmode", "PGSSLCERTMODE", "disable, allow (default), require"),
        Keyword("sslpassword", None, "of an encrypted key"),
        Keyword(
            "sslrootcert", "PGSSLROOTCERT", "default ~/.postgresql/root.crt; `system`"
        ),
        Keyword("sslcrl", "PGSSLCRL", "default ~/.postgresql/root.crl"),
        Keyword("sslcrldir", "PGSSLCRLDIR", ""),
        Keyword("sslsni", "PGSSLSNI", "1 (default) or 0"),
        Keyword("requirepeer", "PGREQUIREPEER", "the server's user, on Unix sockets"),
        Keyword(
            "require_auth",
            "PGREQUIREAUTH",
            "none, password, md5, scram-sha-256; a list, or one of !methods",
        ),
        Keyword("min_protocol_version", "PGMINPROTOCOLVERSION", "3.0, 3.2, latest"),
        Keyword("max_protocol_version", "PGMAXPROTOCOLVERSION", "3.0, 3.2, latest"),
        Keyword(
            "ssl_min_protocol_version",
            "PGSSLMINPROTOCOLVERSION",
            "TLSv1 to TLSv1.3, default TLSv1.2",
        ),
        Keyword("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", ""),
        Keyword(
            "gssencmode",
            "PGGSSENCMODE",
            "disable or prefer, which are the same: there is no GSSAPI",
        ),
        Keyword("krbsrvname", "PGKRBSRVNAME", "no effect: there is no GSSAPI"),
        Keyword("gsslib", "PGGSSLIB", "no effect: there is no GSSAPI"),
        Keyword("gssdelegation", "PGGSSDELEGATION", "no effect: there is no GSSAPI"),
        Keyword(
            "replication",
            None,
            "",
            "pgasync does not speak the replication protocol",
        ),
        Keyword(
            "target_session_attrs",
            "PGTARGETSESSIONATTRS",
            "any (default), read-write, read-only, primary, standby, prefer-standby",
        ),
        Keyword("load_balance_hosts", "PGLOADBALANCEHOSTS", "disable, random"),
        Keyword("scram_client_key", None, "32 bytes in base64, in place of a password"),
        Keyword("scram_server_key", None, "32 bytes in base64"),
        Keyword("oauth_issuer", None, "", _NO_OAUTH),
        Keyword("oauth_client_id", None, "", _NO_OAUTH),
        Keyword("oauth_client_secret", None, "", _NO_OAUTH),
        Keyword("oauth_scope", None, "", _NO_OAUTH),
        Keyword(
            "sslkeylogfile",
            None,
            "",
            "it writes the session's keys to disk; an ssl.SSLContext with "
            "keylog_filename, given as ssl=, does the same",
        ),
    )
}

# Run-time parameters for the startup packet; "default" leaves the server's value.
SESSION_VARIABLES = {
    "PGDATESTYLE": "datestyle",
    "PGTZ": "timezone",
    "PGGEQO": "geqo",
}

# Another name, for those who come from elsewhere.
ALIASES = {"database": "dbname", "timeout": "connect_timeout"}

# The driver's own, which libpq does not know.
OWN = (
    "autocommit",
    "cancel_timeout",
    "command_timeout",
    "max_cached_statement_lifetime",
    "prepared_statements",
    "row_factory",
    "scram_max_iterations",
    "server_settings",
    "ssl",
    "statement_cache_size",
    "types",
    *VALUE_KEYWORDS,
)

KNOWN = (*LIBPQ, *ALIASES, *OWN)
