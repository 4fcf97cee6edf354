"""How busy the machine is, for tests that bound times: they may not fail because of what else it does.

slowness()        how many times longer work takes now than with the machine to itself; 1.0 where it is idle
"""

import os
import statistics
import subprocess
import sys

SPIN_SECONDS = 0.2
_SPIN = f"""
import time
began, cpu = time.monotonic(), time.process_time()
while time.process_time() - cpu < {SPIN_SECONDS}:
    pass
print((time.monotonic() - began) / {SPIN_SECONDS})
"""


def slowness() -> float:
    """Return wall time over processor time, of as many processes as there are processors, at least 1.0."""
    command = [sys.executable, "-I", "-S", "-c", _SPIN]
    spinning = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(os.cpu_count() or 1)
    ]
    said = [process.communicate()[0] for process in spinning]
    return max(1.0, statistics.median(map(float, said)))
