"""The step `forest` refuses what points outside or back, survives what changes later, and is safe for threads."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeRegressor

from mlshared.errors import IntegrityError
from mlshared.plan import Shape, Step
from mlshared.plan._forest import Forest, forest
from trainer.converters._forests import flat_tree
from trainer.converters._supernodes import floored, forest_arrays

WIDTH = 4


def data() -> Any:
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, WIDTH)).astype(np.float32)


def arrays(trees: int = 12) -> dict[str, Any]:
    """Return the tensors of a forest with several levels of supernodes."""
    X = data()
    if trees == 1:
        inner = [DecisionTreeRegressor(random_state=0).fit(X, X[:, 0] * X[:, 1])]
    else:
        fitted = RandomForestClassifier(trees, random_state=0).fit(X, X[:, 0] * X[:, 1] > 0.1)
        inner = fitted.estimators_
    made, copies = forest_arrays([flat_tree(tree) for tree in inner], WIDTH, missing=False)
    assert copies == 1
    assert len(made["level"]) > 1
    return made


def compiled(made: dict[str, Any], **params: Any) -> Any:
    step = Step("forest", (0,), {"copies": 1, "divide": 1.0, **params}, made)
    return forest(step, (Shape("block", WIDTH, "float32"),)).run


def changed(name: str, place: Any, value: Any) -> dict[str, Any]:
    made = arrays()
    made[name] = made[name].copy()
    made[name][place] = value
    return made


@pytest.mark.parametrize("made", [
    changed("feature", (3, 2), WIDTH),
    changed("child", (0, 0), 0),
    changed("child", (0, 0), -1),
    changed("child", (20, 3), 20),
    changed("child", (20, 3), 2**30),
    changed("child", (-1, 3), 5),
    changed("level", 0, 1),
    changed("level", 1, 0),
    changed("level", 0, -3),
])  # fmt: skip
def test_what_points_outside_or_back_is_refused(made: dict[str, Any]) -> None:
    """Features, children and levels are all checked, so that no walk leaves or repeats."""
    with pytest.raises(IntegrityError):
        compiled(made)


@pytest.mark.parametrize("name", ["feature", "threshold", "child", "level", "value"])
def test_every_tensor_is_needed_in_its_shape_and_dtype(name: str) -> None:
    """A tensor that is absent, shorter, or of another dtype."""
    made = arrays()
    for instead in (
        None,
        made[name][:-1] if name != "value" else made[name][:0],
        made[name].astype("complex64"),
    ):
        broken = {**made, name: instead}
        if instead is None:
            del broken[name]
        with pytest.raises(IntegrityError):
            compiled(broken)


@pytest.mark.parametrize(
    "params", [{"copies": 0}, {"copies": 4}, {"divide": 0.0}, {"divide": "x"}, {"each": True}]
)
def test_parameters_are_checked(params: dict[str, Any]) -> None:
    """Also ``each`` with leaves of several numbers."""
    with pytest.raises(IntegrityError):
        compiled(arrays(), **params)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["feature", "threshold", "child", "level", "value"]),
    place=st.integers(0, 10**6),
    value=st.sampled_from([0, 1, 5, 15, 100, 255, -1, 2**20, 2**31 - 1, -(2**31)]),
    trees=st.sampled_from([1, 12]),
)
def test_any_change_is_refused_or_harmless(*, name: str, place: int, value: int, trees: int) -> None:
    """Whatever number stands anywhere, the forest answers with numbers, or is refused."""
    made = arrays(trees)
    flat = made[name].copy().reshape(-1)
    flat[place % flat.size] = np.array(value).astype(flat.dtype)
    made[name] = flat.reshape(made[name].shape)
    try:
        run = compiled(made)
    except IntegrityError:
        return
    assert run(data()).shape == (400, made["value"].shape[1])
    assert run(data()[:1]).shape == (1, made["value"].shape[1])


@pytest.mark.parametrize("trees", [1, 12])
def test_a_file_that_changes_under_it(trees: int) -> None:
    """A mapped file may change after the check: garbage comes out, or an error, and no crash."""
    made = arrays(trees)
    run = compiled(made)
    rng = np.random.default_rng(1)
    for name in ("feature", "child", "threshold"):
        made[name][...] = rng.integers(-(2**31), 2**31, made[name].shape).astype(made[name].dtype)
    for x in (data()[:1], data()):
        with suppress(IndexError):
            assert run(x).shape == (len(x), made["value"].shape[1])


def test_arrays_are_used_as_they_are() -> None:
    """Nothing large is copied, so that workers share the pages of a mapped file."""
    made = arrays()
    for array in made.values():
        array.flags.writeable = False
    run = compiled(made)
    for name in ("feature", "threshold", "child", "value"):
        assert np.shares_memory(getattr(run, name), made[name])
    run(data())
    run(data()[:1])


@pytest.mark.parametrize("trees", [1, 12])
@pytest.mark.parametrize("threads", [4, 16])
def test_threads_share_a_forest(trees: int, threads: int) -> None:
    """One row at a time from many threads: every answer is right."""
    run = compiled(arrays(trees))
    assert isinstance(run, Forest)
    X = data()
    wanted = run(X)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda i: run.row(X[i % 400]), range(4000)))
    np.testing.assert_array_equal(np.array(found), wanted[np.arange(4000) % 400])


def test_rows_do_not_depend_on_each_other() -> None:
    """Alone, in a batch, and in one that takes several chunks."""
    run = compiled(arrays())
    X = np.tile(data(), (40, 1))
    whole = run(X)
    np.testing.assert_array_equal(whole[:400], whole[-400:])
    np.testing.assert_array_equal(np.concatenate([run(x[None, :]) for x in X[:50]]), whole[:50])


@given(st.floats(width=64, allow_nan=False), st.floats(width=32, allow_nan=False))
@example(-3.402823364973241e38, 0.0)
def test_a_floored_threshold_decides_alike(threshold: float, value: float) -> None:
    """A float32 is <= the float64 threshold iff it is <= the floored one; infinity stays."""
    low = floored(np.array([threshold]))
    assert low.dtype == np.float32
    assert (np.float64(np.float32(value)) <= threshold) == bool(np.float32(value) <= low[0])
