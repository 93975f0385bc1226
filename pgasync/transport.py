"""How the bytes of a session travel: plain, by our own TLS, by an ssl.SSLContext."""

import asyncio
import socket
import ssl
from typing import Any

from . import _core

WANT_READ, WANT_WRITE = 1, 2  # what Tls.handshake() waits for


class Transport:
    """A plain connection, and what is true of every one until it says otherwise."""

    encrypted = False
    stream: Any = None
    """What _core.attach() puts on top of the socket."""
    binding: bytes | None = None
    """What SCRAM-SHA-256-PLUS is bound to: tls-server-end-point (RFC 5929)."""
    version: str | None = None
    """ "TLSv1.3" …"""
    cipher: str | None = None
    """ "TLS_AES_256_GCM_SHA384" …"""
    alpn: str | None = None
    cert_shown = False
    """Whether the server asked for our certificate, and got one."""

    async def exchange(self, sock: socket.socket, request: bytes) -> None:
        """Sends `request` and waits until the peer closes. OSError on failure."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, request)
        try:
            while await loop.sock_recv(sock, 256):
                pass
        except ConnectionResetError:
            pass  # as good as an end of file


class Tls(Transport):
    """Our own TLS; the handshake is over."""

    encrypted = True

    def __init__(self, stream: _core.Tls, has_cert: bool) -> None:
        self.stream = stream
        self.binding = stream.binding
        self.version = stream.version
        self.cipher = stream.cipher
        self.alpn = stream.alpn or None
        self.cert_shown = has_cert and stream.cert_requested

    async def exchange(self, sock: socket.socket, request: bytes) -> None:
        while request:
            request = request[self.stream.send(request) :]
            if request:
                await ready(sock, WANT_WRITE)
        try:
            while (data := self.stream.recv()) != b"":
                if data is None:
                    await ready(sock, WANT_READ)
        except ConnectionResetError:
            pass


class Bridge(Transport):
    """The TLS of an ssl.SSLContext. `stream` is this object itself: the core hands it
    what it has read, and writes what it is given."""

    encrypted = True

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self.stream = self
        self._broken: ssl.SSLError | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name
        )

    async def handshake(self, sock: socket.socket) -> None:
        """OSError (ssl.SSLError is one) on failure."""
        loop = asyncio.get_running_loop()
        while not self._step():
            await loop.sock_sendall(sock, self._outgoing.read())
            data = await loop.sock_recv(sock, 16384)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._incoming.write(data)
        await loop.sock_sendall(sock, self._outgoing.read())
        certificate = self._tls.getpeercert(binary_form=True)
        self.binding = _core.tls_binding(certificate) if certificate else None
        self.version = self._tls.version()
        cipher = self._tls.cipher()
        self.cipher = cipher[0] if cipher else None
        self.alpn = self._tls.selected_alpn_protocol()

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        """What `data` from the peer says, and whether it is the last. ssl.SSLError for
        a broken stream, after what came in front of that has been given."""
        if self._broken is not None:
            raise self._broken
        self._incoming.write(data)
        found = bytearray()
        try:
            while part := self._tls.read(65536):
                found += part
        except ssl.SSLWantReadError:
            if self.version == "TLSv1.3" or not self._outgoing.pending:
                return bytes(found), False
            self._broken = ssl.SSLError("the server asked for another handshake")
            if not found:
                raise self._broken from None
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            if not found:
                raise
            self._broken = error
        return bytes(found), True

    def send(self, data: bytes) -> bytes:
        """`data` as the peer is to get it."""
        self._tls.write(data)
        return self._outgoing.read()

    async def exchange(self, sock: socket.socket, request: bytes) -> None:
        await super().exchange(sock, self.send(request))


async def ready(sock: socket.socket, want: int) -> None:
    """Waits until the socket can be read (WANT_READ) or written (WANT_WRITE)."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    if want == WANT_READ:
        loop.add_reader(sock, _signal, future)
    else:
        loop.add_writer(sock, _signal, future)
    try:
        await future
    finally:
        if want == WANT_READ:
            loop.remove_reader(sock)
        else:
            loop.remove_writer(sock)


def _signal(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
