"""Where a value comes from: keywords, DSN, service file, environment, password file. In
each situation we would use what libpq would use.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import dsns
import libpq
import situations
from pgasync.conninfo import Config, parse
from pgasync.errors import InterfaceError
from situations import Situation

RANDOM_CASES = 1000

FILES = {
    ".pgpass": """\
# comment
other:*:*:*:wrong
nobody.invalid:1:db:user:from passfile
nobody.invalid:*:d\\:b:user:with\\\\ escapes\\: both
localhost:*:*:*:of the socket
*:9:*:*:any host
""",
    ".pg_service.conf": """\
# comment

[first]
host=nobody.invalid
port=1
user=service user
dbname=servicedb

  [second]
host=nobody.invalid
port=9
application_name = spaces kept
[first]
port=77
""",
    "sys/pg_service.conf": "[third]\nhost=nobody.invalid\nport=3\n",
    "bad.conf": "[bad]\nhost nobody.invalid\n[nested]\nservice=x\n[odd]\ncolour=1\n",
}
HERE = "hostaddr=127.0.0.1 port=1 "  # nothing listens there
SITUATIONS: list[tuple[str, dict[str, str]]] = [
    (HERE, {}),
    (HERE + "user=user dbname=db host=nobody.invalid", {}),
    (HERE + "user=user dbname=d:b host=nobody.invalid", {}),
    (HERE + "user=user dbname=db password=given host=nobody.invalid", {}),
    (HERE + "user=user dbname=db host=nobody.invalid", {"PGPASSWORD": "env"}),
    (HERE + "user=user password='' host=nobody.invalid dbname=db", {}),
    ("hostaddr=127.0.0.1 port=9 user=user", {}),
    ("host=/nonexistent port=1 user=user", {}),
    (HERE, {"PGUSER": "envuser", "PGDATABASE": "envdb", "PGAPPNAME": "app"}),
    (HERE + "user=x", {"PGUSER": "envuser", "PGSSLMODE": "allow"}),
    (HERE + "service=first", {}),
    (HERE + "service=first user=mine", {"PGUSER": "envuser", "PGDATABASE": "e"}),
    (HERE + "service=second", {"PGAPPNAME": "env"}),
    (HERE + "service=third", {}),
    (HERE + "service=fourth", {}),
    (HERE, {"PGSERVICE": "first"}),
    (HERE + "service=first", {"PGSERVICEFILE": "{home}/none"}),
    (HERE + "service=bad", {"PGSERVICEFILE": "{home}/bad.conf"}),
    (HERE + "service=nested", {"PGSERVICEFILE": "{home}/bad.conf"}),
    (HERE + "service=odd", {"PGSERVICEFILE": "{home}/bad.conf"}),
    (HERE + "passfile={home}/none user=user host=nobody.invalid dbname=db", {}),
    (HERE + "user=user host=nobody.invalid dbname=db", {"PGPASSFILE": "{home}/none"}),
    (HERE + "sslmode=nonsense", {}),
    (HERE, {"PGSSLMODE": "nonsense"}),
    (HERE + "port=0", {}),
    (HERE + "port=65536", {}),
    (HERE + "port=1,2", {}),
    ("host=a,b port=1,2,3", {}),
    ("host=a,b hostaddr=127.0.0.1", {}),
    (HERE, {"PGREQUIRESSL": "0"}),
    (HERE + "sslmode=allow", {"PGREQUIRESSL": "1"}),
    (HERE + "host=nobody.invalid user=user dbname=db", {"PGPASSWORD": ""}),
    ("host=nobody.invalid hostaddr=127.0.0.1 user=user dbname=d", {"PGPORT": "9"}),
    ("host=/tmp port=1 user=user", {}),
    (HERE + "channel_binding=maybe", {}),
    (HERE + "target_session_attrs=maybe", {}),
    (HERE + "load_balance_hosts=maybe", {}),
    (HERE + "require_auth=md5,!none", {}),
    (HERE + "require_auth=md5,md5", {}),
    (HERE + "require_auth=nonsense", {}),
    (HERE + "require_auth=!none,!password", {}),
    (HERE + "sslcertmode=maybe", {}),
    (HERE + "sslnegotiation=maybe", {}),
    (HERE + "min_protocol_version=3.2", {}),
    (HERE + "min_protocol_version=3.2 max_protocol_version=3.0", {}),
    (HERE + "min_protocol_version=4", {}),
    (HERE + "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2", {}),
    (HERE + "ssl_min_protocol_version=nonsense", {}),
    (HERE + "ssl_min_protocol_version=tlsv1.3", {}),
    (HERE + "scram_client_key=AAAA", {}),
    (HERE + "scram_client_key=nonsense", {}),
]


@pytest.fixture(scope="module", params=[18, 17])
def oracle(request: pytest.FixtureRequest) -> libpq.LibPQ:
    if not libpq.available(request.param):
        pytest.skip(f"needs the libpq of PostgreSQL {request.param}")
    return libpq.LibPQ(request.param)


@pytest.mark.parametrize(("dsn", "variables"), SITUATIONS)
def test_table(
    oracle: libpq.LibPQ, tmp_path: Path, dsn: str, variables: dict[str, str]
) -> None:
    if not oracle.has_keywords(dsn):
        pytest.skip("older than the keyword")
    situation = Situation(dsn, variables, FILES)
    assert situations.difference(oracle, situation, tmp_path) is None


def test_random(oracle: libpq.LibPQ, tmp_path: Path, summary: list[str]) -> None:
    source = random.Random(18)
    for _ in range(RANDOM_CASES):
        situation = situations.random_situation(source, oracle)
        assert situations.difference(oracle, situation, tmp_path) is None, situation
    summary.append(
        f"Situations (DSN, environment, service and password file) compared with "
        f"libpq{' with OpenSSL' if oracle.has_tls else ''}: {len(SITUATIONS)} by hand, "
        f"{RANDOM_CASES} random ones"
    )


def test_a_difference_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what make fuzz runs."""
    if not libpq.available(18):
        pytest.skip("needs the libpq of PostgreSQL 18")
    count, tried, finding = situations.compare(0, 1, tmp_path)
    assert (count, tried, finding) == (0, 0, None)
    monkeypatch.setattr(dsns, "ours", lambda text: {"host": b"elsewhere"})
    assert isinstance(situations.compare(5, 1, tmp_path)[2], str)
    monkeypatch.undo()
    monkeypatch.setattr(situations, "ours", lambda dsn, oracle: {"user": b"nobody"})
    assert isinstance(situations.compare(5, 1, tmp_path)[2], Situation)


@pytest.mark.parametrize(
    "dbname",
    [
        "host=127.0.0.1 port=2 user=x",
        "host=127.0.0.1 dbname=e",
        "postgresql://x:y@127.0.0.1:2/e",
        "postgresql://127.0.0.1/a%3Db",
        "postgres://127.0.0.1?application_name=a",
        "dbname=a=b",
        "dbname=postgres://h",
    ],
)
def test_database_name_that_is_a_dsn(dbname: str) -> None:
    """libpq's expand_dbname."""
    if not libpq.available(18):
        pytest.skip("needs the libpq of PostgreSQL 18")
    keywords = {"hostaddr": "127.0.0.1", "dbname": dbname, "port": "1"}
    variables = {"HOME": "/nonexistent", "PGUSER": "env"}
    with libpq.environment(variables):
        theirs = libpq.LibPQ(18).expanded([*keywords][::-1], [*keywords.values()][::-1])
        theirs_later = libpq.LibPQ(18).expanded([*keywords], [*keywords.values()])
        config = parse(None, keywords)
    assert theirs["dbname"].decode() == config.dbname
    assert theirs["user"].decode() == config.user
    # Theirs depends on the order; ours does not: a keyword wins over a DSN.
    assert theirs_later["port"].decode() == str(config.hosts[0].port) == "1"


def test_dsn_in_dbname_over_the_dsn() -> None:
    found = parse(
        "postgresql://u@h:1/d", {"dbname": "host=x dbname=e", "port": 2}, {"HOME": "/"}
    )
    assert (found.hosts[0].host, found.hosts[0].port) == ("x", 2)
    assert (found.user, found.dbname) == ("u", "e")


@pytest.mark.parametrize(
    ("dsn", "keywords", "environ", "expected"),
    [
        ("host=h", {"ssl": "require"}, {"PGSSLMODE": "disable"}, "require"),
        ("host=h sslmode=allow", {"ssl": False}, {}, "disable"),
        ("host=h ssl=require", {"sslmode": "allow"}, {}, "allow"),
        ("host=h ssl=require", {}, {"PGSSLMODE": "allow"}, "require"),
        ("host=h", {"ssl": True}, {"PGSSLMODE": "allow"}, "verify-full"),
        ("host=h", {}, {"PGREQUIRESSL": "1"}, "require"),
        ("host=h", {}, {"PGREQUIRESSL": "1", "PGSSLMODE": "allow"}, "allow"),
    ],
)
def test_ssl_and_sslmode_are_one(
    dsn: str, keywords: dict[str, Any], environ: dict[str, str], expected: str
) -> None:
    assert parse(dsn, keywords, {"HOME": "/", **environ}).sslmode == expected


def test_session_variables() -> None:
    environ = {"PGTZ": "Asia/Tokyo", "PGDATESTYLE": "DeFault", "PGGEQO": "off"}

    def settings(**keywords: Any) -> dict[str, str]:
        return dict(parse("host=h", keywords, environ).server_settings)

    assert settings() == {"timezone": "Asia/Tokyo", "geqo": "off"}
    own = settings(server_settings={"TimeZone": "UTC", "jit": "off"})
    assert own == {"TimeZone": "UTC", "jit": "off", "geqo": "off"}
    with pytest.raises(InterfaceError, match="server_settings"):
        settings(server_settings="TimeZone=UTC")
    with pytest.raises(InterfaceError, match="timezone"):
        parse("host=h", {}, {"PGTZ": "\udc80"})


def test_password_that_is_not_utf8() -> None:
    """Its bytes are sent as they are; everywhere else it is an error."""
    assert parse("host=h", {}, {"PGPASSWORD": "\udcff"}).password == "\udcff"
    for variable in ("PGUSER", "PGDATABASE", "PGAPPNAME", "PGSERVICE"):
        with pytest.raises(InterfaceError, match="UTF-8"):
            parse("host=h", {}, {variable: "\udcff"})


def fields(config: Config) -> str:
    return repr(config) + str(config) + "".join(map(str, config.hosts))


def test_no_secret_is_shown(tmp_path: Path) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:*:s3cret")
    (tmp_path / ".pgpass").chmod(0o600)
    environ = {"HOME": str(tmp_path)}
    assert parse("host=h", {}, environ).hosts[0].password == "s3cret"
    key = "czNjcmV0" + "A" * 35 + "="
    for config in (
        parse("host=h", {}, environ),
        parse("host=h", {}, {"PGPASSWORD": "s3cret", "HOME": "/"}),
        parse("host=h sslpassword=s3cret", {}, {"HOME": "/"}),
        parse(f"host=h scram_client_key={key}", {}, {"HOME": "/"}),
        parse(f"host=h scram_server_key={key}", {}, {"HOME": "/"}),
    ):
        assert "s3cret" not in fields(config)
        assert "czNjcmV0" not in fields(config)
