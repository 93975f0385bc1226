"""DSNs, good and bad: what the oracle test and the fuzz target compare."""

from __future__ import annotations

import random

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
    *"true requiressl requiressl= 1 = & ? / @ : , [ ] [::1] ::1 %20 %2F %00 %zz %".split(),
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
