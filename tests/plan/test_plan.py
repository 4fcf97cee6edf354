"""Plans of the zoo: one row is answered as many are, every op is reached, every index is checked."""

import gc
import json
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlshared.errors import InputError, IntegrityError
from mlshared.plan import load_plan, pack
from mlshared.plan._file import unpack
from mlshared.plan._ops import OPS, READS

from .exactness import compare
from .zoo import zoo

NAMES = sorted(zoo())
SINGLES = st.one_of(st.floats(), st.integers(-(10**6), 10**6), st.none())


def asked(ask):
    """Return an answer, or None where the row is refused."""
    try:
        with np.errstate(all="ignore"):
            return ask()
    except InputError:
        return None


def assert_alike(one, many, size):
    if one is None or many is None:
        assert (one is None) == (many is None)
        return
    for single, several in zip(one, many, strict=True) if isinstance(many, list) else [(one, many)]:
        first = np.asarray(several)[0]
        if first.dtype.kind == "f":
            np.testing.assert_allclose(np.asarray(single), first, rtol=1e-11, atol=1e-12 * size)
        else:
            assert np.asarray(single).tolist() == first.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_is_exact(name):
    animal = zoo()[name]
    compare(animal.pipeline, animal.X, animal.rows)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_one_row_is_answered_as_many_are(name, data):
    """Any number, any text, or none, in any field that may lack one."""
    animal = zoo()[name]
    row = dict(animal.rows[data.draw(st.integers(0, len(animal.rows) - 1))])
    for field in animal.schema.fields:
        if data.draw(st.booleans()):
            texts = field.kind in {"text", "category"} and field.value_type in {"str", None}
            row[field.name] = data.draw(st.text(max_size=20) if texts else SINGLES)
    try:
        (row,) = animal.schema.rows([row["text"] if animal.schema.input == "text" else row])
    except InputError:
        return
    plan = animal.converted.plan
    size = max([1.0, *(abs(v) for v in row.values() if isinstance(v, float | int) and np.isfinite(v))])
    for method in plan.methods:
        many, one = asked(lambda m=method: plan.rows(m, [row])), asked(lambda m=method: plan.one(m)(row))
        if method == "predict" and many is not None and np.asarray(many).dtype.kind != "f":
            scores = [m for m in ("decision_function", "predict_proba") if m in plan.methods]
            if scores and tied(asked(lambda m=scores[0]: plan.rows(m, [row]))):
                continue
        assert_alike(one, many, min(size, 1e150) ** 2)


def tied(scores):
    """Return whether the two best scores differ by no more than rounding could."""
    tables = scores if isinstance(scores, list) else [scores]
    for table in tables:
        values = np.sort(np.append(0.0, np.ravel(table)) if np.size(table) == 1 else np.ravel(table))
        if not np.isfinite(values).all() or values[-1] - values[-2] <= 1e-11 * max(1.0, np.abs(values).max()):
            return True
    return False


def test_every_op_is_in_the_zoo():
    """So each is converted to, compared with scikit-learn above, and tampered with in test_hostile.py."""
    found: dict[str, list[str]] = {op: [] for op in OPS}
    for name, animal in zoo().items():
        for op in {step.op for step in animal.converted.plan.program.steps}:
            found[op].append(name)
    print("\n".join(f"{op:10} test_plan.py: {', '.join(names)}" for op, names in found.items()))
    assert [op for op, names in found.items() if not names] == []
    assert set(OPS) >= READS


def test_rows_of_nothing():
    for animal in zoo().values():
        plan = animal.converted.plan
        if animal.name in {"text", "hashed"}:
            continue
        for method in plan.methods:
            found = plan.rows(method, [])
            assert all(len(each) == 0 for each in (found if isinstance(found, list) else [found]))


# -- the file


def test_a_file_holds_what_was_packed():
    arrays = {
        name: np.arange(6).reshape(2, 3).astype(dtype)
        for name, dtype in enumerate(["f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])
    }
    given = {str(name): array for name, array in arrays.items()} | {"none": np.empty((0, 4))}
    program, found = unpack(pack({"é": [1, None, "\ud83d\ude00"]}, given))
    assert program == {"é": [1, None, "😀"]}
    assert set(found) == set(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].flags.writeable) == (array.dtype, False)
        assert found[name].flags.aligned


def test_arrays_are_views_of_the_file():
    data = pack({}, {"a": np.arange(1000.0)})
    _, arrays = unpack(data)
    assert np.shares_memory(arrays["a"], np.frombuffer(data, dtype=np.uint8))


def test_a_loaded_plan_packs_to_the_same_bytes():
    for animal in zoo().values():
        assert pack(*unpack(animal.converted.data)) == animal.converted.data


# -- the program


@pytest.mark.parametrize("name", NAMES)
def test_every_index_is_checked(name):
    """Each tensor of whole numbers, one beyond its largest and one below zero: refused, or harmless."""
    animal = zoo()[name]
    program, tensors = unpack(animal.converted.data)
    for key, array in tensors.items():
        if array.dtype.kind not in "iu" or not array.size:
            continue
        for value in (np.iinfo(array.dtype).max, np.iinfo(array.dtype).min):
            changed = array.copy()
            changed.flat[0] = value
            try:
                plan = load_plan(pack(program, {**tensors, key: changed}))
            except IntegrityError:
                continue
            for method in plan.methods:
                for row in animal.rows[:2]:
                    asked(lambda p=plan, m=method, r=row: p.one(m)(r))
                asked(lambda p=plan, m=method: p.rows(m, animal.rows[:2]))


def test_methods_share_what_they_have_in_common():
    animal = zoo()["logistic"]
    plan = animal.converted.plan
    rows = [row for row in animal.rows if asked(lambda r=row: plan.rows("predict", [r])) is not None]
    every = plan.every(rows)
    for method in plan.methods:
        np.testing.assert_array_equal(every[method], plan.rows(method, rows))


def test_a_newer_minor_format_is_read():
    program, tensors = unpack(zoo()["logistic"].converted.data)
    program = json.loads(json.dumps(program))
    program["format"] = "1.7"
    assert load_plan(pack(program, tensors)).methods


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_that_nobody_has_is_gone(name):
    """At once, with its memory: what is in a cycle waits for the collector, and grows until then."""
    animal = zoo()[name]
    load_plan(animal.converted.data)  # what is made once stays
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(10):
            plan = load_plan(animal.converted.data)
            for method in plan.methods:
                asked(lambda method=method, plan=plan: plan.one(method)(animal.rows[0]))
        gone = weakref.ref(plan)
        del plan
        assert gone() is None
        assert len(gc.get_objects()) - before < 10
    finally:
        gc.enable()
