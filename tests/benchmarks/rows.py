"""One row, from a dict to probabilities: the plan beside scikit-learn, and ONNX Runtime where it is installed.

    python tests/benchmarks/rows.py [--rows 50000] [--quick]

Everything is trained here and timed in this one process, in turns: medians, 99th percentiles, ratios of medians.
The plan's time includes the input check and the naming of the classes, all that `predict_proba` of an app does.
scikit-learn runs on one thread, on the naive one-row frame and on the one with the training dtypes; the faster
one counts. Machines are noisy: read the ratios.

ONNX Runtime is no dependency of this project; to have it measured as well:

    .venv/bin/python -m pip install onnx onnxruntime skl2onnx

It worked beside scikit-learn 1.9.1 with onnx 1.23.2, onnxruntime 1.32.0 and skl2onnx 1.20.0. How far its answers,
in single precision, are from the plan's is printed; where many are far, it answers another model, which fails.
"""

import argparse
import gc
import os
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlshared._answers import naming
from mlshared._schema import Schema
from mlshared.plan import load_plan
from trainer._fields import infer_fields
from trainer._plan import plan_for

NUMBERS = [f"n{i}" for i in range(12)]
CATEGORIES = [f"c{i}" for i in range(6)]
TIMED_ROWS = 200
FAR, FEW_FAR = 1e-4, 0.05  # in single precision some rows fall on the other side of a threshold
# Name -> estimator, wanted ratio against scikit-learn, wanted ratio against ONNX Runtime.
MODELS = {
    "logistic": (LogisticRegression(max_iter=500), 1000, 12.0),
    "HistGB 100": (HistGradientBoostingClassifier(random_state=0), 300, 4.0),
    "GradientBoosting 100 x 3": (GradientBoostingClassifier(random_state=0), 250, None),
    "forest 100 x 12": (RandomForestClassifier(100, max_depth=12, random_state=0, n_jobs=2), 200, 1.8),
    "forest 100, unlimited": (RandomForestClassifier(100, random_state=0, n_jobs=2), 60, None),
}


def make_data(rows):
    """Return a frame (rows, 18): 12 numbers and 6 categories, 5 % missing; and a target (rows,)."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=rows) for name in NUMBERS})
    for position, name in enumerate(CATEGORIES):
        frame[name] = rng.choice([f"v{j}" for j in range(5 + 5 * position)], rows)
    signal = frame[NUMBERS].sum(axis=1) + 2.0 * (frame["c0"] == "v1") + rng.normal(size=rows)
    for name in [*NUMBERS[:6], *CATEGORIES[:3]]:
        frame.loc[rng.random(rows) < 0.05, name] = np.nan
    return frame, (signal > 0).to_numpy().astype(int)


def make_pipeline_of(estimator):
    """Return impute and scale, impute and one-hot, then the estimator."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    return make_pipeline(
        ColumnTransformer([("n", numbers, NUMBERS), ("c", categories, CATEGORIES)]), estimator
    )


def one_thread(pipeline):
    """Return the pipeline with every n_jobs at 1."""
    jobs = [name for name in pipeline.get_params() if name.endswith("n_jobs")]
    return pipeline.set_params(**dict.fromkeys(jobs, 1))


def timed(asks, rows, rounds):
    """Return seconds by name, one list each: every ask over every row, in turns, after a round to warm up."""
    seconds = {name: [] for name in asks}
    for ask in asks.values():
        for row in rows[:20]:
            ask(row)
    gc.collect()
    for _ in range(rounds):
        for name, ask in asks.items():
            clock, taken = time.perf_counter, seconds[name]
            for row in rows:
                began = clock()
                ask(row)
                taken.append(clock() - began)
    return seconds


def answers_of(pipeline, frame, rows):
    """Return the ways to answer one raw row: the plan, and scikit-learn twice."""
    kind, fields, categories = infer_fields(pipeline, frame)
    data, report = plan_for(pipeline, frame, kind=kind, fields=fields, categories=categories)
    print(f"  {report}")
    if data is None:
        raise SystemExit(1)
    print(f"  plan file {len(data) / 1e6:.1f} MB")
    schema, plan = Schema(fields, kind, categories), load_plan(data)
    check, one = schema.checker(), plan.one("predict_proba")

    class About:
        classes, targets = tuple(pipeline.classes_.tolist()), None

    name = naming("predict_proba", About)
    dtypes = frame.dtypes
    typed = frame.iloc[:0]
    return {
        "plan": lambda row: name(one(check(row))),
        "naive": lambda row: pipeline.predict_proba(pd.DataFrame([row])),
        "typed": lambda row: pipeline.predict_proba(
            pd.DataFrame([row], columns=typed.columns).astype(dtypes)
        ),
    }


def onnx_ask(pipeline, frame):
    """Return a way to answer one row with ONNX Runtime, or None where it or its converter cannot.

    The converter fails on missing categories: they are filled in Python before, which is its gain.
    """
    try:
        import onnx.helper
        import onnxruntime
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    except ImportError:
        return None
    fills = pipeline[0].named_transformers_["c"][0].statistics_
    encode = pipeline[0].named_transformers_["c"][1]
    numbers = pipeline[0].named_transformers_["n"]
    bare = ColumnTransformer([("n", numbers, NUMBERS), ("c", encode, CATEGORIES)])
    bare.fit(frame[NUMBERS + CATEGORIES].fillna(dict(zip(CATEGORIES, fills, strict=True))))
    types = [(n, FloatTensorType([None, 1])) for n in NUMBERS] + [
        (c, StringTensorType([None, 1])) for c in CATEGORIES
    ]
    make_attribute = onnx.helper.make_attribute

    def without_booleans(key, value, *given, **named):
        # The converter of HistGradientBoosting gives numpy's booleans where ONNX takes whole numbers.
        if isinstance(value, list):
            value = [int(each) if isinstance(each, bool | np.bool_) else each for each in value]
        return make_attribute(key, value, *given, **named)

    try:
        with warnings.catch_warnings(), mock.patch("onnx.helper.make_attribute", without_booleans):
            warnings.simplefilter("ignore")
            model = to_onnx(make_pipeline(bare, pipeline[-1]), initial_types=types, options={"zipmap": False})
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # the converter raises whatever it meets
        print(f"  ONNX Runtime: not converted: {type(error).__name__}: {str(error)[:80]!r}")
        return None
    output = session.get_outputs()[1].name
    filled = dict(zip(CATEGORIES, fills, strict=True))

    def ask(row):
        feeds = {n: np.array([[np.nan if row[n] is None else row[n]]], dtype=np.float32) for n in NUMBERS}
        for name in CATEGORIES:
            value = row[name]
            feeds[name] = np.array([[filled[name] if value is None else value]], dtype=object)
        return session.run([output], feeds)[0]

    return ask


def onnx_gap(plan, onnx, rows):
    """Return how far ONNX Runtime's probabilities are from the plan's, in words; and whether few are far."""
    gaps = np.array([np.abs(np.ravel(onnx(row)) - np.array(list(plan(row).values()))).max() for row in rows])
    far = int((gaps > FAR).sum())
    words = f"ONNX Runtime: {far} of {len(rows)} answers off by more than {FAR}, the median by {np.median(gaps):.1e}"
    return words, far <= FEW_FAR * len(rows)


def main():
    """Train, time, print; return 1 if a wanted ratio is not reached."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=50_000, help="training rows")
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    given = options.parse_args()
    warnings.simplefilter("ignore")
    frame, target = make_data(given.rows)
    rows = [
        {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - NaN
        for row in frame.iloc[:TIMED_ROWS].to_dict("records")
    ]
    lines, short = [], []
    for title, (estimator, wanted, wanted_onnx) in MODELS.items():
        print(title)
        pipeline = one_thread(make_pipeline_of(estimator).fit(frame, target))
        asks = answers_of(pipeline, frame, rows)
        onnx = onnx_ask(pipeline, frame)
        if onnx:
            words, few = onnx_gap(asks["plan"], onnx, rows)
            print(f"  {words}")
            if not few:
                short.append(f"{title}: {words}")
        slow = {name: asks.pop(name) for name in ("naive", "typed")}
        seconds = {}
        for _ in range(1 if given.quick else 3):  # in turns, so that a slower minute hits both
            for name, taken in timed(asks | ({"onnx": onnx} if onnx else {}), rows, 5).items():
                seconds.setdefault(name, []).extend(taken)
            for name, taken in timed(slow, rows[: 30 if given.quick else 60], 1).items():
                seconds.setdefault(name, []).extend(taken)
        micros = {
            name: (np.median(taken) * 1e6, np.percentile(taken, 99) * 1e6) for name, taken in seconds.items()
        }
        best = min(micros["naive"], micros["typed"])
        ratio = best[0] / micros["plan"][0]
        line = f"{title:<26} plan {micros['plan'][0]:7.1f} / {micros['plan'][1]:7.1f} us   "
        line += f"scikit-learn {best[0]:8.0f} / {best[1]:8.0f} us   {ratio:6.0f} x (wanted {wanted})"
        if ratio < wanted:
            short.append(f"{title}: {ratio:.0f} x scikit-learn, wanted {wanted}")
        if "onnx" in micros:
            against = micros["onnx"][0] / micros["plan"][0]
            line += f"   ONNX Runtime {micros['onnx'][0]:6.1f} us, {against:.1f} x (wanted {wanted_onnx})"
            if wanted_onnx and against < wanted_onnx:
                short.append(f"{title}: {against:.1f} x ONNX Runtime, wanted {wanted_onnx}")
        print(f"  {line}")
        lines.append(line)
    print("\nmedian / 99th percentile of one row\n" + "\n".join(lines))
    for reason in short:
        print(f"short of what is wanted: {reason}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
