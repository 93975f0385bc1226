"""The fuzz targets of csrc/wire: each fuzz_*.c, from corpus/<target>/."""

from __future__ import annotations

from pathlib import Path

from fuzzing import CSRC, Library, Target, files_in, libcrypto

HERE = Path(__file__).resolve().parent


def library() -> Library:
    """All of csrc/wire, compiled without any include path but that of its own
    headers, and without Python."""
    return Library(
        tuple(sorted((CSRC / "wire").glob("*.c"))),
        ("-Wconversion", f"-I{CSRC / 'wire'}", *libcrypto("--cflags", "")),
        tuple(libcrypto("--libs", "-lcrypto")),
    )


def targets() -> list[Target]:
    return [
        Target(
            name := source.stem.removeprefix("fuzz_"),
            source,
            library,
            lambda _, name=name: files_in(HERE / "corpus" / name),
        )
        for source in sorted(HERE.glob("fuzz_*.c"))
    ]
