"""The direction of dependencies, csrc/ARCHITECTURE.md: who may include or import whom.

driver → {codec, net, wire} · codec → wire (five headers) · wire → libc, libcrypto ·
net → libc, OpenSSL · pgasync/*.py → _core, which itself imports only pgasync.errors.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "pgasync"

# Folder -> the folders of ours that it may include from, besides itself.
FOLDERS = {
    "wire": (),
    "net": (),
    "codec": ("wire",),
    "driver": ("codec", "net", "wire"),
}
CODEC_FROM_WIRE = {"cursor.h", "buffer.h", "calendar.h", "numeric.h", "protocol.h"}
C11 = {
    f"{name}.h"
    for name in (
        "assert ctype errno float inttypes limits math stdalign stdarg stdbool stddef"
        " stdint stdio stdlib string"
    ).split()
}
POSIX_NET = {
    "fcntl.h",
    "poll.h",
    "unistd.h",
    "sys/socket.h",
    "sys/types.h",
    "sys/uio.h",
    "sys/un.h",
    "netdb.h",
    "netinet/in.h",
    "netinet/tcp.h",
    "arpa/inet.h",
}
LIBCRYPTO = {
    "crypto.h",
    "err.h",
    "evp.h",
    "hmac.h",
    "md5.h",
    "opensslv.h",
    "sha.h",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)
IMPORT_IN_C = re.compile(
    r"PyImport_(?:ImportModule|ImportModuleNoBlock|ImportModuleLevel|Import)"
    r'\s*\(\s*"([^"]+)"'
)


def c_files() -> list[Path]:
    return sorted(p for f in FOLDERS for p in (CSRC / f).glob("*.[ch]"))


def includes(path: Path) -> Iterator[tuple[str, str]]:
    """(system header, own header), one of them empty."""
    for match in INCLUDE.finditer(path.read_text()):
        yield match[1] or "", match[2] or ""


def system_allowed(folder: str, file: str, header: str) -> bool:
    name = header.removeprefix("openssl/")
    if header in C11:
        return True
    if header == "datetime.h":  # its C-API pointer is one per translation unit
        return folder == "codec" and file == "datetime.c"
    if folder == "wire":
        return header.startswith("openssl/") and name in LIBCRYPTO
    if folder == "net":
        return header.startswith("openssl/") or header in POSIX_NET
    if folder == "codec":
        return header == "Python.h"
    return True


def own_allowed(folder: str, target: Path) -> bool:
    source = target.parent.name
    if target.parent.parent != CSRC:
        return False
    if folder == "codec" and source == "wire":
        return target.name in CODEC_FROM_WIRE
    return source == folder or source in FOLDERS[folder]


def test_there_is_something_to_check() -> None:
    assert {path.parent.name for path in c_files()} == set(FOLDERS)
    assert any(PACKAGE.glob("*.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_includes(folder: str) -> None:
    wrong = []
    for path in sorted((CSRC / folder).glob("*.[ch]")):
        where = path.relative_to(ROOT)
        for system, own in includes(path):
            if system and not system_allowed(folder, path.name, system):
                wrong.append(f"{where} includes <{system}>")
            if own:
                target = (path.parent / own).resolve()
                if not target.is_file():
                    wrong.append(f'{where} includes "{own}", which is not there')
                elif not own_allowed(folder, target):
                    wrong.append(f'{where} includes "{own}"')
    assert not wrong, "against the direction of dependencies:\n" + "\n".join(wrong)


def first_cycle(graph: dict[str, set[str]]) -> list[str]:
    """A cycle of the graph as the list of its nodes, or []."""
    done: set[str] = set()

    def walk(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        for follower in sorted(graph.get(node, ())):
            if found := walk(follower, [*trail, node]):
                return found
        done.add(node)
        return []

    for start in sorted(graph):
        if found := walk(start, []):
            return found
    return []


def test_headers_have_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for path in c_files():
        if path.suffix == ".h":
            targets = (
                (path.parent / own).resolve() for _, own in includes(path) if own
            )
            graph[str(path.relative_to(CSRC))] = {
                str(target.relative_to(CSRC)) for target in targets
            }
    assert not (cycle := first_cycle(graph)), " → ".join(cycle)


def test_core_imports_only_errors_and_types() -> None:
    """The C core imports the standard library, pgasync.errors and pgasync.types (the
    classes of values); and pgasync.rows, when a Row is pickled, because a pickle
    names its function by module."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in c_files()
        for name in IMPORT_IN_C.findall(path.read_text())
        if name not in ("pgasync.errors", "pgasync.rows", "pgasync.types")
        and not standard(name)
    ]
    assert not wrong, "\n".join(wrong)


def standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Full names of the modules that these statements import."""
    module = module_name(path)
    is_package = path.name == "__init__.py"
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - (1 if is_package else 0)
                parts = module.split(".")[: len(module.split(".")) - up]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if find_module(full) else base


def find_module(name: str) -> Path | None:
    if not name.startswith("pgasync"):
        return None
    stem = ROOT.joinpath(*name.split("."))
    candidates = (
        stem.with_suffix(".py"),
        stem / "__init__.py",
        stem.with_suffix(".pyi"),
    )
    return next((path for path in candidates if path.is_file()), None)


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements that run when the module is imported: not inside functions, not
    under `if TYPE_CHECKING`."""
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
            continue
        yield node
        stack.extend(ast.iter_child_nodes(node))


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def edge_allowed(path: Path, module: str) -> bool:
    in_dialect = (PACKAGE / "sqlalchemy") in path.parents
    if standard(module):
        return True
    if module.partition(".")[0] in ("sqlalchemy", "greenlet"):
        return in_dialect
    if module.startswith("pgasync.sqlalchemy"):
        return in_dialect or path == PACKAGE / "__main__.py"
    if path.name in (
        "errors.py",
        "_exceptions.py",
        "_sqlstates.py",
        "_transient.py",
    ):  # _core imports them
        return module in (
            "pgasync._exceptions",
            "pgasync._sqlstates",
            "pgasync._transient",
        )
    return module.partition(".")[0] == "pgasync"


def test_python_imports() -> None:
    wrong = []
    for path in python_files():
        for module in imported(path, ast.walk(ast.parse(path.read_text()))):
            if not edge_allowed(path, module):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "against the direction of dependencies:\n" + "\n".join(wrong)


def test_python_modules_have_no_cycle() -> None:
    graph: dict[str, set[str]] = {"pgasync._core": {"pgasync.errors"}}
    for path in python_files():
        names = imported(path, at_import(ast.parse(path.read_text())))
        module = module_name(path)
        graph[module] = {n for n in names if n.startswith("pgasync.") and n != module}
    assert not (cycle := first_cycle(graph)), " → ".join(cycle)
