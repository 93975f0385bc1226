"""`make test`: SQLAlchemy's own tests of a dialect, on a PostgreSQL of their own.

    python tests/run_sqlalchemy.py [--postgresql 17] [FOLDER …] [-- ARGUMENT …]

They run on the SQLAlchemy that is installed and, at the same time, on those in
the folders, each version once, in a database of its own. Arguments behind `--` go to
pytest. The end is a failure when a test fails or is skipped without a reason
that tests/sqlalchemy/requirements.py knows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import types
from importlib.metadata import distributions
from pathlib import Path
from typing import IO, NamedTuple

import servers

SUITE = Path(__file__).parent / "sqlalchemy"
PREPARE = """\
create schema test_schema;
create schema test_schema_2;
create extension hstore;
create extension citext;
"""


# A line of dots: what pytest shows of its progress.
PROGRESS = re.compile(rb"[.sFE]* +\[ *\d+%\]\n")


class Run(NamedTuple):
    process: subprocess.Popen[bytes]
    output: IO[bytes]


def version_in(folder: str | None) -> str:
    """Of the SQLAlchemy in a folder, or of the installed one."""
    path = sys.path if folder is None else [folder]
    for found in distributions(name="sqlalchemy", path=path):
        return found.version
    raise SystemExit(f"no SQLAlchemy in {folder or 'this environment'}: pip install it")


def start(
    server: servers.Server,
    version: str,
    folder: str | None,
    output: IO[bytes],
    arguments: list[str],
) -> Run:
    database = f"sqlalchemy_{version.replace('.', '_')}"
    server.psql(f"create database {database} template template0 encoding utf8")
    server.psql(PREPARE, database)
    url = server.tcp_dsn_for(database).replace("postgresql:", "postgresql+pgasync:", 1)
    paths = [folder, os.environ.get("PYTHONPATH")]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", SUITE, "--dburi", url, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    return Run(process, output)


def report(run: Run) -> bool:
    """Waits for a run and prints what it has printed; whether it passed."""
    passed = run.process.wait() == 0
    run.output.seek(0)
    for line in run.output:
        if not PROGRESS.fullmatch(line):
            sys.stdout.buffer.write(line)
    sys.stdout.flush()
    return passed


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def end(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def run_suites(major: int, folders: list[str], arguments: list[str]) -> bool:
    wanted: dict[str, str | None] = {}
    for folder in [None, *folders]:
        wanted.setdefault(version_in(folder), folder)
    with servers.Server(major) as server, contextlib.ExitStack() as running:
        runs = []
        for version, folder in wanted.items():
            output = running.enter_context(tempfile.TemporaryFile())
            runs.append(start(server, version, folder, output, arguments))
            running.callback(stop, runs[-1].process)
        passed = [report(run) for run in runs]
    return all(passed)


def main() -> int:
    parser = argparse.ArgumentParser(description="SQLAlchemy's tests of a dialect.")
    parser.add_argument("--postgresql", type=int, default=18, choices=servers.PACKAGES)
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    given = sys.argv[1:]
    middle = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:middle])
    signal.signal(signal.SIGTERM, end)
    try:
        passed = run_suites(options.postgresql, options.folders, given[middle + 1 :])
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except servers.ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
