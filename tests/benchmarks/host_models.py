"""What `host.py` measures: two deep forests and a small model, as plans in a store and as joblib dumps.

build(folder, rows)          once; about a minute
put_in_force(folder, n)      releases a version of the forest
forget(folder, cache, n)     so that a cache has to fetch its plan again
Plans, Joblib                the two ways of having the forest in a process: ask() and swap()
"""

import json
import os
import shutil
import sys
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

FOREST, SMALL = "forest", "small"


def build(folder, rows):
    """Train, publish and dump two forests and a small model that reads the same row."""
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
        order = frame.sample(frac=1, random_state=0).index
        frame, target = frame.loc[order].reset_index(drop=True), target[order]
    small = make_pipeline_of(LogisticRegression(max_iter=500)).fit(frame, target)
    trainer.publish(small, frame, target, name=SMALL, store=store)
    asked = [
        {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - NaN
        for row in frame.iloc[:200].to_dict("records")
    ]
    (folder / "rows.json").write_text(json.dumps(asked))


def rows_of(folder):
    """Return the rows that are asked about."""
    return json.loads((folder / "rows.json").read_text())


def put_in_force(folder, version):
    """Release a version of the forest, unless it is in force."""
    import trainer

    store = str(folder / "store")
    if trainer.history(FOREST, store=store)[-1].version != version:
        trainer.release(FOREST, version, store=store, reason="benchmark")


def plan_of(folder, version):
    """Return the artifact that a version's plan is: its hash and size."""
    import trainer

    manifests = trainer.versions(FOREST, store=str(folder / "store"))
    return next(each for each in manifests if each.version == version).artifact("plan")


def forget(folder, cache, version):
    """Remove a version's plan from a cache, as if this host had never seen it."""
    sha256 = plan_of(folder, version).sha256
    for kind in ("blobs", "hashed"):
        (folder / cache / kind / sha256).unlink(missing_ok=True)


def removed(folder):
    """Remove a folder."""
    shutil.rmtree(folder, ignore_errors=True)


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
        (answer,) = self._pipeline.predict_proba(self._frame([row])).tolist()
        return dict(enumerate(answer))

    def swap(self):
        self._number = 3 - self._number
        self._pipeline = self._load(self._folder / f"{self._number}.joblib")

    def close(self):
        pass


def opened(way, folder, cache):
    """Return what answers: `plan`, `small` (the client with a small model) or `joblib`."""
    return Joblib(folder) if way == "joblib" else Plans(folder, FOREST if way == "plan" else SMALL, cache)
