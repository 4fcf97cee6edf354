"""Which process this is, whether another one still lives, and how it died, as far as the system tells.

All of it is for processes of this user on this host. Where the system tells nothing, as outside Linux, a process is
known by its number alone and its death is an unknown one.
"""

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STATE, _STARTED, _EXIT_CODE = 0, 19, 49  # counted from the state, the third field; source: proc_pid_stat(5)


def started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks, so that a reused id is seen; "" if not told."""
    fields = _stat(pid)
    return fields[_STARTED] if len(fields) > _STARTED else ""


def lives(pid: int, since: str) -> bool:
    """Return whether the process of that id that started then is there; one that waits to be buried is not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it lives, and is another user's
    fields = _stat(pid)
    return not fields or (fields[_STATE] not in {"Z", "X"} and fields[_STARTED] == since)


def death_signal(pid: int, since: str) -> int | None:
    """Return what signal ended a process, 0 if none; None if its parent has taken that knowledge with it."""
    fields = _stat(pid)
    if len(fields) <= _EXIT_CODE or fields[_STATE] != "Z" or fields[_STARTED] != since:
        return None
    return int(fields[_EXIT_CODE]) & 0x7F


def boot() -> str:
    """Return what tells this run of the machine from those before; "" if nothing does."""
    return _text("sys/kernel/random/boot_id").strip().replace("-", "")


def namespace() -> str:
    """Return what tells the process ids of this container from those of others; "" if nothing does."""
    try:
        return "".join(filter(str.isdigit, str((_PROC / "self/ns/pid").readlink())))
    except OSError:
        return ""


def memory_kills() -> int:
    """Return how many processes this machine has killed for lack of memory since it started."""
    found = [line.split()[1] for line in _text("vmstat").splitlines() if line.startswith("oom_kill ")]
    return int(found[0]) if found else 0


def _stat(pid: int) -> list[str]:
    return _text(f"{pid}/stat").rpartition(")")[2].split()


def _text(name: str) -> str:
    try:
        return (_PROC / name).read_text(errors="replace")
    except OSError:
        return ""
