"""The server's end of a TLS connection whose bytes can be bent on their way."""

from __future__ import annotations

import contextlib
import ssl
import struct
from pathlib import Path

from certificates import Authority
from pgmock import SSL_CODE, Gone, Peer

NAME = "127.0.0.1"

# TLS record types.
ALERT, HANDSHAKE, APPLICATION = 21, 22, 23


def record(kind: int, body: bytes, length: int | None = None) -> bytes:
    """One TLS record; `length` overrides what its header says."""
    said = len(body) if length is None else length
    return struct.pack("!BHH", kind, 0x0303, said) + body


def alert(code: int, fatal: bool = True) -> bytes:
    return record(ALERT, bytes([2 if fatal else 1, code]))


def server_context(folder: Path) -> ssl.SSLContext:
    """With a self-signed certificate, made in `folder`."""
    pair = Authority(folder, "authority").issue(
        "server", NAME, [NAME], self_signed=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    return context


def asked_for_tls(peer: Peer) -> None:
    """Reads the SSLRequest."""
    code = struct.unpack("!II", peer._read(8))[1]
    if code != SSL_CODE:
        raise AssertionError(f"the client sent {code:#x} instead of an SSLRequest")


class Secure(Peer):
    """What a Peer is, through TLS. `raw()` sends past the TLS; `chunk` splits what is
    sent, `room` bytes are all that is sent (then the socket is cut)."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        super().__init__(peer.sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.chunk = 65536
        self.room: int | None = None
        self.cut_by_reset = False
        self.sent = 0

    def raw(self, *data: bytes) -> None:
        whole = b"".join(data)
        for at in range(0, len(whole), self.chunk):
            part = whole[at : at + self.chunk]
            if self.room is not None and self.sent + len(part) > self.room:
                Peer.send(self, part[: self.room - self.sent])
                self.cut()
            Peer.send(self, part)
            self.sent += len(part)

    def cut(self) -> None:
        if self.cut_by_reset:
            self.reset()
        else:
            self.close()
        raise Gone

    def flush(self) -> None:
        self.raw(self.outgoing.read())

    def more(self) -> None:
        """Waits for bytes of the client."""
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self.incoming.write(data)

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.more()
            except ssl.SSLError as error:
                raise Gone from error
            else:
                self.flush()
                return

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self.tls.read(size - len(data))
            except ssl.SSLWantReadError:
                self.flush()
                self.more()
            except ssl.SSLError as error:
                raise Gone from error
        return data

    def seal(self, *data: bytes) -> bytes:
        """The data as records."""
        self.tls.write(b"".join(data))
        return self.outgoing.read()

    def send(self, *data: bytes) -> None:
        if data and any(data):
            self.raw(self.seal(*data))

    def goodbye(self) -> bytes:
        """close_notify."""
        with contextlib.suppress(ssl.SSLError):  # the client's own is not there yet
            self.tls.unwrap()
        return self.outgoing.read()


def secured(peer: Peer, context: ssl.SSLContext) -> Secure:
    """Agrees to TLS; the handshake is over."""
    asked_for_tls(peer)
    peer.send(b"S")
    secure = Secure(peer, context)
    secure.handshake()
    return secure
