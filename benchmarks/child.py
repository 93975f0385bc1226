"""One measurement in a process of its own: `child.py DRIVER SCENARIO COUNT DSN`.

Repeats the scenario COUNT times and prints, as JSON, the time and the CPU of this
process for it (s), and what else the scenario measures. --warm N: repetitions before
the clock starts. --uvloop: on it. --layout N: see shift().
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import resource
import time
from typing import Any

SQLALCHEMY = ("core", "intx", "core_ready", "intx_ready", "orm_get", "orm_update")
SQLALCHEMY += ("rows", "orm_rows")
POOLS = ("pool", "pool_with", "pool_crowd", "pool_cold", "pool_idle")
POOLS += ("pool_fetchval", "fetchval")
STEP = 37  # objects of each size that one layout has more than the one before


def shift(layout: int) -> list[object]:
    """Objects that put all later ones elsewhere in memory. CPython looks attributes up
    in a cache that is indexed by addresses: in one layout two names that every query
    needs collide, in another they do not, which makes up to 6 % of its instructions."""
    made: list[object] = []
    for i in range(layout * STEP):
        made += [f"{i}" + "x" * size for size in range(0, 72, 8)]
        kind = type(f"T{i}", (), {})
        made.append(getattr(kind(), "missing", kind))  # gives the type its version
    return made


def driver_for(name: str, scenario: str) -> Any:
    for scenarios, module in ((SQLALCHEMY, "with_sqlalchemy"), (POOLS, "with_pools")):
        if scenario in scenarios:
            return getattr(importlib.import_module(module), name.title())()
    return importlib.import_module(f"with_{name}").Driver()


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(options: argparse.Namespace) -> dict[str, float]:
    driver = driver_for(options.driver, options.scenario)
    repeat = getattr(driver, options.scenario)
    await driver.open(options.dsn)
    if options.warm:
        await repeat(options.warm)
    seconds, used = time.perf_counter(), cpu()
    also = await repeat(options.count)
    result = {"seconds": time.perf_counter() - seconds, "cpu": cpu() - used}
    await driver.close()
    return {**result, **(also or {})}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("scenario")
    parser.add_argument("count", type=int)
    parser.add_argument("dsn")
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--layout", type=int, default=0)
    options = parser.parse_args()
    kept = shift(options.layout)
    factory = None
    if options.uvloop:
        factory = importlib.import_module("uvloop").new_event_loop
    loop = factory() if factory else asyncio.new_event_loop()
    try:
        print(json.dumps(loop.run_until_complete(measure(options))))
    finally:
        loop.close()
        kept.clear()


if __name__ == "__main__":
    main()
