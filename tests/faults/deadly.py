"""An estimator that does, when it is loaded, what the variable DEADLY says; harmless without it.

11, 9      dies of that signal
memory     raises MemoryError
slow:FILE  takes a while, and writes to the file when it began and when it ended
"""

import os
import sys
import time
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer
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


def released(shelf, folder):
    """Return the URL of a copy of the shelf where one of these is version 4, and in force."""
    import trainer  # noqa: PLC0415 - for the test alone: who loads one has no use for it

    url, here = shelf.copy_to(folder), str(Path(__file__).parent)
    X, y = load_breast_cancer(as_frame=True, return_X_y=True)
    X = X.iloc[:, :2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "deadly", sys.modules[__name__])
        patch.syspath_prepend(here)  # of the interpreter that publish reads it back in, too
        made = trainer.publish(
            Deadly(max_iter=1000).fit(X, y),
            X,
            y,
            name="cancer",
            store=url,
            release="production",
            trusted_types=("deadly.Deadly",),
        )
    assert (made.version, made.released) == (4, True)
    return url
