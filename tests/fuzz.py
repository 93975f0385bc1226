"""Runs the fuzz targets of tests/wire and tests/codec, and `conninfo`, which compares
what libpq and pgasync make of random DSNs.

    python tests/fuzz.py [--seconds N] [TARGET ...]

Each runs for N seconds (default 60). The exit code is 1 when something was found. The
input is kept in build/fuzz/; put it into the target's corpus folder, and the suite
replays it from then on.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

import fuzzing
import situations
from codec import fuzz_codec
from fuzzing import Target
from wire import fuzz_wire

TARGETS = {target.name: target for target in [*fuzz_wire.targets(), fuzz_codec.TARGET]}
CONNINFO = "conninfo"
NAMES = [*TARGETS, CONNINFO]


def build(target: Target, clang: bool, folder: Path) -> Path:
    cc = fuzzing.fuzz_compiler() if clang else fuzzing.compiler()
    # Objects get the coverage counters of libFuzzer, too, but not its main().
    sanitize = fuzzing.SANITIZE_FUZZER if clang else fuzzing.SANITIZE
    library = target.library()
    objects = folder / f"objects-{target.name}"
    objects.mkdir()
    compiled = library.compile(
        cc, sanitize.replace("fuzzer,", "fuzzer-no-link,"), objects
    )
    sources = [target.source]
    if not clang:
        sources.append(fuzzing.MUTATE)
    program = folder / f"fuzz-{target.name}"
    return library.link(cc, sanitize, sources, compiled, program)


def fuzz(targets: list[Target], seconds: float, folder: Path) -> bool:
    """True when nothing was found."""
    clang = fuzzing.has_libfuzzer(folder)
    if not clang:
        print(
            f"No clang with libFuzzer: {fuzzing.INSTALL_CLANG}. "
            "With mutate_main.c instead:",
            flush=True,
        )
    fuzzing.FINDINGS.mkdir(parents=True, exist_ok=True)
    good = True
    for target in targets:
        name = target.name
        program = build(target, clang, folder)
        seeds = folder / f"seeds-{name}"
        seeds.mkdir()
        corpus = target.corpus(seeds)
        if clang:
            runs, output = fuzzing.with_libfuzzer(target, program, corpus, seconds)
        else:
            seed = secrets.randbits(32)
            finding = fuzzing.FINDINGS / f"{name}-{seed}"
            runs, output = fuzzing.with_mutations(
                program, corpus, seconds, seed, finding
            )
        if runs is None:
            good = False
            print(f"{output}\n{name}: FOUND something, see {fuzzing.FINDINGS}")
        else:
            print(f"{name}: {runs:,} executions, nothing found")
        sys.stdout.flush()
    return good


def fuzz_conninfo(seconds: float, folder: Path) -> bool:
    """True when no DSN and no situation was found that libpq reads otherwise."""
    count, tried, finding = situations.compare(seconds, secrets.randbits(32), folder)
    if finding is None:
        print(f"{CONNINFO}: {count:,} DSNs, {tried:,} situations, nothing found")
    else:
        print(f"{CONNINFO}: FOUND what libpq reads otherwise: {finding!r}")
    return finding is None


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzzes csrc/ and connection strings.")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=str(NAMES))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - {*NAMES}:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = arguments.targets or NAMES
    chosen = [TARGETS[name] for name in names if name != CONNINFO]
    with tempfile.TemporaryDirectory(prefix="pgasync-fuzz-") as folder:
        try:
            good = fuzz(chosen, arguments.seconds, Path(folder))
        except (RuntimeError, OSError) as error:
            sys.exit(f"cannot build: {error}")
        if CONNINFO in names:
            home = Path(folder) / "home"
            home.mkdir()
            good &= fuzz_conninfo(arguments.seconds, home)
    sys.exit(not good)


if __name__ == "__main__":
    main()
