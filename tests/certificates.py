"""Certificates, keys and revocation lists, made for the tests as they ask for them."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
LOCAL = ("localhost", "127.0.0.1")  # the names by which the tests call their servers

# What an authority's key is for; Python 3.13 insists on it.
SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)

KEYS: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


class Pair(NamedTuple):
    """A certificate (with what leads to its root) and its key, as files."""

    cert: Path
    key: Path


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    """An address for what looks like one, unless it begins with "DNS:"."""
    if name.startswith("DNS:"):
        return x509.DNSName(name.removeprefix("DNS:"))
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: Any, password: bytes | None, der: bool) -> None:
    encryption: Any = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    encoding = serialization.Encoding.DER if der else serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(encoding, form, encryption))


class Authority:
    """Who signs: a root, or somebody in between."""

    def __init__(
        self, folder: Path, name: str, parent: Authority | None = None
    ) -> None:
        self.folder, self.name, self.parent = folder, name, parent
        self.key = KEYS["p256"]()
        self.certificate = self._sign(name, self.key.public_key(), authority=True)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self.pem)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def hash(self) -> str:
        """The name under which OpenSSL looks for its files in a folder: of the name
        in lower case, as DER without the outer SEQUENCE."""
        name = self.name.encode()
        value = b"\x06\x03\x55\x04\x03" + bytes([0x0C, len(name)]) + name
        pair = bytes([0x30, len(value)]) + value
        digest = hashlib.sha1(bytes([0x31, len(pair)]) + pair).digest()
        return f"{int.from_bytes(digest[:4], 'little'):08x}"

    def _sign(
        self,
        common: str,
        public_key: Any,
        *,
        names: Sequence[str] = (),
        start: datetime.datetime = NOW - DAY,
        days: int = 30,
        authority: bool = False,
        own_key: Any = None,
        algorithm: Any = None,
        pss: bool = False,
    ) -> x509.Certificate:
        signer = self if hasattr(self, "certificate") else self.parent
        key = own_key or (signer.key if signer else self.key)
        issuer = _name(common)
        if own_key is None and signer is not None:
            issuer = signer.certificate.subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + days * DAY)
            .add_extension(
                x509.BasicConstraints(ca=authority, path_length=None), critical=True
            )
        )
        identifiers: list[x509.ExtensionType] = [
            x509.SubjectKeyIdentifier.from_public_key(public_key),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
        ]
        for identifier in identifiers:
            builder = builder.add_extension(identifier, critical=False)
        if authority:
            builder = builder.add_extension(SIGNS, critical=True)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]),
                critical=False,
            )
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return builder.sign(key, None)
        how = {}
        if pss:
            digest = algorithm or hashes.SHA256()
            scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
            how["rsa_padding"] = scheme
        return builder.sign(key, algorithm or hashes.SHA256(), **how)

    def issue(
        self,
        file: str,
        common: str = "localhost",
        names: Sequence[str] = LOCAL,
        *,
        kind: str = "p256",
        self_signed: bool = False,
        password: bytes | None = None,
        der: bool = False,
        **how: Any,
    ) -> Pair:
        """A certificate for `names` (alternative names; none: `common` only) in
        <file>.crt, and its key in <file>.key."""
        key = KEYS[kind]()
        if self_signed:
            how["own_key"] = key
        certificate = self._sign(common, key.public_key(), names=names, **how)
        pair = Pair(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        if self.parent is not None and not self_signed:
            chain += self.pem
        pair.cert.write_bytes(chain)
        _write_key(pair.key, key, password, der)
        return pair

    def revoke(self, file: str, *pairs: Pair) -> Path:
        """A list of revoked certificates in <file>.crl."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW - DAY)
            .next_update(NOW + 30 * DAY)
        )
        for pair in pairs:
            certificate = x509.load_pem_x509_certificate(pair.cert.read_bytes())
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(NOW - DAY)
                .build()
            )
        path = self.folder / f"{file}.crl"
        crl = builder.sign(self.key, hashes.SHA256())
        path.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        return path


class Certificates:
    """What the tests of TLS use, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = root = Authority(folder, "root")
        self.other = other = Authority(folder, "other")
        self.between = Authority(folder, "between", root)
        long_ago = NOW - 100 * DAY
        self.server = {
            "good": root.issue("good"),
            "self-signed": root.issue("self-signed", self_signed=True),
            "other authority": other.issue("other-authority"),
            "wrong host": root.issue("wrong-host", "elsewhere", ["elsewhere.invalid"]),
            "common name only": root.issue("common-name", names=()),
            "wrong common name": root.issue("wrong-common", "elsewhere", names=()),
            "address only": root.issue("address", "elsewhere", ["127.0.0.1"]),
            "common name beside an address": root.issue("beside", names=["127.0.0.1"]),
            "address as a name": root.issue("as-name", "x", ["DNS:127.0.0.1"]),
            "wildcard address": root.issue("wild-address", "x", ["DNS:*.0.0.1"]),
            "name only": root.issue("name", "127.0.0.1", ["localhost"]),
            "several": root.issue("several", "x", ["a.invalid", *LOCAL, "*.invalid"]),
            "wildcard": root.issue("wildcard", "x", ["*.localhost", "*"]),
            "expired": root.issue("expired", start=long_ago),
            "not yet valid": root.issue("not-yet", start=NOW + 10 * DAY),
            "by an intermediate": self.between.issue("by-intermediate"),
            "revoked": root.issue("revoked"),
            "rsa": root.issue("rsa", kind="rsa"),
            "p384": root.issue("p384", kind="p384"),
            "ed25519": root.issue("ed25519", kind="ed25519"),
        }
        self.crl = root.revoke("root", self.server["revoked"])
        self.crl_dir = folder / "revoked"  # as OpenSSL looks lists up in a folder
        self.crl_dir.mkdir()
        (self.crl_dir / f"{root.hash}.r0").write_bytes(self.crl.read_bytes())
        self.client = {
            "good": root.issue("client", "postgres", ()),
            "another user": root.issue("client-user", "somebody", ()),
            "other authority": other.issue("client-other", "postgres", ()),
            "expired": root.issue("client-expired", "postgres", (), start=long_ago),
            "by an intermediate": self.between.issue("client-chain", "postgres", ()),
            "encrypted": root.issue("client-secret", "postgres", (), password=b"open"),
            "der": root.issue("client-der", "postgres", (), der=True),
            "readable": root.issue("client-readable", "postgres", ()),
            "without key": root.issue("client-keyless", "postgres", ()),
        }
        self.client["readable"].key.chmod(0o644)
        self.client["without key"].key.unlink()
