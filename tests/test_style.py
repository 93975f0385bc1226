"""What a machine checks better than a reader: format, lint, types, and rules of ours.

`make format` repairs what the formatters complain of.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"

# CPython's API takes pointers to these without const; nothing writes to them.
CPYTHON_TABLES = {
    "PyGetSetDef",
    "PyMemberDef",
    "PyMethodDef",
    "PyModuleDef",
    "PyModuleDef_Slot",
    "PyType_Slot",
    "PyType_Spec",
}
SELF = Path(__file__).resolve()
# Folders of the machine this was written on, and hosts of package registries.
MACHINE_PATH = re.compile(r"(?<![\w.}$*])/(?:work|root|home|Users|tmp)/\w[\w./-]*")
REGISTRY = re.compile(
    r"\b(?:(?:test\.)?pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|"
    r"proxy\.golang\.org|deb\.debian\.org|archive\.ubuntu\.com)\b"
)


def c_files(pattern: str = "*.[ch]") -> list[Path]:
    return sorted(CSRC.glob(f"*/{pattern}"))


def tracked_files() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout: which files belong to it is not known")
    return [
        path for line in done.stdout.splitlines() if (path := ROOT / line).is_file()
    ]


def tool(name: str, *arguments: str) -> None:
    """Runs a program of this environment; its output is the failure's message."""
    program = Path(sys.executable).parent / name
    assert program.is_file(), f"{name} is not installed: pip install -e '.[dev]'"
    command = [str(program), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    output = (done.stdout + done.stderr).strip()
    assert done.returncode == 0, f"{name}:\n{output[-6000:]}"


# A scanner for the top level of a C file, good enough for the style of csrc/.


class Item(NamedTuple):
    kind: str  # "comment", "blank", "directive", "code"
    text: str
    line: int


def end_of_code(text: str, start: int) -> int:
    """One past a declaration or definition that starts at `start`."""
    depth = 0
    i = start
    while i < len(text):
        char = text[i]
        if char in "\"'":
            match = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'').match(text, i)
            assert match is not None, f"unclosed quote: {text[i : i + 30]!r}"
            i = match.end()
            continue
        if text.startswith("/*", i):
            i = text.index("*/", i) + 2
            continue
        if char in "({[":
            depth += 1
        elif char in ")}]":
            depth -= 1
            head = text[start : text.find("{", start)].rstrip()
            if depth == 0 and char == "}" and head.endswith(")"):
                return i + 1  # a function's body
        elif char == ";" and depth == 0:
            return i + 1
        i += 1
    return len(text)


def top_level(text: str) -> Iterator[Item]:
    i = 0
    while i < len(text):
        line = text.count("\n", 0, i) + 1
        if match := re.compile(r"\s+").match(text, i):
            if match[0].count("\n") > 1:
                yield Item("blank", "", line)
            i = match.end()
            continue
        if match := re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL).match(text, i):
            kind = "comment"
        elif match := re.compile(r"#(?:\\\n|/\*.*?\*/|[^\n])*", re.DOTALL).match(
            text, i
        ):
            kind = "directive"
        else:
            end = end_of_code(text, i)
            yield Item("code", text[i:end], line)
            i = end
            continue
        yield Item(kind, match[0], line)
        i = match.end()


def declaration(item: Item) -> str:
    """The code up to its body or initializer, comments gone, on one line."""
    text = re.sub(r"/\*.*?\*/", " ", item.text, flags=re.DOTALL)
    return " ".join(re.split(r"[={]", text, maxsplit=1)[0].split())


def is_prototype(item: Item) -> bool:
    head = declaration(item)
    return "(" in head and head.endswith(";") and not head.startswith("typedef")


def test_header_prototypes_have_comments() -> None:
    """A prototype stands behind a comment, or in one group (no blank line) with
    something that does."""
    bare = []
    for path in c_files("*.h"):
        explained = False
        for item in top_level(path.read_text()):
            if item.kind == "comment":
                explained = True
            elif item.kind == "code" and is_prototype(item):
                if not explained:
                    where = f"{path.relative_to(ROOT)}:{item.line}"
                    bare.append(f"{where}: {declaration(item)}")
            elif item.kind == "blank":
                explained = False
    assert not bare, "prototypes without a comment:\n" + "\n".join(bare)


def mutable(head: str) -> bool:
    """Whether this declaration of a variable leaves it writable."""
    after_pointer = head.rpartition("*")[2] if "*" in head else head
    return not re.search(r"\bconst\b", after_pointer)


def variables(path: Path) -> Iterator[tuple[int, str]]:
    for item in top_level(path.read_text()):
        if item.kind != "code":
            continue
        head = declaration(item).rstrip("; ")
        body = re.match(
            r"(?:static |const )*(?:struct|union|enum)\b[^={;(]*\{", item.text
        )
        if "(" in head or head.startswith("typedef") or (body and "=" not in item.text):
            continue
        if not re.search(r"[\w\])*]\s+\**\w+(\[[^]]*\])*$", head):
            continue
        if re.fullmatch(r"(?:struct|union|enum) \w+", head):
            continue
        yield item.line, head


def test_no_mutable_file_scope_variable() -> None:
    wrong = []
    for path in c_files():
        text = path.read_text()
        found = list(variables(path))
        for match in re.finditer(r"^[ \t]+static\s+(?!inline)[^;=(]*[;=]", text, re.M):
            line = text.count("\n", 0, match.start()) + 1
            found.append((line, " ".join(match[0][:-1].split())))
        for line, head in found:
            tables = CPYTHON_TABLES & set(re.findall(r"\w+", head))
            if mutable(head) and not tables:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {head}")
    assert not wrong, "mutable variables with static lifetime:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("static int count;", True),
        ("int count = 3;", True),
        ("static const char *names[] = {0};", True),
        ("static struct ring ring;", True),
        ("static PyObject *cache = NULL;", True),
        ("static const char *const names[] = {0};", False),
        ("static const struct net_ops plain_ops = {plain_read};", False),
        ("extern const struct codec codec_unknown;", False),
        ("struct wire_session;", False),
        ("struct pair { int a; int b; };", False),
        ("enum step { ONE = 1, TWO };", False),
        ("int sum(int a, int b);", False),
        ("static int\nsum(int a)\n{\n    return a;\n}", False),
        ("typedef int (*compare)(int);", False),
    ],
)
def test_the_scanner_itself(code: str, found: bool, tmp_path: Path) -> None:
    path = tmp_path / "sample.c"
    path.write_text(f"/* A sample. */\n#include <stdio.h>\n\n{code}\n")
    assert any(mutable(head) for _, head in variables(path)) is found


def test_version_tests_only_in_compat() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in c_files()
        if re.search(r"\bPY_VERSION_HEX\b", path.read_text())
        and path != CSRC / "driver" / "compat.h"
    ]
    assert not wrong, f"PY_VERSION_HEX belongs into driver/compat.h: {wrong}"


def test_no_machine_paths_or_registries() -> None:
    wrong = []
    for path in tracked_files():
        if path == SELF:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for match in (*MACHINE_PATH.finditer(line), *REGISTRY.finditer(line)):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not wrong, "machine paths or registry hosts:\n" + "\n".join(wrong)


def test_clang_format() -> None:
    files = [*c_files(), *sorted((ROOT / "tests").rglob("*.[ch]"))]
    style = f"--style=file:{CSRC / '.clang-format'}"
    tool("clang-format", "--dry-run", "-Werror", style, *map(str, files))


def test_ruff_check() -> None:
    tool("ruff", "check", "--quiet", ".")


def test_ruff_format() -> None:
    tool("ruff", "format", "--check", "--quiet", "--diff", ".")


def test_mypy() -> None:
    tool("mypy", "--strict", "pgasync")
