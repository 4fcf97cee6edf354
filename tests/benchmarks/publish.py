"""What a row plan costs at publish: to convert a pipeline and to compare the plan with it, beside fitting it.

    python tests/benchmarks/publish.py [--rounds 3]

The examples' two models, on their own flights, with the time for the plan that a retrain gives it: so many rows are
compared, and at the least the made ones and a thousand of the data's. Fit and plan take turns in this one process;
read the ratio of their medians, wanted below a tenth. A busy machine is not seen in the seconds of CPU, which are
printed too.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from examples.flights.recipe import logistic, recipe
from trainer._fields import infer_fields
from trainer._fit import fit, load_frame, prepare
from trainer._plan import plan_for
from trainer._retrain import PLAN_SHARE

WANTED = 0.1


def timed(function, *arguments, **named):
    """Return seconds on the clock and of CPU, and what the function returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = function(*arguments, **named)
    return (time.perf_counter() - wall, time.process_time() - cpu), found


def main():
    """Fit, convert, compare, print; return 1 if a plan takes more of the time of its fit than is wanted."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="of fit and plan, in turns")
    given = options.parse_args()
    warnings.simplefilter("ignore")
    frame, short = load_frame(recipe), []
    for each in (recipe, logistic):
        prepared = prepare(each, frame)
        fits, plans = [], []
        for _ in range(given.rounds):
            taken, estimator = timed(fit, each, prepared.train)
            fits.append(taken)
            kind, fields, categories = infer_fields(estimator, prepared.test.X)
            taken, (plan, report) = timed(
                plan_for,
                estimator,
                prepared.test.X,
                kind=kind,
                fields=fields,
                categories=categories,
                seconds=PLAN_SHARE * fits[-1][0],
            )
            plans.append(taken)
        (fit_wall, fit_cpu), (plan_wall, plan_cpu) = np.median(fits, axis=0), np.median(plans, axis=0)
        print(f"{each.name}, {len(prepared.train.X):,} rows: {report}")
        print(
            f"  fit {fit_wall:.2f} s ({fit_cpu:.2f} s of CPU), plan {plan_wall:.2f} s ({plan_cpu:.2f} s): "
            f"{plan_wall / fit_wall:.1%} of the time, {plan_cpu / fit_cpu:.1%} of the CPU (wanted {WANTED:.0%})"
        )
        if plan is None or plan_wall > WANTED * fit_wall:
            short.append(each.name)
    if short:
        print(f"short of what is wanted: {', '.join(short)}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
