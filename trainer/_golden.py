"""Golden rows: made-up rows and their answers, by which every client tests a version before it serves.

    golden_rows(fields, X) -> candidates        a typical row, low and high ones, one missing value each,
                                                one unseen category each, then mixtures; the same every time
    make_golden(candidates, answer, ...)        leaves out what cannot be compared across processors, and
        -> blob (see mlshared._selftest)        encodes the rest with the estimator's own answers

A row is left out where the estimator refuses it, where its two best scores are within ``MARGIN`` of a tie, or
where moving its numbers by one part in 10^9 changes an answer: it then stands on a decision boundary, and
another processor's last bit could fall on the other side.

No row of the data is copied. Numbers are quantiles between the 2nd and the 98th percentile, interpolated,
and extremes lie beyond them by rule; categories and words are those seen at least ten times. Real rows are
used only where ``real_rows`` asks for them.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Literal

import numpy as np

from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._selftest import FORMAT, columns, derived_rows, differing, encode
from mlshared.manifest import Field

from .errors import NoGoldenRows

Answer = Callable[[str, list[Any]], Any]

ROWS: Final = 64
TOLERANCE: Final = 1e-6
# Two best scores closer than this, relative to a usual score, could swap on another processor.
MARGIN: Final = 1e-4
# An answer this many times the usual one would hide differences in the others.
DWARFS: Final = 1000.0
SEEN_AT_LEAST: Final = 10
UNSEEN: Final = "mlshared-unseen"
_NUDGE: Final = 1e-9
_QUANTILES: Final = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_LOOKED_AT: Final = 100_000
# What an estimator raises for a row it does not accept; InputError is a ValueError. Overflow is a warning.
_REFUSED: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, Warning)


def golden_rows(
    fields: Sequence[Field],
    X: Any,  # noqa: N803 - scikit-learn's name
    *,
    input: Literal["fields", "array", "text"] = "fields",  # noqa: A002 - the manifest's name
    limit: int = 2 * ROWS,
    real_rows: int = 0,
) -> list[Any]:
    """Return candidate rows as a web app would send them.

    Args:
        fields: What the estimator reads.
        X: Training rows: a DataFrame, a 2-D array or sparse matrix (``input="array"``) or texts.
        input: How the estimator was fitted.
        limit: At most so many.
        real_rows: So many rows of ``X`` itself come first; they will lie in the store for good.

    Returns:
        Mappings of JSON values, None where missing; texts for ``input="text"``.
    """
    random = np.random.default_rng(20261120)
    if input == "text":
        texts = [str(text) for text in list(X[:_LOOKED_AT])]
        return [*texts[:real_rows], *_sentences(texts, random, limit)][:limit]
    samples = [_column(X, field, position, input) for position, field in enumerate(fields)]
    levels = [_levels(field, sample) for field, sample in zip(fields, samples, strict=True)]
    names = [field.name for field in fields]
    rows = [
        dict(zip(names, [_plain(field, s[i]) for field, s in zip(fields, samples, strict=True)], strict=True))
        for i in range(min(real_rows, *(len(sample) for sample in samples)) if samples else 0)
    ]
    rows += _designed(fields, levels, limit)
    while len(rows) < limit and fields:
        rows.append(
            {name: each[int(random.integers(len(each)))] for name, each in zip(names, levels, strict=True)}
        )
    return _distinct(rows)[:limit]


def make_golden(
    candidates: Sequence[Any],
    answer: Answer,
    *,
    fields: Sequence[Field] = (),
    methods: Sequence[str],
    exact: Collection[str] = (),
    derive: Callable[[Any], dict[str, Any]] | None = None,
    limit: int = ROWS,
) -> bytes:
    """Return the golden blob.

    Args:
        candidates: Raw rows, the most wanted first.
        answer: The reference: method and raw rows -> the fitted estimator's own answers.
        fields: What the rows' numbers are; decides which may be moved.
        methods: What to answer, such as ``("predict", "predict_proba")``.
        exact: Those of them that answer labels.
        derive: With a feature function: raw row -> the checked row the estimator reads.
        limit: At most so many rows.

    Raises:
        NoGoldenRows: If no candidate is left, or one row's answers alone exceed an entry's size.
    """
    rows = _answerable(list(candidates), answer, methods)
    rows = _steady(rows, answer, fields, methods, frozenset(exact))[:limit]
    if not rows:
        raise NoGoldenRows(
            "the estimator answers none of the rows made from its training data steadily; give publish rows as it was "
            "fitted on (with features=, their raw rows too: raw=), of which it answers each alone, estimator."
            "predict(X[:1]), and the same each time"
        )
    while rows:
        answers = {method: encode(answer(method, rows)) for method in methods}
        blob = {"format": FORMAT, "rows": rows, "exact": sorted(exact), "answers": answers}
        if derive is not None:
            blob["derived"] = derived_rows(derive, rows)
        data = json.dumps(blob, allow_nan=False, separators=(",", ":")).encode()
        if len(data) <= MAX_ENTRY_BYTES:
            return data
        rows = rows[: len(rows) // 2]
    raise NoGoldenRows("the answers to one row take over 1 MiB; select or reduce columns in the estimator")


def _column(X: Any, field: Field, position: int, kind: str) -> list[Any]:  # noqa: N803 - scikit-learn's name
    if kind == "fields":
        return list(X[field.name].iloc[:_LOOKED_AT])
    values = X[:_LOOKED_AT, [position]]
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    return list(values.ravel().tolist())


def _levels(field: Field, sample: list[Any]) -> list[Any]:
    """Return the values a field takes in made-up rows, the typical one first."""
    present = [value for value in (_plain(field, each) for each in sample) if value is not None]
    if field.enum is not None:
        found: list[Any] = list(field.enum)
    elif not present:
        found = []
    elif field.kind == "number":
        found = _numbers(field, present)
    elif field.kind == "datetime":
        ordered = sorted(present)
        found = [ordered[int(q * (len(ordered) - 1))][:10] for q in (0.5, 0.1, 0.9)]
    elif field.kind == "text":
        found = _sentences(present, np.random.default_rng(len(field.name)), 6)
    else:
        counts = Counter(present).most_common()
        found = [value for value, seen in counts if seen >= SEEN_AT_LEAST][:20] or [counts[0][0]]
    missing = [None] if field.nullable or not found else []
    return _distinct([*found, *missing])


def _numbers(field: Field, present: list[Any]) -> list[Any]:
    finite = [value for value in map(float, present) if math.isfinite(value)] or [0.0]
    low, *between, high = (float(value) for value in np.quantile(finite, _QUANTILES))
    reach = (high - low) or abs(high) or 1.0
    middle = between[len(between) // 2]
    values = [middle, low, high, *between, low - reach, high + reach, high + 10 * reach]
    # Six digits are enough to be typical, and few enough to be nobody's own value.
    values = [_bounded(float(f"{value:.6g}"), field) for value in values]
    return [_bounded(round(value), field) for value in values] if _whole(field) else values


def _bounded(value: Any, field: Field) -> Any:
    if field.minimum is not None and value < field.minimum:
        return math.ceil(field.minimum) if _whole(field) else field.minimum
    if field.maximum is not None and value > field.maximum:
        return math.floor(field.maximum) if _whole(field) else field.maximum
    if not _whole(field):
        return value
    return max(value, 0) if "uint" in field.dtype.lower() else value


def _whole(field: Field) -> bool:
    return "int" in field.dtype.lower()


def _plain(field: Field, value: Any) -> Any:
    """Return a training value as a JSON value; None where it is missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if field.kind == "datetime":
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    if field.kind == "boolean":
        return bool(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def _designed(fields: Sequence[Field], levels: list[list[Any]], limit: int) -> list[dict[str, Any]]:
    names = [field.name for field in fields]
    typical = dict(zip(names, (each[0] for each in levels), strict=True))
    rows = [typical]
    # Every field at its own second, third, ... level at once: all low, all high, and so on.
    rows += [
        {name: each[min(depth, len(each) - 1)] for name, each in zip(names, levels, strict=True)}
        for depth in range(1, max((len(each) for each in levels), default=0))
    ][: limit // 4]
    gaps = [{**typical, field.name: None} for field in fields if field.nullable]
    if len(gaps) > 1:
        rows.append({**typical, **{field.name: None for field in fields if field.nullable}})
    strange = [{**typical, field.name: _unseen(field)} for field in fields if _may_be_unseen(field)]
    return [*rows, *gaps[: limit // 4], *strange[: limit // 8]]


def _may_be_unseen(field: Field) -> bool:
    return field.kind == "category" and field.enum is None and field.value_type != "bool"


def _unseen(field: Field) -> Any:
    return {"int": -987_654_321, "float": -987_654_321.5}.get(field.value_type or "str", UNSEEN)


def _sentences(texts: Sequence[str], random: Any, count: int) -> list[str]:
    """Return made-up texts of words that at least ten texts hold; of none where there is no such word."""
    seen = Counter(word for text in texts for word in set(text.split()))
    words = sorted(word for word, times in seen.items() if times >= SEEN_AT_LEAST) or [UNSEEN]
    lengths = [1, 2, 4, 8, 16, 32]
    made = [" ".join(random.choice(words, size=lengths[i % len(lengths)])) for i in range(count - 2)]
    return _distinct([*made, UNSEEN, ""])


def _distinct(values: list[Any]) -> list[Any]:
    # By type as well: True, 1 and 1.0 are one key otherwise.
    return list({json.dumps(value, default=str): value for value in values}.values())


def _answerable(rows: list[Any], answer: Answer, methods: Sequence[str]) -> list[Any]:
    if _answers(rows, answer, methods):
        return rows
    return [row for row in rows if _answers([row], answer, methods)]


def _answers(rows: list[Any], answer: Answer, methods: Sequence[str]) -> bool:
    try:
        for method in methods:
            answer(method, rows)
    except _REFUSED:
        return False
    return True


def _steady(
    rows: list[Any],
    answer: Answer,
    fields: Sequence[Field],
    methods: Sequence[str],
    exact: frozenset[str],
) -> list[Any]:
    if not rows:
        return []
    keep = np.ones(len(rows), dtype=bool)
    raw = {method: answer(method, rows) for method in methods}
    before = {method: columns(encode(found)) for method, found in raw.items()}
    for method in ("decision_function", "predict_proba"):
        if method in methods and exact:
            keep &= away_from_ties(raw[method])
    for method in ("predict", "decision_function"):
        if method in methods and method not in exact:
            keep &= of_one_size(before[method], len(rows))
    movable = [field for field in fields if field.kind == "number" and not _whole(field)]
    for factor in (1 - _NUDGE, 1 + _NUDGE) if movable else ():
        moved = [_moved(row, movable, factor) for row in rows]
        for method in methods:
            after = columns(encode(answer(method, moved)))
            # Half of what the self-test allows: the other half is for the other processor.
            close = TOLERANCE / 2
            for row, _ in differing(before[method], after, exact=method in exact, tolerance=close):
                keep[row] = False
    return [row for row, kept in zip(rows, keep, strict=True) if kept]


def of_one_size(table: Sequence[Sequence[Any]], count: int) -> Any:
    """Return which rows' answers do not dwarf the others'; shape (n,), bool.

    The self-test allows differences relative to a column's largest value: one row extrapolated to 10^30
    would make it blind for all others.
    """
    keep = np.ones(count, dtype=bool)
    for column in table:
        values = np.abs(np.array([each if isinstance(each, float) else 0.0 for each in column]))
        usual = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
        if usual:
            keep &= ~(np.isfinite(values) & (values > DWARFS * usual))
    return keep


def away_from_ties(scores: Any) -> Any:
    """Return which rows' two best scores differ by more than ``MARGIN``; shape (n,), bool.

    Args:
        scores: Of shape (n,) for one score against zero, (n, classes), or a list of those, one per target.
    """
    if isinstance(scores, list | tuple):
        return np.logical_and.reduce([away_from_ties(each) for each in scores])
    table = np.asarray(scores, dtype=np.float64)
    sizes = np.abs(table[np.isfinite(table)])
    usual = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0
    if table.ndim == 1:
        gap = np.abs(table)
    elif table.shape[1] == 1:
        return np.ones(len(table), dtype=bool)
    else:
        best = np.sort(table, axis=1)
        gap = best[:, -1] - best[:, -2]
    return gap > MARGIN * usual


def _moved(row: Any, movable: Sequence[Field], factor: float) -> Any:
    values = {field.name: row[field.name] for field in movable if isinstance(row[field.name], int | float)}
    fields = {field.name: field for field in movable}
    return {
        **row,
        **{
            name: _bounded(value * factor if value else factor - 1, fields[name])
            for name, value in values.items()
        },
    }
