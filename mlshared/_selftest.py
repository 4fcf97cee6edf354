"""Whether a loaded version answers its golden rows as it did at publish.

A golden blob is JSON:

    {"format": "1.0",
     "rows": [{"distance": 1400.0, "carrier": null}, ...]      raw rows; null is missing; or texts
     "derived": [{"log_distance": 7.2, ...}, ...],             with a feature function: what it makes of them
     "exact": ["predict"],                                     methods that answer labels
     "answers": {"predict": ["late", ...],                     an entry a row: a scalar, or a list of columns
                 "predict_proba": {"targets": [[[0.1, 0.9], ...], ...]}}}     several targets: one table each

A number that JSON lacks is ``{"float": "nan"}``, ``"inf"`` or ``"-inf"``. Labels must be equal. Other numbers
may differ by ``tolerance`` times the largest absolute value of their column (1 where that is 0), because
other processors round the last bits otherwise. `trainer` writes the blob; nothing here does.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from mlshared._breath import breathe
from mlshared._envelope import strict_json
from mlshared.errors import (
    EnvironmentMismatch,
    FeatureSkew,
    InputError,
    IntegrityError,
    MlsharedError,
    SelfTestFailed,
    UnsupportedFormat,
)

FORMAT: Final = "1.0"

_LARGEST: Final = 2**64  # JSON writes numbers that no float holds

Answer = Callable[[str, list[Any]], Any]
Single = Callable[[str], Callable[[Any], Any]]
Column = list[Any]

# No other is ever called: a blob could name fit, or any other method that takes one argument.
_METHODS: Final = frozenset({"predict", "predict_proba", "decision_function", "transform"})


def self_test(answer: Answer, golden: bytes, tolerance: float = 1e-6, *, one: Single | None = None) -> None:
    """Compare answers with those of publish.

    Args:
        answer: Method and raw rows -> its answers: an array or sparse matrix of shape (n,) or (n, k), or a
            list of them, one per target.
        golden: The blob.
        tolerance: Relative to the largest absolute value of an output column.
        one: Method -> what answers one raw row in plain Python, a scalar or lists, where that is another way
            of answering: then every row is asked that way as well, for it is what requests are answered with.
            The methods take turns: all of them would take longer than the rest of a load.

    Raises:
        SelfTestFailed: At the first disagreement; the message names method, row, expected and got.
        EnvironmentMismatch: If answering needs a library that is not here.
        UnsupportedFormat: If the blob was written by a newer major release.
        IntegrityError: If the blob is malformed or holds no rows.
    """
    breathe()
    rows, answers, exact = read_golden(golden)
    everyone = range(len(rows))
    for turn, (method, expected) in enumerate(answers.items()):
        ways = {method: (everyone, partial(_together, answer, method, rows))}
        if one is not None and (some := everyone[turn :: len(answers)]):
            asked, several = [rows[number] for number in some], isinstance(expected, dict)
            ways[f"{method} of single rows"] = some, partial(_singly, one, method, asked, several=several)
        wanted = columns(expected)
        for way, (numbers, ask) in ways.items():
            breathe()
            found = columns(_asked(way, ask))
            breathe()
            parts = wanted if numbers is everyone else [_at(column, numbers) for column in wanted]
            difference = disagreement(
                parts, found, exact=method in exact, tolerance=tolerance, numbers=numbers
            )
            if difference:
                raise SelfTestFailed(f"{way}, {difference}")


def _at(column: Column, numbers: Sequence[int]) -> Column:
    return [column[number] for number in numbers if number < len(column)]


def _asked(way: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ImportError as error:
        raise EnvironmentMismatch(f"{way} needs what is not installed: {error}") from error
    except (MemoryError, OSError):  # no verdicts: they may pass
        raise
    except Exception as error:  # an estimator of any kind may raise anything
        if isinstance(error, MlsharedError) and not isinstance(error, InputError):
            raise
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise SelfTestFailed(f"{way} does not answer the golden rows: {reason}") from error


def _together(answer: Answer, method: str, rows: list[Any]) -> Any:
    return encode(answer(method, rows))


def _singly(one: Single, method: str, rows: list[Any], *, several: bool) -> Any:
    """Return the answers to single rows, encoded as those to a table; with one table a target, several."""
    answer, answers = one(method), []
    for row in rows:
        breathe()
        answers.append(answer(row))
    if not several:
        return _encode(answers)
    return {"targets": [_encode(list(of_target)) for of_target in zip(*answers, strict=True)]}


def read_golden(golden: bytes) -> tuple[list[Any], dict[str, Any], frozenset[str]]:
    """Return a blob's rows, its answers per method, and the methods that answer labels."""
    blob = strict_json(golden)
    written = blob.get("format")
    if not isinstance(written, str):
        raise IntegrityError("golden rows name no format")
    if written.split(".")[0] != FORMAT.split(".")[0]:
        raise UnsupportedFormat(f"golden rows of format {written[:20]}, this release reads {FORMAT}: upgrade")
    rows, answers, exact = blob.get("rows"), blob.get("answers"), blob.get("exact", [])
    if not isinstance(rows, list) or not isinstance(answers, dict) or not isinstance(exact, list):
        raise IntegrityError("golden rows are malformed")
    if not rows or not answers:
        raise IntegrityError("there are no golden rows, so the version cannot be tested before it serves")
    unknown = sorted(answers.keys() - _METHODS)
    if unknown:
        raise UnsupportedFormat(f"golden rows have answers of {unknown[0][:40]!r}: upgrade mlshared")
    return rows, answers, frozenset(map(str, exact))


def check_features(derive: Callable[[Any], dict[str, Any]], golden: bytes, tolerance: float = 1e-9) -> None:
    """Compare what the app's feature function makes of the golden rows with what the trainer's made.

    Args:
        derive: Raw row -> the checked row the estimator reads.
        golden: The blob.
        tolerance: Relative, for numbers.

    Raises:
        FeatureSkew: At the first value that differs, or if the function raises.
        IntegrityError: If the blob is malformed.
    """
    rows, _, _ = read_golden(golden)
    expected = strict_json(golden).get("derived")
    if not isinstance(expected, list) or len(expected) != len(rows):
        raise IntegrityError("golden rows lack what the feature function made of them")
    try:
        got = derived_rows(derive, rows)
    except Exception as error:  # a function of the app's may raise anything
        raise FeatureSkew(
            f"the feature function fails on a golden row: {type(error).__name__}: {error}"
        ) from error
    for number, (wanted, found) in enumerate(zip(expected, got, strict=True)):
        if not isinstance(wanted, dict):
            raise IntegrityError("what the feature function made of golden rows is malformed")
        for name, want in wanted.items():
            _decode(want)
            have = found.get(name)
            size = abs(want) if _is_number(want) and not isinstance(want, bool) else 0.0
            if not _same(want, have, tolerance * (size or 1.0)):
                raise FeatureSkew(
                    f"the feature function gives {name} = {have!r} for golden row {number}, the trainer's "
                    f"gave {want!r}: deploy the one it was trained with, or release a version trained with it"
                )


def derived_rows(derive: Callable[[Any], dict[str, Any]], rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what a feature function makes of raw rows, as JSON values."""
    return [{name: _jsonable(value) for name, value in derive(row).items()} for row in rows]


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    return str(value)


def encode(answer: Any) -> Any:
    """Return an estimator's answer as the JSON value a golden blob holds.

    Raises:
        TypeError: If an answer is neither text, number nor boolean.
    """
    if isinstance(answer, list | tuple):
        return {"targets": [encode(each) for each in answer]}
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    return _encode(np.asarray(answer).tolist())


def columns(encoded: Any) -> list[Column]:
    """Return an encoded answer as columns of plain values, target after target."""
    if isinstance(encoded, dict) and "targets" in encoded:
        return [column for target in encoded["targets"] for column in columns(target)]
    if not isinstance(encoded, list):
        raise IntegrityError("golden answers are malformed")
    rows = [[_decode(value) for value in (row if isinstance(row, list) else [row])] for row in encoded]
    if len({len(row) for row in rows}) > 1:
        raise IntegrityError("golden answers are malformed: rows of different lengths")
    return [list(column) for column in zip(*rows, strict=True)]


def disagreement(
    expected: Sequence[Column],
    got: Sequence[Column],
    *,
    exact: bool,
    tolerance: float,
    numbers: Sequence[int] = (),
) -> str | None:
    """Return what differs first, with the numbers of its row, where they are given; None if nothing does."""
    shapes = [(len(each), len(each[0]) if each else 0) for each in (expected, got)]
    if shapes[0] != shapes[1]:
        return (
            f"expected {shapes[0][0]} columns and {shapes[0][1]} rows, got {shapes[1][0]} and {shapes[1][1]}"
        )
    for row, number in differing(expected, got, exact=exact, tolerance=tolerance):
        at = numbers[row] if numbers else row
        where = f"row {at}" if len(expected) == 1 else f"row {at}, column {number}"
        return f"{where}: expected {expected[number][row]!r}, got {got[number][row]!r}"
    return None


def differing(
    expected: Sequence[Column], got: Sequence[Column], *, exact: bool, tolerance: float
) -> Iterator[tuple[int, int]]:
    """Yield row and column of every value that differs; both must be of one shape."""
    slack = [0.0 if exact else tolerance * _scale(column) for column in expected]
    for row in range(len(expected[0]) if expected else 0):
        breathe()
        for number, allowed in enumerate(slack):
            if not _same(expected[number][row], got[number][row], allowed):
                yield row, number


def _scale(column: Column) -> float:
    sizes = [abs(value) for value in column if _is_number(value) and math.isfinite(value)]
    return float(max(sizes, default=0.0)) or 1.0


def _same(want: Any, have: Any, allowed: float) -> bool:
    if not (_is_number(want) and _is_number(have)):
        return type(want) is type(have) and bool(want == have)
    if math.isfinite(want) and math.isfinite(have):
        return bool(abs(want - have) <= allowed)
    return bool(want == have) or (math.isnan(want) and math.isnan(have))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _encode(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, np.generic):
        return _encode(value.item())
    if isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"an answer is {type(value).__name__}, neither text, number nor boolean")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("float") in ("nan", "inf", "-inf"):
            return float(value["float"])
        raise IntegrityError("golden answers are malformed")
    if isinstance(value, list) or (isinstance(value, int) and abs(value) > _LARGEST):
        raise IntegrityError("golden answers are malformed")
    return value
