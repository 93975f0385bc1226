"""What hostile, broken or merely odd servers send, one behaviour per case: a file for
each phase of a session.

Every case ends within a time limit and with bounded memory in a clean exception
of the right class. A broken protocol closes the connection; a value that cannot
be decoded is a DataError and leaves it usable, which the next query proves.

The end of the run says how many behaviours of each phase there were.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY_LIMIT = 64 * 2**20
PROCESS_LIMIT_S = 60
SANITIZED = (
    "libasan" in Path("/proc/self/maps").read_text()
    if (sys.platform == "linux")
    else False
)


def memory(field: str) -> int:
    """VmRSS or VmHWM (the peak) of this process, in bytes; 0 where unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.fixture(scope="session")
def behaviours(summary: list[str]) -> Iterator[set[tuple[str, str]]]:
    """Phase and name of each behaviour that was met, whatever loop it was on."""
    met: set[tuple[str, str]] = set()
    yield met
    phases = Counter(phase for phase, _ in met)
    each = ", ".join(f"{phase} {count}" for phase, count in sorted(phases.items()))
    summary.append(f"hostile server: {len(met)} behaviours ({each})")


@pytest.fixture(autouse=True)
def bounded(
    request: pytest.FixtureRequest, behaviours: set[tuple[str, str]]
) -> Iterator[None]:
    """Ends a process that hangs in C, and fails a test whose memory balloons."""
    faulthandler.dump_traceback_later(PROCESS_LIMIT_S, exit=True)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before = memory("VmRSS")
    yield
    faulthandler.cancel_dump_traceback_later()
    if not SANITIZED:
        assert memory("VmHWM") - before <= MEMORY_LIMIT
    name = request.node.name.replace("asyncio", "").replace("uvloop", "")
    behaviours.add((request.node.path.stem.removeprefix("test_"), name))
