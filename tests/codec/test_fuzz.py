"""Replays the inputs of the codecs' fuzz target under ASan and UBSan: encodings of
every codec's samples, former findings, and a short run of mutations of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import fuzzing
from codec import fuzz_codec
from codec.subjects import SUBJECTS
from fuzzing import SANITIZE

MUTATION_S = 3
RUNS_MIN = 500  # far below what any machine does in that time


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    cc = fuzzing.compiler_or_skip()
    folder = tmp_path_factory.mktemp("codec")
    try:
        return fuzz_codec.library().compile(cc, SANITIZE, folder)
    except fuzz_codec.NoLibrary as missing:
        pytest.skip(f"this Python cannot be embedded: {missing}")


def build(objects: list[Path], main: Path) -> Path:
    sources = [fuzz_codec.TARGET.source, main]
    program = objects[0].parent / main.stem
    cc = fuzzing.compiler()
    return fuzz_codec.library().link(cc, SANITIZE, sources, objects, program)


def test_every_codec_has_a_seed() -> None:
    keys = {data[:4] for _, data in fuzz_codec.seeds()}
    wanted = {fuzz_codec.key_of(subject) for subject in SUBJECTS}
    assert len(wanted) == len(SUBJECTS)
    # What cannot be sent has none.
    assert {fuzz_codec.key_of(s) for s in SUBJECTS if "record" not in s.name} <= keys


def test_corpus(objects: list[Path], tmp_path: Path) -> None:
    files = fuzz_codec.corpus(tmp_path)
    assert fuzzing.replayed(build(objects, fuzzing.REPLAY), files) == len(files)


def test_mutations(objects: list[Path], tmp_path: Path) -> None:
    program = build(objects, fuzzing.MUTATE)
    files = fuzz_codec.corpus(tmp_path)
    assert fuzzing.mutated(program, files, MUTATION_S, tmp_path) > RUNS_MIN
