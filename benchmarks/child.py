"""One measurement in a process of its own: `child.py DRIVER SCENARIO COUNT DSN`.

Repeats the scenario COUNT times and prints, as JSON, the time and the CPU of this
process for it (s). --warm N: repetitions before the clock starts. --uvloop: on it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import resource
import time
from typing import Any

SQLALCHEMY = ("core", "intx", "core_ready", "intx_ready")


def driver_for(name: str, scenario: str) -> Any:
    if scenario in SQLALCHEMY:
        return getattr(importlib.import_module("with_sqlalchemy"), name.title())()
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
    await repeat(options.count)
    result = {"seconds": time.perf_counter() - seconds, "cpu": cpu() - used}
    await driver.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("scenario")
    parser.add_argument("count", type=int)
    parser.add_argument("dsn")
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    factory = None
    if options.uvloop:
        factory = importlib.import_module("uvloop").new_event_loop
    loop = factory() if factory else asyncio.new_event_loop()
    try:
        print(json.dumps(loop.run_until_complete(measure(options))))
    finally:
        loop.close()


if __name__ == "__main__":
    main()
