"""Several hosts: which is taken, which failures go on to the next, what is told.

The rules are libpq's (PostgreSQL documentation, "Specifying Multiple Hosts"); over a
real primary and standby its own psql says what is right.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import pickle
import random
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pgasync
import pgmock
import servers
from pgasync import errors, target
from pgasync.sockets import Address
from pgmock import Answer, MockServer, Peer

connecting = importlib.import_module("pgasync.connect")

KINDS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")


def hosts(*ports: int, **keywords: Any) -> dict[str, Any]:
    """Arguments for these ports of 127.0.0.1."""
    return {
        "host": ",".join(["127.0.0.1"] * len(ports)),
        "port": ",".join(map(str, ports)),
        "user": "mock",
        "connect_timeout": 5,
        **keywords,
    }


def closed_port() -> int:
    return servers.free_port()


# ------------------------------------------------------------- scripted servers


def good(peer: Peer) -> None:
    peer.startup()
    pgmock.serve(peer)


def of_kind(standby: str | None, read_only: str | None) -> Callable[[Peer], None]:
    """A server that reports these, or not."""

    def script(peer: Peer) -> None:
        peer.read_startup()
        peer.send(pgmock.auth_ok())
        if standby is not None:
            peer.send(pgmock.parameter("in_hot_standby", standby))
        if read_only is not None:
            peer.send(pgmock.parameter("default_transaction_read_only", read_only))
        peer.boot()
        pgmock.serve(peer)

    return script


primary, standby = of_kind("off", "off"), of_kind("on", "off")


def says(sqlstate: str, text: str = "refused") -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_startup()
        peer.send(pgmock.error(sqlstate, text, "FATAL"))

    return script


def leaves(peer: Peer) -> None:
    peer.read_startup()


def leaves_at_once(peer: Peer) -> None:
    pass


def resets(peer: Peer) -> None:
    peer.read_startup()
    peer.reset()


def silent(peer: Peer) -> None:
    peer.wait_closed()


def leaves_authenticating(peer: Peer) -> None:
    peer.read_startup()
    peer.send(pgmock.auth_sasl("SCRAM-SHA-256"))
    peer.recv()


def talks_nonsense(peer: Peer) -> None:
    peer.read_startup()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def wants_gss(peer: Peer) -> None:
    peer.read_startup()
    peer.send(pgmock.auth(7))


@pytest.mark.parametrize(
    "script",
    [
        leaves,
        leaves_at_once,
        resets,
        silent,
        leaves_authenticating,
        says("57P03", "the database system is starting up"),
        says("57P02", "crash of another server process"),
        says("57P01", "terminating connection"),
        says("53300", "sorry, too many clients"),
    ],
)
async def test_goes_on(script: Callable[[Peer], None]) -> None:
    with MockServer(script) as first, MockServer(good) as second:
        arguments = hosts(first.port, second.port, connect_timeout=1, password="x")
        async with pgasync.connect(**arguments) as conn:
            assert conn.info.port == second.port
        assert first.peers


async def test_goes_on_when_nothing_listens_or_resolves() -> None:
    with MockServer(good) as last:
        async with pgasync.connect(
            host="no-such-host.invalid,127.0.0.1,/no/such/folder,127.0.0.1",
            port=f"1,{closed_port()},1,{last.port}",
            user="mock",
        ) as conn:
            assert conn.info.port == last.port


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (says("28P01", "password authentication failed"), errors.InvalidPassword),
        (says("28000"), errors.InvalidAuthorizationSpecification),
        (says("3D000"), errors.InvalidCatalogName),
        (says("42501"), errors.InsufficientPrivilege),
        (talks_nonsense, errors.ProtocolViolation),
        (wants_gss, errors.ConnectError),
    ],
)
async def test_is_final(
    script: Callable[[Peer], None], kind: type[pgasync.Error]
) -> None:
    """The next host does not get to see a password that was refused, for one."""
    with MockServer(script) as first, MockServer(good) as second:
        with pytest.raises(kind) as caught:
            await pgasync.connect(**hosts(first.port, second.port))
        assert not second.peers
        assert type(caught.value) is kind


# What libpq does, too; where it gives up and we go on, the host had no session to give.
LIBPQ = [
    (leaves, False),
    (resets, False),
    (silent, True),
    (leaves_authenticating, False),
    (says("57P03"), True),
    (says("57P02"), False),
    (says("57P01"), False),
    (says("28P01"), False),
    (says("28000"), False),
    (says("3D000"), False),
    (says("53300"), False),
    (says("42501"), False),
    (talks_nonsense, False),
    (wants_gss, False),
    (standby, True),
]


def test_libpq_over_the_same_scripts(tmp_path: Path) -> None:
    """The rules of test_goes_on and test_is_final are not only our own opinion."""
    program = servers.find_tree(18) / "bin" / "psql"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    for script, goes_on in LIBPQ:
        with MockServer(script) as first, MockServer(primary) as second:
            arguments = hosts(
                first.port,
                second.port,
                password="x",
                connect_timeout=2,
                sslmode="disable",
                target_session_attrs="primary" if script is standby else "any",
            )
            words = " ".join(f"{key}='{value}'" for key, value in arguments.items())
            subprocess.run(
                [program, "--no-psqlrc", "--no-password", "--command=SELECT 1", words],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
            )
            assert bool(second.peers) == goes_on, script


async def test_no_tls_is_final() -> None:
    with MockServer(good) as first, MockServer(good) as second:
        with pytest.raises(pgasync.ConnectError, match="does not support TLS"):
            await pgasync.connect(**hosts(first.port, second.port, sslmode="require"))
        assert not second.peers


async def test_no_handshake_is_final() -> None:
    def breaks_tls(peer: Peer) -> None:
        peer.sock.recv(8)
        peer.send(b"S")
        peer.sock.recv(65536)
        peer.send(b"no TLS at all, but plain text")

    with MockServer(breaks_tls) as first, MockServer(good) as second:
        with pytest.raises(errors.TLSError):
            await pgasync.connect(**hosts(first.port, second.port, sslmode="require"))
        assert not second.peers


async def test_what_failed_before_is_the_cause_of_a_final_error() -> None:
    dead = closed_port()
    last = MockServer(says("28P01"))
    with last, pytest.raises(errors.InvalidPassword) as caught:
        await pgasync.connect(**hosts(dead, last.port))
    assert f"127.0.0.1:{dead}" in str(caught.value.__cause__)


async def test_the_error_tells_every_host() -> None:
    dead = closed_port()
    starting = says("57P03", "the database system is starting up")
    second, third = MockServer(starting), MockServer(silent)
    with second, third, pytest.raises(pgasync.ConnectError) as caught:
        await pgasync.connect(
            **hosts(dead, second.port, third.port, connect_timeout=0.2)
        )
    error = caught.value
    assert str(error).splitlines() == [
        "no host could be connected to:",
        f"  127.0.0.1:{dead}: Connection refused; nothing listens there "
        "(is the server running?)",
        f"  127.0.0.1:{second.port}: the database system is starting up",
        f"  127.0.0.1:{third.port}: timed out after 0.2 s agreeing on TLS",
    ]
    refused, not_now, late = error.failures
    assert isinstance(refused.__cause__, ConnectionRefusedError)
    assert isinstance(not_now, errors.CannotConnectNow)
    assert error.__cause__ is late
    assert isinstance(late.__cause__, TimeoutError)
    assert error.sqlstate == "57P03"
    assert error.outcome == "not_sent"
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert [type(each) for each in copy.failures] == [
        type(each) for each in error.failures
    ]


@pytest.mark.parametrize("sqlstate", ["57P03", "53300"])
async def test_one_host_keeps_class_and_sqlstate(sqlstate: str) -> None:
    server = MockServer(says(sqlstate))
    with server, pytest.raises(pgasync.OperationalError) as caught:
        await pgasync.connect(**hosts(server.port))
    assert caught.value.sqlstate == sqlstate
    assert type(caught.value) is errors.error_class(sqlstate)


async def test_each_host_has_the_whole_timeout() -> None:
    with MockServer(silent) as one, MockServer(silent) as two, MockServer(good) as last:
        started = time.monotonic()
        async with pgasync.connect(
            **hosts(one.port, two.port, last.port, connect_timeout=0.5)
        ) as conn:
            assert conn.info.port == last.port
        assert 0.95 < time.monotonic() - started < 3.0


# ---------------------------------------------------------- addresses of one host


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes every host one of these ports of 127.0.0.1."""

    def to(*ports: int) -> None:
        async def addresses(config: Any, host: Any, deadline: Any) -> list[Address]:
            return [Address(host, socket.AF_INET, ("127.0.0.1", p)) for p in ports]

        monkeypatch.setattr(connecting, "_addresses", addresses)

    return to


@pytest.mark.parametrize("script", [leaves, resets, silent])
async def test_next_address(
    resolve: Callable[..., None], script: Callable[[Peer], None]
) -> None:
    with MockServer(script) as first, MockServer(good) as second:
        resolve(closed_port(), first.port, second.port)
        async with pgasync.connect(host="db", user="mock", connect_timeout=1):
            assert first.peers
            assert second.peers


@pytest.mark.parametrize("script", [says("57P03"), standby])
async def test_other_addresses_are_the_same_server(
    resolve: Callable[..., None], script: Callable[[Peer], None]
) -> None:
    with MockServer(script) as first, MockServer(good) as second:
        resolve(first.port, second.port)
        with pytest.raises(pgasync.OperationalError):
            await pgasync.connect(
                host="db", user="mock", target_session_attrs="primary"
            )
        assert first.peers
        assert not second.peers


async def test_each_address_has_the_whole_timeout(
    resolve: Callable[..., None],
) -> None:
    with MockServer(silent) as one, MockServer(silent) as two, MockServer(good) as last:
        resolve(one.port, two.port, last.port)
        started = time.monotonic()
        async with pgasync.connect(host="db", user="mock", connect_timeout=0.5):
            assert 0.95 < time.monotonic() - started < 3.0


async def test_the_error_tells_every_address(resolve: Callable[..., None]) -> None:
    with MockServer(silent) as one, MockServer(leaves) as two:
        resolve(one.port, two.port)
        with pytest.raises(pgasync.ConnectError) as caught:
            await pgasync.connect(
                host="db", user="mock", connect_timeout=0.2, sslmode="disable"
            )
    assert str(caught.value).splitlines() == [
        "no host could be connected to:",
        "  db:5432 (127.0.0.1): timed out after 0.2 s authenticating",
        "  db:5432 (127.0.0.1): the server closed the connection",
    ]


async def test_a_slow_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the time of the host's first address; what it finds later is dropped."""
    late: list[Any] = []

    def look_up() -> list[Any]:
        time.sleep(1.2)
        late.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)))
        return late

    loop = asyncio.get_running_loop()
    honest = loop.getaddrinfo

    async def slow(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "slow.invalid":
            return await asyncio.to_thread(look_up)
        return await honest(name, *args, **keywords)  # uvloop asks for each connect

    monkeypatch.setattr(loop, "getaddrinfo", slow)
    with MockServer(good) as last:
        started = time.monotonic()
        async with pgasync.connect(
            host="slow.invalid,127.0.0.1",
            port=f"1,{last.port}",
            user="mock",
            connect_timeout=0.4,
        ) as conn:
            assert conn.info.port == last.port
            assert not late
        assert time.monotonic() - started < 1.1
        with pytest.raises(pgasync.ConnectError, match="looking up its address"):
            await pgasync.connect(host="slow.invalid", user="u", connect_timeout=0.4)
        await asyncio.sleep(1.0)
    assert len(late) == 2


# --------------------------------------------------------------- load balancing


async def order(ports: list[int], **keywords: Any) -> list[int]:
    """In which order ports at which nothing listens are tried."""
    with pytest.raises(pgasync.ConnectError) as caught:
        await pgasync.connect(**hosts(*ports, **keywords))
    tried = str(caught.value).splitlines()[1:]
    assert len(tried) == len(caught.value.failures)
    return [int(line.split(":")[1]) for line in tried]


async def test_hosts_are_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [closed_port() for _ in range(5)]
    source = random.Random(7)
    monkeypatch.setattr(connecting, "shuffle", source.shuffle)
    expected = [*ports]
    random.Random(7).shuffle(expected)
    assert expected != ports
    assert await order(ports, load_balance_hosts="random") == expected
    assert await order(ports) == ports
    assert await order(ports, load_balance_hosts="disable") == ports
    seen = {tuple(await order(ports, load_balance_hosts="random")) for _ in range(20)}
    assert len(seen) > 10


async def test_addresses_are_shuffled(
    monkeypatch: pytest.MonkeyPatch, resolve: Callable[..., None]
) -> None:
    monkeypatch.setattr(connecting, "shuffle", random.Random(3).shuffle)
    with MockServer(good) as one, MockServer(good) as two:
        resolve(one.port, two.port)
        for _ in range(40):
            async with pgasync.connect(
                host="db", user="mock", load_balance_hosts="random"
            ):
                pass
        assert len(one.peers) + len(two.peers) == 40
        assert min(len(one.peers), len(two.peers)) >= 10


# ---------------------------------------------------------------- secrets stay


def asks_for_password(seen: list[bytes], then: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_startup()
        peer.send(pgmock.auth(3))
        seen.append(peer.expect(b"p"))
        peer.send(then)
        if then == pgmock.auth_ok():
            peer.boot()
            pgmock.serve(peer)

    return script


async def test_no_host_gets_the_password_of_another(tmp_path: Path) -> None:
    """CVE-2018-10915: what was made for one host must not go to the next."""
    one: list[bytes] = []
    two: list[bytes] = []
    not_now = pgmock.error("57P03", "starting up", "FATAL")
    first = MockServer(asks_for_password(one, not_now))
    second = MockServer(asks_for_password(two, pgmock.auth_ok()))
    with first, second:
        passfile = tmp_path / "passfile"
        passfile.write_text(
            f"127.0.0.1:{first.port}:*:mock:secret of one\n"
            f"127.0.0.1:{second.port}:*:mock:secret of two\n"
        )
        passfile.chmod(0o600)
        async with pgasync.connect(
            **hosts(first.port, second.port, passfile=str(passfile))
        ) as conn:
            assert conn.info.port == second.port
    assert one == [b"secret of one\0"]
    assert two == [b"secret of two\0"]


async def test_a_host_without_a_line_gets_no_password(tmp_path: Path) -> None:
    one: list[bytes] = []
    two: list[bytes] = []
    not_now = pgmock.error("57P03", "starting up", "FATAL")
    first = MockServer(asks_for_password(one, not_now))
    second = MockServer(asks_for_password(two, pgmock.auth_ok()))
    with first, second:
        passfile = tmp_path / "passfile"
        passfile.write_text(f"127.0.0.1:{first.port}:*:mock:secret of one\n")
        passfile.chmod(0o600)
        with pytest.raises(pgasync.ConnectError, match="password"):
            await pgasync.connect(
                **hosts(first.port, second.port, passfile=str(passfile))
            )
    assert one == [b"secret of one\0"]
    assert two == []


async def test_scram_starts_anew() -> None:
    """Neither nonce nor proof of one host is shown to the next."""
    seen: list[bytes] = []

    def challenge(peer: Peer) -> None:
        peer.read_startup()
        peer.send(pgmock.auth_sasl("SCRAM-SHA-256"))
        seen.append(peer.expect(b"p"))

    one, two = MockServer(challenge), MockServer(challenge)
    with one, two, pytest.raises(pgasync.ConnectError):
        await pgasync.connect(**hosts(one.port, two.port, password="x"))
    nonces = [message.partition(b",r=")[2] for message in seen]
    assert len(nonces) == 2
    assert nonces[0] != nonces[1]
    assert all(len(nonce) >= 24 for nonce in nonces)


# -------------------------------------------------- kinds of sessions, scripted


@pytest.mark.parametrize(
    ("reports", "fits"),
    [
        (("off", "off"), {"any", "read-write", "primary"}),
        (("off", "on"), {"any", "read-only", "primary"}),
        (("on", "off"), {"any", "read-only", "standby"}),
        (("on", "on"), {"any", "read-only", "standby"}),
    ],
)
async def test_what_the_server_reports(
    reports: tuple[str, str], fits: set[str]
) -> None:
    with MockServer(of_kind(*reports)) as only:
        for kind in KINDS[:-1]:
            opening = pgasync.connect(**hosts(only.port, target_session_attrs=kind))
            if kind in fits:
                await (await opening).close()
                continue
            with pytest.raises(pgasync.ConnectError) as caught:
                await opening
            assert f"127.0.0.1:{only.port}: the " in str(caught.value)
            assert f"(target_session_attrs={kind})" in str(caught.value)
        assert not only.failures
        assert all(b"P" not in peer.received for peer in only.peers), "asked for it"


def answers(**values: str) -> Callable[[Peer], None]:
    """A server that reports nothing and answers when it is asked (before 14)."""
    known = {
        text: pgmock.one_value(pgmock.TEXT, value.encode())
        for text, value in values.items()
    }

    def script(peer: Peer) -> None:
        peer.startup()
        pgmock.serve(peer, known)

    return script


async def test_a_server_that_reports_nothing_is_asked() -> None:
    for read_only, standing, fits in [
        ("off", "f", {"any", "read-write", "primary"}),
        ("on", "f", {"any", "read-only", "primary"}),
        ("on", "t", {"any", "read-only", "standby"}),
    ]:
        script = answers(transaction_read_only=read_only, pg_is_in_recovery=standing)
        with MockServer(script) as only:
            for kind in KINDS[:-1]:
                opening = pgasync.connect(**hosts(only.port, target_session_attrs=kind))
                if kind in fits:
                    async with opening as conn:
                        assert await conn.fetchval("select 7") == 7
                    continue
                with pytest.raises(pgasync.ConnectError, match="target_session_attrs"):
                    await opening
            assert not only.failures


async def test_a_server_that_cannot_tell_is_passed_over() -> None:
    def puzzled(peer: Peer) -> None:
        peer.startup()
        wrong = pgmock.error("42704", "unrecognized parameter")
        pgmock.serve(peer, {"transaction_read_only": Answer(parse=wrong)})

    def dies(peer: Peer) -> None:
        peer.startup()
        peer.recv()

    def stays_silent(peer: Peer) -> None:
        peer.startup()
        peer.wait_closed()

    for script in (puzzled, dies, stays_silent):
        with MockServer(script) as first, MockServer(primary) as second:
            arguments = hosts(first.port, second.port, connect_timeout=1)
            async with pgasync.connect(
                **arguments, target_session_attrs="read-write"
            ) as conn:
                assert conn.info.port == second.port
            assert sum(1 for peer in first.peers if peer.parameters) == 1


async def test_prefer_standby_takes_a_primary_at_last() -> None:
    dead = closed_port()
    with MockServer(primary) as one, MockServer(leaves) as two:
        arguments = hosts(dead, one.port, two.port)
        async with pgasync.connect(
            **arguments, target_session_attrs="prefer-standby"
        ) as conn:
            assert conn.info.port == one.port
    assert len(one.peers) == 2
    assert len(two.peers) == 1
    assert all(peer.received[-1:] == [b"X"] for peer in one.peers)


async def test_a_refused_session_is_closed_orderly() -> None:
    with MockServer(standby) as one, MockServer(primary) as two:
        arguments = hosts(one.port, two.port)
        async with pgasync.connect(**arguments, target_session_attrs="primary"):
            pass
    assert [peer.received for peer in one.peers] == [[b"X"]]


async def test_cancelled_while_asking() -> None:
    def stays_silent(peer: Peer) -> None:
        peer.startup()
        peer.recv()
        peer.wait_closed()

    with MockServer(stays_silent) as only:
        task = asyncio.create_task(
            pgasync.connect(**hosts(only.port, target_session_attrs="primary"))
        )
        while not only.peers or b"P" not in only.peers[0].received:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# ------------------------------------------------------------- a lack of files


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_no_file_descriptors_left() -> None:
    """EMFILE: an error like others, for every host, and nothing stays open."""
    with MockServer(good) as only:
        async with pgasync.connect(**hosts(only.port)):
            pass  # what is made once is there
        await asyncio.sleep(0.05)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = sorted(map(int, os.listdir("/proc/self/fd")))
        # The next one to be opened is the lowest free number: all of them are taken.
        fillers = [os.dup(0) for _ in range(before[-1] + 1 - len(before))]
        try:
            highest = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
            with pytest.raises(pgasync.ConnectError) as caught:
                await pgasync.connect(**hosts(only.port, only.port))
            with pytest.raises(pgasync.ConnectError) as named:
                await pgasync.connect(host="localhost", port=only.port, user="mock")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for filler in fillers:
                os.close(filler)
        assert "Too many open files" in str(caught.value)
        assert len(caught.value.failures) == 2
        assert isinstance(caught.value.failures[0].__cause__, OSError)
        assert named.value.sqlstate is None
        async with pgasync.connect(**hosts(only.port)) as conn:
            assert await conn.fetchval("select 3") == 3


# ------------------------------------------------------ a real primary and standby


@pytest.fixture(scope="module", params=[18, 17])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    if not servers.installed(request.param):
        pytest.skip(f"PostgreSQL {request.param} is not installed")
    with servers.Server(request.param) as first, servers.Standby(first) as second:
        second.wait_streaming()
        yield first, second


def over(*several: Any) -> dict[str, Any]:
    return {
        "host": ",".join(str(server.socket_dir) for server in several),
        "port": ",".join(str(server.port) for server in several),
        "user": "postgres",
        "dbname": "postgres",
    }


def libpq_takes(arguments: dict[str, Any], runner: Any) -> str:
    """The port that libpq connects to, by psql; "none" when it refuses."""
    words = " ".join(f"{key}='{value}'" for key, value in arguments.items())
    options = ("--no-psqlrc", "--quiet", "--tuples-only", "--no-align")
    try:
        found = runner.run_tool("psql", *options, words, stdin="SHOW port")
    except servers.ServerError:
        return "none"
    return str(found.strip())


async def pgasync_takes(arguments: dict[str, Any]) -> str:
    try:
        async with pgasync.connect(**arguments, autocommit=True) as conn:
            return str(await conn.fetchval("SHOW port"))
    except pgasync.ConnectError:
        return "none"


async def test_as_libpq(pair: tuple[Any, Any], summary: list[str]) -> None:
    """Every kind, over every list of the primary, the standby and a dead host."""
    dead = SimpleNamespace(socket_dir="/no/such/folder", port=1)
    several = [*pair, dead]
    cells = 0
    for length in (1, 2, 3):
        for chosen in itertools.permutations(several, length):
            for kind in KINDS:
                arguments = {**over(*chosen), "target_session_attrs": kind}
                expected = await asyncio.to_thread(libpq_takes, arguments, pair[0])
                assert await pgasync_takes(arguments) == expected, arguments
                cells += 1
    assert cells == 90
    summary.append(
        f"hosts: {cells} lists of PostgreSQL {pair[0].major} as libpq takes them"
    )


async def test_asked_instead_of_reported(pair: tuple[Any, Any]) -> None:
    """The questions for servers before 14, put to these."""
    for server, fits in zip(
        pair, ({"read-write", "primary"}, {"read-only", "standby"}), strict=True
    ):
        async with pgasync.connect(**over(server)) as conn:
            mute: Any = SimpleNamespace(parameters={}, look_up=conn._core.look_up)
            for kind in ("read-write", "read-only", "primary", "standby"):
                told = await target.mismatch(mute, kind)
                assert (told is None) == (kind in fits), (kind, told)
            assert not conn._core.in_transaction


async def test_default_transaction_read_only(pair: tuple[Any, Any]) -> None:
    first, second = pair
    setting = "-c default_transaction_read_only=on"
    arguments = {**over(first, second), "options": setting}
    for kind, taken in [
        ("read-write", None),
        ("read-only", first),
        ("primary", first),
        ("standby", second),
    ]:
        expected = "none" if taken is None else str(taken.port)
        cell = {**arguments, "target_session_attrs": kind}
        assert await pgasync_takes(cell) == expected
        assert libpq_takes(cell, first) == expected
    with pytest.raises(pgasync.ConnectError) as caught:
        await pgasync.connect(**arguments, target_session_attrs="read-write")
    assert str(caught.value).count("the session is read-only") == 2


async def test_promotion_is_seen() -> None:
    with servers.Server() as first, servers.Standby(first) as second:
        second.wait_streaming()
        wanted = {**over(first, second), "target_session_attrs": "read-write"}
        async with pgasync.connect(**wanted, autocommit=True) as conn:
            assert conn.info.port == first.port
            await conn.execute("create table kept (n int)")
            lsn = await conn.fetchval("select pg_current_wal_insert_lsn()::text")
        async with pgasync.connect(**over(second), autocommit=True) as conn:
            with pytest.raises(errors.ReadOnlySqlTransaction):
                await conn.execute("create table refused (n int)")
            sql = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            while not await conn.fetchval(sql, [lsn]):
                await asyncio.sleep(0.01)
            first.kill()
            with pytest.raises(pgasync.ConnectError) as caught:
                await pgasync.connect(**wanted)
            assert "Connection refused" in str(caught.value)
            assert "the session is read-only" in str(caught.value)
            second.promote()
            async with pgasync.connect(**wanted, autocommit=True) as other:
                assert other.info.port == second.port
                assert await other.execute("insert into kept values (1)")
            await conn.execute("insert into kept values (2)")
            assert conn.info.parameters["in_hot_standby"] == "off"
