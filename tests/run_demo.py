"""`make demo`: starts a PostgreSQL, runs `python -m pgasync demo` on it, stops it.

Arguments are handed on. Ctrl-C ends the demo, then the server.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import types

import servers

CHILD_TIMEOUT_S = 10


def end(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def run_demo(dsn: str) -> int:
    child = subprocess.Popen(
        [sys.executable, "-m", "pgasync", "demo", "--dsn", dsn, *sys.argv[1:]]
    )
    try:
        return child.wait()
    except KeyboardInterrupt:  # from a terminal the child has it too
        child.send_signal(signal.SIGINT)
        try:
            child.wait(CHILD_TIMEOUT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()
            child.wait()
        return 128 + signal.SIGINT


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    try:
        print("Starting PostgreSQL", flush=True)
        with servers.Server(18) as server:
            return run_demo(server.dsn)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except servers.ServerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
