"""Runs a script of Python in a process whose system calls and allocations can fail:
see faulty.c. The script finds the functions in `faulty`, and the DSN in `dsn`."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fuzzing

SOURCE = Path(__file__).with_name("faulty.c")

PRELUDE = """
import asyncio, ctypes, errno, gc, os, sys
import pgasync

dsn, kind = sys.argv[1:3]
faulty = ctypes.CDLL(os.environ["LD_PRELOAD"])


def new_loop():
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.SelectorEventLoop()


def descriptors():
    return len(os.listdir("/proc/self/fd"))
"""


def build(folder: Path) -> Path:
    """The library to preload."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("needs glibc")
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer has the allocator")
    cc = fuzzing.compiler_or_skip()
    library = folder / "faulty.so"
    options = ["-O1", "-fPIC", "-shared", "-Wall", "-o", str(library)]
    fuzzing.run_compiler([*cc, *options, str(SOURCE), "-ldl"], folder)
    return library


def run(library: Path, script: str, dsn: str, kind: str, **more: str) -> str:
    """What the script prints; its end in disorder is the test's failure."""
    environment = {**os.environ, "LD_PRELOAD": str(library), **more}
    environment["PYTHONFAULTHANDLER"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), dsn, kind],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout
