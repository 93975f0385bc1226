"""inet, cidr, macaddr, macaddr8."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any

import pytest

from codec.checks import (
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_same,
    assert_sent_as,
    decode,
    encode,
    names,
)
from pgasync.errors import DataError

ONES = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

CASES: list[Case] = [
    ("inet", IPv4Address("10.0.0.1"), "'10.0.0.1'"),
    ("inet", IPv4Address("0.0.0.0"), "'0.0.0.0'"),
    ("inet", IPv4Address("255.255.255.255"), "'255.255.255.255'"),
    ("inet", IPv4Interface("10.0.0.1/8"), "'10.0.0.1/8'"),
    ("inet", IPv4Interface("10.1.2.3/0"), "'10.1.2.3/0'"),
    ("inet", IPv4Interface("10.0.0.0/8"), "'10.0.0.0/8'"),
    ("inet", IPv6Address("::"), "'::'"),
    ("inet", IPv6Address("2001:db8::1"), "'2001:db8::1'"),
    ("inet", IPv6Address("::ffff:10.0.0.1"), "'::ffff:10.0.0.1'"),
    ("inet", IPv6Address(ONES), f"'{ONES}'"),
    ("inet", IPv4Interface("10.0.0.1/31"), "'10.0.0.1/31'"),
    ("inet", IPv6Interface("2001:db8::1/64"), "'2001:db8::1/64'"),
    ("inet", IPv6Interface("2001:db8::1/127"), "'2001:db8::1/127'"),
    ("inet", IPv6Interface(f"{ONES}/0"), f"'{ONES}/0'"),
    ("cidr", IPv4Network("10.0.0.0/8"), "'10.0.0.0/8'"),
    ("cidr", IPv4Network("10.0.0.1/32"), "'10.0.0.1'"),
    ("cidr", IPv4Network("0.0.0.0/0"), "'0.0.0.0/0'"),
    ("cidr", IPv6Network("2001:db8::/32"), "'2001:db8::/32'"),
    ("cidr", IPv4Network("255.255.255.254/31"), "'255.255.255.254/31'"),
    ("cidr", IPv6Network("::/0"), "'::/0'"),
    ("cidr", IPv6Network(ONES), f"'{ONES}'"),
    ("macaddr", "08:00:2b:01:02:03", "'08:00:2b:01:02:03'"),
    ("macaddr", "00:00:00:00:00:00", "'0:0:0:0:0:0'"),
    ("macaddr", "ff:ff:ff:ff:ff:ff", "'FF:FF:FF:FF:FF:FF'"),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "'08:00:2b:01:02:03:04:05'"),
    ("macaddr8", "08:00:2b:ff:fe:01:02:03", "'08:00:2b:01:02:03'"),
]

SENT: list[Case] = [
    ("inet", IPv4Interface("10.0.0.1/32"), "'10.0.0.1'"),
    ("inet", IPv4Network("10.0.0.0/8"), "'10.0.0.0/8'"),
    ("inet", IPv6Network("::/0"), "'::/0'"),
    ("inet", "10.0.0.1/24", "'10.0.0.1/24'"),
    ("cidr", IPv4Address("10.0.0.1"), "'10.0.0.1/32'"),
    ("cidr", IPv6Address("::1"), "'::1/128'"),
    ("cidr", IPv4Interface("10.0.0.1/32"), "'10.0.0.1/32'"),
    ("cidr", IPv6Interface("::1/128"), "'::1'"),
    ("cidr", "10.1", "'10.1.0.0/16'"),
    ("macaddr", "08002B:010203", "'08:00:2b:01:02:03'"),
    ("macaddr", "08-00-2B-01-02-03", "'08:00:2b:01:02:03'"),
    ("macaddr8", "08:00:2b:01:02:03", "'08:00:2b:ff:fe:01:02:03'"),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("inet", 5, "ipaddress"),
    ("inet", b"\n\0\0\1", "ipaddress"),
    ("inet", IPv6Address("fe80::1%eth0"), "no scope"),
    ("cidr", IPv4Interface("10.0.0.1/8"), "interface.network"),
    ("cidr", IPv6Interface("::1/127"), "interface.network"),
    ("inet", IPv6Interface("fe80::1%eth0/64"), "no scope"),
    ("inet", IPv6Network("fe80::%eth0/64"), "no scope"),
    ("cidr", IPv6Address("fe80::1%eth0"), "no scope"),
    ("cidr", IPv6Network("fe80::%eth0/64"), "no scope"),
    ("cidr", 5, "a str"),
    ("macaddr", 5, "08:00:2b:01:02:03"),
    ("macaddr8", b"12345678", "08:00:2b:01:02:03"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", REFUSED, ids=names)
def test_refused(case: tuple[str, Any, str]) -> None:
    assert_refused(*case)


async def test_str_in_arrays(conn: Any) -> None:
    value = await conn.fetchval(
        "select $1::inet[]", [["10.0.0.1", IPv4Address(5), None]]
    )
    assert value == [IPv4Address("10.0.0.1"), IPv4Address(5), None]


def test_malformed() -> None:
    good = encode("inet", IPv4Address("10.0.0.1"))[1]
    for data in (
        good[:-1],
        good + b"\0",
        b"\4" + good[1:],
        b"\3" + good[1:],
        good[:1] + b"\x21" + good[2:],
        good[:3] + b"\5" + good[4:],
        b"",
        b"\2\x20\0",
    ):
        assert_not_decoded("inet", data, "not an address")
    assert_not_decoded("cidr", b"\2\x08\1\4\x0a\0\0\1", "not a network")


def test_the_type_says_what_it_is_not_the_flag() -> None:
    for flag in (b"\0", b"\1", b"\x7f"):
        data = b"\2\x08" + flag + b"\4\x0a\0\0\0"
        assert_same(decode("cidr", data), IPv4Network("10.0.0.0/8"))
        assert_same(decode("inet", data), IPv4Interface("10.0.0.0/8"))


def test_macs_in_other_spellings_go_to_the_server() -> None:
    assert encode("macaddr", "08:00:2B:01:02:0a") == (1, b"\x08\0\x2b\1\2\x0a")
    for text in ("08:00:2b:01:02-03", "08:00:2b:01:02:0g", "08:00:2b:01:02:", "é" * 17):
        assert encode("macaddr", text) == (0, text.encode())
        assert encode("macaddr8", text) == (0, text.encode())


@pytest.mark.parametrize(
    "cls", [IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network]
)
def test_an_address_that_was_never_filled_in(cls: Any) -> None:
    for pg_type in ("inet", "cidr"):
        with pytest.raises(DataError, match="it has no address"):
            encode(pg_type, cls.__new__(cls))


class Long(IPv4Address):
    """Its bytes are no address."""

    packed: Any = b"12345"


class Wide(IPv4Network):
    prefixlen: Any = None


def test_values_that_are_not_what_their_class_says() -> None:
    assert_refused("inet", Long("10.0.0.1"), "out of range")
    for bits, reason in (
        (33, "out of range"),
        (-1, "out of range"),
        (2**70, "no address"),
        (8.0, "no address"),
    ):
        Wide.prefixlen = bits
        assert_refused("cidr", Wide("10.0.0.0/8"), reason)


class Interrupted(IPv6Address):
    @property
    def scope_id(self) -> str | None:
        raise KeyboardInterrupt


def test_an_interrupt_is_not_lost() -> None:
    for pg_type in ("inet", "cidr"):
        with pytest.raises(KeyboardInterrupt):
            encode(pg_type, Interrupted(b"\0" * 16))
