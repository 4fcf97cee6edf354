import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from trainer._evaluate import Champion, cannot_compare, compare, score
from trainer._fit import fit, prepare
from trainer.checks import NoWorse
from trainer.errors import RecipeError
from trainer.recipe import Recipe
from trainer.splits import KeySplit, TimeSplit


def frame(rows=600):
    X, y = make_classification(n_samples=rows, n_features=4, flip_y=0.2, random_state=0)
    columns = pd.DataFrame(X, columns=list("abcd"))
    times = pd.date_range("2026-01-01", periods=rows, freq="h")
    return columns.assign(id=range(rows), time=times, y=y)


def recipe(**changes):
    values = {
        "name": "m",
        "load": frame,
        "target": "y",
        "drop": ["id", "time"],
        "build": LogisticRegression,
        "split": KeySplit("id", test=0.3),
        "metrics": ["roc_auc"],
    }
    return Recipe(**{**values, **changes})


def accuracy(estimator, X, y):
    return (estimator.predict(X) == y).mean()


def test_scores_come_by_scorer_and_by_function():
    """Both are plain floats, by name."""
    r = recipe(metrics=["roc_auc", accuracy])
    data = prepare(r, frame())
    scores = score(r, fit(r, data.train), data.test)
    assert list(scores) == ["roc_auc", "accuracy"]
    assert all(type(value) is float and 0.5 < value <= 1 for value in scores.values())


def test_a_metric_that_cannot_score_the_candidate_is_an_error():
    """It names the metric and what was raised."""
    r = recipe(metrics=["neg_log_loss"], build=LinearSVC)
    data = prepare(r, frame())
    with pytest.raises(RecipeError, match="m: metric 'neg_log_loss' raised AttributeError"):
        score(r, fit(r, data.train), data.test)


def test_both_are_scored_on_rows_neither_was_trained_on():
    """The same key split: all held-out rows."""
    r = recipe()
    old, new = prepare(r, frame(400)), prepare(r, frame())
    champion = Champion("m@1", fit(r, old.train), old.description)
    candidate = fit(r, new.train)
    found = compare(r, candidate, champion, new)
    assert found.problem is None
    assert found.rows == len(new.test.X)
    assert found.candidate == score(r, candidate, new.test)
    assert found.champion == score(r, champion.estimator, new.test)


def test_only_rows_newer_than_the_champions_cutoff_count():
    """A candidate that holds out more than the champion has not seen is compared on the rest."""
    narrow, wide = recipe(split=TimeSplit("time", test="48h")), recipe(split=TimeSplit("time", test="200h"))
    old, new = prepare(narrow, frame()), prepare(wide, frame())
    champion = Champion("m@1", fit(narrow, old.train), old.description)
    assert compare(wide, fit(wide, new.train), champion, new).rows == 48


def test_no_such_row_fails_by_its_count():
    """A champion trained on everything up to now leaves nothing to compare on."""
    r = recipe(split=TimeSplit("time", test="48h"))
    data = prepare(r, frame())
    estimator = fit(r, data.train)
    champion = Champion("m@1", estimator, {**data.description, "cutoff": "2030-01-01T00:00:00"})
    check = NoWorse("roc_auc").judge({}, compare(r, estimator, champion, data))
    assert not check.passed
    assert check.message.startswith("0 rows")


@pytest.mark.parametrize("split", [None, {"kind": "callable"}])
def test_a_champion_that_does_not_tell_is_not_scored(split):
    """Scores on rows it may have learnt by heart would keep back every honest candidate."""
    r = recipe()
    data = prepare(r, frame())
    estimator = fit(r, data.train)
    found = compare(r, estimator, Champion("m@1", estimator, split), data)
    assert found.champion is None
    assert "cannot tell which rows m@1 was trained on" in found.problem
    assert "KeySplit" in found.problem
    assert "TimeSplit" in found.problem


def test_an_older_champion_gets_the_columns_it_was_fitted_on():
    """Columns added since, or in another order, are no hindrance."""
    r = recipe()
    old = prepare(r, frame())
    champion = Champion("m@1", fit(r, old.train), old.description)
    new = prepare(r, frame().assign(e=1.0)[["e", "d", "c", "b", "a", "id", "time", "y"]])
    assert compare(r, fit(r, new.train), champion, new).problem is None


def test_a_champion_that_reads_a_column_no_longer_there_is_a_finding():
    """Not a failure of the retrain: the gates decide, and the reason is theirs to show."""
    r = recipe()
    old = prepare(r, frame())
    champion = Champion("m@1", fit(r, old.train), old.description)
    new = prepare(r, frame().drop(columns="a"))
    found = compare(r, fit(r, new.train), champion, new)
    assert found.problem.startswith("m@1 cannot be scored on today's rows: m: metric 'roc_auc' raised")
    assert not NoWorse("roc_auc").judge({}, found).passed


def test_a_champion_that_does_not_load_is_a_finding():
    """The caller says why."""
    check = NoWorse("roc_auc").judge({"roc_auc": 1.0}, cannot_compare("m@1", "needs scikit-learn 1.7"))
    assert (check.passed, check.message) == (False, "needs scikit-learn 1.7")
