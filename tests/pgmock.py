"""A scripted PostgreSQL server, and a proxy that treats its traffic badly.

Both run in threads of their own, so that they work beside any event loop, and
listen on 127.0.0.1 at a free port. A script is a function of a `Peer`: it reads
and writes with plain blocking calls and may break every rule of the protocol.
`serve` answers the rest of a conversation honestly, message by message, except
where it is told otherwise.

Protocol: PostgreSQL documentation, "Frontend/Backend Protocol".
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Self

PROTOCOL_3_0 = 0x00030000
CANCEL_CODE = 80877102
SSL_CODE = 80877103
GSS_CODE = 80877104

# Type OIDs that scripts use.
BOOL, BYTEA, INT8, INT2, INT4, TEXT, OID = 16, 17, 20, 21, 23, 25, 26
JSON, FLOAT4, FLOAT8, INTERVAL, NUMERIC, UUID, JSONB = (
    114,
    700,
    701,
    1186,
    1700,
    2950,
    3802,
)
DATE, TIME, TIMESTAMP, TIMESTAMPTZ = 1082, 1083, 1114, 1184
INT4_ARRAY, TEXT_ARRAY = 1007, 1009

LIMIT_S = 10.0  # how long a script waits for the client before it gives up


class Gone(Exception):
    """The client has closed the connection."""


# --- backend messages --------------------------------------------------------


def message(tag: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """One message; `length` overrides what the length field says."""
    said = len(body) + 4 if length is None else length
    return tag + struct.pack("!I", said & 0xFFFFFFFF) + body


def cstr(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def auth(code: int, data: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!i", code) + data)


def auth_ok() -> bytes:
    return auth(0)


def auth_sasl(*mechanisms: str) -> bytes:
    return auth(10, b"".join(map(cstr, mechanisms)) + b"\0")


def parameter(name: str, value: str) -> bytes:
    return message(b"S", cstr(name) + cstr(value))


def backend_key(pid: int = 4711, key: bytes = b"\x00\x01\x02\x03") -> bytes:
    return message(b"K", struct.pack("!i", pid) + key)


def ready(status: bytes = b"I") -> bytes:
    return message(b"Z", status)


def fields(**values: str) -> bytes:
    """The body of an ErrorResponse or NoticeResponse: C="57P01", M="…"."""
    body = b"".join(code.encode() + cstr(text) for code, text in values.items())
    return body + b"\0"


def error(sqlstate: str, text: str = "refused", severity: str = "ERROR") -> bytes:
    return message(b"E", fields(S=severity, V=severity, C=sqlstate, M=text))


def notice(text: str = "hear, hear") -> bytes:
    return message(b"N", fields(S="NOTICE", V="NOTICE", C="00000", M=text))


def notification(channel: str, payload: str = "", pid: int = 4711) -> bytes:
    return message(b"A", struct.pack("!i", pid) + cstr(channel) + cstr(payload))


def row_description(*columns: tuple[str, int]) -> bytes:
    """Columns as (name, type OID), all in binary format."""
    body = struct.pack("!H", len(columns))
    for name, oid in columns:
        body += cstr(name) + struct.pack("!IhIhih", 0, 0, oid, -1, -1, 1)
    return message(b"T", body)


def data_row(*cells: bytes | None) -> bytes:
    body = struct.pack("!H", len(cells))
    for cell in cells:
        body += (
            struct.pack("!i", -1)
            if cell is None
            else struct.pack("!i", len(cell)) + cell
        )
    return message(b"D", body)


def complete(tag: str) -> bytes:
    return message(b"C", cstr(tag))


def parameter_description(*oids: int) -> bytes:
    return message(b"t", struct.pack(f"!H{len(oids)}I", len(oids), *oids))


PARSE_COMPLETE = message(b"1")
BIND_COMPLETE = message(b"2")
CLOSE_COMPLETE = message(b"3")
NO_DATA = message(b"n")
EMPTY_QUERY = message(b"I")
SUSPENDED = message(b"s")


def int4(value: int) -> bytes:
    return struct.pack("!i", value)


def array(
    elements: Iterable[bytes | None],
    oid: int = INT4,
    dims: Sequence[tuple[int, int]] | None = None,
) -> bytes:
    """A binary array; `dims` (size, lower bound) default to one that fits."""
    cells = list(elements)
    shape = [(len(cells), 1)] if dims is None else dims
    body = struct.pack("!iiI", len(shape), int(None in cells), oid)
    body += b"".join(struct.pack("!ii", size, lower) for size, lower in shape)
    for cell in cells:
        body += (
            struct.pack("!i", -1)
            if cell is None
            else struct.pack("!i", len(cell)) + cell
        )
    return body


# --- the server --------------------------------------------------------------


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(LIMIT_S)
        self.parameters: dict[str, str] = {}
        self.received: list[bytes] = []  # tags, in order

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.sock.recv(size - len(data))
            except (ConnectionError, TimeoutError, OSError) as exc:
                raise Gone from exc
            if not part:
                raise Gone
            data += part
        return bytes(data)

    def first(self) -> tuple[int, bytes]:
        """The first, untagged message: its code and what follows. SSLRequest and
        GSSENCRequest are answered 'N'."""
        while True:
            length, code = struct.unpack("!II", self._read(8))
            rest = self._read(length - 8)
            if code not in (SSL_CODE, GSS_CODE):
                return code, rest
            self.send(b"N")

    def recv(self) -> tuple[bytes, bytes]:
        """The next tagged message."""
        tag, length = struct.unpack("!cI", self._read(5))
        body = self._read(length - 4)
        self.received.append(tag)
        return tag, body

    def expect(self, tag: bytes) -> bytes:
        """The body of the next message, which must be of this kind."""
        got, body = self.recv()
        if got != tag:
            raise AssertionError(f"expected {tag!r}, the client sent {got!r}")
        return body

    def send(self, *data: bytes) -> None:
        try:
            self.sock.sendall(b"".join(data))
        except (ConnectionError, TimeoutError, OSError) as exc:
            raise Gone from exc

    def drip(self, data: Iterable[int], interval: float) -> None:
        """One byte every `interval` seconds."""
        for byte in data:
            self.send(bytes([byte]))
            time.sleep(interval)

    def wait_closed(self, limit: float = LIMIT_S) -> bytes:
        """Reads until the client closes; gives what it still sent."""
        rest = b""
        self.sock.settimeout(limit)
        try:
            while part := self.sock.recv(65536):
                rest += part
        except OSError as exc:
            raise Gone from exc
        return rest

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Closes with an RST instead of a FIN."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def read_startup(self) -> None:
        code, rest = self.first()
        if code != PROTOCOL_3_0:
            raise AssertionError(f"startup with code {code:#x}")
        words = [w.decode() for w in rest.rstrip(b"\0").split(b"\0")]
        self.parameters = dict(zip(words[::2], words[1::2], strict=True))

    def boot(self) -> None:
        """What follows AuthenticationOk on an honest server."""
        self.send(
            parameter("server_version", "18.0"),
            parameter("client_encoding", "UTF8"),
            parameter("server_encoding", "UTF8"),
            parameter("DateStyle", "ISO, MDY"),
            parameter("IntervalStyle", "postgres"),
            parameter("TimeZone", "UTC"),
            parameter("integer_datetimes", "on"),
            parameter("standard_conforming_strings", "on"),
            backend_key(),
            ready(),
        )

    def startup(self) -> None:
        """A whole honest startup without authentication."""
        self.read_startup()
        self.send(auth_ok())
        self.boot()


Script = Callable[[Peer], None]


class Answer(NamedTuple):
    """What `serve` says to one statement. Each part replaces the honest answer
    to the message it is named after; a callable sends for itself."""

    columns: tuple[tuple[str, int], ...] = (("n", INT4),)
    rows: tuple[bytes, ...] = ()
    parse: bytes = PARSE_COMPLETE
    describe: bytes | None = None
    bind: bytes = BIND_COMPLETE
    execute: bytes | Script | None = None
    sync: bytes | None = None
    parameters: tuple[int, ...] = ()


def one_value(oid: int, value: bytes | None) -> Answer:
    """One row of one column."""
    return Answer(columns=(("v", oid),), rows=(data_row(value),))


class Server:
    """`serve` of one connection: knows its statements and answers in order."""

    def __init__(self, peer: Peer, answers: Mapping[str, Answer]) -> None:
        self.peer = peer
        self.answers = answers
        self.statements: dict[bytes, str] = {}
        self.current = Answer()
        self.status = b"I"
        self.failed = False

    def find(self, sql: str) -> Answer:
        """The scripted answer, else the number in the text: `select 7` gives 7."""
        for key, answer in self.answers.items():
            if key in sql:
                return answer
        found = re.search(r"-?\d+", sql)
        number = int(found[0]) if found else 0
        return Answer(rows=(data_row(int4(number)),))

    def describe(self, statement: bool) -> bytes:
        answer = self.current
        if answer.describe is not None:
            return answer.describe
        shape = row_description(*answer.columns) if answer.columns else NO_DATA
        return parameter_description(*answer.parameters) + shape if statement else shape

    def execute(self) -> bytes:
        answer = self.current
        if callable(answer.execute):
            answer.execute(self.peer)
            return b""
        if answer.execute is not None:
            return answer.execute
        return b"".join(answer.rows) + complete(f"SELECT {len(answer.rows)}")

    def reply(self, tag: bytes, body: bytes) -> bytes:
        if tag == b"S":
            self.failed = False
            sync, self.current = self.current.sync, self.current._replace(sync=None)
            return ready(self.status) if sync is None else sync
        if tag == b"H" or self.failed:
            return b""
        if tag == b"P":
            name, sql = body.split(b"\0")[:2]
            self.statements[name] = sql.decode()
            self.current = self.find(sql.decode())
            return self.current.parse
        if tag == b"B":
            self.current = self.find(self.statements.get(body.split(b"\0")[1], ""))
            return self.current.bind
        if tag == b"D":
            if body[:1] == b"S":
                self.current = self.find(self.statements.get(body[1:-1], ""))
            return self.describe(body[:1] == b"S")
        if tag == b"E":
            return self.execute()
        if tag == b"C":
            return CLOSE_COMPLETE
        if tag == b"Q":
            word = body[:-1].decode().split(" ")[0].upper()
            self.status = {b"BEGIN": b"T"}.get(word.encode(), b"I")
            return complete(word) + ready(self.status)
        raise AssertionError(f"the client sent {tag!r}")

    def run(self) -> None:
        while True:
            tag, body = self.peer.recv()
            if tag == b"X":
                self.peer.close()
                return
            out = self.reply(tag, body)
            if out[:1] == b"E":
                self.failed = True
            if out:
                self.peer.send(out)


def serve(peer: Peer, answers: Mapping[str, Answer] | None = None) -> None:
    """Answers statements until the client leaves. `answers`: by a part of the SQL."""
    Server(peer, answers or {}).run()


class MockServer:
    """Runs `script` for every connection to `listener`. A context manager.

    After it: `.failures` holds what went wrong inside scripts (that the client
    has left is not a failure), `.cancels` the CancelRequests, `.peers` all peers.
    """

    def __init__(self, script: Script, listener: socket.socket | None = None) -> None:
        self.script = script
        self.failures: list[BaseException] = []
        self.cancels: list[tuple[int, bytes]] = []
        self.peers: list[Peer] = []
        self.on_cancel: Callable[[], None] | None = None
        self.threads: list[threading.Thread] = []
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
        self.host: str = self.listener.getsockname()[0]
        self.port: int = self.listener.getsockname()[1]

    @property
    def dsn(self) -> str:
        return f"postgresql://mock@{self.host}:{self.port}/mock"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock)
            self.peers.append(peer)
            self._spawn(lambda peer=peer: self._serve(peer))

    def _serve(self, peer: Peer) -> None:
        try:
            if self._is_cancel(peer):
                return
            self.script(peer)
        except Gone:
            pass
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            peer.close()

    def _is_cancel(self, peer: Peer) -> bool:
        """Looks whether this is a CancelRequest, without reading anything else."""
        try:
            head = peer.sock.recv(8, socket.MSG_PEEK | socket.MSG_WAITALL)
        except OSError as exc:
            raise Gone from exc
        if len(head) < 8 or struct.unpack("!II", head)[1] != CANCEL_CODE:
            return False
        _, rest = peer.first()
        self.cancels.append((struct.unpack("!I", rest[:4])[0], rest[4:]))
        if self.on_cancel is not None:
            self.on_cancel()
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:  # wakes its thread, which closes the socket
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)


# --- SCRAM, the server's side ------------------------------------------------


class Scram:
    """SCRAM-SHA-256 (RFC 5802, RFC 7677) as a server speaks it, to be bent."""

    def __init__(self, password: str = "secret", iterations: int = 4096) -> None:
        self.salt = secrets.token_bytes(16)
        self.iterations = iterations
        self.salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), self.salt, iterations
        )
        self.client_bare = ""
        self.client_nonce = ""

    def read_first(
        self, peer: Peer, mechanisms: Sequence[str] = ("SCRAM-SHA-256",)
    ) -> None:
        """Offers the mechanisms and reads SASLInitialResponse."""
        peer.send(auth_sasl(*mechanisms))
        body = peer.expect(b"p")
        response = body[body.index(b"\0") + 5 :].decode()
        self.client_bare = response.split(",", 2)[2]
        self.client_nonce = self.client_bare.split("r=", 1)[1]

    def first(
        self, nonce: str | None = None, salt: str | None = None, **more: str
    ) -> str:
        """server-first-message."""
        r = self.client_nonce + secrets.token_hex(9) if nonce is None else nonce
        s = base64.b64encode(self.salt).decode() if salt is None else salt
        return f"r={r},s={s},i={more.get('iterations', str(self.iterations))}"

    def final(self, peer: Peer, server_first: str) -> str:
        """Reads the proof, checks it and gives server-final-message."""
        last = peer.expect(b"p").decode()
        without, proof = last.rsplit(",p=", 1)
        signed = f"{self.client_bare},{server_first},{without}".encode()
        client_key = hmac.digest(self.salted, b"Client Key", "sha256")
        stored = hashlib.sha256(client_key).digest()
        mask = hmac.digest(stored, signed, "sha256")
        if bytes(
            a ^ b for a, b in zip(client_key, mask, strict=True)
        ) != base64.b64decode(proof):
            raise AssertionError("the client's proof is wrong")
        server_key = hmac.digest(self.salted, b"Server Key", "sha256")
        return (
            "v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256")).decode()
        )

    def honest(self, peer: Peer) -> None:
        """The whole exchange up to AuthenticationSASLFinal."""
        self.read_first(peer)
        first = self.first()
        peer.send(auth(11, first.encode()))
        peer.send(auth(12, self.final(peer, first).encode()))


# --- the proxy ---------------------------------------------------------------

TICK_S = 0.02  # how soon a proxy thread notices that its pair is to be cut


class Pair:
    """A client and the server it is connected to, through a proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.cut: str | None = None  # "fin" or "rst" once it is to end
        self.running = 2
        self.lock = threading.Lock()
        for sock in (client, server):
            sock.settimeout(TICK_S)

    def receive(self, sock: socket.socket) -> bytes:
        while self.cut is None:
            with contextlib.suppress(TimeoutError):
                return sock.recv(65536)
        return b""

    def send(self, sock: socket.socket, data: bytes) -> None:
        while data and self.cut is None:
            with contextlib.suppress(TimeoutError):
                data = data[sock.send(data) :]

    def leave(self) -> None:
        """The last thread to leave closes both sockets."""
        with self.lock:
            self.running -= 1
            if self.running:
                return
        for sock in (self.client, self.server):
            if self.cut == "rst":
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()


class Proxy:
    """Passes connections on to a server (TCP or Unix socket), and can do harm.

    `chunk`: pass on at most so many bytes at a time (1: split everywhere), each
    its own segment. `cut_after`: after so many bytes from the server every pair
    is cut, as `cut_how` says ("fin" or "rst").
    """

    def __init__(self, host: str, port: int, chunk: int = 65536) -> None:
        self.target = (host, port)
        self.chunk = chunk
        self.flowing = threading.Event()
        self.flowing.set()
        self.cut_after: int | None = None
        self.cut_how = "fin"
        self.up_bytes = 0  # client to server
        self.down_bytes = 0
        self.round_trips = 0  # how often the client spoke after an answer
        self.record: list[tuple[str, bytes]] | None = None  # ("up" or "down", bytes)
        self.connections = 0
        self._last = ""
        self._lock = threading.Lock()
        self._pairs: list[Pair] = []
        self._threads: list[threading.Thread] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_listener()
        self.cut()
        self.flowing.set()
        for thread in self._threads:
            thread.join(5)

    def close_listener(self) -> None:
        """Nobody can connect any more; what is connected goes on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def stall(self) -> None:
        """Nothing passes until `resume`; connections stay open."""
        self.flowing.clear()

    def resume(self) -> None:
        self.flowing.set()

    def cut(self, how: str = "fin") -> None:
        """Ends every pair, with a FIN or ("rst") an RST towards both sides."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.cut = how

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _dial(self) -> socket.socket:
        host, port = self.target
        if not host.startswith("/"):
            return socket.create_connection(self.target)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(os.path.join(host, f".s.PGSQL.{port}"))
        return sock

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = self._dial()
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            pair = Pair(client, server)
            with self._lock:
                self._pairs.append(pair)
            self._spawn(lambda pair=pair: self._pass(pair, "up"))
            self._spawn(lambda pair=pair: self._pass(pair, "down"))

    def _count(self, way: str, size: int) -> bool:
        """Books `size` bytes; true when the cut is due."""
        with self._lock:
            if way == "up":
                self.up_bytes += size
                self.round_trips += self._last != "up"
            else:
                self.down_bytes += size
            self._last = way
            return self.cut_after is not None and self.down_bytes >= self.cut_after

    def _pass(self, pair: Pair, way: str) -> None:
        source, sink = pair.client, pair.server
        if way == "down":
            source, sink = sink, source
        try:
            while data := pair.receive(source):
                for at in range(0, len(data), self.chunk):
                    while not self.flowing.wait(TICK_S) and pair.cut is None:
                        pass
                    part = data[at : at + self.chunk]
                    due = self._count(way, len(part))
                    if self.record is not None:
                        self.record.append((way, part))
                    pair.send(sink, part)
                    if due:
                        self.cut(self.cut_how)
            if pair.cut is None:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, sink):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        finally:
            pair.leave()
