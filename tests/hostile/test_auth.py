"""Authentication requests out of order, malformed, weaker than was allowed, or with
wrong proofs."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from hostile.scripts import Startup, booted, connect, no_session, sends
from pgmock import (
    MockServer,
    Peer,
    Scram,
    Script,
    auth,
    auth_ok,
    auth_sasl,
    cstr,
    message,
    serve,
)

SECRET = {"password": "secret", "require_auth": "scram-sha-256"}
MD5 = {"password": "secret", "require_auth": "md5"}
PLAIN = {"password": "secret", "require_auth": "password"}
SALT = base64.b64encode(b"0123456789abcdef").decode()


def scram(bend: Callable[[Scram, Peer], None]) -> Script:
    """Offers SCRAM and reads the client's first message, then `bend`."""

    def script(peer: Peer) -> None:
        server = Scram()
        server.read_first(peer)
        bend(server, peer)
        peer.wait_closed()

    return script


def first_is(**how: str) -> Script:
    """A bad server-first-message: parts of Scram.first, or `raw`."""

    def bend(server: Scram, peer: Peer) -> None:
        raw = how.get("raw")
        text = (
            server.first(**how)
            if raw is None
            else raw.replace("NONCE", server.client_nonce)
        )
        peer.send(auth(11, text.encode()))

    return scram(bend)


def final_is(final: str, *more: bytes) -> Script:
    def bend(server: Scram, peer: Peer) -> None:
        first = server.first()
        peer.send(auth(11, first.encode()))
        right = server.final(peer, first)
        peer.send(auth(12, final.replace("RIGHT", right).encode()), *more)

    return scram(bend)


def no_final(peer: Peer) -> None:
    """AuthenticationOk instead of the proof that the server knows the password."""
    server = Scram()
    server.read_first(peer)
    first = server.first()
    peer.send(auth(11, first.encode()))
    server.final(peer, first)
    peer.send(auth_ok())
    peer.boot()
    peer.wait_closed()


def extends_but_drops_last(server: Scram, peer: Peer) -> None:
    """A nonce one character short of the client's."""
    peer.send(auth(11, server.first(nonce=server.client_nonce[:-1]).encode()))


def after_password(*data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(auth(3))
        peer.expect(b"p")
        peer.send(*data)
        peer.wait_closed()

    return script


AUTH = [
    Startup("auth_message_too_long", sends(auth(10, cstr("A" * 3000) + b"\0"))),
    Startup("auth_empty", sends(message(b"R"))),
    Startup("auth_3_bytes", sends(message(b"R", b"\0\0\0"))),
    Startup("auth_ok_with_tail", sends(auth(0, b"x"))),
    Startup("auth_unknown_code", sends(auth(99))),
    Startup("auth_negative_code", sends(auth(-1))),
    Startup("auth_kerberos_5", sends(auth(2))),
    Startup("auth_gss", sends(auth(7))),
    Startup("auth_gss_continue", sends(auth(8, b"abc"))),
    Startup("auth_sspi", sends(auth(9))),
    Startup("auth_cleartext_with_tail", sends(auth(3, b"x")), PLAIN),
    Startup("auth_cleartext_twice", after_password(auth(3)), PLAIN),
    Startup("auth_cleartext_then_md5", after_password(auth(5, b"salt")), PLAIN),
    Startup("auth_ok_twice", booted(auth_ok())),
    Startup("auth_none_refused", sends(auth_ok()), SECRET),
    Startup("auth_downgrade_to_cleartext", sends(auth(3)), SECRET),
    Startup("auth_downgrade_to_md5", sends(auth(5, b"salt")), SECRET),
    Startup("auth_password_missing", sends(auth(3)), {"require_auth": "password"}),
    Startup("md5_salt_3_bytes", sends(auth(5, b"abc")), MD5),
    Startup("md5_salt_5_bytes", sends(auth(5, b"abcde")), MD5),
    Startup("md5_no_salt", sends(auth(5)), MD5),
    Startup("sasl_no_mechanism", sends(auth_sasl()), SECRET),
    Startup("sasl_unknown_mechanism", sends(auth_sasl("SCRAM-SHA-1", "X")), SECRET),
    Startup("sasl_plus_only", sends(auth_sasl("SCRAM-SHA-256-PLUS")), SECRET),
    Startup("sasl_unterminated", sends(auth(10, b"SCRAM-SHA-256")), SECRET),
    Startup("sasl_list_without_end", sends(auth(10, b"SCRAM-SHA-256\0")), SECRET),
    Startup("sasl_continue_first", sends(auth(11, b"r=x,s=eA==,i=1")), SECRET),
    Startup("sasl_final_first", sends(auth(12, b"v=eA==")), SECRET),
    Startup("sasl_ok_at_once", scram(lambda s, p: p.send(auth_ok())), SECRET),
    Startup(
        "sasl_final_skips_first",
        scram(lambda s, p: p.send(auth(12, b"v=eA=="))),
        SECRET,
    ),
    Startup(
        "sasl_twice", scram(lambda s, p: p.send(auth_sasl("SCRAM-SHA-256"))), SECRET
    ),
    Startup("sasl_final_missing", no_final, SECRET),
    Startup(
        "scram_wrong_signature",
        final_is("v=" + base64.b64encode(b"x" * 32).decode()),
        SECRET,
    ),
    Startup("scram_short_signature", final_is("v=eA=="), SECRET),
    Startup("scram_long_signature", final_is("RIGHT" + "A" * 1200), SECRET),
    Startup("scram_signature_not_base64", final_is("v=!!!!"), SECRET),
    Startup("scram_final_empty", final_is(""), SECRET),
    Startup("scram_final_error", final_is("e=other-error"), SECRET),
    Startup("scram_final_twice", final_is("RIGHT", auth(12, b"v=eA==")), SECRET),
    Startup("scram_first_empty", first_is(raw=""), SECRET),
    Startup("scram_nonce_not_ours", first_is(nonce="A" * 48), SECRET),
    Startup(
        "scram_nonce_not_extended", first_is(raw=f"r=NONCE,s={SALT},i=4096"), SECRET
    ),
    Startup("scram_nonce_cut", scram(extends_but_drops_last), SECRET),
    Startup(
        "scram_nonce_unprintable",
        first_is(raw=f"r=NONCE\x01\x02,s={SALT},i=4096"),
        SECRET,
    ),
    Startup("scram_iterations_0", first_is(iterations="0"), SECRET),
    Startup("scram_iterations_negative", first_is(iterations="-1"), SECRET),
    Startup("scram_iterations_2_31", first_is(iterations="2147483648"), SECRET),
    Startup(
        "scram_iterations_2_64", first_is(iterations="18446744073709551617"), SECRET
    ),
    Startup("scram_iterations_over_cap", first_is(iterations="100001"), SECRET),
    Startup("scram_iterations_words", first_is(iterations="many"), SECRET),
    Startup("scram_iterations_missing", first_is(raw=f"r=NONCEx,s={SALT}"), SECRET),
    Startup("scram_salt_missing", first_is(raw="r=NONCEx,i=4096"), SECRET),
    Startup("scram_salt_empty", first_is(salt=""), SECRET),
    Startup(
        "scram_salt_too_long",
        first_is(salt=base64.b64encode(b"x" * 1300).decode()),
        SECRET,
    ),
    Startup("scram_salt_not_base64", first_is(salt="%%%%"), SECRET),
    Startup(
        "scram_mandatory_extension",
        first_is(raw=f"m=x,r=NONCEx,s={SALT},i=4096"),
        SECRET,
    ),
    Startup("scram_nul_inside", first_is(raw=f"r=NONCEx,s={SALT}\0,i=4096"), SECRET),
]


@pytest.mark.parametrize("case", AUTH, ids=lambda case: case.name)
async def test_auth(case: Startup) -> None:
    await no_session(case)


async def test_honest_scram() -> None:
    """The script itself is right: unbent, it lets the client in."""

    def script(peer: Peer) -> None:
        peer.read_startup()
        Scram().honest(peer)
        peer.send(auth_ok())
        peer.boot()
        serve(peer)

    with MockServer(script) as server:
        conn = await connect(server, **SECRET)
        assert await conn.fetchval("select 5") == 5
        await conn.close()
    assert not server.failures
