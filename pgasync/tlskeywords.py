"""connect()'s keywords about TLS, and what they mean together."""

import ssl
from collections.abc import Mapping
from typing import Any

from . import values
from .errors import InterfaceError

TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def tls_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields about TLS."""
    root = values.text(given, "sslrootcert")
    context, mode, verify = _ssl_keyword(given)
    if verify and root is None:
        root = "system"
    mode = given.get("sslmode", mode)
    if context is not None and mode in ("allow", "prefer"):
        mode = "require"  # nobody makes a context to go without
    if mode is None:
        mode = "verify-full" if root == "system" else "prefer"
    if mode not in SSL_MODES:
        raise InterfaceError(f"sslmode {mode!r} is not one of {', '.join(SSL_MODES)}")
    negotiation = values.choice(given, "sslnegotiation")
    if negotiation == "direct" and mode in SSL_MODES[:3]:
        raise InterfaceError(
            f"sslnegotiation=direct needs sslmode=require or stronger, not {mode!r}"
        )
    if root == "system" and mode != "verify-full" and context is None:
        raise InterfaceError(
            f"sslrootcert=system needs sslmode=verify-full, not {mode!r}: anybody can "
            "have a certificate that the system trusts"
        )
    lowest, highest = _tls_versions(given)
    return {
        "sslmode": mode,
        "sslnegotiation": negotiation,
        "sslcert": values.text(given, "sslcert"),
        "sslkey": values.text(given, "sslkey"),
        "sslpassword": values.text(given, "sslpassword"),
        "sslcertmode": values.choice(given, "sslcertmode"),
        "sslrootcert": root,
        "sslcrl": values.text(given, "sslcrl"),
        "sslcrldir": values.text(given, "sslcrldir"),
        "sslsni": values.flag(given, "sslsni", True),
        "ssl_min_protocol_version": lowest,
        "ssl_max_protocol_version": highest,
        "ssl_context": context,
    }


def _ssl_keyword(
    given: Mapping[str, Any],
) -> tuple[ssl.SSLContext | None, str | None, bool]:
    """`ssl`, as asyncpg has it: a context, the sslmode that it stands for, and whether
    the system's certificates are to verify the server unless others are named."""
    value = given.get("ssl")
    if value is None:
        return None, None, False
    if isinstance(value, ssl.SSLContext):
        if given.get("sslmode") == "disable":
            raise InterfaceError("ssl is an SSLContext, but sslmode=disable")
        return value, "require", False
    if isinstance(value, str) and value in SSL_MODES:
        mode = value
    elif isinstance(value, (bool, str)):
        mode = "require" if values.flag(given, "ssl", False) else "disable"
        if value is True:
            mode = "verify-full"
    else:
        raise InterfaceError(
            "ssl is True, False, an sslmode or an ssl.SSLContext, "
            f"not a {type(value).__name__}"
        )
    if given.get("sslmode", mode) != mode:
        raise InterfaceError(f"ssl={value!r} and sslmode={given['sslmode']!r} differ")
    return None, mode, value is True


def _tls_versions(given: Mapping[str, Any]) -> tuple[str | None, str | None]:
    def version(keyword: str, default: str | None) -> str | None:
        value = given.get(keyword, default)
        if not value:
            return None
        for known in TLS_VERSIONS:
            if str(value).lower() == known.lower():
                return known
        raise InterfaceError(
            f"{keyword} {value!r} is not one of {', '.join(TLS_VERSIONS)}"
        )

    lowest = version("ssl_min_protocol_version", "TLSv1.2")
    highest = version("ssl_max_protocol_version", None)
    if lowest and highest and lowest > highest:
        raise InterfaceError(
            f"ssl_min_protocol_version {lowest} is higher than "
            f"ssl_max_protocol_version {highest}"
        )
    return lowest, highest
