"""DSN, keywords and environment to a Config, by libpq's rules."""

import os
import pwd
import ssl
from pathlib import Path
from typing import Any

import pytest

from pgasync import conninfo
from pgasync.conninfo import parse
from pgasync.dsn import parse_dsn
from pgasync.errors import InterfaceError, NotSupportedError

EMPTY: dict[str, str] = {}


def config(dsn: str | None = None, **keywords: Any) -> conninfo.Config:
    return parse(dsn, keywords, EMPTY)


def places(dsn: str | None = None, **keywords: Any) -> list[tuple[str, int]]:
    return [(host.address, host.port) for host in config(dsn, **keywords).hosts]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://", {}),
        ("postgres://h", {"host": "h"}),
        ("postgresql://h:5433", {"host": "h", "port": "5433"}),
        ("postgresql://h/db", {"host": "h", "dbname": "db"}),
        ("postgresql:///db", {"dbname": "db"}),
        ("postgresql://u@h", {"host": "h", "user": "u"}),
        (
            "postgresql://u:p@h:1/d",
            {"user": "u", "password": "p", "host": "h", "port": "1", "dbname": "d"},
        ),
        ("postgresql://u%40x:p%3A%2F%25@h", {"user": "u@x", "password": "p:/%"}),
        ("postgresql://u:p:q@h", {"user": "u", "password": "p:q", "host": "h"}),
        ("postgresql://%2Frun%2Fs/db", {"host": "/run/s", "dbname": "db"}),
        ("postgresql:///db?host=/run/s", {"host": "/run/s", "dbname": "db"}),
        ("postgresql://[::1]:5433/x", {"host": "::1", "port": "5433"}),
        ("postgresql://[fe80::1%25eth0]/x", {"host": "fe80::1%eth0"}),
        ("postgresql://a:1,b:2,c/x", {"host": "a,b,c", "port": "1,2,"}),
        ("postgresql://[::1],h/x", {"host": "::1,h"}),
        ("postgresql://h/d%C3%A9", {"dbname": "dé"}),
        (
            "postgresql://h?application_name=a%20b&options=-c%20x%3D1",
            {"application_name": "a b", "options": "-c x=1"},
        ),
        ("postgresql://u:p@/db?port=77", {"user": "u", "dbname": "db", "port": "77"}),
        ("postgresql://h/a/b", {"dbname": "a/b"}),
        ("host=h port=1", {"host": "h", "port": "1"}),
        ("host = h  port= 1 ", {"host": "h", "port": "1"}),
        ("password='a b'", {"password": "a b"}),
        (r"password='it\'s \\ x'", {"password": r"it's \ x"}),
        (r"password=a\ b user=u", {"password": "a b", "user": "u"}),
        ("password=''user=u", {"password": "", "user": "u"}),
        ("password= user=u", {"password": "user=u"}),
        ("dbname=a'b", {"dbname": "a'b"}),
        ("  ", {}),
    ],
)
def test_dsn(uri: str, expected: dict[str, str]) -> None:
    found = parse_dsn(uri)
    assert {key: found.get(key) for key in expected} == expected
    if not expected:
        assert not found


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://[::1/x",
        "postgresql://[]/x",
        "postgresql://[::1]x/d",
        "postgresql://u:s3cret@x@h/d",
        "postgresql://u:s3cret/x@h/d",
        "postgresql://u:s3cret%zz@h/d",
        "postgresql://u:s3cret%@h/d",
        "postgresql://u:s3cret%ff@h/d",
        "postgresql://u:1/a?s3cret@h/d",
        "postgresql://u:1/a?s3cret=x@h/d",
        "postgresql://u:1/a?s3cret=x&y@h/d",
        "postgresql://u:1/a?x&s3cret@h/d",
        "password=pass s3cret=word@home",
        "password=x s3cret%=word",
        "password=x s3cret='word",
        "postgresql+asyncpg://u:s3cret@h/d?ssl=require",
        "POSTGRES://u:s3cret@h/d?ssl=require",
        "//u:s3cret@h/d?ssl=require",
        "postgresql://u:1/a?s3cret!=x",
        "postgresql://u:1/a?s3cret!=a b",
        "postgresql://u:s3cret@h/d?application_name",
        "postgresql://u:s3cret@h/d?application_name=a=b",
        "postgresql://u:s3cret@h/d?colour=blue",
        "postgresql://u:s3cret@h:99999/d",
        "postgresql://u:s3cret%00@h/d",
        "user=u password='s3cret",
        "user=u password=s3cret host",
        "s3cret",
        "password=s3cret colour=blue",
        "password=s3cret port=x",
        "password=s3cret host=a,b port=1,2,3",
        "password=s3cret host=a hostaddr=1.2.3.4,1.2.3.5",
        "password=s3cret ssl=maybe",
    ],
)
def test_bad_dsn_and_no_password_in_the_message(dsn: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        config(dsn)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("postgresql+asyncpg://u:p@h/d?ssl=require", "write postgresql://"),
        ("POSTGRES://u@h", "write postgresql://"),
        ("postgresql://u:p@x@h/d", "%40"),
        ("postgresql://u:p/w@h/d", "%2F"),
        ("postgresql://u:1/p?w@h/d", "%2F"),
        ("postgresql://u:%@h", "%25"),
        ("postgresql://h/d?application_name=a b", "'application_name' .*%20"),
        ("postgresql://h/d?pool_size=5&max_overflow=2", "'pool_size'"),
        ("password='x", "character 9"),
        ("localhost", "neither"),
    ],
)
def test_what_to_write_instead(dsn: str, message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        config(dsn)


# As the consoles of their providers print them, passwords and names made up.
CLOUDS = [
    "postgresql://neondb_owner:npg_x1@ep-a-1-pooler.eu-central-1.aws.neon.tech/neondb"
    "?sslmode=require&channel_binding=require",
    "postgresql://u:p@ep-a-1.eu-central-1.aws.neon.tech/d?options=endpoint%3Dep-a-1"
    "&sslmode=require",
    "postgresql://postgres.abcdefgh:pa%23ss@aws-0-eu-west-1.pooler.supabase.com:6543"
    "/postgres",
    "postgres://u1:p2@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d8q",
    "postgres://avnadmin:AVNS_x@pg-1-proj.a.aivencloud.com:12691/defaultdb"
    "?sslmode=require",
    "postgresql://doadmin:AVNS_x@db-1-do-user-1-0.k.db.ondigitalocean.com:25060/defaultdb"
    "?sslmode=require",
    "postgresql://root:p@free-tier.gcp-us-central1.cockroachlabs.cloud:26257/defaultdb"
    "?sslmode=verify-full&options=--cluster%3Dbusy-1",
    "host=srv.postgres.database.azure.com port=5432 dbname={d} user=admin@srv "
    "password={p} sslmode=require",
    "postgresql://u:p@/d?host=/cloudsql/project-1:europe-west1:instance-1",
    "postgresql://%2Fcloudsql%2Fproject-1%3Aeurope-west1%3Ainstance-1/d?user=u",
    "postgresql://u@db.c1.eu-west-1.rds.amazonaws.com:5432/d?sslmode=verify-full"
    "&sslrootcert=/etc/ssl/global-bundle.pem&password=db.x%3A5432%2F%3FAction%3Dconnect"
    "%26X-Amz-Signature%3D0f",
    "postgres://tsdbadmin:p@x.y.tsdb.cloud.timescale.com:33333/tsdb?sslmode=require",
    "postgres://postgres:p@app-db.flycast:5432/app?sslmode=disable",
    "postgresql://a:5432,b:5432,c:5432/d?target_session_attrs=read-write"
    "&load_balance_hosts=random&connect_timeout=10&keepalives_idle=30",
    "postgres://u:p@pgbouncer:6432/d?sslmode=prefer&application_name=web.1&ssl=true",
]


@pytest.mark.parametrize("dsn", CLOUDS)
def test_dsns_of_clouds(dsn: str) -> None:
    assert config(dsn).hosts


def test_a_token_as_the_password() -> None:
    (dsn,) = (dsn for dsn in CLOUDS if "Amz" in dsn)
    password = config(dsn).password
    assert password == "db.x:5432/?Action=connect&X-Amz-Signature=0f"


def test_hosts() -> None:
    assert places("postgresql://a:1,b:2/x") == [("a", 1), ("b", 2)]
    assert places("postgresql://a,b/x") == [("a", 5432), ("b", 5432)]
    assert places(host="a,b", port=7) == [("a", 7), ("b", 7)]
    assert places(host=["a", "b"], port=["1", ""]) == [("a", 1), ("b", 5432)]
    assert places(host="name", hostaddr="10.0.0.1") == [("10.0.0.1", 5432)]
    assert places(hostaddr="10.0.0.1", port="9") == [("10.0.0.1", 9)]
    one, two = config(host="name,x", hostaddr="10.0.0.1,::1").hosts
    assert (str(one), str(two)) == ("name:5432 (10.0.0.1)", "x:5432 (::1)")


def test_unix_sockets() -> None:
    (host,) = config(host="/run/pg", port=6000).hosts
    assert host.is_unix
    assert host.socket_path == str(host) == "/run/pg/.s.PGSQL.6000"
    (abstract,) = config(host="@pg").hosts
    assert abstract.socket_path == "\0pg/.s.PGSQL.5432"


def test_paths(tmp_path: Path) -> None:
    names = "host passfile sslcert sslkey sslrootcert sslcrl sslcrldir".split()
    given = config(**dict.fromkeys(names, tmp_path))
    assert given == config(**dict.fromkeys(names, str(tmp_path)))
    assert given.hosts[0].is_unix and given.sslrootcert == str(tmp_path)


def test_default_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    missing = str(tmp_path / "none")
    monkeypatch.setattr(conninfo, "SOCKET_DIRECTORIES", (missing, str(tmp_path)))
    assert places() == [(str(tmp_path), 5432)]
    assert places(host="") == [(str(tmp_path), 5432)]
    monkeypatch.setattr(conninfo, "SOCKET_DIRECTORIES", (missing,))
    assert places() == [("localhost", 5432)]


def test_default_user_and_database() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert (config().user, config().dbname) == (me, me)
    assert config(user="u").dbname == "u"
    assert config(user="u", database="d").dbname == "d"


def test_precedence() -> None:
    env = {
        "PGHOST": "env",
        "PGPORT": "1",
        "PGUSER": "envuser",
        "PGPASSWORD": "envpw",
        "PGDATABASE": "envdb",
        "PGAPPNAME": "envapp",
        "PGCONNECT_TIMEOUT": "3",
        "PGSSLMODE": "disable",
        "PGOPTIONS": "-c a=b",
    }
    found = parse(None, {}, env)
    assert [(h.address, h.port) for h in found.hosts] == [("env", 1)]
    assert (found.user, found.password, found.dbname) == ("envuser", "envpw", "envdb")
    assert (found.application_name, found.connect_timeout) == ("envapp", 3.0)
    assert (found.sslmode, found.options) == ("disable", "-c a=b")

    found = parse("postgresql://dsnuser@dsn:2/dsndb", {"user": "kw"}, env)
    assert [(h.address, h.port) for h in found.hosts] == [("dsn", 2)]
    assert (found.user, found.dbname, found.password) == ("kw", "dsndb", "envpw")
    assert parse("user=a", {"user": None}, env).user == "a"


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("pasword", "'password'"),
        ("databse", "'database'"),
        ("statement_cache", "'statement_cache_size'"),
        ("max_size", ""),
    ],
)
def test_unknown_keyword(keyword: str, hint: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        config(**{keyword: "x"})
    assert repr(keyword) in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "keywords",
    [
        {"replication": "database"},
        {"oauth_issuer": "x"},
        {"sslkeylogfile": "x"},
        {"gssencmode": "require"},
        {"client_encoding": "LATIN1"},
        {"require_auth": "gss"},
    ],
)
def test_not_supported(keywords: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedError):
        config(**keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"port": 0},
        {"port": "x"},
        {"port": 65536},
        {"port": 1.5},
        {"host": 5.0},
        {"user": 1},
        {"user": "a\0b"},
        {"user": "\ud800"},
        {"password": 5},
        {"password": b"a\0b"},
        {"connect_timeout": "soon"},
        {"connect_timeout": True},
        {"command_timeout": float("nan")},
        {"cancel_timeout": -1},
        {"autocommit": "perhaps"},
        {"sslmode": "maybe"},
        {"statement_cache_size": -1},
        {"statement_cache_size": "many"},
        {"prepared_statements": "never"},
        {"server_settings": "a=b"},
        {"server_settings": {"a": 1}},
        {"server_settings": {"user": "x"}},
        {"server_settings": {"replication": "database"}},
        {"server_settings": {"a": "b\0c"}},
        {"server_settings": {"_pq_.x": "1"}},
        {"require_auth": "md5,!none"},
        {"require_auth": "md5,md5"},
        {"require_auth": "kerberos"},
        {"database": "a", "dbname": "b"},
        {"timeout": 1, "connect_timeout": 2},
        {"row_factory": "dict"},
    ],
)
def test_bad_values(keywords: dict[str, Any]) -> None:
    with pytest.raises(InterfaceError):
        config(**keywords)


def test_values() -> None:
    assert config().connect_timeout == 60.0
    assert config(timeout=5).connect_timeout == 5.0
    assert config("postgresql://h?connect_timeout=2").connect_timeout == 2.0
    assert config(connect_timeout=0).connect_timeout is None
    assert config(command_timeout="1.5").command_timeout == 1.5
    assert config().command_timeout is None
    assert config(cancel_timeout=1).cancel_timeout == 1.0
    assert config(autocommit="on").autocommit is True
    assert config().autocommit is False
    assert config(row_factory=tuple).row_factory is tuple
    assert config(row_factory=None).row_factory is config().row_factory is True
    assert config("postgresql://h?statement_cache_size=7").statement_cache_size == 7
    assert config(prepared_statements="unnamed").statement_cache_size == 0
    assert config(max_cached_statement_lifetime=3).max_cached_statement_lifetime == 3
    assert config(ssl=False).sslmode == "disable"
    assert config(ssl=None).sslmode == config().sslmode == "prefer"
    assert config(ssl="allow").sslmode == "allow"
    assert config(client_encoding="utf-8").user


def test_a_context_is_not_gone_without() -> None:
    context = ssl.create_default_context()
    for mode in ("allow", "prefer", "require"):
        assert config(ssl=context, sslmode=mode).sslmode == "require"
    assert config("sslmode=disable", ssl=context).sslmode == "require"
    assert config(ssl=context, sslmode="verify-full").sslmode == "verify-full"
    assert config(ssl=context, sslrootcert="system").ssl_context is context
    with pytest.raises(InterfaceError, match="disable"):
        config(ssl=context, sslmode="disable")


def test_auth_methods() -> None:
    every = {"none", "password", "md5", "scram-sha-256"}
    assert config().allowed_auth(local=True) == every
    assert config().allowed_auth(local=False) == every - {"password"}
    named = config(require_auth="password,scram-sha-256")
    assert named.allowed_auth(local=False) == {"password", "scram-sha-256"}
    assert config(require_auth="!md5, !none").allowed_auth(local=True) == {
        "password",
        "scram-sha-256",
    }
    assert "password" not in config(require_auth="!md5").allowed_auth(local=False)
    assert config(require_auth="none").allowed_auth(local=True) == {"none"}


def test_startup_packet_is_minimal() -> None:
    assert config(user="u", dbname="d").startup_parameters() == [
        ("user", "u"),
        ("database", "d"),
        ("client_encoding", "UTF8"),
    ]
    full = config(
        user="u",
        dbname="d",
        application_name="app",
        options="-c x=y",
        server_settings={"jit": "off", "client_encoding": "UTF8"},
    )
    assert full.startup_parameters()[3:] == [
        ("application_name", "app"),
        ("options", "-c x=y"),
        ("jit", "off"),
    ]


def test_application_name_is_sent_once() -> None:
    both = config(application_name="a", server_settings={"application_name": "b"})
    pairs = [p for p in both.startup_parameters() if p[0] == "application_name"]
    assert pairs == [("application_name", "a")]
    assert config(fallback_application_name="f").application_name == "f"


def test_repr_hides_the_password() -> None:
    found = config("postgresql://u:s3cret@h/d")
    assert found.password == "s3cret"
    assert "s3cret" not in repr(found) + str(found)


def test_callable_password_is_kept() -> None:
    def ask() -> str:
        return "x"

    assert config(password=ask).password is ask


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert conninfo.is_loopback(address) is expected
