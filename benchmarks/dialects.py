"""postgresql+asyncpg and postgresql+pgasync side by side: what differs, and why.

`python benchmarks/dialects.py [WORD …]` runs every case of dialect_cases/ (or those
whose names hold a WORD) through an engine of each dialect, on the same servers, and
compares all that a program can see: rows with the classes of their values, keys,
counts, type codes, classes and fields of errors, and whether the connection is usable
afterwards. It prints each difference with its reason, and fails on one without a
reason and on a reason without a difference.

`--against psycopg` does the same with postgresql+psycopg. The reasons are about
asyncpg: there are none, and it never fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy.dialects import registry

from dialect_cases import CASES, SETUP, Case, Place, Side, look
from harness import certificates, servers

LIMIT_S = 60  # for a case in one dialect
WIDTH = 400


@dataclass
class Seen:
    """A case and what came of it in each dialect."""

    case: Case
    other: str  # the dialect beside ours
    theirs: str
    ours: str

    @property
    def complaint(self) -> str:
        """What is not as declared; "" when all is."""
        if self.other != "asyncpg":
            return ""
        differs = self.theirs != self.ours
        if differs and not self.case.differs:
            return "differs, and no reason is given"
        if self.case.differs and not differs:
            return f"does not differ, though it should: {self.case.why}"
        if (differs or not self.case.only) and self.case.ours not in self.ours:
            return f"pgasync's outcome should hold {self.case.ours!r}"
        return ""

    def __str__(self) -> str:
        lines = [self.case.name]
        if self.theirs == self.ours:
            lines.append(f"    both:    {short(self.ours)}")
        else:
            lines.append(f"    {self.other}: {short(self.theirs)}")
            lines.append(f"    pgasync: {short(self.ours)}")
        if self.complaint:
            lines.append(f"    WRONG:   {self.complaint}")
        elif self.case.why and self.other == "asyncpg":
            lines.append(f"    because: {self.case.why}")
        return "\n".join(lines)


def short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


async def outcome(case: Case, side: Side) -> str:
    """What the case sees, with the warnings about it."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            seen = look.show(await asyncio.wait_for(case.run(side), LIMIT_S))
        except Exception as error:
            seen = "raised " + look.show(error)
        finally:
            await side.tidy()
    kinds = {warning.category.__name__ for warning in warned}
    if not side.is_ours:
        kinds.discard("ResourceWarning")  # of the other's sockets, now or later
    return "; ".join([seen, *sorted(kinds)])


async def run(place: Place, cases: list[Case], other: str) -> list[Seen]:
    sides = [Side(dialect, place) for dialect in (other, "pgasync")]
    try:
        found = []
        for case in cases:
            theirs, ours = [await outcome(case, side) for side in sides]
            found.append(Seen(case, other, theirs, ours))
        return found
    finally:
        for side in sides:
            await side.close()


@contextlib.contextmanager
def place_of_servers(folder: Path) -> Iterator[Place]:
    """A PostgreSQL 18 with the tables of the cases, and a 17 that has TLS."""
    pair = certificates.Certificates(folder)
    hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    with servers.Server(18) as main, servers.Server(17, hba=hba) as tls:
        tls.own(pair.server["rsa"].cert, "server.crt")
        tls.own(pair.server["rsa"].key, "server.key")
        tls.psql("alter system set ssl = on")
        tls.psql(f"alter user postgres password '{main.password}'")
        tls.restart()
        main.psql(SETUP)
        yield Place(
            socket_dir=str(main.socket_dir),
            port=main.port,
            password=main.password,
            tls_port=tls.port,
            authority=pair.root.file,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="print every case")
    parser.add_argument(
        "--wrong", action="store_true", help="print only what is not as declared"
    )
    parser.add_argument("--against", choices=("asyncpg", "psycopg"), default="asyncpg")
    parser.add_argument(
        "--share", default="1/1", metavar="N/M", help="the Nth of M parts of the cases"
    )
    parser.add_argument("words", nargs="*", metavar="WORD")
    options = parser.parse_args()
    logging.disable()  # of the pool, about what a case forgets
    # What the entry point of an installed pgasync says: an uninstalled one works, too.
    registry.register(
        "postgresql.pgasync", "pgasync.sqlalchemy.dialect", "PGDialect_pgasync"
    )
    share, shares = map(int, options.share.split("/"))
    cases = [c for c in CASES if all(word in c.name for word in options.words)]
    cases = cases[share - 1 :: shares]
    with (
        tempfile.TemporaryDirectory() as folder,
        place_of_servers(Path(folder)) as place,
    ):
        found = asyncio.run(run(place, cases, options.against))
    wrong = [seen for seen in found if seen.complaint]
    alike = [seen for seen in found if seen.theirs == seen.ours]
    for seen in found:
        if seen in wrong or ((options.all or seen not in alike) and not options.wrong):
            print(seen)
    print(
        f"{options.against} and pgasync on SQLAlchemy {sqlalchemy.__version__}:"
        f" {len(found)} cases, {len(alike)} alike, {len(found) - len(alike)} differ,"
        f" {len(wrong)} not as declared"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
