"""A deep forest on one host: its plan in the client beside joblib and scikit-learn, in one run.

    python tests/benchmarks/host.py [--rows 50000] [--quick]

Trains the forest of `rows.py` twice, publishes both to a store of its own under ``.cache/benchmarks`` (once; it
is found there the next time) and prints, medians side by side:

    size      of the files
    load      from a warm cache: fetch, load_plan, self-test; joblib.load
    start     of a whole process until its first answer, and its memory then
    workers   four processes that have answered: how much they hold together (PSS), after a hot swap too
    swap      99th percentile of requests before and during a hot swap; joblib loads in a thread

Each measurement runs in processes of its own, the two sides in turns. Linux only: it reads /proc. Machines are
noisy: read the ratios.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

FOREST, SMALL = "forest", "small"
WORKERS = 4
KEPT_SECONDS = 64  # the client lets go of what a swap replaced after a minute


# -- made once -------------------------------------------------------------------------------------------------


def build(folder, rows):
    """Train, publish and dump two forests and a small model that reads the same row."""
    sys.path.insert(0, str(Path(__file__).parent))
    import joblib
    from rows import LogisticRegression, RandomForestClassifier, make_data, make_pipeline_of, one_thread

    import trainer

    print(f"training two forests on {rows:,} rows, once; they are kept in {folder}", flush=True)
    (folder / "store").mkdir(parents=True)
    frame, target = make_data(rows)
    store = str(folder / "store")
    for number in (1, 2):
        forest = RandomForestClassifier(100, random_state=number, n_jobs=2)
        pipeline = one_thread(make_pipeline_of(forest).fit(frame, target))
        joblib.dump(pipeline, folder / f"{number}.joblib")
        published = trainer.publish(pipeline, frame, target, name=FOREST, store=store)
        print(f"  {published.plan_report}", flush=True)
        frame, target = (
            frame.sample(frac=1, random_state=0),
            target[frame.sample(frac=1, random_state=0).index],
        )
    small = make_pipeline_of(LogisticRegression(max_iter=500)).fit(frame, target)
    trainer.publish(small, frame, target, name=SMALL, store=store)
    asked = [
        {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - NaN
        for row in frame.iloc[:200].to_dict("records")
    ]
    (folder / "rows.json").write_text(json.dumps(asked))


# -- what the measured processes do ----------------------------------------------------------------------------


class Plans:
    """The client, on a cache."""

    def __init__(self, folder, name=FOREST, cache="cache"):
        import mlshared

        self._client = mlshared.Client(
            folder / "store", cache_dir=folder / cache, poll_seconds=0, hook=lambda event: None
        )
        self._model = self._client.model(name)
        self._model.refresh()

    def ask(self, row):
        return self._model.predict_proba(row)

    def swap(self):
        assert self._model.refresh()

    def close(self):
        self._client.close()


class Joblib:
    """joblib and scikit-learn, as apps have it."""

    def __init__(self, folder):
        import joblib
        import pandas as pd

        self._folder, self._frame = folder, pd.DataFrame
        self._load, self._number = joblib.load, 1
        self._pipeline = joblib.load(folder / "1.joblib")

    def ask(self, row):
        return self._pipeline.predict_proba(self._frame([row]))

    def swap(self):
        self._number = 3 - self._number
        self._pipeline = self._load(self._folder / f"{self._number}.joblib")

    def close(self):
        pass


def opened(way, folder, cache):
    """Return what answers: `plan`, `small` (the client with a small model) or `joblib`."""
    return Joblib(folder) if way == "joblib" else Plans(folder, FOREST if way == "plan" else SMALL, cache)


def say(value):
    print(json.dumps(value), flush=True)


def memory_megabytes():
    """Return the most this process has held so far (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def first_answer(way, folder, cache):
    """Answer one row, say how much memory that took."""
    row = json.loads((folder / "rows.json").read_text())[0]
    answers = opened(way, folder, cache)
    answers.ask(row)
    say({"megabytes": memory_megabytes()})
    answers.close()


def worker(way, folder, cache):
    """Answer 200 rows; swap and answer again as often as told."""
    rows = json.loads((folder / "rows.json").read_text())
    answers = opened(way, folder, cache)
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


def load_steps(folder, cache, times):
    """Say how long each step of a load takes, in seconds."""
    import joblib

    from mlshared._cache import open_cache
    from mlshared._load import PLAN_TOLERANCE, Host, assemble, fetch
    from mlshared._objects import open_objects
    from mlshared._selftest import self_test
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

    joblib.load(folder / "1.joblib")
    version = together()
    for _ in range(times):
        gc.collect()
        bundle = timed("fetch", lambda: fetch(host, store_id, FOREST, target))
        timed("load_plan", partial(load_plan, bundle.blobs["plan"]))
        golden = bytes(bundle.blobs["golden"])
        timed("self-test", partial(self_test, version.answer, golden, PLAN_TOLERANCE))
        timed("together", together)
        timed("joblib", lambda: joblib.load(folder / "1.joblib"))
    say({name: statistics.median(taken) for name, taken in steps.items()})


def swapped(way, folder, cache, pause):
    """Ask row after row; say how long each took before a swap, and how long while it was under way.

    The new version is released when the other side has been told that this is ready; nothing of it is cached.
    """
    rows = json.loads((folder / "rows.json").read_text())
    answers = opened(way, folder, cache)
    taken = []

    def ask_until(done):
        taken.clear()
        number = 0
        while not done(number):
            began = time.perf_counter()
            answers.ask(rows[number % len(rows)])
            taken.append(time.perf_counter() - began)
            number += 1
            if pause:
                time.sleep(pause)
        return list(taken)

    few, many = (20, 100) if way == "joblib" else (400, 4000)
    ask_until(lambda number: number >= few)
    before = ask_until(lambda number: number >= many)
    say("ready")
    assert sys.stdin.readline()
    swap = threading.Thread(target=answers.swap)
    began = time.perf_counter()
    swap.start()
    during = ask_until(lambda number: not swap.is_alive())
    say({"before": before, "during": during, "seconds": time.perf_counter() - began})
    answers.close()


# -- the measuring process -------------------------------------------------------------------------------------


def start(folder, *arguments):
    """Start one of the processes above."""
    command = [sys.executable, __file__, "--folder", str(folder), "--role", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def heard(process):
    """Return the next thing a process says."""
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a measured process failed; its message is above")
    return json.loads(line)


def told(process, what):
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


def ended(process):
    process.stdin.close()
    process.wait()
    process.stdout.close()


def measure_load(folder, times):
    """Return seconds by step, medians."""
    process = start(folder, "load", "plan", "cache", times)
    found = heard(process)
    ended(process)
    return found


def measure_start(folder, times):
    """Return (seconds, megabytes) by way, medians: whole processes, in turns."""
    found = {"plan": [], "joblib": []}
    for _ in range(times):
        for way, seen in found.items():
            began = time.perf_counter()
            process = start(folder, "first", way, "cache", 0)
            megabytes = heard(process)["megabytes"]
            seen.append((time.perf_counter() - began, megabytes))
            ended(process)
    return {way: tuple(map(statistics.median, zip(*seen, strict=True))) for way, seen in found.items()}


def held_megabytes(processes):
    """Return what processes hold together: each page counted once, shared with others in part (PSS)."""
    total = 0
    for process in processes:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1e3


def measure_workers(folder, way, *, swaps, wait):
    """Return what four processes hold: after answering, right after a swap, and once the old one is let go."""
    if way == "plan":
        put_in_force(folder, 1)
    processes = [start(folder, "worker", way, "cache", 0) for _ in range(WORKERS)]
    held = []

    def after(what, seconds=0):
        if what:
            for process in processes:
                told(process, what)
        for process in processes:
            assert heard(process) == "answered"
        held.append(held_megabytes(processes))

    after(None)
    if swaps:
        if way == "plan":
            put_in_force(folder, 2)
        after("swap")
        if wait:
            time.sleep(KEPT_SECONDS)
            after("answer")
    for process in processes:
        ended(process)
    return held


def measure_swap(folder, way, times, pause):
    """Return 99th percentiles before and during, seconds of a swap, and how many requests fell into swaps."""
    before, during, seconds = [], [], []
    for trial in range(times):
        cache = f"fresh-{os.getpid()}-{way}-{trial}-{pause}"
        put_in_force(folder, 1)
        process = start(folder, "swapped", way, cache, pause)
        assert heard(process) == "ready"
        if way == "plan":
            put_in_force(folder, 2)
        told(process, "swap")
        found = heard(process)
        ended(process)
        removed(folder / cache)
        before.extend(found["before"])
        during.extend(found["during"])
        seconds.append(found["seconds"])
    return percentile(before), percentile(during), max(during), statistics.median(seconds), len(during)


def percentile(taken, share=0.99):
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * share))]


def removed(folder):
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def put_in_force(folder, version):
    """Release a version of the forest, unless it is in force."""
    import trainer

    store = str(folder / "store")
    logged = trainer.history(FOREST, store=store)
    if logged[-1].version != version:
        trainer.release(FOREST, version, store=store, reason="benchmark")


def main():
    """Measure and print; return 1 where something wanted is not reached."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=50_000, help="training rows")
    options.add_argument("--quick", action="store_true", help="fewer repetitions, no minute of waiting")
    options.add_argument("--folder", type=Path, help="where models are kept")
    options.add_argument("--role", nargs=4, help=argparse.SUPPRESS)
    given = options.parse_args()
    folder = given.folder or TOP / ".cache" / "benchmarks" / f"host-{given.rows}"
    if given.role:
        role, way, cache, extra = given.role
        roles = {
            "first": lambda: first_answer(way, folder, cache),
            "worker": lambda: worker(way, folder, cache),
            "load": lambda: load_steps(folder, cache, int(extra)),
            "swapped": lambda: swapped(way, folder, cache, float(extra)),
        }
        roles[role]()
        return 0
    if not (folder / "rows.json").exists():
        removed(folder)
        build(folder, given.rows)
    return report(folder, quick=given.quick)


def report(folder, *, quick):
    """Measure everything, print it, and return 1 where something wanted is not reached."""
    short, times = [], 3 if quick else 9

    def line(text, found=None, wanted=None):
        verdict = "" if wanted is None else f"   {found:.3g} (wanted at most {wanted:g})"
        print(f"{text}{verdict}", flush=True)
        if wanted is not None and found > wanted:
            short.append(f"{text.strip()}: {found:.3g}, wanted {wanted:g}")

    plan_bytes = plan_size(folder)
    dumped = (folder / "1.joblib").stat().st_size
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    text = f"size     plan {plan_bytes / 1e6:.1f} MB, joblib {dumped / 1e6:.1f} MB:"
    line(text, plan_bytes / dumped, 0.4)

    put_in_force(folder, 1)
    found = measure_load(folder, times)
    steps = ", ".join(f"{name} {found[name] * 1e3:.1f}" for name in ("fetch", "load_plan", "self-test"))
    text = f"load     {steps} ms; joblib.load {found['joblib'] * 1e3:.0f} ms; all of it, in ms:"
    line(text, found["together"] * 1e3, 20)

    found = measure_start(folder, times)
    (seconds, megabytes), (seconds_joblib, megabytes_joblib) = found["plan"], found["joblib"]
    text = f"start    {seconds * 1e3:.0f} ms to the first answer, joblib + scikit-learn {seconds_joblib * 1e3:.0f} ms:"
    line(text, seconds / seconds_joblib, 1 / 5)
    text = f"         {megabytes:.0f} MB then, joblib + scikit-learn {megabytes_joblib:.0f} MB:"
    line(text, megabytes / megabytes_joblib, 1 / 3)

    (without,) = measure_workers(folder, "small", swaps=False, wait=False)
    held = measure_workers(folder, "plan", swaps=True, wait=not quick)
    held_joblib = measure_workers(folder, "joblib", swaps=True, wait=False)
    line(f"workers  {WORKERS} hold {without:.0f} MB together with a small model; joblib + scikit-learn, with")
    line(
        f"         the forest, {held_joblib[0]:.0f}, after a swap {held_joblib[1]:.0f}. With the plan, copies more:"
    )
    moments = ("after answering", "right after a swap, while the old one is kept", "after a swap")
    for moment, megabytes in zip(moments, held, strict=False):
        wanted = 1.2 if moment.startswith("after") else None
        more = (megabytes - without) * 1e6 / plan_bytes
        line(
            f"         {moment}: {megabytes:.0f} MB, {more:.2f} copies"
            if wanted is None
            else f"         {moment}: {megabytes:.0f} MB,",
            more,
            wanted,
        )

    for pause, name in ((0.002, "a request every 2 ms"), (0, "requests without a pause")):
        for way, trials in (("plan", times), ("joblib", times)):
            before, during, worst, seconds, count = measure_swap(folder, way, trials, pause)
            text = (
                f"swap     {name}, {way}: p99 {before * 1e3:.2f} ms before, {during * 1e3:.2f} ms during a swap "
                f"of {seconds * 1e3:.0f} ms ({count} requests, worst {worst * 1e3:.1f} ms):"
            )
            line(text, during / before, 2 if way == "plan" else None)
            if way == "joblib":
                print(f"         {during / before:.1f} x")

    for reason in short:
        print(f"short of what is wanted: {reason}")
    return 1 if short else 0


def plan_size(folder):
    """Return the size of the forest's plan, in bytes."""
    import trainer

    manifest = trainer.versions(FOREST, store=str(folder / "store"))[0]
    return manifest.artifact("plan").size


if __name__ == "__main__":
    sys.exit(main())
