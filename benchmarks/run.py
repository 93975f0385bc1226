"""Throughput and CPU time of pgasync and its peers.

`python benchmarks/run.py [SCENARIO …]` runs each scenario in rounds, in which the
drivers take turns, each in a fresh process; the order turns with the round. Machines
are noisy, so only the ratio to asyncpg means something: the median of the rounds'
ratios. CPU is of the client's process, user and system.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import harness

# driver -> {"rate": 1/s, "cpu": µs a unit, and what the scenario measures besides}
Round = dict[str, dict[str, float]]


class Figures(NamedTuple):
    """pgasync's, by which a goal is judged."""

    rate: float  # units a second
    cpu: float  # µs a unit
    ratio: float  # of the CPU to asyncpg's
    also: float  # the first of Scenario.also
    faster: tuple[float, float]  # how many times the rate of asyncpg's, psycopg's


COLUMNS = {
    "gap": "stall, ms",
    "busy": "of it CPU",
    "memory": "MB more",
    "wait_50": "wait, ms: half",
    "wait_99": "99 of 100",
    "wait_max": "the longest",
}


@dataclass(frozen=True)
class Scenario:
    name: str
    text: str
    unit: str
    count: int  # units a round
    slow: int  # the same for psycopg, which would take too long
    warm: int  # units before the clock starts
    goal: str
    met: Callable[[Figures], bool] | None = None
    method: str = ""  # of the drivers' classes, if it has not this name
    tls: bool = False
    also: tuple[str, ...] = ()  # what it measures besides, see probes.py


SCENARIOS = (
    Scenario(
        "one", "select 1+1", "query", 8000, 8000, 500,
        "CPU <= 0.6 of asyncpg", lambda x: x.ratio <= 0.6,
    ),
    Scenario(
        "pk", "a row of 8 columns by key", "query", 8000, 8000, 500,
        "CPU <= 0.6 of asyncpg", lambda x: x.ratio <= 0.6,
    ),
    Scenario("mixed", "100 rows of 11 types", "query", 1000, 1000, 50, ""),
    Scenario("pg_type", "600 rows of 12 columns", "query", 1000, 1000, 50, ""),
    Scenario(
        "tasks", "by key, 50 tasks on one connection", "query", 20_000, 10_000, 1000,
        ">= 60,000 q/s", lambda x: x.rate >= 60_000,
    ),
    Scenario(
        "pipeline_10", "by key, 10 at a time", "query", 10_000, 10_000, 1000, "",
    ),
    Scenario(
        "pipeline_100", "by key, 100 at a time", "query", 10_000, 10_000, 1000, "",
    ),
    Scenario(
        "executemany", "insert of 3 columns", "row", 200_000, 20_000, 10_000,
        "CPU <= 0.45 µs", lambda x: x.cpu <= 0.45,
    ),
    Scenario(
        "returning", "insert of 3 columns, returning one",
        "row", 100_000, 20_000, 10_000, "",
    ),
    Scenario(
        "copy_records", "COPY of 100,000 records of 3 columns",
        "row", 1_000_000, 500_000, 100_000,
        "CPU <= 0.06 µs", lambda x: x.cpu <= 0.06,
    ),
    Scenario(
        "copy_in", "COPY of 100,000 rows of text",
        "row", 1_000_000, 1_000_000, 100_000, "",
    ),
    Scenario(
        "copy_out", "COPY of 100,000 rows to text",
        "row", 1_000_000, 1_000_000, 100_000, "",
    ),
    Scenario(
        "copy_rows", "COPY of 100,000 rows to Python objects",
        "row", 1_000_000, 1_000_000, 100_000, "",
    ),
    Scenario(
        "stream", "streams of 100,000 rows of 3 columns",
        "row", 1_000_000, 1_000_000, 100_000, "",
    ),
    Scenario(
        "stream_million", "a stream of 1,000,000 rows of 3 columns",
        "row", 1_000_000, 1_000_000, 0, "", None, "stream_long",
    ),
    Scenario(
        "stream_long", "a stream of 10,000,000 rows of 3 columns",
        "row", 10_000_000, 10_000_000, 0,
        "memory <= 20 MB", lambda x: x.also <= 20, also=("memory",),
    ),
    Scenario(
        "stall", "the loop's longest stall while 1,000,000 rows are fetched",
        "row", 1_000_000, 1_000_000, 0,
        "gap <= 20 ms", lambda x: x.also <= 20, also=("gap", "busy"),
    ),
    Scenario(
        "notify", "notifications received", "notification", 100_000, 100_000, 1000, "",
    ),
    Scenario(
        "pool", "by key, 100 tasks on a pool of 10, one statement each time",
        "query", 20_000, 20_000, 2000,
        "3 x asyncpg, 2 x psycopg", lambda x: x.faster[0] >= 3 and x.faster[1] >= 2,
    ),
    Scenario(
        "pool_with", "the same, with a connection that is taken and given back",
        "query", 20_000, 20_000, 2000,
        "3 x asyncpg, 2 x psycopg", lambda x: x.faster[0] >= 3 and x.faster[1] >= 2,
    ),
    Scenario(
        "pool_crowd", "the same with 1000 tasks", "query", 20_000, 20_000, 2000, "",
        also=("wait_50", "wait_99", "wait_max"),
    ),
    Scenario(
        "pool_cold", "a pool of 10 is made, asked once, and closed",
        "pool", 20, 20, 2, "",
    ),
    Scenario(
        "tls", "a row of 8 columns by key, TLS 1.3", "query", 8000, 8000, 500,
        "CPU below both", lambda x: x.ratio < 1, "pk", tls=True,
    ),
    Scenario(
        "tls_connect", "connect and close, TLS 1.3, trust", "connection", 100, 100, 10,
        "", None, "connect", tls=True,
    ),
    Scenario(
        "connect", "connect and close, trust", "connection", 200, 200, 10,
        "CPU <= 120 µs", lambda x: x.cpu <= 120,
    ),
)  # fmt: skip


def measure(
    driver: str, scenario: Scenario, dsn: str, uvloop: bool
) -> dict[str, float]:
    count = scenario.slow if driver == "psycopg" else scenario.count
    arguments = [
        driver,
        scenario.method or scenario.name,
        count,
        dsn,
        "--warm",
        scenario.warm,
    ]
    found, _ = harness.run_child(arguments + ["--uvloop"] * uvloop)
    figures = {"rate": count / found["seconds"], "cpu": found["cpu"] / count * 1e6}
    return {**figures, **{what: found[what] for what in scenario.also}}


def turns(drivers: list[str], index: int) -> list[str]:
    """The drivers, another one first in every round."""
    start = index % len(drivers)
    return drivers[start:] + drivers[:start]


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""

    def number(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    low, high = number(min(values)), number(max(values))
    return f"{number(statistics.median(values))} ({low}-{high})"


def ratio(
    rounds: list[Round], driver: str, what: str, peer: str = "asyncpg"
) -> float | None:
    """To the peer in the same round; the median."""
    pairs = [(found.get(driver), found.get(peer)) for found in rounds]
    values = [ours[what] / theirs[what] for ours, theirs in pairs if ours and theirs]
    return statistics.median(values) if values else None


def verdict(scenario: Scenario, rounds: list[Round]) -> tuple[str, str]:
    """The goal and whether it was met: the last two cells of pgasync's line."""
    if scenario.met is None:
        return "", ""
    compared = ratio(rounds, "pgasync", "cpu")
    if compared is None:
        return scenario.goal, ""

    def median(what: str) -> float:
        return statistics.median(found["pgasync"][what] for found in rounds)

    also = median(scenario.also[0]) if scenario.also else 0.0
    faster = [ratio(rounds, "pgasync", "rate", x) or 0 for x in ("asyncpg", "psycopg")]
    figures = Figures(
        median("rate"), median("cpu"), compared, also, (faster[0], faster[1])
    )
    return scenario.goal, "met" if scenario.met(figures) else "missed"


def report(scenario: Scenario, rounds: list[Round]) -> str:
    head = ["", f"{scenario.unit}/s", "of asyncpg"]
    head += [f"CPU µs a {scenario.unit}", "of asyncpg"]
    head += [COLUMNS[what] for what in scenario.also] + ["goal", ""]
    rows = []
    for driver in [name for name in harness.DRIVERS if name in rounds[0]]:
        cells = [driver]
        for what in ("rate", "cpu"):
            compared = ratio(rounds, driver, what)
            cells.append(spread([found[driver][what] for found in rounds]))
            cells.append("-" if compared is None else f"{compared:.2f}")
        for what in scenario.also:
            cells.append(spread([found[driver][what] for found in rounds]))
        cells += verdict(scenario, rounds) if driver == "pgasync" else ("", "")
        rows.append(cells)
    return f"{scenario.name}: {scenario.text}\n{harness.table(head, rows)}\n"


def main() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{names}")
    parser.add_argument("--driver", action="append", choices=harness.DRIVERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uvloop", action="store_true", help="instead of asyncio's")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    drivers = harness.chosen(options.driver)
    results: dict[str, list[Round]] = {}
    chosen = [x for x in SCENARIOS if x.name in (options.scenarios or names)]
    with contextlib.ExitStack() as stack:
        dsns: dict[bool, str] = {}
        for scenario in chosen:
            secure = scenario.tls
            if secure not in dsns:
                start = harness.tls_server if secure else harness.server
                dsns[secure] = stack.enter_context(start())
            dsn = dsns[secure]
            harness.progress(f"{scenario.name}: {options.rounds} rounds")
            rounds = results[scenario.name] = []
            for index in range(options.rounds):
                order = [
                    name
                    for name in turns(drivers, index)
                    if harness.supports(name, scenario.method or scenario.name)
                ]
                rounds.append(
                    {x: measure(x, scenario, dsn, options.uvloop) for x in order}
                )
            print(report(scenario, rounds), flush=True)
    path = harness.save("run", results, rounds=options.rounds, uvloop=options.uvloop)
    print(f"Written to {path}")


if __name__ == "__main__":
    main()
