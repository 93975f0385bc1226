"""What the C core calls out to: one Link per connection.

The core calls from inside its pump, so everything here stores or schedules;
nothing raises and no user code runs before the loop's next turn.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _core, pipeline, pooler, sql, tls
from .conninfo import Config
from .errors import ConnectError, ConnectionLost, InterfaceError
from .infer import infer
from .reset import Baseline
from .saslprep import saslprep
from .sockets import Address, open_socket
from .timeouts import helper_task, signalled, until
from .trace import Trace
from .transport import Transport
from .typelink import TypeLink, zone_of

if TYPE_CHECKING:
    from .connection import Connection
    from .stream import Stream

log = logging.getLogger("pgasync")

CANCEL_AGAIN = 0.25  # s: a CancelRequest that overtook its query is lost


@dataclass(frozen=True)
class Notice:
    """A NoticeResponse: a warning or message of the server (no error)."""

    severity: str
    sqlstate: str | None
    message: str
    detail: str | None
    hint: str | None
    where: str | None

    @classmethod
    def from_fields(cls, fields: dict[str, str]) -> "Notice":
        """From protocol field codes ("Error and Notice Message Fields")."""
        return cls(
            severity=fields.get("V") or fields.get("S", ""),
            sqlstate=fields.get("C"),
            message=fields.get("M", ""),
            detail=fields.get("D"),
            hint=fields.get("H"),
            where=fields.get("W"),
        )


class KeyCache:
    """Salted SCRAM passwords of this process, so that a reconnect derives nothing.

    Keyed by a digest under a random secret: no password is kept here.
    """

    SIZE = 64

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        text = b"%d %d %s%s" % (iterations, len(salt), salt, password)
        return hashlib.blake2b(text, key=self._secret, digest_size=32).digest()

    def get(self, name: bytes) -> bytes | None:
        with self._lock:
            return self._keys.get(name)

    def put(self, name: bytes, key: bytes) -> None:
        with self._lock:
            self._keys[name] = key
            while len(self._keys) > self.SIZE:
                self._keys.popitem(last=False)


_keys = KeyCache()


class _Left:
    """A descriptor that a loop still watches. To be called by that loop, or forgotten
    by it: a loop that is closed forgets what it was asked to call."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self) -> None:
        """In this order: the loop would not notice the next socket of that number."""
        asyncio.get_running_loop().remove_reader(self._fd)
        self.__del__()

    def __del__(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Link:
    """See `_core.Link`. Holds what the core does not need to know: the address
    (a CancelRequest goes to the same one), the running cancel.

    The loop holds the core, and the core the link: the listeners, which may hold the
    connection, are the wrapper's own, so that one that is dropped can be collected.
    """

    resolve = staticmethod(sql.resolve)
    rewrite = staticmethod(sql.rewrite)
    is_script = staticmethod(sql.is_script)

    def check_pipeline(self) -> None:
        """InterfaceError when a request would wait for a pipeline that waits for it."""
        pipeline.check(self)

    infer = staticmethod(infer)

    def __init__(
        self,
        config: Config,
        address: Address,
        loop: asyncio.AbstractEventLoop,
        transport: Transport,
    ) -> None:
        self.config = config
        self.address = address
        self.transport = transport
        self.loop = loop
        self.password: bytes | None = None  # until the startup is over
        self.trace: Trace | None = None
        self.wrapper: weakref.ref[Connection] | None = None
        self.baseline: Baseline | None = None  # of a pooled session
        self.on_end: Callable[[], object] | None = None  # of a pool; any thread
        self.typelink = TypeLink(config.catalog_key(address.host), config.types)
        self.types = self.typelink.types
        self.types_found = self.typelink.found
        self.types_changed = self.typelink.changed
        self.types_doubted = self.typelink.doubt
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()  # open ones
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain: asyncio.Future[None] | None = None

    # -------------------------------------------------------------- pooler

    def answered(self, core: _core.Connection, pid: int) -> None:
        """pg_backend_pid(), which conn.asking has asked for."""
        host = self.address.host
        pooler.answered(core, pid, (host.address, host.port))

    # ---------------------------------------------------------------- SCRAM

    def scram(self, core: _core.Connection, salt: bytes, iterations: int) -> None:
        """Derives the salted password in the executor: OpenSSL's PBKDF2 lets the
        other threads run meanwhile."""
        self._schedule(core, self._derive, core, salt, iterations)

    def _derive(self, core: _core.Connection, salt: bytes, iterations: int) -> None:
        try:
            self._find_key(core, salt, iterations)
        except Exception as error:  # no memory, no thread, the executor is shut down
            self._end_startup(core, error)

    def _find_key(self, core: _core.Connection, salt: bytes, iterations: int) -> None:
        client, server = self.config.scram_client_key, self.config.scram_server_key
        if client is not None and server is not None:
            self._answer(core, b"")
            return
        password = saslprep(self.password or b"")
        name = _keys.name(password, salt, iterations)
        key = _keys.get(name)
        if key is not None:
            self._answer(core, key)
            return
        derive = partial(
            hashlib.pbkdf2_hmac, "sha256", password, salt, iterations, dklen=32
        )
        future = self.loop.run_in_executor(None, derive)
        future.add_done_callback(partial(self._derived, core, name))

    def _derived(
        self, core: _core.Connection, name: bytes, future: asyncio.Future[bytes]
    ) -> None:
        if future.cancelled():
            core.terminate(ConnectError("SCRAM: the key's derivation was cancelled"))
            return
        try:
            _keys.put(name, future.result())
            self._answer(core, future.result())
        except Exception as error:
            self._end_startup(core, error)

    def _end_startup(self, core: _core.Connection, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        core.terminate(ConnectError(f"SCRAM: {reason}"))

    def _answer(self, core: _core.Connection, salted: bytes) -> None:
        """Goes on with the salted password, or with the keys that are given and what
        it gives for one that is not."""
        client, server = self.config.scram_client_key, self.config.scram_server_key
        if client or server:
            client = client or hmac.digest(salted, b"Client Key", "sha256")
            server = server or hmac.digest(salted, b"Server Key", "sha256")
            salted = client + server
        if not core.closed:
            core.scram_key(salted)

    # ---------------------------------------------------------------- loops

    def moved(self, loop: asyncio.AbstractEventLoop) -> None:
        """The idle connection was used from another loop, and belongs to it now."""
        self.loop = loop

    def leave(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        """Has a loop of another thread stop watching `fd`, and close it."""
        with contextlib.suppress(RuntimeError):  # it was closed this moment
            loop.call_soon_threadsafe(_Left(fd))

    # --------------------------------------------------------------- cancel

    def abandoned(self, core: _core.Connection) -> None:
        """Every request in flight has been given up: have the server stop."""
        if self._drain is None:
            self._drain = self.loop.create_future()
            self._schedule(core, self._start, core, self._drain)

    def drained(self, core: _core.Connection) -> None:
        """The last of them has been answered, or the connection is gone."""
        if self._drain is not None:  # by terminate() from any thread
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._drain.get_loop().call_soon_threadsafe(_set, self._drain)

    def _start(self, core: _core.Connection, drain: asyncio.Future[None]) -> None:
        if core.closed:
            self._drain = None
            return
        try:
            self._spawn(self._cancel(core, drain))
        except Exception as error:  # no memory: nobody would wait for the answers
            self._drain = None
            lost = ConnectionLost("the cancellation of a statement could not begin")
            lost.__cause__ = error
            self._give_up(core, lost)

    def _spawn(self, work: Any) -> None:
        try:
            task = helper_task(self.loop, work)
        except BaseException:
            work.close()
            raise
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel(
        self, core: _core.Connection, drain: asyncio.Future[None]
    ) -> None:
        """Sends CancelRequests until the answers are in; ends in time."""
        try:
            if not await self._stop_server(core, drain):
                self._give_up(
                    core,
                    ConnectionLost(
                        "the server did not end a cancelled statement within "
                        f"{self.config.cancel_timeout:g} s; the connection is closed"
                    ),
                )
        except BaseException as error:
            # Cancelled with its loop, KeyboardInterrupt …: nothing waits for the
            # answers any more, so the connection cannot be used again.
            lost = ConnectionLost("the cancellation of a statement was interrupted")
            lost.__cause__ = error if isinstance(error, Exception) else None
            self._give_up(core, lost)
            raise
        finally:
            self._drain = None
            if not core.closed:
                core.cancel_finished()

    def _give_up(self, core: _core.Connection, error: ConnectionLost) -> None:
        if not core.closed:
            core.terminate(error)
            self.ended(core)

    async def _stop_server(
        self, core: _core.Connection, drain: asyncio.Future[None]
    ) -> bool:
        deadline = self.loop.time() + self.config.cancel_timeout
        deliver = bool(core.backend_key)  # poolers may give none
        # One that has hardly the time to be delivered is not worth a warning.
        last = deadline - min(CANCEL_AGAIN, self.config.cancel_timeout) / 2
        while deliver and not drain.done() and self.loop.time() < last:
            deliver = await self._send(core, deadline)
            left = deadline - self.loop.time()
            await signalled(drain, min(CANCEL_AGAIN, left))
        return await signalled(drain, deadline - self.loop.time())

    async def _send(self, core: _core.Connection, deadline: float) -> bool:
        """One CancelRequest, whose connection the server closes once it has
        signalled its backend. False, and one line in the log, on failure."""
        request = _core.cancel_request(core.backend_pid, core.backend_key)
        where = self.address.host
        try:
            await until(deadline, self._deliver(request))
        except TimeoutError:
            log.warning("%s does not end the connection of a CancelRequest", where)
        except (OSError, ConnectError) as error:
            log.warning("no CancelRequest reached %s: %s", where, error)
        else:
            return True
        return False

    async def _deliver(self, request: bytes) -> None:
        """Encrypted where the session is, and to a server that proves as much."""
        config, host = self.config, self.address.host
        transport = Transport()
        sock = await open_socket(config, self.address)
        try:
            if self.transport.encrypted:
                if not await tls.ask(config, host, sock):
                    raise ConnectError(f"{host}: no TLS for a CancelRequest")
                transport = await tls.secure(config, host, sock)
            if self.trace is not None:
                self.trace.exchange(request)
            await transport.exchange(sock, request)
        finally:
            sock.close()

    def request_cancel(self, core: _core.Connection) -> None:
        """Connection.cancel(), from any thread: one request, for whatever runs at the
        server."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._request, core)

    def _request(self, core: _core.Connection) -> None:
        if self._drain is None and core.backend_key and not core.closed:
            deadline = self.loop.time() + self.config.cancel_timeout
            self._spawn(self._cancel_once(core, deadline))

    def forsake(self, core: _core.Connection) -> None:
        """terminate() has closed the socket, which the server notices only when the
        statement that runs there has a result: it is asked to stop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._forsake, core)

    def _forsake(self, core: _core.Connection) -> None:
        if core.backend_key:
            deadline = self.loop.time() + self.config.cancel_timeout
            self._spawn(self._cancel_once(core, deadline))

    async def _cancel_once(self, core: _core.Connection, deadline: float) -> None:
        await self._send(core, deadline)

    # ---------------------------------------------------------------- trace

    def traced(self, core: _core.Connection, trace: Trace | None) -> None:
        """Traces into `trace` from now on, None: no more; the former one is closed."""
        old, self.trace = self.trace, trace
        if trace is not None:
            trace.start(core)
        else:
            core.trace(None, False, False)
        if old is not None:
            old.close()

    def untraced(self, error: BaseException | None) -> None:
        """The core could not write the trace, and has ended it."""
        trace, self.trace = self.trace, None
        if trace is not None:
            trace.failed(error)
            trace.close()

    # ------------------------------------------------------------ listeners

    def notice(self, fields: dict[str, str]) -> None:
        """To the notice listeners, in the loop's next turn."""
        wrapper = self._connection()
        if wrapper is not None and wrapper._notice_listeners:
            self._tell(wrapper, wrapper._notice_listeners, Notice.from_fields(fields))

    def notification(self, pid: int, channel: str, payload: str) -> None:
        """To whom it concerns; runs no code of theirs."""
        wrapper = self._connection()
        if wrapper is not None and wrapper._channels is not None:
            wrapper._channels.deliver(pid, channel, payload)

    def parameter(self, name: str, value: str) -> None:
        """The core has stored it in its `parameters`."""
        core = self.typelink.core
        if name == "TimeZone" and self.config.session_zone and core is not None:
            try:
                core.configure({"zone": zone_of(value)})
            except InterfaceError as error:
                log.warning("%s; the zone used before stays", error)
        elif name == "search_path":
            self.typelink.follow(value)

    def started(self, core: _core.Connection) -> None:
        """The session is open: the choices of connect()'s keywords go to the core."""
        options = dict(self.config.codec_options)
        if self.config.session_zone:
            options["zone"] = zone_of(core.parameters.get("TimeZone", "UTC"))
        if options:
            core.configure(options)
        self.typelink.start(core)
        host = self.address.host
        pooler.begin(core, self.config.prepared_statements, (host.address, host.port))

    def lost(self, core: _core.Connection, error: BaseException) -> None:
        """The connection broke: whoever waits is told."""
        self.ended(core)

    def ended(self, core: _core.Connection) -> None:
        """The connection is closed: the termination listeners are told, once. What
        still waits for the end of a CancelRequest need not wait any more."""
        self.drained(core)
        self.typelink.end()
        if self.trace is not None:
            self.traced(core, None)
        for task in [*self._tasks]:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                task.get_loop().call_soon_threadsafe(task.cancel)
        if self.on_end is not None:
            self.on_end()
        wrapper = self._connection()
        if wrapper is not None and wrapper._channels is not None:
            wrapper._channels.end(core.lost_error)
        if wrapper is not None and wrapper._termination_listeners:
            listeners, wrapper._termination_listeners = (
                wrapper._termination_listeners,
                {},
            )
            self._tell(wrapper, listeners)

    def _connection(self) -> "Connection | None":
        return self.wrapper() if self.wrapper is not None else None

    def _tell(
        self,
        wrapper: "Connection",
        listeners: dict[Callable[..., object], None],
        *args: Any,
    ) -> None:
        try:
            for listener in listeners:
                self.loop.call_soon_threadsafe(listener, wrapper, *args)
        except RuntimeError:
            pass  # the loop is closed: nobody is there to be told

    def _schedule(
        self, core: _core.Connection, call: Callable[..., object], *args: Any
    ) -> None:
        try:
            self.loop.call_soon(call, *args)
        except RuntimeError as error:  # the loop is closed
            core.terminate(ConnectionLost(str(error)))
