"""How the bytes of a session travel."""


class Transport:
    """A plain connection: what is true of every transport until it says otherwise."""

    encrypted = False

    @property
    def binding(self) -> bytes | None:
        """What SCRAM-SHA-256-PLUS is bound to: the tls-server-end-point data of
        RFC 5929, None when there are none."""
        return None
