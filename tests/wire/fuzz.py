"""Fuzzes csrc/wire, and builds its C tests and fuzz targets for test_wire.py.

    python tests/wire/fuzz.py [--seconds N] [TARGET ...]

Each fuzz_*.c runs for N seconds (default 60), starting from corpus/<target>/: under
libFuzzer where there is a clang that has it, else under mutate_main.c. The exit code
is 1 when something was found. The input is kept in build/fuzz/; put it into the
corpus, and test_wire.py replays it from then on.

CC names the compiler of the tests (default gcc), FUZZ_CC the clang (default clang).
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
FINDINGS = ROOT / "build" / "fuzz"

STRICT = (
    "-std=c11 -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes"
    " -Wmissing-prototypes -Wvla -Werror"
).split()
CHECKED = "-O1 -g -UNDEBUG -fno-omit-frame-pointer -fno-sanitize-recover=all".split()
SANITIZE = "-fsanitize=address,undefined"
SANITIZE_FUZZER = "-fsanitize=fuzzer,address,undefined"
INSTALL_CLANG = "apt-get install clang libclang-rt-14-dev (or of clang's version)"
INPUT_MAX = 8192


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or "gcc")


def fuzz_compiler() -> list[str]:
    return shlex.split(os.environ.get("FUZZ_CC") or "clang")


def libcrypto(option: str, otherwise: str) -> list[str]:
    program = shlex.split(os.environ.get("PKG_CONFIG") or "pkg-config")
    if shutil.which(program[0]):
        command = [*program, option, "libcrypto"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return shlex.split(done.stdout)
    return otherwise.split()


def run_compiler(command: list[str], folder: Path) -> None:
    """Raises RuntimeError with what the compiler printed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def compile_objects(
    cc: list[str], sanitize: str, sources: list[Path], folder: Path
) -> list[Path]:
    """Compiles without any include path but that of csrc/wire's own headers."""
    flags = [*STRICT, *CHECKED, sanitize, *libcrypto("--cflags", "")]
    run_compiler([*cc, *flags, "-c", *map(str, sources)], folder)
    return [folder / f"{source.stem}.o" for source in sources]


def wire_sources() -> list[Path]:
    return sorted((CSRC / "wire").glob("*.c"))


def link_program(
    cc: list[str], sanitize: str, sources: list[Path], objects: list[Path], target: Path
) -> Path:
    flags = [*STRICT, *CHECKED, sanitize, f"-I{CSRC / 'wire'}", f"-I{HERE}"]
    flags += libcrypto("--cflags", "")
    inputs = [*map(str, sources), *map(str, objects)]
    libraries = libcrypto("--libs", "-lcrypto")
    command = [*cc, *flags, *inputs, *libraries, "-o", str(target)]
    run_compiler(command, target.parent)
    return target


def targets() -> list[str]:
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.c"))


def corpus(target: str) -> list[Path]:
    return sorted((HERE / "corpus" / target).iterdir())


# Fuzzing


def has_libfuzzer(folder: Path) -> bool:
    if not shutil.which(fuzz_compiler()[0]):
        return False
    source = folder / "probe.c"
    source.write_text(
        "int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);\n"
        "int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)\n"
        "{ return size > 9 && data[0] == 1 ? 0 : 0; }\n"
    )
    try:
        probe = [SANITIZE_FUZZER, str(source), "-o", "probe"]
        run_compiler([*fuzz_compiler(), *probe], folder)
    except RuntimeError:
        return False
    return True


def execute(command: list[str], seconds: float, pattern: str) -> tuple[int | None, str]:
    """How many inputs were run, None after a finding; and what was printed."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds + 120,
        )
    except subprocess.TimeoutExpired as error:
        return None, f"did not end in time\n{(error.stdout or b'').decode()}"
    output = done.stdout.decode(errors="replace")
    runs = re.search(pattern, output)
    return (int(runs[1]) if done.returncode == 0 and runs else None), output


def with_libfuzzer(
    target: str, program: Path, seconds: float
) -> tuple[int | None, str]:
    grown = program.parent / f"corpus-{target}"  # what it finds of interest goes here
    grown.mkdir()
    command = [str(program), str(grown), str(HERE / "corpus" / target)]
    command += [f"-max_total_time={max(1, round(seconds))}", f"-max_len={INPUT_MAX}"]
    command += ["-timeout=10", "-print_final_stats=1"]
    command += [f"-artifact_prefix={FINDINGS / target}-"]
    return execute(command, seconds, r"number_of_executed_units:\s*(\d+)")


def with_mutations(
    target: str, program: Path, seconds: float, seed: int, finding: Path
) -> tuple[int | None, str]:
    command = [str(program), str(seconds), str(seed), str(finding)]
    command += map(str, corpus(target))
    return execute(command, seconds, r"(\d+) runs")


def fuzz(names: list[str], seconds: float, folder: Path) -> bool:
    """True when nothing was found."""
    clang = has_libfuzzer(folder)
    cc = fuzz_compiler() if clang else compiler()
    if not clang:
        print(
            f"No clang with libFuzzer: {INSTALL_CLANG}. With mutate_main.c instead:",
            flush=True,
        )
    # Objects get the coverage counters of libFuzzer, too, but not its main().
    sanitize = SANITIZE_FUZZER if clang else SANITIZE
    objects = compile_objects(
        cc, sanitize.replace("fuzzer,", "fuzzer-no-link,"), wire_sources(), folder
    )
    FINDINGS.mkdir(parents=True, exist_ok=True)
    good = True
    for name in names:
        sources = [HERE / f"fuzz_{name}.c"]
        if not clang:
            sources.append(HERE / "mutate_main.c")
        program = link_program(cc, sanitize, sources, objects, folder / f"fuzz-{name}")
        if clang:
            runs, output = with_libfuzzer(name, program, seconds)
        else:
            seed = secrets.randbits(32)
            finding = FINDINGS / f"{name}-{seed}"
            runs, output = with_mutations(name, program, seconds, seed, finding)
        if runs is None:
            good = False
            print(f"{output}\n{name}: FOUND something, see {FINDINGS}", flush=True)
        else:
            print(f"{name}: {runs:,} executions, nothing found", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzzes csrc/wire.")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=str(targets()))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(targets()):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = arguments.targets or targets()
    with tempfile.TemporaryDirectory(prefix="pgasync-fuzz-") as folder:
        try:
            good = fuzz(names, arguments.seconds, Path(folder))
        except (RuntimeError, OSError) as error:
            sys.exit(f"cannot build: {error}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
