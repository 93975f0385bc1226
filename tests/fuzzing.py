"""Compiles C under the sanitizers and runs fuzz targets; knows none of them.

A target is a C file that defines LLVMFuzzerTestOneInput (fuzz.h), and the files it
starts from. Under libFuzzer where there is a clang that has it, else under
mutate_main.c; replay_main.c runs it on given files.

CC names the compiler of the tests (default gcc), FUZZ_CC the clang (default clang).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CSRC = ROOT / "csrc"
FINDINGS = ROOT / "build" / "fuzz"

STRICT = (
    "-std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla"
    " -Werror"
).split()
CHECKED = "-O1 -g -UNDEBUG -fno-omit-frame-pointer -fno-sanitize-recover=all".split()
SANITIZE = "-fsanitize=address,undefined"
SANITIZE_FUZZER = "-fsanitize=fuzzer,address,undefined"
INSTALL_CLANG = "apt-get install clang libclang-rt-14-dev (or of clang's version)"
INPUT_MAX = 8192
REPLAY, MUTATE = HERE / "replay_main.c", HERE / "mutate_main.c"
SEED = 20260101  # of the suite's mutations


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


@dataclass(frozen=True)
class Library:
    """Sources that targets are linked with."""

    sources: tuple[Path, ...]
    flags: tuple[str, ...] = ()  # of the compiler, for them and for the target
    libraries: tuple[str, ...] = ()  # of the linker

    def compile(self, cc: list[str], sanitize: str, folder: Path) -> list[Path]:
        flags = [*STRICT, *CHECKED, sanitize, *self.flags]
        run_compiler([*cc, *flags, "-c", *map(str, self.sources)], folder)
        return [folder / f"{source.stem}.o" for source in self.sources]

    def link(
        self,
        cc: list[str],
        sanitize: str,
        sources: Sequence[Path],
        objects: Sequence[Path],
        target: Path,
    ) -> Path:
        flags = [*STRICT, *CHECKED, sanitize, *self.flags, f"-I{HERE}"]
        inputs = [*map(str, sources), *map(str, objects)]
        command = [*cc, *flags, *inputs, *self.libraries, "-o", str(target)]
        run_compiler(command, target.parent)
        return target


@dataclass(frozen=True)
class Target:
    """A program to fuzz."""

    name: str
    source: Path
    library: Callable[[], Library]
    corpus: Callable[[Path], list[Path]]  # given a folder for what has to be made
    options: tuple[str, ...] = ()  # of libFuzzer


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


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
    target: Target, program: Path, corpus: Sequence[Path], seconds: float
) -> tuple[int | None, str]:
    name = target.name
    grown = program.parent / f"corpus-{name}"  # what it finds of interest goes here
    grown.mkdir()
    start = program.parent / f"start-{name}"
    start.mkdir()
    for path in corpus:
        shutil.copy(path, start)
    command = [str(program), *target.options, str(grown), str(start)]
    command += [f"-max_total_time={max(1, round(seconds))}", f"-max_len={INPUT_MAX}"]
    command += ["-timeout=10", "-print_final_stats=1"]
    command += [f"-artifact_prefix={FINDINGS / name}-"]
    return execute(command, seconds, r"number_of_executed_units:\s*(\d+)")


def with_mutations(
    program: Path, corpus: Sequence[Path], seconds: float, seed: int, finding: Path
) -> tuple[int | None, str]:
    command = [str(program), str(seconds), str(seed), str(finding)]
    return execute([*command, *map(str, corpus)], seconds, r"(\d+) runs")


# For the suite


def compiler_or_skip() -> list[str]:
    cc = compiler()
    if not shutil.which(cc[0]):
        pytest.skip(f"no C compiler {cc[0]!r}: install gcc, or name another in CC")
    return cc


def run_program(*command: str | Path) -> str:
    """What it printed; fails when it failed."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=150,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-8000:]}"
    return done.stdout


def replayed(program: Path, files: Sequence[Path]) -> int:
    """How many of the files a target with replay_main.c went through."""
    return len(run_program(program, *files).splitlines())


def mutated(program: Path, files: Sequence[Path], seconds: float, folder: Path) -> int:
    """How many inputs a target with mutate_main.c made, the same ones each time."""
    finding = folder / "finding"
    runs, output = with_mutations(program, files, seconds, SEED, finding)
    hex_dump = finding.read_bytes().hex() if finding.exists() else "none"
    assert runs is not None, f"{output[-8000:]}\nthe input: {hex_dump}"
    return runs
