"""The example's gunicorn configuration, and a note of each blob that a worker reads from a store in a folder.

A worker's own interpreter tells, through an audit hook that sees every file it opens, and not the library.
"""

import os
import sys
from pathlib import Path
from typing import Any

from examples.flights.gunicorn_conf import (
    control_socket_disable,
    keepalive,
    post_worker_init,
    threads,
    worker_class,
    workers,
)

__all__ = ["control_socket_disable", "keepalive", "post_worker_init", "threads", "worker_class", "workers"]


def post_fork(_server: Any, _worker: Any) -> None:
    """Note, from the worker's first moment on, the blobs it opens: a line each in ``DEMO_READS``."""
    store = str(Path(os.environ["MLSHARED_STORE"]).absolute())
    notes = os.open(os.environ["DEMO_READS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(store) and "/blobs/" in arguments[0]:
            os.write(notes, f"{arguments[0]}\n".encode())

    sys.addaudithook(note)
