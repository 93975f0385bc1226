"""The fuzz target of csrc/codec, fuzz_codec.c, which embeds Python. It starts from
corpus/ and from encodings of every codec's samples."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pgasync
from codec.subjects import MADE_OID, SUBJECTS, Subject
from codec.test_table import samples
from fuzzing import CSRC, Library, Target, files_in
from fuzzing import HERE as TESTS
from pgasync import _core

HERE = Path(__file__).resolve().parent
OPTIONS = (0x00, 0x01, 0x1E)  # of fuzz_codec.c: the defaults, and others


class NoLibrary(Exception):
    """This Python cannot be embedded."""


def python_library() -> list[str]:
    """The linker's arguments for libpython. Raises NoLibrary."""
    variable = sysconfig.get_config_var
    name = f"python{variable('LDVERSION') or variable('py_version_short')}"
    folders = [Path(variable(key) or "/") for key in ("LIBDIR", "LIBPL")]
    for folder in folders:
        for suffix in (".so", ".dylib", ".a"):
            if (folder / f"lib{name}{suffix}").is_file():
                found = [f"-L{folder}", f"-l{name}", f"-Wl,-rpath,{folder}"]
                extra = f"{variable('LIBS') or ''} {variable('SYSLIBS') or ''}".split()
                return [*found, "-rdynamic", *extra]
    raise NoLibrary(f"there is no lib{name} in {' or '.join(map(str, folders))}")


def library() -> Library:
    """csrc/codec and csrc/wire, with Python's headers."""
    folders = ("codec", "wire")
    package = Path(pgasync.__file__).parents[1]
    path = json.dumps([str(TESTS), str(package)])
    program = getattr(sys, "_base_executable", None) or sys.executable
    include = sysconfig.get_path("include")
    return Library(
        tuple(s for f in folders for s in sorted((CSRC / f).glob("*.c"))),
        (
            f"-I{CSRC / 'codec'}",
            f"-isystem{include}",
            f"-DFUZZ_PYTHON={json.dumps(program)}",
            f"-DFUZZ_PATH={json.dumps(path)}",
        ),
        (*python_library(), "-lcrypto"),
    )


def key_of(subject: Subject) -> bytes:
    """As key_of() in fuzz_codec.c."""
    made = not isinstance(subject.codec, int) and subject.codec.oid >= MADE_OID
    number = 2166136261
    for byte in (("made " if made else "") + subject.name).encode():
        number = (number ^ byte) * 16777619 & 0xFFFFFFFF
    return number.to_bytes(4, "big")


def seeds() -> Iterator[tuple[str, bytes]]:
    """A name and an input for each sample of each codec."""
    for subject in SUBJECTS:
        key = key_of(subject)
        for number, value in enumerate(samples(subject)):
            _, data = _core.codec_encode(subject.codec, value)
            for options in OPTIONS:
                name = f"{key.hex()}-{number}-{options}"
                yield name, key + bytes([options]) + data


def corpus(folder: Path) -> list[Path]:
    for name, data in seeds():
        (folder / name).write_bytes(data)
    return [*files_in(HERE / "corpus"), *files_in(folder)]


# Python keeps memory for later, and a look for leaks after each input that made it do
# so is slow: leaks are found at the end.
OPTIONS_OF_FUZZER = ("-detect_leaks=0",)
TARGET = Target("codec", HERE / "fuzz_codec.c", library, corpus, OPTIONS_OF_FUZZER)
