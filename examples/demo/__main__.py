"""The demo: ``./examples/run`` keeps the models in a folder, ``./examples/run --s3`` in S3 on a real wire.

It ends with 0 if no request failed, no answer was wrong, and every worker changed over both times; with 130
after Ctrl-C. Either way it stops what it has started, and nothing else. The steps: `examples.demo.story`.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from filelock import FileLock, Timeout

from examples.demo import s3, story
from examples.demo.processes import BIN, TOP, DemoError, Processes, free_port, shown
from examples.demo.screen import Screen

INTERRUPTED: Final = 130


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="examples/run", description="A model's life in a web app, under load."
    )
    parser.add_argument(
        "--s3", action="store_true", help="keep the models in S3: moto's server, on 127.0.0.1"
    )
    parser.add_argument(
        "--folder", type=Path, default=TOP / ".cache/demo", help="where it writes; default: .cache/demo"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    screen = Screen()
    try:
        with _own(options.folder) as folder, _processes(folder) as processes:
            return _in_s3(screen, processes) if options.s3 else _in_folder(screen, processes, folder)
    except KeyboardInterrupt:
        screen.last("Stopped. Nothing it started is left running.")
        return INTERRUPTED
    except DemoError as error:
        screen.last(f"The demo failed: {error}")
        return 1


def _in_folder(screen: Screen, processes: Processes, folder: Path) -> int:
    return story.tell(story.Stage(screen, processes, shown(folder / "models")))


def _in_s3(screen: Screen, processes: Processes) -> int:
    port = free_port()
    moto = processes.serve("moto", [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)])
    processes.wait_until_up(moto, "moto", f"http://127.0.0.1:{port}/")
    s3.make_bucket(port)
    with s3.Relay(port) as relay:
        direct, counted = s3.environment(port), s3.environment(relay.port)
        return story.tell(story.Stage(screen, processes, f"s3://{s3.BUCKET}", direct, counted, relay))


def _processes(folder: Path) -> Processes:
    environment = {
        "MLSHARED_CACHE_DIR": str(folder / "cache"),
        "MLSHARED_POLL_SECONDS": str(story.POLL_SECONDS),
    }
    return Processes(folder, environment)


@contextmanager
def _own(folder: Path) -> Iterator[Path]:
    """Give a folder that no other demo uses, without what the last one left there."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DemoError(f"another one is running in {folder}") from error
    with lock:
        for name in ("models", "cache"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for log in folder.glob("*.log"):
            log.unlink()
        yield folder


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
