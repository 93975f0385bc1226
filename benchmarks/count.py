"""Instructions a query, in user space, of pgasync and its peers.

`python benchmarks/count.py [SCENARIO …]` runs each scenario under valgrind in two
processes, one with N and one with N + K repetitions, and divides the difference by
K: start-up and the first, preparing query drop out. Unlike a time it repeats to
within 1 % on a busy machine. With SQLAlchemy it depends on where CPython's objects
happen to lie (child.shift): the figure is the median of LAYOUTS such places. It
leaves out the kernel: see run.py for CPU time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import harness

VALGRIND = (
    "valgrind",
    "--tool=cachegrind",
    "--cache-sim=no",
    "--cachegrind-out-file=/dev/null",
)
LAYOUTS = 3
TOTAL = re.compile(r"I\s+refs:\s+([\d,]+)")


@dataclass(frozen=True)
class Scenario:
    name: str
    base: int  # N
    more: int  # K
    goal: int | None  # instructions a repetition
    layouts: int = 1


SCENARIOS = (
    Scenario("one", 100, 300, 30_000),
    Scenario("pk", 100, 300, 36_000),
    Scenario("mixed", 20, 40, 1_100_000),
    Scenario("mixed_raw", 20, 40, 800_000),
    Scenario("pg_type", 20, 40, 1_100_000),
    Scenario("core", 50, 150, 740_000, LAYOUTS),
    Scenario("intx", 50, 150, 430_000, LAYOUTS),
    Scenario("core_ready", 50, 150, None, LAYOUTS),
    Scenario("intx_ready", 50, 150, None, LAYOUTS),
    Scenario("orm_get", 50, 150, None, LAYOUTS),
    Scenario("orm_update", 50, 150, None, LAYOUTS),
    Scenario("rows", 5, 10, None),
    Scenario("orm_rows", 5, 10, None),
    Scenario("fetchval", 100, 300, None),
    Scenario("pool_fetchval", 100, 300, None),
    Scenario("pool_idle", 200, 1000, 6_000),
    Scenario("pool", 1000, 2000, None),
    Scenario("connect", 20, 100, None),
    Scenario("executemany", 10_000, 10_000, 1_100),  # a row
    Scenario("copy_records", 100_000, 200_000, 450),  # a row
)


def instructions(driver: str, scenario: str, count: int, layout: int, dsn: str) -> int:
    """Executed by a whole process with `count` repetitions."""
    arguments = (driver, scenario, count, dsn, "--layout", layout)
    _, errors = harness.run_child(arguments, VALGRIND)
    found = TOTAL.search(errors)
    if found is None:
        raise SystemExit(f"no total in what valgrind says:\n{errors}")
    return int(found[1].replace(",", ""))


def measure(driver: str, scenario: Scenario, dsn: str) -> int:
    high = scenario.base + scenario.more
    with ThreadPoolExecutor(os.cpu_count()) as several:
        runs = [
            [
                several.submit(instructions, driver, scenario.name, count, layout, dsn)
                for count in (scenario.base, high)
            ]
            for layout in range(scenario.layouts)
        ]
        differences = [last.result() - first.result() for first, last in runs]
    return round(statistics.median(differences) / scenario.more)


def verdict(goal: int | None, ours: int | None) -> tuple[str, str]:
    """The last two cells of a line."""
    if goal is None:
        return "", ""
    if ours is None:
        return f"{goal:,}", ""
    return f"{goal:,}", "met" if ours <= goal else "missed"


def report(results: dict[str, dict[str, int]], drivers: list[str]) -> str:
    head = ["instructions a query", *drivers, "of asyncpg", "goal", ""]
    rows = []
    for scenario in SCENARIOS:
        counts = results.get(scenario.name)
        if counts is None:
            continue
        ours, theirs = counts.get("pgasync"), counts.get("asyncpg")
        row = [scenario.name]
        row += [f"{counts[name]:,}" if name in counts else "-" for name in drivers]
        row.append(f"{ours / theirs:.2f}" if ours and theirs else "-")
        row += verdict(scenario.goal, ours)
        rows.append(row)
    return harness.table(head, rows)


def main() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{names}")
    parser.add_argument("--driver", action="append", choices=harness.DRIVERS)
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing (Debian, Ubuntu: apt-get install valgrind)")
    drivers = harness.chosen(options.driver)
    results: dict[str, dict[str, int]] = {}
    with harness.server() as dsn:
        for scenario in SCENARIOS:
            if options.scenarios and scenario.name not in options.scenarios:
                continue
            counts = results[scenario.name] = {}
            for driver in drivers:
                if harness.supports(driver, scenario.name):
                    harness.progress(f"{scenario.name}: {driver}")
                    counts[driver] = measure(driver, scenario, dsn)
    print(report(results, drivers))
    print(f"Written to {harness.save('count', results)}")


if __name__ == "__main__":
    main()
