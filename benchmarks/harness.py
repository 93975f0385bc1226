"""What both benchmarks share: the server, the child processes, the report."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import child
import work

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DRIVERS = ("asyncpg", "psycopg", "pgasync")
PACKAGES = (*DRIVERS, "psycopg-binary", "psycopg-pool", "sqlalchemy", "uvloop")

sys.path.insert(0, str(HERE.parent / "tests"))
import certificates  # noqa: E402
import servers  # noqa: E402


def chosen(wanted: list[str] | None) -> list[str]:
    """The drivers to measure: those asked for, else all. Ends the program when one
    of them is not installed."""
    drivers = [name for name in DRIVERS if wanted is None or name in wanted]
    missing = [name for name in drivers if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)} (pip install -e '.[dev,bench]')"
        )
    return drivers


def versions() -> dict[str, str]:
    """Of everything that a figure depends on."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    found["core"] = core_digest()
    return found


def core_digest() -> str:
    """Of the file of pgasync._core: which build was measured. "" when there is none."""
    try:
        spec = importlib.util.find_spec("pgasync._core")
    except ImportError:
        return ""
    if spec is None or spec.origin is None:
        return ""
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The DSN of a PostgreSQL 18 that holds the tables of work.py."""
    core = core_digest()
    progress("Starting PostgreSQL and filling its tables")
    try:
        with servers.Server(18, settings={"autovacuum": "off"}) as started:
            started.psql(work.SCHEMA)
            yield started.dsn
        if core_digest() != core:
            raise SystemExit("pgasync._core was rebuilt meanwhile: measure again")
    except servers.ServerError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


@contextlib.contextmanager
def tls_server() -> Iterator[str]:
    """The same of a PostgreSQL 17 over TLS, whose certificate nobody verifies."""
    hba = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"
    progress("Starting PostgreSQL 17 with TLS and filling its tables")
    with tempfile.TemporaryDirectory() as folder:
        pair = certificates.Certificates(Path(folder)).server["rsa"]
        with servers.Server(17, hba=hba, settings={"autovacuum": "off"}) as started:
            started.own(pair.cert, "server.crt")
            started.own(pair.key, "server.key")
            started.psql("alter system set ssl = on")
            started.restart()
            started.psql(work.SCHEMA)
            yield started.tcp_dsn_for(password="", sslmode="require")


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_child(
    arguments: Sequence[object], prefix: Sequence[str] = ()
) -> tuple[dict[str, float], str]:
    """Runs child.py; what it measured, and its standard error."""
    done = subprocess.run(
        [*prefix, sys.executable, str(HERE / "child.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if done.returncode != 0:
        raise SystemExit(f"child.py {arguments[:2]} failed:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured, done.stderr


def supports(driver: str, scenario: str) -> bool:
    """Whether the driver's class has the scenario (psycopg has no mixed_raw)."""
    return hasattr(child.driver_for(driver, scenario), scenario)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text columns, the first flush left."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def save(kind: str, results: Any, **settings: object) -> Path:
    """Writes benchmarks/results/KIND-DATE.json; where it is."""
    now = datetime.datetime.now(datetime.timezone.utc)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{kind}-{now:%Y%m%d-%H%M%S}.json"
    document = {
        "date": now.isoformat(),
        "versions": versions(),
        "settings": settings,
        "results": results,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
