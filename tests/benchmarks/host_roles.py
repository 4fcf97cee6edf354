"""The processes that `host.py` starts and measures; each says what it found as lines of JSON.

python host_roles.py ROLE FOLDER ARGUMENT...
"""

import gc
import json
import socket
import statistics
import sys
import threading
import time
from array import array
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from host_models import FOREST, opened, rows_of


def say(value):
    print(json.dumps(value), flush=True)


def worker(folder, way, cache):
    """Answer 200 rows; swap and answer again as often as told."""
    rows, answers = rows_of(folder), opened(way, folder, cache)
    while True:
        for row in rows:
            answers.ask(row)
        say("answered")
        told = sys.stdin.readline().strip()
        if told == "swap":
            answers.swap()
        elif told != "answer":
            break
    answers.close()


def load(folder, cache, times):
    """Say how long each step of a load takes, in seconds, medians; and the first of this process."""
    from mlshared._cache import open_cache
    from mlshared._load import Host, assemble, check_golden, fetch
    from mlshared._objects import open_objects
    from mlshared._target import Target
    from mlshared.plan import load_plan
    from mlshared.settings import Settings
    from mlshared.store import Store

    settings = Settings(store=str(folder / "store"), cache_dir=folder / cache)
    store = Store(open_objects(settings.store, {}))
    host = Host(settings, store, open_cache(settings.cache_dir, max_bytes=2**40), lambda event: None)
    store_id = store.identity().id
    target = Target(1, store.manifest(store_id, FOREST, 1).sha256)
    steps = {"fetch": [], "load_plan": [], "self-test": [], "together": [], "joblib": []}

    def timed(name, step):
        began = time.perf_counter()
        found = step()
        steps[name].append(time.perf_counter() - began)
        return found

    def together():
        return assemble(fetch(host, store_id, FOREST, target), target, features=None, host=host)

    fetch(host, store_id, FOREST, target)  # into the cache, which is then warm
    began = time.perf_counter()
    version = together()
    first = time.perf_counter() - began
    import joblib

    joblib.load(folder / "1.joblib")
    for _ in range(int(times)):
        gc.collect()
        bundle = timed("fetch", lambda: fetch(host, store_id, FOREST, target))
        timed("load_plan", partial(load_plan, bundle.blobs["plan"]))
        golden = bytes(bundle.blobs["golden"])
        timed("self-test", partial(check_golden, version, golden))
        timed("together", together)
        timed("joblib", lambda: joblib.load(folder / "1.joblib"))
    say({"first": first} | {name: statistics.median(taken) for name, taken in steps.items()})


def swapped(folder, way, cache, pause, seconds):
    """Ask row after row, all the time; swap when told. Say how long requests took before all swaps and during each.

    Args:
        pause: Seconds between two requests.
        seconds: How long to ask before it is ready for swaps.
    """
    rows, answers, pause = rows_of(folder), opened(way, folder, cache), float(pause)
    starts, taken, over = array("d"), array("d"), threading.Event()

    def swap_when_told():
        for _ in sys.stdin:
            began = time.perf_counter()
            answers.swap()
            ended = time.perf_counter()
            last = len(taken)
            during = [t for start, t in zip(starts[:last], taken, strict=False) if start + t > began]
            say({"during": during, "seconds": ended - began})
        over.set()

    def ask_until(done):
        while not done():
            starts.append(time.perf_counter())
            answers.ask(rows[len(taken) % len(rows)])
            taken.append(time.perf_counter() - starts[-1])
            if pause:
                time.sleep(pause)

    for wait in (1.0, float(seconds)):  # the first second warms up
        del starts[:], taken[:]
        until = time.perf_counter() + wait
        ask_until(lambda: time.perf_counter() > until)  # noqa: B023
    say(list(taken))
    threading.Thread(target=swap_when_told).start()
    ask_until(over.is_set)
    answers.close()


def client(folder, port, pause):
    """Send one request after the other until told to stop; say when each began, how long, and who answered."""
    bodies = [json.dumps(row).encode() for row in rows_of(folder)]
    requests = [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
        for body in bodies
    ]
    stopped, answers = threading.Event(), []
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    while not stopped.is_set():
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as connection:
            connection.sendall(requests[len(answers) % len(requests)])
            answer = b"".join(iter(partial(connection.recv, 65536), b""))
        seconds = time.monotonic() - began
        assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
        answers.append((began, seconds, json.loads(answer.rpartition(b"\r\n\r\n")[2])["pid"]))
        stopped.wait(float(pause))
    say(answers)


if __name__ == "__main__":
    role, where, *arguments = sys.argv[1:]
    {"worker": worker, "load": load, "swapped": swapped, "client": client}[role](Path(where), *arguments)
