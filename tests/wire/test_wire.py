"""Compiles csrc/wire strictly, without Python, under ASan and UBSan, and runs the C
tests, the fuzz targets on their corpora, and a short run of mutations of each.

CC names the compiler (default gcc).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wire import fuzz, make_corpus

MUTATION_S = 2.5
SEED = 20260101
RUNS_MIN = 500  # far below what any machine does in that time

TESTS = sorted(path.stem for path in fuzz.HERE.glob("test_*.c"))


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The objects of csrc/wire, compiled once; their folder takes the programs too."""
    cc = fuzz.compiler()
    if not shutil.which(cc[0]):
        pytest.skip(f"no C compiler {cc[0]!r}: install gcc, or name another in CC")
    folder = tmp_path_factory.mktemp("wire")
    return fuzz.compile_objects(cc, fuzz.SANITIZE, fuzz.wire_sources(), folder)


def build(objects: list[Path], *names: str) -> Path:
    sources = [fuzz.HERE / f"{name}.c" for name in names]
    target = objects[0].parent / "-".join(names)
    return fuzz.link_program(fuzz.compiler(), fuzz.SANITIZE, sources, objects, target)


def run(*command: str | Path) -> str:
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


def test_every_source_has_its_object(objects: list[Path]) -> None:
    assert {path.stem for path in objects} >= {"session", "backend", "auth", "numeric"}
    assert all(path.is_file() for path in objects)


def test_net_plain_compiles(objects: list[Path]) -> None:
    """The transport under the same warnings; tests/driver runs it."""
    source = fuzz.CSRC / "net" / "plain.c"
    folder = objects[0].parent
    (built,) = fuzz.compile_objects(fuzz.compiler(), fuzz.SANITIZE, [source], folder)
    assert built.is_file()


@pytest.mark.parametrize("name", TESTS)
def test_c(objects: list[Path], name: str) -> None:
    run(build(objects, name))


@pytest.mark.parametrize("target", fuzz.targets())
def test_corpus(objects: list[Path], target: str) -> None:
    files = fuzz.corpus(target)
    program = build(objects, f"fuzz_{target}", "replay_main")
    assert len(run(program, *files).splitlines()) == len(files) > 0


@pytest.mark.parametrize("target", fuzz.targets())
def test_mutations(objects: list[Path], target: str, tmp_path: Path) -> None:
    program = build(objects, f"fuzz_{target}", "mutate_main")
    finding = tmp_path / f"finding-{target}"
    runs, output = fuzz.with_mutations(target, program, MUTATION_S, SEED, finding)
    hex_dump = finding.read_bytes().hex() if finding.exists() else "none"
    assert runs is not None, f"{output[-8000:]}\nthe input: {hex_dump}"
    assert runs > RUNS_MIN


@pytest.mark.parametrize("folder", ["session", "backend"])
def test_corpus_is_what_its_maker_makes(folder: str) -> None:
    made = getattr(make_corpus, f"{folder}_corpus")()
    there = {path.name: path.read_bytes() for path in fuzz.corpus(folder)}
    assert made.items() <= there.items(), "run python tests/wire/make_corpus.py"
