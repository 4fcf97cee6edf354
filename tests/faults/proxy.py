"""A proxy before a real HTTP server on loopback: counts what passes, and does wrong what it is told to.

    with Proxy(server.port) as proxy:                     clients talk to proxy.url
        proxy.seen("GET")                                 the requests so far
        proxy.stop(); proxy.start()                       refuses connections; is back, on the same port
        rule = proxy.inject(status(503), path="releases") from now on, until rule.end() or proxy.heal()
        proxy.inject(flip(), method="GET", path="/blobs/", skip=1, times=2)     the 2nd and 3rd such request
        with proxy.inject(hang): ...                      within the block

A fault is a function of an `Exchange`: one request, of which it may `fetch` the server's answer, and to which it
`answer`s what it likes. The newest rule that fits a request decides. It knows no TLS and no chunked request bodies.
"""

import contextlib
import http.client
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Self

CHUNK_BYTES: Final = 1 << 16
HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})


@dataclass(frozen=True)
class Request:
    """One request as it stood on the wire; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A whole answer; ``headers`` without those that say how long it is."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Rule:
    """A fault, and the requests it is for.

    Attributes:
        hits: How many requests it has decided about.
        over: Set when it no longer applies; what hangs goes on then.
    """

    fault: Callable[["Exchange"], None]
    method: str | None = None
    path: str = ""
    skip: int = 0
    times: float = float("inf")
    hits: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def takes(self, request: Request) -> bool:
        """Return whether it decides about this request; counts."""
        if self.over.is_set() or self.method not in (None, request.method):
            return False
        if re.search(self.path, request.path) is None:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.hits >= self.times:
            return False
        self.hits += 1
        return True

    def end(self) -> None:
        """Let everything pass again."""
        self.over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Proxy:
    """Passes HTTP requests on to a port of this host, but for those that a rule takes.

    Attributes:
        requests: The requests, in the order of their arrival.
        connections: How many connections were made.
        bytes_back: How many bytes of answers' bodies were sent to clients.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self._sockets: set[socket.socket] = set()
        self._rules: list[Rule] = []
        self._lock = threading.Lock()  # guards the counters, the rules and the set of sockets
        self._listener: socket.socket | None = None
        self._kept: socket.socket | None = None
        self.port = 0
        self.requests: list[Request] = []
        self.connections = 0
        self.bytes_back = 0
        self.start()

    @property
    def url(self) -> str:
        """The endpoint to give to clients."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        if self._kept is not None:
            self._kept.close()
        # Bound, and never listening: while the proxy is stopped, nobody else gets the port.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on and cut those there are."""
        with self._lock:
            listener, self._listener = self._listener, None
            doomed = [*self._sockets, *([listener] if listener else [])]
            self._sockets.clear()
        for each in doomed:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it; close() does not
            each.close()
        if listener is not None and self._kept is not None:
            with contextlib.suppress(OSError):
                self._kept.bind(("127.0.0.1", self.port))

    def inject(self, fault: Callable[["Exchange"], None], **which: Any) -> Rule:
        """Have a fault happen to the requests of a `Rule` (method, path, skip, times), from now on."""
        rule = Rule(fault, **which)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """End every rule."""
        with self._lock:
            ended, self._rules = self._rules, []
        for rule in ended:
            rule.end()

    def hold(self) -> None:
        """Take requests from now on, and never answer; `heal` lets them pass."""
        self.inject(hang)

    def seen(self, method: str | None = None, path: str = "") -> list[Request]:
        """Return the requests so far, of one method or of all, and whose path holds this pattern."""
        with self._lock:
            return [r for r in self.requests if method in (None, r.method) and re.search(path, r.path)]

    def count(self, body_bytes: int) -> None:
        """Count bytes sent to a client."""
        with self._lock:
            self.bytes_back += body_bytes

    def arrived(self, request: Request) -> Rule | None:
        """Keep a request; return the rule for it, if there is one."""
        with self._lock:
            self.requests.append(request)
            return next((rule for rule in reversed(self._rules) if rule.takes(request)), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self.stop()
        if self._kept is not None:
            self._kept.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    if self._listener is not listener:  # stopped meanwhile
                        client.close()
                        return
                    self._sockets.add(client)
                    self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # either side hung up
            _Connection(client, client.getpeername(), self)
        with self._lock:
            self._sockets.discard(client)
        client.close()


class _Connection(BaseHTTPRequestHandler):
    """One client's connection, kept open for request after request."""

    protocol_version = "HTTP/1.1"
    wbufsize = 0
    server: Proxy  # type: ignore[assignment] - all that is asked of it here

    def take(self) -> None:
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        request = Request(self.command, self.path, {n.lower(): v for n, v in self.headers.items()})
        rule = self.server.arrived(request)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        exchange = Exchange(request, headers, body, self, rule)
        with exchange:
            (rule.fault if rule else relay)(exchange)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = take  # noqa: N815 - the names http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Exchange:
    """One request and what becomes of it."""

    request: Request
    headers: list[tuple[str, str]]
    body: bytes
    connection: _Connection
    rule: Rule | None
    upstream: http.client.HTTPConnection | None = None

    def ask(self) -> http.client.HTTPResponse:
        """Send the request to the server, as it came; return what it begins to answer."""
        self.upstream = http.client.HTTPConnection("127.0.0.1", self.connection.server.target)
        self.upstream.putrequest(
            self.request.method, self.request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers:
            self.upstream.putheader(name, value)
        if self.body or self.request.method in {"PUT", "POST"}:
            self.upstream.putheader("Content-Length", str(len(self.body)))
        self.upstream.endheaders(self.body)
        return self.upstream.getresponse()

    def fetch(self) -> Answer:
        """Return the server's whole answer."""
        response = self.ask()
        return Answer(response.status, _own_headers(response), response.read())

    def answer(self, answer: Answer, *, length: int | None = -1) -> None:
        """Send an answer.

        Args:
            answer: What to send.
            length: What to announce; None: nothing, its end is the connection's. Default: the truth.
        """
        self.begin(answer.status, answer.headers, len(answer.body) if length == -1 else length)
        self.send(answer.body)
        if length != -1:
            self.cut()

    def begin(self, status: int, headers: list[tuple[str, str]], length: int | None) -> None:
        """Send an answer's head."""
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += ["Connection: close"] if length is None else [f"Content-Length: {length}"]
        self.connection.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        self.connection.close_connection = length is None or self.connection.close_connection

    def send(self, data: bytes) -> None:
        """Send a part of an answer's body; none to a HEAD, which has none."""
        if data and self.request.method != "HEAD":
            self.connection.wfile.write(data)
            self.connection.server.count(len(data))

    def cut(self) -> None:
        """End the connection, politely."""
        self.connection.close_connection = True

    def reset(self) -> None:
        """End the connection with an RST."""
        self.connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.connection.close()
        raise ConnectionResetError

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long, or until the rule has ended; return whether it has."""
        assert self.rule is not None
        return self.rule.over.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.upstream is not None:
            self.upstream.close()


def _own_headers(response: http.client.HTTPResponse) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]


# -- faults -------------------------------------------------------------------------------------------------


def relay(exchange: Exchange) -> None:
    """No fault: the server's answer, as it comes."""
    response = exchange.ask()
    length: Any = response.getheader("Content-Length", response.length)
    exchange.begin(response.status, _own_headers(response), length)
    while data := response.read1(CHUNK_BYTES):
        exchange.send(data)


def hang(exchange: Exchange) -> None:
    """Nothing, until healed; the request then goes to the server after all."""
    exchange.wait()
    relay(exchange)


def reset(exchange: Exchange) -> None:
    """The connection is reset; the server hears nothing."""
    exchange.reset()


def lose(exchange: Exchange) -> None:
    """The server does what it was asked, and the connection is reset in the place of its answer."""
    exchange.fetch()
    exchange.reset()


def late(seconds: float) -> Callable[[Exchange], None]:
    """The request waits that long on the way."""

    def fault(exchange: Exchange) -> None:
        exchange.wait(seconds)
        relay(exchange)

    return fault


def drip(seconds: float = 0.5) -> Callable[[Exchange], None]:
    """The head at once, then one byte of the body after each pause."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.fetch()
        exchange.begin(answer.status, answer.headers, len(answer.body))
        for number in range(len(answer.body)):
            exchange.wait(seconds)
            exchange.send(answer.body[number : number + 1])

    return fault


def truncate(after: int = 10) -> Callable[[Exchange], None]:
    """The announced length is right; after so many bytes the connection ends."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.fetch()
        part = Answer(answer.status, answer.headers, answer.body[:after])
        exchange.answer(part, length=len(answer.body))

    return fault


def shorten(to: int = 10, as_status: int | None = None) -> Callable[[Exchange], None]:
    """Only the first bytes, announced as if they were all; ``as_status=206``: as a part, unasked."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.fetch()
        part = answer.body[:to]
        headers = list(answer.headers)
        if as_status == http.client.PARTIAL_CONTENT:
            headers.append(("Content-Range", f"bytes 0-{len(part) - 1}/{len(answer.body)}"))
        exchange.answer(Answer(as_status or answer.status, headers, part))

    return fault


def announce(difference: int) -> Callable[[Exchange], None]:
    """The body is whole, and its announced length wrong by so much; then the connection ends."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.fetch()
        exchange.answer(answer, length=max(0, len(answer.body) + difference))

    return fault


def flip(bit: int = -1) -> Callable[[Exchange], None]:
    """One bit of the body is another; default: one in the middle."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.fetch()
        data = bytearray(answer.body)
        at = bit if bit >= 0 else 4 * len(data)
        data[at // 8] ^= 1 << at % 8
        exchange.answer(Answer(answer.status, answer.headers, bytes(data)))

    return fault


def endless(part: bytes = bytes(CHUNK_BYTES)) -> Callable[[Exchange], None]:
    """Bytes without end, none announced, until the client hangs up or all is healed."""

    def fault(exchange: Exchange) -> None:
        exchange.begin(200, [], None)
        while not exchange.wait(0):
            exchange.send(part)

    return fault


def status(code: int, error: str = "") -> Callable[[Exchange], None]:
    """An error as S3 puts it; the server hears nothing."""

    def fault(exchange: Exchange) -> None:
        name = error or {403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError"}.get(
            code, "SlowDown"
        )
        body = f"<Error><Code>{name}</Code><Message>injected</Message></Error>".encode()
        exchange.answer(Answer(code, [("Content-Type", "application/xml")], body))

    return fault


def instead(body: bytes, code: int = 200) -> Callable[[Exchange], None]:
    """Another body, such as a login page or none; the server hears nothing."""

    def fault(exchange: Exchange) -> None:
        exchange.answer(Answer(code, [("Content-Type", "text/html")], body))

    return fault


def splice(other: bytes) -> Callable[[Exchange], None]:
    """The first half of the object, then the second half of another: it was replaced while being read."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.fetch()
        half = len(answer.body) // 2
        exchange.answer(Answer(answer.status, answer.headers, answer.body[:half] + other[half:]))

    return fault


def in_turn(*faults: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """One fault after the other, round and round."""
    turns = itertools.cycle(faults)

    def fault(exchange: Exchange) -> None:
        next(turns)(exchange)

    return fault
