"""What signatures cost: reading a signed release and manifest beside unsigned ones; a prediction with and without.

    python tests/benchmarks/trust.py [--rounds 2000]

A small model is published twice, into a signed and an unsigned store, and everything is timed in this one process, in
turns. Exits 1 if verifying a release and a manifest takes 2 ms or more, or if a prediction runs any code of keys.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from sklearn.linear_model import LogisticRegression

import trainer
from mlshared import Client
from mlshared._keys import NO_KEYS, Trust, read_keys
from mlshared._objects import open_objects
from mlshared.store import Store, open_manifest, open_release

LIMIT_SECONDS = 2e-3
NAME, ALIAS = "model", "production"
FIELDS = 18


def publish(folder, key):
    """Publish a model of 18 numbers, signed if there is a key; return its store."""
    os.environ.pop("TRAINER_SIGNING_KEY_FILE", None)
    if key is not None:
        os.environ["TRAINER_SIGNING_KEY_FILE"] = str(key)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, FIELDS))
    y = (X[:, 0] > 0).astype(int)
    trainer.publish(LogisticRegression().fit(X, y), X, y, name=NAME, store=str(folder), release=ALIAS)
    return Store(open_objects(str(folder)))


def reader(store, trust):
    """Return a function that reads release and manifest from their bytes, and whether it is signed."""
    store_id = store.identity().id
    release, manifest = store.release_bytes(NAME, ALIAS, 1), store.manifest_bytes(NAME, 1)

    def read():
        first = open_release(release, store_id, NAME, ALIAS, 1, trust)
        second = open_manifest(manifest, store_id, NAME, 1, trust)
        return {first.trust, second.trust}

    return read


def in_turns(functions, rounds):
    """Return every function's times in seconds, called in turns."""
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return times


def import_seconds():
    """Return the seconds that a process with keys spends on importing what verifies, in a new interpreter."""
    code = (
        "import time; t = time.perf_counter(); import securesystemslib.dsse; print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def modules_run(call):
    """Return the files whose code a call runs."""
    files = set()
    sys.setprofile(lambda frame, _event, _argument: files.add(frame.f_code.co_filename))
    try:
        call()
    finally:
        sys.setprofile(None)
    return files


def show(times, unit, scale, base):
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        p99 = sorted(values)[int(0.99 * len(values))]
        print(
            f"  {name:<28} {median[name] * scale:9.2f} {unit}   p99 {p99 * scale:9.2f}   "
            f"x {median[name] / median[base]:.2f}"
        )
    return median


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        pair = trainer.keygen(top / "trainer.key")
        signed, unsigned = publish(top / "signed", pair.private), publish(top / "unsigned", None)
        keys = read_keys(str(pair.public))
        trust = Trust(keys)
        print(f"importing securesystemslib, once a process and off every request: {import_seconds():.2f} s")
        reads = {"unsigned": reader(unsigned, NO_KEYS), "signed, not checked": reader(signed, NO_KEYS)}
        reads["signed, verified"] = reader(signed, trust)
        assert reads["signed, verified"]() == {"signed"}
        print("reading a release and a manifest from their bytes")
        median = show(in_turns(reads, rounds), "us", 1e6, "unsigned")
        settings = {"poll_seconds": 0, "cache_dir": top / "cache"}
        row = {f"x{n}": 0.5 for n in range(FIELDS)}
        with (
            Client(top / "signed", trusted_keys=keys, **settings) as checked,
            Client(top / "unsigned", allow_unsigned=True, **settings) as free,
        ):
            models = {"unsigned": free.model(NAME), "signed": checked.model(NAME)}
            assert {name: model.current.trust for name, model in models.items()} == {
                "unsigned": "unsigned",
                "signed": "signed",
            }
            for model in models.values():
                model.keep_until(float("inf"))
            print("one prediction")
            predict = {name: lambda model=model: model.predict(row) for name, model in models.items()}
            show(in_turns(predict, 10 * rounds), "us", 1e6, "unsigned")
            ran = {
                file
                for file in modules_run(predict["signed"])
                if "_keys" in file or "securesystemslib" in file
            }
    extra = median["signed, verified"] - median["unsigned"]
    print(f"verifying costs {extra * 1e6:.0f} us a release and manifest; limit {LIMIT_SECONDS * 1e6:.0f}")
    print(f"code of keys that a prediction runs: {sorted(ran) or 'none'}")
    return int(median["signed, verified"] >= LIMIT_SECONDS or bool(ran))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2000)
    sys.exit(main(parser.parse_args().rounds))
