"""Builds the C core, pgasync._core; all other metadata stands in pyproject.toml.

Environment variables, each on when set to anything but "" and "0":

PGASYNC_DEBUG      no optimisation, full debug information, assertions on
PGASYNC_SANITIZE   AddressSanitizer and UndefinedBehaviorSanitizer, assertions on
PGASYNC_COVERAGE   gcov counters
PGASYNC_WERROR     warnings are errors

CC names the compiler and PKG_CONFIG the pkg-config program, as usual.
`python setup.py check_tools` only says what is missing for a build.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

SETUPTOOLS_MIN = 77
FOLDERS = ("wire", "net", "codec", "driver")
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wvla",
]
RELEASE = [
    "-O2",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
    "-DNDEBUG",
]
DEBUG = ["-O0", "-g3", "-UNDEBUG", "-U_FORTIFY_SOURCE"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
SANITIZE = ["-O1", "-g3", "-UNDEBUG", "-U_FORTIFY_SOURCE", "-fno-omit-frame-pointer"]
COVERAGE = ["--coverage", "-fprofile-update=atomic"]

# What the build needs -> what to install on Debian and Ubuntu, Fedora and RHEL, macOS.
PACKAGES = {
    "a C compiler": ("gcc", "gcc", "xcode-select --install"),
    "the C library's headers (stdio.h)": (
        "libc6-dev",
        "glibc-devel",
        "xcode-select --install",
    ),
    "the Python headers (Python.h)": (
        "python3-dev",
        "python3-devel",
        "brew install python",
    ),
    "pkg-config": ("pkg-config", "pkgconf-pkg-config", "brew install pkg-config"),
    "the OpenSSL headers (libssl, libcrypto)": (
        "libssl-dev",
        "openssl-devel",
        'brew install openssl, then export PKG_CONFIG_PATH="$(brew --prefix'
        ' openssl)/lib/pkgconfig"',
    ),
}


def missing(what: str, tried: str) -> SystemExit:
    """The message for a build that cannot start; `tried` says what did not work."""
    debian, fedora, macos = PACKAGES[what]
    return SystemExit(
        f"\npgasync cannot be built: {what} not found ({tried}).\n"
        f"  Debian, Ubuntu:  apt-get install {debian}\n"
        f"  Fedora, RHEL:    dnf install {fedora}\n"
        f"  macOS:           {macos}\n"
    )


def switch(name: str) -> bool:
    return os.environ.get(f"PGASYNC_{name}", "") not in ("", "0")


def check_compiler() -> None:
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    program = shlex.split(command)[0]
    if shutil.which(program) is None:
        raise missing("a C compiler", program)
    done = subprocess.run(
        [program, "-E", "-"],
        input="#include <stdio.h>\n",
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[:1]
        raise missing("the C library's headers (stdio.h)", " ".join(reason))


def check_python_headers() -> None:
    folders = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    if not any(Path(folder, "Python.h").is_file() for folder in folders):
        raise missing("the Python headers (Python.h)", ", ".join(sorted(folders)))


def openssl_flags(option: str) -> list[str]:
    program = shlex.split(os.environ.get("PKG_CONFIG") or "pkg-config")
    if shutil.which(program[0]) is None:
        raise missing("pkg-config", program[0])
    done = subprocess.run(
        [*program, option, "libssl", "libcrypto"], capture_output=True, text=True
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[:1] or [f"{program[0]} failed"]
        raise missing("the OpenSSL headers (libssl, libcrypto)", reason[0])
    return shlex.split(done.stdout)


def check_tools() -> None:
    check_compiler()
    check_python_headers()
    openssl_flags("--cflags")


def compile_flags() -> list[str]:
    flags = ["-std=c11", "-fvisibility=hidden", *WARNINGS]
    if switch("SANITIZE"):
        flags += [*SANITIZERS, *SANITIZE]
    elif switch("DEBUG") or switch("COVERAGE"):
        flags += DEBUG
    else:
        flags += RELEASE
    if switch("COVERAGE"):
        flags += COVERAGE
    if switch("WERROR"):
        flags.append("-Werror")
    return flags


def link_flags() -> list[str]:
    flags = SANITIZERS if switch("SANITIZE") else []
    return [*flags, "--coverage"] if switch("COVERAGE") else flags


def main() -> None:
    import setuptools
    from setuptools.command.build_ext import build_ext

    if int(setuptools.__version__.split(".")[0]) < SETUPTOOLS_MIN:
        sys.exit(
            f"pgasync needs setuptools {SETUPTOOLS_MIN} or newer to build, this is"
            f" {setuptools.__version__}: pip install -U setuptools"
        )

    class BuildCore(build_ext):
        """Looks for what the build needs first, then compiles on every core."""

        def build_extensions(self):
            check_tools()
            for extension in self.extensions:
                extension.extra_compile_args += openssl_flags("--cflags")
                extension.extra_link_args += openssl_flags("--libs")
            self.compile_serially = self.compiler.compile
            self.compiler.compile = self.compile_in_parallel
            super().build_extensions()

        def compile_in_parallel(self, sources, **options):
            folders = {Path(source).parent for source in sources}
            for folder in folders:
                target = Path(options.get("output_dir") or ".", folder)
                target.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(os.cpu_count()) as workers:
                jobs = [
                    workers.submit(self.compile_serially, [source], **options)
                    for source in sources
                ]
                return [name for job in jobs for name in job.result()]

    core = setuptools.Extension(
        "pgasync._core",
        sorted(path for folder in FOLDERS for path in glob(f"csrc/{folder}/*.c")),
        depends=sorted(glob("csrc/*/*.h")),
        extra_compile_args=compile_flags(),
        extra_link_args=link_flags(),
    )
    setuptools.setup(ext_modules=[core], cmdclass={"build_ext": BuildCore})


if sys.argv[1:] == ["check_tools"]:
    check_tools()
else:
    main()
