"""The demo's child processes: started with a log each, stopped by their own ids, whatever happens.

    with Processes(folder, environment) as processes:
        processes.serve("gunicorn", [...])     stays until the end
        processes.run([...])                   ends by itself; its output comes back

Each child leads a session of its own: Ctrl-C reaches the demo alone, which then stops them, the last first.
"""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

TOP: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent  # where this environment's commands are
STOP_SECONDS: Final = 10.0
START_SECONDS: Final = 60.0


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Processes:
    """Starts children, and stops all of them on leaving.

    Args:
        folder: Where logs go.
        environment: What children get beside the demo's own environment.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        # The user's own settings would send the demo to the user's own store.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLSHARED_")}
        self._environment = {**kept, "PYTHONUNBUFFERED": "1", **environment}
        self._running: list[subprocess.Popen[str]] = []

    def serve(self, name: str, command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
        """Start a server; what it writes goes to ``<name>.log``."""
        with self.log(name).open("a") as log:
            return self._start(
                command, environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def start(self, command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
        """Start a command that ends by itself; `finish` gives its output."""
        with self.log("commands").open("a") as log:
            return self._start(
                command, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )

    def run(self, command: Sequence[str], *, stdin: str | None = None, **environment: str) -> Any:
        """Run a command that prints one JSON value, and return that."""
        return self.finish(self.start(command, **environment), stdin=stdin)

    def finish(self, process: subprocess.Popen[str], *, stdin: str | None = None) -> Any:
        """Wait for a command and return the JSON value it prints.

        Raises:
            DemoError: If it fails.
        """
        printed, _ = process.communicate(stdin)
        self._running.remove(process)
        if process.returncode != 0:
            command = shlex.join(cast("list[str]", process.args))
            raise DemoError(f"{command} ended with {process.returncode}:\n{printed}{self.tail('commands')}")
        return json.loads(printed)

    def wait_until_up(self, process: subprocess.Popen[str], name: str, url: str) -> float:
        """Return the seconds it took a server to answer ``url`` with a status below 400.

        Raises:
            DemoError: If it ends, or does not answer in time.
        """
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS:
            if process.poll() is not None:
                raise DemoError(f"{name} ended with {process.returncode}:\n{self.tail(name)}")
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(url, timeout=START_SECONDS).close()  # noqa: S310 - our own
                return time.monotonic() - began
            time.sleep(0.1)
        raise DemoError(f"{name} did not answer {url} within {START_SECONDS:g} s:\n{self.tail(name)}")

    def log(self, name: str) -> Path:
        """Return where a server's log is."""
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the last lines of a log."""
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-20:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave one behind
        try:
            for process in reversed(self._running):
                _stop(process)
        finally:
            signal.signal(signal.SIGINT, before)

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str], **streams: Any
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            list(command),
            cwd=TOP,
            env={**self._environment, **environment},
            text=True,
            start_new_session=True,
            **streams,
        )
        self._running.append(process)
        return process


def _stop(process: subprocess.Popen[str]) -> None:
    with process:  # closes its pipes
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shown(path: Path) -> str:
    """Return a path as short as a person would type it in the project's folder."""
    return str(path.relative_to(TOP)) if path.is_relative_to(TOP) else str(path)
