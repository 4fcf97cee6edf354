"""A version's row plan: converted, compared with its pipeline, shipped only if exact.

    plan_for(estimator, X, ...) -> (file, report)       file is None where there is no plan; report says why

Compared are rows of the data, and rows made from them: missing values in every nullable field, categories never
seen, extremes, and the thresholds of trees with their neighbours.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from mlshared._schema import Schema
from mlshared.errors import InputError
from mlshared.manifest import Field
from mlshared.plan import Plan

from ._exact import Comparison, NotExact, Row, compare, compare_more
from .converters import Converted, NotConvertible, convert

DATA_ROWS: Final = 8192
MADE_ROWS: Final = 2048
BASES: Final = 16
PARTS: Final = 16  # of the data's rows, where there is not time for all
UNSEEN: Final = "mlshared-unseen"
EXTREMES: Final = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e9, -1e9, 1e30, -1e30)
WILD: Final = (float("inf"), float("-inf"), 1e39, -1e300)
WILD_FIELDS: Final = 3


def plan_for(
    estimator: Any,
    X: Any,  # noqa: N803 - scikit-learn's name
    *,
    kind: Any,
    fields: Sequence[Field],
    categories: dict[str, list[Any]],
    methods: Sequence[str] = (),
    seconds: float = math.inf,
) -> tuple[bytes | None, str]:
    """Return a plan's file and one line about it.

    Args:
        estimator: Fitted.
        X: Rows like those it was fitted on, shape (n, columns).
        kind: ``fields``, ``array`` or ``text``.
        fields: What it reads.
        categories: Of columns with a pandas category dtype.
        methods: What it answers; a plan that lacks one of them is none.
        seconds: How long all of it may take: the made rows and a first part of the data's are compared in any
            case, the other parts while there is time.
    """
    began = time.perf_counter()
    schema = Schema(fields, kind, categories)
    try:
        converted = _converted(estimator, fields, categories, methods)
        parts = 1 if seconds == math.inf else PARTS
        data = _data_rows(X, schema, 0, parts)
        made = list(_made_rows(data[:BASES], schema, converted.plan))
        wild = list(_wild_rows(data[:1], schema))
        seen = compare(
            estimator,
            converted.plan,
            schema,
            [*data, *made],
            wild,
            rounding=converted.rounding,
            turns=parts > 1,
        )
        part, spent = 1, time.perf_counter() - began
        lasts = spent / 3  # of what was done so far, most is done once
        while part < parts and spent + lasts < seconds:
            rows = _data_rows(X, schema, part, parts)
            seen = compare_more(seen, estimator, converted.plan, schema, rows, rounding=converted.rounding)
            part, lasts, spent = part + 1, time.perf_counter() - began - spent, time.perf_counter() - began
    except (NotConvertible, NotExact) as error:
        return None, f"no plan: {error}"
    return converted.data, _line(seen)


def _converted(
    estimator: Any, fields: Sequence[Field], categories: dict[str, list[Any]], methods: Sequence[str]
) -> Converted:
    converted = convert.converted(estimator, fields, categories)
    if lacking := sorted(set(methods) - set(converted.plan.methods)):
        raise NotConvertible(f"{type(estimator).__name__}: the plan would not answer {', '.join(lacking)}")
    return converted


def _line(seen: Comparison) -> str:
    ties = f" ({seen.ties} at a tie)" if seen.ties else ""
    slow = f"{seen.reference_seconds * 1e3:.1f} ms"
    return f"plan: equal on {seen.rows:,} rows{ties}, {seen.plan_seconds * 1e6:.1f} us a row (scikit-learn {slow})"


def _data_rows(X: Any, schema: Schema, part: int, parts: int) -> list[Row]:  # noqa: N803
    """Return checked rows of the data, evenly spread: every so many-th of them, beginning with that of the part."""
    length = X.shape[0] if hasattr(X, "shape") else len(X)
    every, most = max(1, length // DATA_ROWS) * parts, DATA_ROWS // parts
    first = part * every // parts
    if schema.input == "text":
        return schema.rows([str(text) for text in list(X)[first::every][:most]])
    if hasattr(X, "iloc"):
        table = X[list(schema.names)].iloc[first::every].iloc[:most].astype(object)
        # None is what is checked fastest; NaN, NA and NaT are the same missing value at the door.
        columns = [table[name].where(table[name].notna(), None).tolist() for name in schema.names]
        return schema.rows([dict(zip(schema.names, row, strict=True)) for row in zip(*columns, strict=True)])
    rows = X[first::every][:most]
    values = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
    return schema.rows([dict(zip(schema.names, row, strict=True)) for row in values.tolist()])


def _made_rows(bases: Sequence[Row], schema: Schema, plan: Plan) -> Iterator[Row]:
    """Yield checked rows like the data's, but for one field each; then mixtures of all."""
    turns = plan.thresholds()
    levels = {field.name: [*_levels(field), *turns.get(field.name, ())] for field in schema.fields}
    made = 0
    for field, values in levels.items():
        for number, value in enumerate(values[: MADE_ROWS // max(1, len(levels))]):
            row = _checked({**bases[number % len(bases)], field: value}, schema)
            if row is not None:
                made += 1
                yield row
    random = np.random.default_rng(20261123)
    shape = (MADE_ROWS - made, len(levels))
    # All drawn at once: a draw by itself takes longer than a row of the plan. A base's own value every other time.
    drawn = random.integers(1 << 30, size=shape)
    drawn[random.random(shape) < 0.5] = -1
    for number, draws in zip(random.integers(len(bases), size=len(drawn)), drawn.tolist(), strict=True):
        mixed = dict(bases[number])
        for draw, (field, values) in zip(draws, levels.items(), strict=True):
            if values and draw >= 0:
                mixed[field] = values[draw % len(values)]
        row = _checked(mixed, schema)
        if row is not None:
            yield row


def _levels(field: Field) -> Iterator[Any]:
    if field.nullable:
        yield None
    if field.enum is not None:
        yield from field.enum
    elif field.kind == "boolean":
        yield from (True, False)
    elif field.kind == "text" or (field.kind == "category" and field.value_type == "str"):
        yield from (UNSEEN, "", " ", "\u00e9\u00df\u4e2d", "A" * 200)
    elif field.kind in {"number", "category"}:
        yield from (EXTREMES if field.dtype.startswith("float") else (0, 1, -1, 7, 127, 10**6, -(10**6)))


def _wild_rows(bases: Sequence[Row], schema: Schema) -> Iterator[Row]:
    numbers = [
        field.name for field in schema.fields if field.kind == "number" and field.dtype.startswith("float")
    ]
    for name in numbers[:: max(1, len(numbers) // WILD_FIELDS)][:WILD_FIELDS]:
        for base in bases:
            for value in WILD:
                row = _checked({**base, name: value}, schema)
                if row is not None:
                    yield row


def _checked(row: Row, schema: Schema) -> Row | None:
    try:
        return schema.row(row)
    except InputError:
        return None  # the door refuses it before any plan could
