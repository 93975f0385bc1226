"""What a scenario may measure beside time: stalls of the loop, and memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

TICK_S = 0.001


@contextlib.asynccontextmanager
async def ticking() -> AsyncIterator[dict[str, float]]:
    """A ticker beside the block. "gap": the longest time (ms) between two of its
    turns; "busy": the same in CPU of this process, which does not depend on what else
    the machine has to do."""
    found = {"gap": 0.0, "busy": 0.0}

    async def ticker() -> None:
        last, used = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(TICK_S)
            now, all_used = time.perf_counter(), time.process_time()
            found["gap"] = max(found["gap"], (now - last) * 1e3)
            found["busy"] = max(found["busy"], (all_used - used) * 1e3)
            last, used = now, all_used

    task = asyncio.ensure_future(ticker())
    await asyncio.sleep(0.05)
    found.update(gap=0.0, busy=0.0)
    yield found
    await asyncio.sleep(2 * TICK_S)
    task.cancel()


def memory(field: str) -> float:
    """VmRSS or VmHWM (the highest VmRSS since forget_peak()) of this process, in MB.
    Linux."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def growing() -> Iterator[dict[str, float]]:
    """ "memory": by how much (MB) the process was larger than before, at most."""
    found = {"memory": 0.0}
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    yield found
    found["memory"] = memory("VmHWM") - before
