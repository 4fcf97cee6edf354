"""What each version predicts without any web app: ``python -m examples.demo.offline VERSION...``.

Rows as JSON on stdin; ``{version: [probability of each row]}`` on stdout. It asks the fitted pipeline itself,
with the table form of the features: neither the app's row function nor `mlshared`'s checks are in between.
"""

import json
import sys
from typing import Final

import pandas as pd

import mlshared
from examples.flights.features import derive, derive_frame

LOAD_SECONDS: Final = 60.0


def main() -> None:
    """Read rows, print probabilities."""
    rows = pd.DataFrame(json.load(sys.stdin))
    features = derive_frame(rows.assign(time=pd.to_datetime(rows["time"])))
    found = {}
    for version in sys.argv[1:]:
        model = mlshared.get_model(f"flights@{version}", features=derive)
        model.ready(timeout=LOAD_SECONDS)
        pipeline = model.current.estimator
        late = list(pipeline.classes_).index(True)
        found[version] = pipeline.predict_proba(features)[:, late].tolist()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
