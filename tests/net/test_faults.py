"""Calls to the kernel that fail, are interrupted or do little; memory that runs out. A
library in front of libc (faults.c) makes them, one at a time and each at every place,
while fault_runner.py holds the same conversation over and over: no crash, no hang, no
wrong result, nothing left behind, and no exception but pgasync's (or MemoryError).

PGASYNC_FAULTS=all: every fault; otherwise one in so many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fuzzing
import servers

HERE = Path(__file__).parent
ALL = os.environ.get("PGASYNC_FAULTS") == "all"
PARTS = 12  # of the longest test, when it is for all faults
LIMIT_S = 3000 if ALL else 120


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not sys.platform.startswith("linux"):
        pytest.skip("the library in front of libc is made for Linux and glibc")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("AddressSanitizer must be the first library")
    folder = tmp_path_factory.mktemp("shim")
    command = [*fuzzing.compiler_or_skip(), "-shared", "-fPIC", "-O1", "-std=gnu11"]
    command += [str(HERE / "faults.c"), "-o", str(folder / "faults.so"), "-ldl"]
    try:
        fuzzing.run_compiler(command, folder)
    except RuntimeError as error:
        pytest.skip(f"the library in front of libc needs glibc: {error}")
    return folder / "faults.so"


def run(
    shim: Path, what: str, dsn: str, unix_dsn: str, every: int, *options: str
) -> dict[str, int]:
    """The figures of a run that found nothing."""
    command = [sys.executable, str(HERE / "fault_runner.py"), what, dsn, unix_dsn]
    command += [str(1 if ALL else every), *options]
    return judge(command, {**os.environ, "LD_PRELOAD": str(shim)})


def judge(command: list[str], environment: dict[str, str]) -> dict[str, int]:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    last = done.stdout[-600:] + done.stderr[-6000:]
    assert done.returncode == 0, f"exit code {done.returncode}: {last}"
    report = json.loads(done.stdout.splitlines()[-1])
    problems = report.pop("problems")
    assert not problems, "\n".join(problems)
    return dict(report)


@pytest.mark.parametrize("start", range(PARTS) if ALL else [3])
def test_every_allocation(
    start: int, hba_server: servers.Server, summary: list[str]
) -> None:
    """Of CPython, also where it runs Python code: no crash, no wrong result."""
    pytest.importorskip("_testcapi", reason="this Python came without its own tests")
    dsn = hba_server.tcp_dsn_for(sslmode="disable")
    every = PARTS if ALL else 101
    command = [sys.executable, str(HERE / "nomemory_runner.py"), dsn, hba_server.dsn]
    report = judge([*command, str(start), str(every)], dict(os.environ))
    assert report["no_memory"] > 5
    summary.append(figures("every allocation", report))


def figures(what: str, report: dict[str, int]) -> str:
    harm = {name: count for name, count in report.items() if count and name != "runs"}
    text = ", ".join(f"{count} {name}" for name, count in harm.items())
    return f"faults: {what}: {report['runs']} conversations; {text}"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_calls(
    loop: str, shim: Path, hba_server: servers.Server, summary: list[str]
) -> None:
    dsn = hba_server.tcp_dsn_for(sslmode="disable")
    options = ["--uvloop"] if loop == "uvloop" else []
    report = run(shim, "calls", dsn, hba_server.dsn, 9, *options)
    assert report["points"] > 40
    assert report["failed"] > 10
    assert report["unharmed"] > 10
    summary.append(figures(f"recv and send, {loop}", report))


def test_calls_under_tls(shim: Path, tls_server: Any, summary: list[str]) -> None:
    tls_server.show(tls_server.certificates.server["good"])
    dsn = tls_server.tcp_dsn_for(sslmode="require")
    report = run(shim, "calls", dsn, tls_server.dsn, 20)
    assert report["failed"] > 10
    assert report["unharmed"] > 5
    summary.append(figures("recv and send, TLS", report))


def test_mallocs(shim: Path, hba_server: servers.Server, summary: list[str]) -> None:
    """Those of csrc/wire and csrc/net."""
    dsn = hba_server.tcp_dsn_for(sslmode="disable")
    report = run(shim, "mallocs", dsn, hba_server.dsn, 1)
    assert report["points"] > 15
    assert report["failed"] + report["no_memory"] > 15
    summary.append(figures("malloc", report))


def test_allocations(
    shim: Path, hba_server: servers.Server, summary: list[str]
) -> None:
    """CPython's, on behalf of the core: one, and many in a row."""
    dsn = hba_server.tcp_dsn_for(sslmode="disable")
    report = run(shim, "allocations", dsn, hba_server.dsn, 11)
    assert report["points"] > 100
    assert report["no_memory"] > 20
    assert report["given_up"] < report["no_memory"] / 5
    summary.append(figures("allocations", report))
