"""An estimator that does, when it is loaded, what the variable DEADLY says; harmless without it.

11, 9      dies of that signal
memory     raises MemoryError
slow:FILE  takes a while, and writes to the file when it began and when it ended
"""

import os
import time
from pathlib import Path

from sklearn.linear_model import LogisticRegression

SECONDS = 0.1


class Deadly(LogisticRegression):
    """A logistic regression whose type is on nobody's list."""

    def __setstate__(self, state):
        how = os.environ.get("DEADLY", "")
        if how == "memory":
            raise MemoryError
        if how.isdigit():
            os.kill(os.getpid(), int(how))
            time.sleep(60)
        if how.startswith("slow:"):
            began = time.monotonic()
            time.sleep(SECONDS)
            with Path(how[5:]).open("a") as file:
                file.write(f"{began} {time.monotonic()}\n")
        super().__setstate__(state)
