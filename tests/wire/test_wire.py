"""Compiles csrc/wire strictly, without Python, under ASan and UBSan, and runs the C
tests, the fuzz targets on their corpora, and a short run of mutations of each.

CC names the compiler (default gcc).
"""

from __future__ import annotations

from pathlib import Path

import pytest

import fuzzing
from fuzzing import SANITIZE, Library, files_in, replayed, run_program
from wire import fuzz_wire, make_corpus

MUTATION_S = 2.5
RUNS_MIN = 500  # far below what any machine does in that time

TESTS = sorted(path.stem for path in fuzz_wire.HERE.glob("test_*.c"))
TARGETS = {target.name: target for target in fuzz_wire.targets()}


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The objects of csrc/wire, compiled once; their folder takes the programs too."""
    cc = fuzzing.compiler_or_skip()
    folder = tmp_path_factory.mktemp("wire")
    return fuzz_wire.library().compile(cc, SANITIZE, folder)


def build(objects: list[Path], *sources: Path) -> Path:
    target = objects[0].parent / "-".join(path.stem for path in sources)
    cc = fuzzing.compiler()
    return fuzz_wire.library().link(cc, SANITIZE, sources, objects, target)


def test_every_source_has_its_object(objects: list[Path]) -> None:
    assert {path.stem for path in objects} >= {"session", "backend", "auth", "numeric"}
    assert all(path.is_file() for path in objects)


def test_net_plain_compiles(objects: list[Path]) -> None:
    """The transport under the same warnings; tests/driver runs it."""
    plain = Library((fuzzing.CSRC / "net" / "plain.c",), ("-Wconversion",))
    (built,) = plain.compile(fuzzing.compiler(), SANITIZE, objects[0].parent)
    assert built.is_file()


@pytest.mark.parametrize("name", TESTS)
def test_c(objects: list[Path], name: str) -> None:
    run_program(build(objects, fuzz_wire.HERE / f"{name}.c"))


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(objects: list[Path], name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    program = build(objects, target.source, fuzzing.REPLAY)
    files = target.corpus(tmp_path)
    assert replayed(program, files) == len(files) > 0


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(objects: list[Path], name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    program = build(objects, target.source, fuzzing.MUTATE)
    files = target.corpus(tmp_path)
    assert fuzzing.mutated(program, files, MUTATION_S, tmp_path) > RUNS_MIN


@pytest.mark.parametrize("folder", ["session", "backend", "trace"])
def test_corpus_is_what_its_maker_makes(folder: str) -> None:
    made = getattr(make_corpus, f"{folder}_corpus")()
    there = {
        path.name: path.read_bytes() for path in files_in(make_corpus.CORPUS / folder)
    }
    assert made.items() <= there.items(), "run python tests/wire/make_corpus.py"
