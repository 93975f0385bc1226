"""DSNs, good and bad: what the oracle test and the fuzz target compare."""

from __future__ import annotations

import random
import time

import libpq
from pgasync.dsn import parse_dsn
from pgasync.errors import InterfaceError
from pgasync.keywords import LIBPQ

SEEDS = (
    "postgresql://user:pw@host:5432/db?sslmode=require&application_name=x",
    "postgres:///db?host=/tmp&ssl=true&requiressl=1",
    "postgresql://[::1]:1,h2:2,/d?port=3",
    "postgresql://%2Frun%2Fs:77/a%20b?options=-c%20x%3D1",
    "host=h user=u password='it\\'s' dbname = d port=1",
    "host=a,b hostaddr=10.0.0.1,::1 port=1,2 user='a b'",
)
ATOMS = (
    *"postgresql:// postgres:// user password host port dbname sslmode ssl".split(),
    *"true requiressl requiressl= 1 = & ? / @ : , [ ] [::1] ::1 %20 %2F".split(),
    *"%00 %zz %".split(),
    *"' \\ \\' '' a b é %C3%A9 options application_name .. 0 hostaddr # ; *".split(),
    *(" ", "  ", "\t", "\n", "\x0b", "\u00a0", "=", "=", "&", "%3D", "%0a", "\x7f"),
)


def random_dsn(source: random.Random) -> str:
    """Words put together, or a good DSN with a few changes."""
    if source.random() < 0.5:
        count = source.randint(1, 14)
        return "".join(source.choice(ATOMS) for _ in range(count))
    text = source.choice(SEEDS)
    for _ in range(source.randint(1, 4)):
        at = source.randint(0, len(text))
        cut = source.choice((0, 0, 1, 1, source.randint(1, 6)))
        put = source.choice(("", source.choice(ATOMS), source.choice(ATOMS)))
        text = text[:at] + put + text[at + cut :]
    return text


def ours(text: str) -> dict[str, bytes] | None:
    """What the text says to us, None when it is refused."""
    try:
        found = parse_dsn(text)
    except InterfaceError:
        return None
    if not found.keys() <= LIBPQ.keys():
        return None  # an unknown keyword, which conninfo.parse() refuses by name
    return {key: value.encode() for key, value in found.items()}


def is_stricter(text: str) -> bool:
    """One of the deliberate differences: refused here, accepted by libpq."""
    try:
        parse_dsn(text)
    except InterfaceError as error:
        return "second @" in str(error) or "not UTF-8" in str(error)
    return False


def differs(oracle: libpq.LibPQ, text: str) -> bool:
    """Whether libpq makes something else of the text."""
    return not is_stricter(text) and ours(text) != oracle.parse(text.encode())


def fuzz(seconds: float, seed: int) -> tuple[int, str | None]:
    """Random DSNs against libpq: how many were tried, and the first that differs."""
    oracle = libpq.LibPQ(18)
    source = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        for _ in range(1000):
            text = random_dsn(source)
            if differs(oracle, text):
                return count, text
            count += 1
    return count, None
