"""Twelve nights of retraining an equal candidate on growing data, judged by split and checks alone.

The estimator is a forest of deep trees: it knows its own training rows by heart, so whoever scores a
version in force on rows it was trained on compares nothing but memory.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from trainer._evaluate import Champion, compare, score
from trainer._fit import fit, prepare
from trainer.checks import NoWorse, judge
from trainer.recipe import Recipe
from trainer.splits import KeySplit, TimeSplit

NIGHTS = 12
BY = 0.03


def data(rows):
    # Prefixes of one stream: row 7 is the same row every night.
    random = np.random.default_rng(7)
    values = random.normal(size=(8000, 6))
    late = values[:, 0] + 0.5 * values[:, 1] + random.normal(scale=1.5, size=8000) > 0
    times = pd.date_range("2026-01-01", periods=8000, freq="h")
    frame = pd.DataFrame(values, columns=list("abcdef"))
    return frame.assign(id=range(8000), time=times, late=late.astype(int))[:rows]


def forest():
    return RandomForestClassifier(n_estimators=30, random_state=0)


def random_split(frame):
    return train_test_split(frame, test_size=0.3, random_state=len(frame))


def nights(split):
    """Return each night's verdict; a version that passes is in force the next night."""
    recipe = Recipe(
        name="flights", load=data, target="late", drop=["id", "time"], build=forest, split=split,
        metrics=["roc_auc"], gates=[NoWorse("roc_auc", by=BY)],
    )  # fmt: skip
    champion, verdicts = None, []
    for night in range(NIGHTS + 1):
        prepared = prepare(recipe, data(2000 + 200 * night))
        candidate = fit(recipe, prepared.train)
        comparison = champion and compare(recipe, candidate, champion, prepared)
        (check,) = judge(recipe.gates, score(recipe, candidate, prepared.test), comparison)
        verdicts.append(check)
        if check.passed:
            champion = Champion(f"flights@{night + 1}", candidate, prepared.description)
    first, *later = verdicts
    assert first.passed
    return later


@pytest.mark.parametrize(
    "split", [pytest.param(KeySplit("id", test=0.3), marks=pytest.mark.slow), TimeSplit("time", test="40d")]
)
def test_an_equal_candidate_is_released_every_night(split):
    """A stable split passes 12 nights of 12."""
    verdicts = nights(split)
    assert [check.passed for check in verdicts] == [True] * NIGHTS, verdicts


def test_a_random_split_is_refused_with_the_reason():
    """It cannot tell which rows the version in force was trained on, says so, and names the mend."""
    verdicts = nights(random_split)
    assert [check.passed for check in verdicts] == [False] * NIGHTS
    for check in verdicts:
        assert check.message.startswith(
            "cannot tell which rows flights@1 was trained on: its split was a function"
        )
        assert "KeySplit('id', test=0.2)" in check.message


def test_under_a_random_split_the_version_in_force_remembers_the_test_rows():
    """Why it is refused: scored anyway, an equal candidate looks worse by more than any fair tolerance."""
    recipe = Recipe(
        name="flights", load=data, target="late", drop=["id", "time"], build=forest, split=random_split,
        metrics=["roc_auc"],
    )  # fmt: skip
    before, tonight = prepare(recipe, data(2000)), prepare(recipe, data(2200))
    champion, candidate = fit(recipe, before.train), fit(recipe, tonight.train)
    lead = (
        score(recipe, champion, tonight.test)["roc_auc"] - score(recipe, candidate, tonight.test)["roc_auc"]
    )
    assert lead > 2 * BY
