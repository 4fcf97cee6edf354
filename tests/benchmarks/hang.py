"""What a store that hangs costs: predictions side by side with no fault, refresh(), a start cold and warm.

    python tests/benchmarks/hang.py [--seconds 5]

One process predicts row after row while its client polls every half second, in turns with the store answering and
with every request to it taken and never answered; then the waits that were told are compared with those
that were kept. Exit status 1 if any of them was exceeded by more than half a second.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "faults")]

import proxy as faults
import wire
from shelf import NAME, make_shelf

from mlshared import Client, MlsharedError

TURNS = 4
GRACE_SECONDS = 0.5


def predict_for(model, row, seconds):
    """Return the seconds of each prediction, made one after the other with a short pause."""
    took, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        model.predict_proba(row)
        took.append(time.perf_counter() - began)
        time.sleep(0.0005)
    return took


def told(name, took):
    cuts = statistics.quantiles(took, n=1000)
    return (
        f"{name:14} {len(took):7,} predictions  p50 {cuts[499] * 1e6:6.1f}  p99 {cuts[989] * 1e6:6.1f}  "
        f"p99.9 {cuts[998] * 1e6:7.1f}  longest {max(took) * 1e6:8.1f} us"
    )


def timed(act):
    """Return how long it took, and how it ended."""
    began = time.monotonic()
    try:
        ended = repr(act())
    except MlsharedError as error:
        ended = f"{type(error).__name__}: {error}"
    return time.monotonic() - began, ended[:110]


def kept(what, promised, act):
    """Print a wait that was told beside the one that was kept; return whether it was."""
    took, ended = timed(act)
    print(f"{what:34} told {promised:4.1f} s, took {took:5.2f} s  {ended}")
    return took <= promised + GRACE_SECONDS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each of the eight turns")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hang-")))
        shelf = make_shelf(folder / "shelf")
        server = stack.enter_context(wire.serving())
        store, proxy = wire.new_bucket(server), stack.enter_context(faults.Proxy(server.port))
        shelf.send_to(store)

        def client(cache, **settings):
            given = {"storage_options": store.at(proxy.url).options, "hook": lambda event: None, **settings}
            return stack.enter_context(Client(store.url, cache_dir=folder / cache, **given)).model(NAME)

        model, row = client("warm", poll_seconds=0.5), shelf.rows[0]
        assert model.ready(timeout=60)
        took = {"store answers": [], "store hangs": []}
        for _ in range(TURNS):
            took["store answers"] += predict_for(model, row, asked.seconds)
            with proxy.inject(faults.hang):
                took["store hangs"] += predict_for(model, row, asked.seconds)
        for name, seconds in took.items():
            print(told(name, seconds))

        def first(cache, **settings):
            return client(cache, **settings).predict_proba(row)

        with proxy.inject(faults.hang):
            fine = [
                kept("refresh(timeout_seconds=2)", 2, lambda: model.refresh(timeout_seconds=2)),
                kept("ready(timeout=3), cold cache", 3, lambda: client("cold-1").ready(timeout=3)),
                kept("first prediction, cold, told 2 s", 2, lambda: first("cold-2", first_load_seconds=2)),
                kept("first prediction, cold, in a request", 5, lambda: first("cold-3")),
                kept("first prediction, warm cache", 2, lambda: first("warm")),
            ]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
