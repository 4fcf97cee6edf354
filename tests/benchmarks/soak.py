"""Minutes of real gunicorn workers under load, a release every second, and a wire that fails at random.

    python tests/benchmarks/soak.py [--minutes 5] [--workers 3] [--rate 60] [--seed N]

The store is moto's S3 server behind the fault tests' proxy; the trainer, a process of its own, releases one version
after the other, prepared before; every few seconds the proxy takes up another fault, each once in the first minute:
the seed decides which and when, and is printed. Every answer is compared with what the version it names predicts
offline, and with what the same worker answered before: no version ever comes back.

Exit status 1 unless no request failed, no answer was wrong, no worker went back or died, releases arrived, and the
workers' memory grew by less than 5 % after the first minute.
"""

import argparse
import collections
import contextlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "faults"), str(TESTS / "serving")]

import proxy as faults
import wire
from gunicorns import ask, serving
from shelf import add_version, make_shelf

CLIENTS = 6
FIRST_MINUTE = 60.0
SAMPLE_SECONDS = 30.0
MOST_GROWTH = 0.05
RELEASER = """
import json, sys, threading, time
import trainer
url, options, first, last = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
due = time.monotonic()
for version in range(first, last + 1):
    due = max(due + 1.0, time.monotonic())
    if stopped.wait(due - time.monotonic()):
        break
    trainer.release("cancer", version, store=url, storage_options=options)
    print(version, flush=True)
"""
FAULTS = {
    "hang": faults.hang,
    "drip": faults.drip(0.1),
    "reset": faults.reset,
    "late": faults.late(0.3),
    "truncated": faults.truncate(50),
    "short": faults.shorten(50),
    "length too large": faults.announce(50),
    "length too small": faults.announce(-50),
    "flipped bit": faults.flip(),
    "endless": faults.endless(),
    "503": faults.status(503),
    "429": faults.status(429),
    "500": faults.status(500),
    "403": faults.status(403),
    "expired": faults.status(400, "ExpiredToken"),
    "absent": faults.status(404, "NoSuchKey"),
    "empty": faults.instead(b""),
    "login page": faults.instead(b"<html>log in</html>"),
}
PLACES = {"everywhere": "", "entries": "/releases/", "manifests": "/versions/", "blobs": "/blobs/"}


class Chaos(threading.Thread):
    """Takes up one fault after the other, with pauses in between."""

    def __init__(self, proxy, seed):
        super().__init__(daemon=True)
        self._proxy, self._pick = proxy, random.Random(seed)
        self._stop_it = threading.Event()
        self.kinds = collections.Counter()

    def run(self):
        kinds = ["refused", *FAULTS]
        # Each once in the first minute: the first new client after expired credentials, say, costs memory once.
        first = self._pick.sample(kinds, len(kinds))
        while not self._stop_it.wait(self._pick.uniform(0.5, 2.0)):
            longest = 2.0 if first else 3.0
            name = first.pop() if first else self._pick.choice(kinds)
            self.kinds[name] += 1
            seconds = self._pick.uniform(0.3, longest)
            if name == "refused":
                self._proxy.stop()
                self._stop_it.wait(seconds)
                self._proxy.start()
                continue
            with self._proxy.inject(FAULTS[name], path=PLACES[self._pick.choice(list(PLACES))]):
                self._stop_it.wait(seconds)
            self._proxy.heal()

    def stop(self):
        self._stop_it.set()
        self.join()


class Load:
    """Clients that ask at a steady rate; what they see is counted, not kept."""

    def __init__(self, port, shelf, rate):
        self._port, self._rows, self._period = port, shelf.rows, CLIENTS / rate
        self._offline = {
            (v, r): shelf.offline(v, row, text=True) for v in (1, 2, 3) for r, row in enumerate(shelf.rows)
        }
        self._lock = threading.Lock()  # guards all below
        self._newest = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]
        self.seconds, self.failed, self.wrong, self.back = [], [], [], []
        self.swaps = 0
        self.versions = collections.Counter()

    @property
    def workers(self):
        return set(self._newest)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def forget(self):
        with self._lock:
            self.seconds, self.failed, self.swaps = [], [], 0

    def _run(self, number):
        pick = random.Random(number)
        due = time.monotonic() + pick.uniform(0, self._period)
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period, time.monotonic())
            row = pick.randrange(len(self._rows))
            before, began = dict(self._newest), time.perf_counter()
            try:
                status, body = ask(self._port, "POST", "/predict", self._rows[row], 30)
            except Exception as error:
                status, body = 0, f"{type(error).__name__}: {error}"
            self._note(row, status, body, before, time.perf_counter() - began)

    def _note(self, row, status, body, before, seconds):
        with self._lock:
            self.seconds.append(seconds)
            if status != 200:
                self.failed.append(f"{status}: {str(body)[:200]}")
                return
            pid, version = body["pid"], body["version"]
            self.versions[version] += 1
            if version < before.get(pid, 0):
                self.back.append((pid, before[pid], version))
            if version > self._newest.get(pid, 0):
                self.swaps += pid in self._newest
                self._newest[pid] = version
            if body["proba"] != self._offline[like(version), row]:
                self.wrong.append((version, row, body["proba"]))


def like(version):
    """Return which of the shelf's versions a version answers like."""
    return version if version <= 3 else 2 + version % 2


def prepare(folder, store, count):
    """Publish so many versions, each with a manifest and golden rows of its own; return the shelf."""
    shelf = make_shelf(folder / "shelf")
    url = shelf.copy_to(folder / "models")
    for version in range(4, 4 + count):

        def mark(golden, version=version):
            golden["note"] = version

        add_version(url, like=like(version), version=version, golden=mark)
    for path in sorted(Path(url).rglob("*")):
        if path.is_file():
            store.put(path.relative_to(url).as_posix(), path.read_bytes())
    return shelf


def memory(pids):
    """Return the resident bytes of each process, by pid."""
    found = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            text = Path(f"/proc/{pid}/status").read_text()
            found[pid] = int(text.split("VmRSS:")[1].split()[0]) * 1024
    return found


def soak(folder, asked):
    """Run; return whether all is well."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(wire.serving())
        store, proxy = wire.new_bucket(server), stack.enter_context(faults.Proxy(server.port))
        count = int(asked.minutes * 60) + 1
        print(f"seed {asked.seed}; preparing {count} versions", flush=True)
        shelf = prepare(folder, store, count)
        app = serving(
            folder / "log",
            workers=asked.workers,
            store=store.url,
            options=store.at(proxy.url).options,
            cache_dir=str(folder / "cache"),
            poll_seconds=0.5,
        )
        web = stack.enter_context(app)
        load = stack.enter_context(Load(web.port, shelf, asked.rate))
        wait_for(lambda: len(load.workers) == asked.workers, 90)
        load.forget()
        workers = load.workers
        releaser = subprocess.Popen(
            [sys.executable, "-c", RELEASER, store.url, json.dumps(store.options), "4", str(3 + count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": str(TESTS.parent),
                "MLSHARED_CACHE_DIR": str(folder / "trainer"),
            },
        )
        chaos = Chaos(proxy, asked.seed)
        chaos.start()
        began = time.monotonic()
        first = {}
        while (passed := time.monotonic() - began) < asked.minutes * 60:
            if not first and passed >= min(FIRST_MINUTE, asked.minutes * 30):
                first = memory(workers)
            print(f"  {passed:4.0f} s  {told(memory(workers))}", flush=True)
            time.sleep(min(SAMPLE_SECONDS, max(0.0, asked.minutes * 60 - passed)))
        chaos.stop()
        released = len(releaser.communicate(b"", timeout=60)[0].split())
        newest = 3 + released
        arrived = until(lambda: all(load._newest[pid] == newest for pid in workers), 90)
        last = memory(workers)
    return report(asked, load, chaos, proxy, released, arrived, workers, first, last)


def told(sizes):
    return "resident " + ", ".join(f"{size / 2**20:.1f} MB" for size in sizes.values())


def wait_for(claim, seconds):
    assert until(claim, seconds), f"not within {seconds} s"


def until(claim, seconds):
    """Wait until a claim holds, or so long; return whether it does."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not claim():
        if time.monotonic() > end:
            return False
        pause.wait(0.05)
    return True


def report(asked, load, chaos, proxy, released, arrived, workers, first, last):
    """Print what happened; return whether all is well."""
    growth = sum(last.values()) / sum(first.values()) - 1 if set(first) == set(last) else math.inf
    cuts = statistics.quantiles(load.seconds, n=1000)
    print(f"faults            {sum(chaos.kinds.values())}: {dict(sorted(chaos.kinds.items()))}")
    print(f"requests          {len(load.seconds):,} in {asked.minutes:g} min by {len(workers)} workers")
    print(f"failed            {len(load.failed)} {load.failed[:3] or ''}")
    print(f"wrong answers     {len(load.wrong)} {load.wrong[:3] or ''}")
    print(f"went back         {len(load.back)} {load.back[:3] or ''}")
    print(f"workers           {'the same' if load.workers == workers else 'others came'}")
    print(f"releases          {released}; the last one {'everywhere' if arrived else 'NOT everywhere'}")
    print(f"swaps             {load.swaps} seen, {len(load.versions)} versions answered")
    print(f"store             {len(proxy.seen()):,} requests by all workers")
    print(f"memory            {told(first)} after the first minute")
    print(f"                  {told(last)} at the end: {growth:+.1%}")
    print(
        f"latency           p50 {cuts[499] * 1e3:.1f}, p99 {cuts[989] * 1e3:.1f}, p99.9 {cuts[998] * 1e3:.1f} ms"
    )
    fine = not (load.failed or load.wrong or load.back) and load.workers == workers and arrived
    return fine and load.swaps > 0 and growth < MOST_GROWTH


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        fine = soak(Path(folder), asked)
    print("all is well" if fine else "NOT WELL")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
