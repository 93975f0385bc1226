"""Real PgBouncers in front of the servers of servers.py.

    with PgBouncer(server) as bouncer:            # transaction mode
        connect(bouncer.dsn)

A PgBouncer lives in a temporary directory of its own and listens on a Unix socket
there and on a free port of 127.0.0.1. It is stopped on leaving the block, at the exit
of the process, and by a guard process if this one is killed.

The program is `pgbouncer` of the PATH or of /usr/sbin, or what PGASYNC_PGBOUNCER names.
Tests that need it are skipped without it, unless PGASYNC_REQUIRE_PGBOUNCER is set:
then they fail. Nothing here imports pgasync.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from servers import GUARD, Server, ServerError, free_port

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
PORT_TRIES = 5
REQUIRED = "PGASYNC_REQUIRE_PGBOUNCER"
NAMED = "PGASYNC_PGBOUNCER"

SETTINGS = {
    "listen_addr": "127.0.0.1",
    "pool_mode": "transaction",
    "auth_type": "trust",
    "default_pool_size": "5",
    "max_client_conn": "200",
    "admin_users": "postgres",
    "ignore_startup_parameters": "",
    "server_login_retry": "0.2",
    "log_connections": "1",
    "log_disconnections": "1",
}


def find() -> str | None:
    """The program, None where it is not installed."""
    named = os.environ.get(NAMED)
    if named:
        return named
    places = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    return shutil.which("pgbouncer", path=places)


def need() -> str:
    """The program; skips the test where it is not installed, or fails it where it
    has to be."""
    import pytest

    program = find()
    if program is not None:
        return program
    reason = "PgBouncer is not installed (apt-get install pgbouncer)"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} is set")
    pytest.skip(reason)


def version(program: str) -> tuple[int, int]:
    """(1, 18) of "PgBouncer 1.18.0"."""
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    if match is None:
        raise ServerError(f"{program} --version says {said!r}")
    return int(match[1]), int(match[2])


class PgBouncer:
    """One PgBouncer in front of `server`.

    settings: of its configuration file, in place of SETTINGS; files: settings that name
    files, of which it is given copies; users: name -> password as it stands in
    auth_file. Attributes: host and port (TCP), socket_dir, pid,
    version, program, log_path.
    """

    def __init__(
        self,
        server: Server,
        *,
        users: dict[str, str] | None = None,
        files: Mapping[str, Path] | None = None,
        **settings: object,
    ) -> None:
        self.program = need()
        self.version = version(self.program)
        self.server = server
        self.host = "127.0.0.1"
        self.port = 0
        self.users = {"postgres": "", **(users or {})}
        self.settings = {**SETTINGS, **{k: str(v) for k, v in settings.items()}}
        self.process: subprocess.Popen[bytes] | None = None
        self.guard: subprocess.Popen[bytes] | None = None
        self.account: dict[str, object] = {}
        self.owner = os.getpid()
        self.base = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=server.base.parent))
        atexit.register(self.stop)
        try:
            self.prepare()
            for name, path in (files or {}).items():
                self.settings[name] = str(self.own(path))
            self.start()
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        if os.geteuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("nobody")
            self.account = {
                "user": user.pw_uid,
                "group": user.pw_gid,
                "extra_groups": [],
            }
            os.chown(self.base, user.pw_uid, user.pw_gid)
        self.socket_dir = self.base
        self.log_path = self.base / "log"
        self.config_path = self.base / "pgbouncer.ini"

    def own(self, source: Path) -> Path:
        """A copy of a file, which only the PgBouncer may read."""
        target = self.base / source.name
        shutil.copyfile(source, target)
        target.chmod(0o600)
        if self.account:
            os.chown(target, self.account["user"], self.account["group"])  # type: ignore[arg-type]
        return target

    def configure(self, **settings: object) -> None:
        """Writes the configuration file, with these settings from now on."""
        self.settings.update({k: str(v) for k, v in settings.items()})
        lines = [
            "[databases]",
            f"* = host={self.server.socket_dir} port={self.server.port}",
            "[pgbouncer]",
            f"listen_port = {self.port}",
            f"unix_socket_dir = {self.socket_dir}",
            f"auth_file = {self.base / 'users'}",
            *(f"{name} = {value}" for name, value in self.settings.items()),
        ]
        self.config_path.write_text("\n".join(lines) + "\n")
        users = (f'"{name}" "{secret}"\n' for name, secret in self.users.items())
        (self.base / "users").write_text("".join(users))
        for path in (self.config_path, self.base / "users"):
            path.chmod(0o644)  # the folder is closed to others

    # Running

    def start(self) -> None:
        """Starts it and waits until it accepts connections."""
        if self.process is not None:
            return
        choose = self.port == 0
        for _ in range(PORT_TRIES):
            if choose:
                self.port = free_port()
            self.configure()
            self.launch()
            if self.wait_ready():
                return
            log = self.log()
            self.reap(signal.SIGKILL)
            if not choose or "Address already in use" not in log:
                break
        raise ServerError(f"PgBouncer did not start:\n{log[-4000:]}")

    def launch(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        environ.pop("LD_PRELOAD", None)  # a sanitizer's, in make test-asan
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.base,
                env={**environ, "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
                **self.account,  # type: ignore[call-overload]
            )
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.process.pid), str(self.base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def wait_ready(self) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if "process up" in self.log() and self.socket_path.exists():
                return True
            time.sleep(0.01)
        return False

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.log_path.read_text(errors="replace")
        return ""

    @property
    def socket_path(self) -> Path:
        return self.socket_dir / f".s.PGSQL.{self.port}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError("the PgBouncer is not running")
        return self.process.pid

    def reap(self, *signals: signal.Signals) -> None:
        """Sends the signals in turn until it is gone."""
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

    def restart(self, *, kill: bool = False) -> None:
        """Ends all connections and starts anew on the same port. kill: SIGKILL, else
        an immediate shutdown."""
        self.reap(signal.SIGKILL if kill else signal.SIGTERM)
        self.log_path.unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)
        (self.base / f"{self.socket_path.name}.lock").unlink(missing_ok=True)
        self.start()

    def stop(self) -> None:
        """Stops it for good and removes its files. Safe to call twice."""
        if os.getpid() != self.owner:
            return
        atexit.unregister(self.stop)
        self.reap(signal.SIGTERM)
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> PgBouncer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def admin(self, command: str) -> str:
        """Runs a command on its console, by psql: "PAUSE", "SHOW POOLS" …"""
        return self.server.run_tool(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            f"--host={self.socket_dir}",
            f"--port={self.port}",
            "--username=postgres",
            "--dbname=pgbouncer",
            stdin=command + ";",
        )

    # Addresses

    @property
    def dsn(self) -> str:
        """URI of the superuser over the Unix socket."""
        return self.dsn_for()

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
        password: str = "",
        **options: str,
    ) -> str:
        """URI over TCP."""
        login = quote(user, "") + (f":{quote(password, '')}" if password else "")
        query = f"?{urlencode(options)}" if options else ""
        return (
            f"postgresql://{login}@{self.host}:{self.port}/{quote(database, '')}{query}"
        )
