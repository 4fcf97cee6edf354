"""A private event loop with one connection, used from plain threads and from threads that run another loop.

    loop = PrivateLoop(connect)         nothing happens yet
    loop.run(work, timeout=10.0)        starts it, connects if it is not, awaits work(connection)
    loop.close()                        closes the connection; so do its collection and the end of Python

One thread at a time. A forked child closes what it inherited, which reaches none of the sockets its parent
goes on using, and makes its own. Where gevent has patched the standard library, names are looked up in threads
of the system's all the same: greenlets of this thread would never get their turn while the loop waits. What the
connection is, and what its errors mean, is known elsewhere.
"""

import asyncio
import os
import selectors
import socket
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from mlshared._gate import apart
from mlshared._native import is_patched, original, start_thread


class Connection(Protocol):
    """What the loop connects to."""

    async def close(self) -> None:
        """Close all sockets."""
        ...


_T = TypeVar("_T")
_C = TypeVar("_C", bound=Connection)

_CLOSE_SECONDS: Final = 2.0


@dataclass
class _Live:
    """A started loop, and its connection once there is one."""

    loop: "_Loop"
    selector: selectors.BaseSelector
    pid: int
    connection: Connection | None = None


class PrivateLoop(Generic[_C]):
    """Runs coroutines on a loop of its own, one at a time, over a connection that lasts.

    Args:
        connect: Makes the connection; awaited on the loop, at the first `run` and after each `close`.
    """

    def __init__(self, connect: Callable[[], Awaitable[_C]]) -> None:
        self._connect = connect
        self._live: _Live | None = None
        self._finalizer: Callable[[], Any] | None = None

    def run(self, work: Callable[[_C], Awaitable[_T]], *, timeout: float) -> _T:
        """Return what ``work`` makes of the connection.

        Raises:
            TimeoutError: If connecting and working took more than ``timeout`` seconds.
        """
        live = self._live
        if live is None:
            live = self._live = _start()
            # At the latest when this is collected or Python exits, else aiohttp complains there.
            self._finalizer = weakref.finalize(self, _end, live)
        return _run_in(live.loop, asyncio.wait_for(_over(live, self._connect, work), timeout))

    def close(self) -> None:
        """Close the connection and the loop; a later `run` makes them anew."""
        self._live = None
        if self._finalizer is not None:
            self._finalizer()


async def _over(live: _Live, connect: Callable[[], Awaitable[_C]], work: Callable[[_C], Awaitable[_T]]) -> _T:
    connection: Any = live.connection
    if connection is None:
        connection = live.connection = await connect()
    return await work(connection)


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose helpers are threads of the system's."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        if executor is not None or not is_patched():
            return super().run_in_executor(executor, func, *args)
        future = self.create_future()

        def settle(put: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                put(value)

        def run() -> None:
            try:
                put, value = future.set_result, func(*args)
            except BaseException as error:  # noqa: BLE001 - for whoever awaits it
                put, value = future.set_exception, error
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self.call_soon_threadsafe(settle, put, value)

        start_thread(run, name="mlshared-loop")
        return future

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> Any:
        look_up = partial(original("socket", "getaddrinfo"), host, port, **hints)
        return await self.run_in_executor(None, look_up)


if hasattr(selectors, "PollSelector"):

    class _Selector(selectors.PollSelector):
        """poll(2) keeps its state in the process, unlike epoll.

        With that a forked child that drops an inherited socket would take it out of its parent's set as well.
        """

        @staticmethod
        def _selector_cls() -> Any:
            return original("select", "poll")()

else:
    _Selector = selectors.SelectSelector  # type: ignore[misc,assignment]


class _Poll(_Selector):
    """No fork has to wait while this waits for the network."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        with apart():
            return super().select(timeout)


def _start() -> _Live:
    "localhost".encode("idna")  # imports on this thread what looking up a name would import on another
    selector = _Poll()
    return _Live(_Loop(selector), selector, os.getpid())


def _run_in(loop: asyncio.AbstractEventLoop, work: Awaitable[_T]) -> _T:
    """Run to the end; in a helper thread where this one is in an event loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return loop.run_until_complete(work)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlshared-loop") as helper:
        return helper.submit(loop.run_until_complete, work).result()


_STRANDED: Final[list[_Live]] = []  # never collected, as finalizers of what is half open complain


def _end(live: _Live) -> None:
    if live.pid != os.getpid():
        _disconnect(live.selector)
    if live.loop.is_running():  # some thread is in it, or was at the fork: it cannot be run to its end here
        live.loop.set_exception_handler(lambda _loop, _context: None)
        _STRANDED.append(live)
        return
    _run_in(live.loop, _shut(live.connection))
    live.loop.close()


def _disconnect(selector: selectors.BaseSelector) -> None:
    """Put a dead socket in the place of every inherited one: what is then sent reaches nobody.

    Closing alone is not enough, as TLS says goodbye to the server first, in the parent's name.
    """
    dead, peer = socket.socketpair()
    peer.close()
    with dead:
        for key in list(selector.get_map().values()):
            os.dup2(dead.fileno(), key.fd, inheritable=False)


async def _shut(connection: Connection | None) -> None:
    leftover = asyncio.all_tasks() - {asyncio.current_task()}
    for task in leftover:
        task.cancel()
    await asyncio.wait({*leftover, asyncio.ensure_future(_close(connection))}, timeout=_CLOSE_SECONDS)


async def _close(connection: Connection | None) -> None:
    if connection is not None:
        await connection.close()
    await asyncio.sleep(0)  # transports close one turn after they are told to
