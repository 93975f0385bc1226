"""No server outlives whoever started it, and the demo runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import servers

TESTS = Path(__file__).parent
WAIT_S = 30.0
START = """\
import signal, servers
server = servers.Server()
print(server.pid, server.base, flush=True)
signal.pause()
"""


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_server_ends_with_its_owner(number: signal.Signals) -> None:
    with start("-c", START) as owner:
        assert owner.stdout is not None
        pid, _, base = owner.stdout.readline().strip().partition(" ")
        assert servers.alive(int(pid))
        os.kill(owner.pid, number)
        owner.wait(WAIT_S)
    assert wait_for(lambda: not servers.alive(int(pid))), "the server is still there"
    assert wait_for(lambda: not Path(base).exists()), f"{base} is still there"


def test_kill_and_start_again() -> None:
    with servers.Server() as server:
        server.psql("CREATE TABLE kept (a int)")
        server.psql("CHECKPOINT")
        first, children = server.pid, servers.children_of(server.pid)
        assert children
        server.kill()
        assert not any(map(servers.alive, [first, *children]))
        assert not server.running
        server.start()
        assert server.pid != first
        assert server.psql("SELECT count(*) FROM kept").strip() == "0"


def test_demo() -> None:
    options = "--tasks", "8", "--seconds", "0.5", "--rows", "50000"
    with start("run_demo.py", *options) as demo:
        output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    steps = "load", "query", "stream", "roll back", "copy in", "copy out", "pipeline"
    for step in (*steps, "notify", "pool", "kill", "stats", "Done"):
        assert re.search(rf"^ *{step}\b", output, re.MULTILINE), output


@pytest.mark.parametrize(
    ("step", "options"),
    [("query", ["--seconds=120"]), ("copy in", ["--seconds=0.2", "--rows=99999999"])],
)
def test_demo_interrupted(step: str, options: list[str]) -> None:
    """Ctrl-C on a terminal: the signal goes to the whole group."""
    with start("run_demo.py", *options) as demo:
        assert demo.stdout is not None
        output = ""
        while f"  {step}" not in output:
            line = demo.stdout.readline()
            assert line, output
            output += line
        group = servers.children_of(demo.pid)
        os.killpg(demo.pid, signal.SIGINT)
        rest, _ = demo.communicate(timeout=WAIT_S)
    assert demo.returncode == 128 + signal.SIGINT, output + rest
    assert "Traceback" not in rest, rest
    assert wait_for(lambda: not any(map(servers.alive, group))), "something is left"
