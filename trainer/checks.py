"""What a candidate must pass before it is released: pure functions from numbers to verdicts.

    AtLeast("roc_auc", 0.70)                a floor under the candidate's score on its held-out rows
    NoWorse("roc_auc", by=0.005)            candidate and version in force on rows neither was trained on
    compatibility(old, new)                 it takes and answers what the version in force does

Each gives a `Check`; nothing here reads a store, fits or scores. A score that is no number never passes,
and a comparison that cannot be made fairly fails and says why: a release needs a reason to go out, not to
stay back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from math import isfinite
from typing import Any, Final

from mlshared.errors import ConfigError
from mlshared.manifest import Field, Manifest, Scalar

MIN_ROWS: Final = 30
FAIR_SPLITS: Final = "split by KeySplit('id', test=0.2) or TimeSplit('time', test='60d') instead"


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict.

    Attributes:
        name: What was checked.
        passed: Whether the candidate may be released as far as this goes.
        message: The figures, or the reason.
    """

    name: str
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate and version in force, scored on the same rows, which neither was trained on.

    Attributes:
        ref: The version in force, such as ``flights@3``.
        rows: How many rows.
        candidate: The candidate's scores on them; empty where there is a problem.
        champion: The scores of the version in force; empty where there is a problem.
        problem: Why they cannot be compared, or None.
    """

    ref: str
    rows: int = 0
    candidate: Mapping[str, float] | None = None
    champion: Mapping[str, float] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The candidate scores at least ``value`` on its held-out rows; higher is better.

    Raises:
        ConfigError: If ``value`` is no finite number.

    >>> AtLeast("roc_auc", 0.7).judge({"roc_auc": 0.81}, None)
    Check(name='roc_auc at least 0.7', passed=True, message='0.81')
    """

    metric: str
    value: float

    def __post_init__(self) -> None:
        _check_metric("AtLeast", self.metric)
        _check_number("AtLeast", "value", self.value)

    def judge(self, scores: Mapping[str, float], comparison: Comparison | None) -> Check:  # noqa: ARG002
        """Return the verdict on the candidate's scores; a comparison makes no difference."""
        name = f"{self.metric} at least {self.value:g}"
        score = scores[self.metric]
        if not isfinite(score):
            return Check(name, False, f"the score is {score}, not a finite number")
        return Check(name, score >= self.value, f"{score:.6g}")


@dataclass(frozen=True, slots=True)
class NoWorse:
    """The candidate scores no worse than the version in force, by more than ``by``.

    Args:
        metric: The metric; higher is better.
        by: How much worse is still accepted, in the metric's own unit.
        min_rows: Fewer rows that neither was trained on decide nothing, and fail.

    Raises:
        ConfigError: If ``by`` is negative or no finite number, or ``min_rows`` is not positive.
    """

    metric: str
    _: KW_ONLY
    by: float = 0.0
    min_rows: int = MIN_ROWS

    def __post_init__(self) -> None:
        _check_metric("NoWorse", self.metric)
        _check_number("NoWorse", "by", self.by)
        if self.by < 0:
            raise ConfigError(f"NoWorse: by is how much worse is accepted, 0 or more, not {self.by!r}")
        if isinstance(self.min_rows, bool) or not isinstance(self.min_rows, int) or self.min_rows < 1:
            raise ConfigError(f"NoWorse: min_rows is a whole number from 1, not {self.min_rows!r}")

    def judge(self, scores: Mapping[str, float], comparison: Comparison | None) -> Check:  # noqa: ARG002
        """Return the verdict on a comparison; the scores on other rows make no difference."""
        name = f"{self.metric} no worse" + (f" by more than {self.by:g}" if self.by else "")
        if comparison is None:
            return Check(name, True, "nothing to compare with: no version is in force")
        if comparison.problem is not None or comparison.candidate is None or comparison.champion is None:
            return Check(name, False, comparison.problem or f"{comparison.ref} was not scored")
        if comparison.rows < self.min_rows:
            return Check(
                name, False, f"{_rows(comparison)}: fewer than {self.min_rows} decide nothing; hold out more"
            )
        new, old = comparison.candidate[self.metric], comparison.champion[self.metric]
        figures = f"{new:.6g} against {old:.6g} of {comparison.ref}, on {_rows(comparison)}"
        if not (isfinite(new) and isfinite(old)):
            return Check(name, False, f"{figures}: not finite numbers")
        # One part in 10^12 of slack, so that equal scores pass whatever the order of summation.
        return Check(name, new >= old - self.by - 1e-12 * max(1.0, abs(old)), figures)


Gate = AtLeast | NoWorse


def judge(
    gates: Iterable[Gate], scores: Mapping[str, float], comparison: Comparison | None
) -> tuple[Check, ...]:
    """Return every gate's verdict.

    Args:
        gates: The recipe's.
        scores: The candidate's, on its held-out rows, by metric name.
        comparison: With the version in force; None if there is none.
    """
    return tuple(gate.judge(scores, comparison) for gate in gates)


def compatibility(old: Manifest | None, new: Manifest) -> Check:
    """Return whether an app that works with the version in force works with the candidate.

    Args:
        old: The manifest in force, or None.
        new: The candidate's.
    """
    if old is None:
        return Check("compatible", True, "nothing to compare with: no version is in force")
    problems = compatible(old, new)
    if not problems:
        return Check("compatible", True, f"takes and answers what {old.model}@{old.version} does")
    mend = f"ready for it? trainer release {new.model} {new.version} --breaking"
    return Check("compatible", False, f"{'; '.join(problems)}; {mend}")


def compatible(old: Manifest, new: Manifest) -> list[str]:
    """Return what would break in an app that works with ``old``; empty if nothing would."""
    return [*_output_problems(old, new), *_input_problems(old, new)]


def _output_problems(old: Manifest, new: Manifest) -> list[str]:
    problems = []
    if old.task != new.task:
        problems.append(f"it is a {new.task}, was a {old.task}")
    if old.targets != new.targets:
        problems.append(f"its targets are {_names(new.targets)}, were {_names(old.targets)}")
    if gone := [m for m in old.methods if m not in new.methods]:
        problems.append(f"it has no {_names(gone)} any more")
    if gone := _vanished_classes(old, new):
        problems.append(f"it no longer knows the class {_names(gone)}")
    kinds = _dtype_kind(old.output_dtype), _dtype_kind(new.output_dtype)
    if None not in kinds and kinds[0] != kinds[1]:
        problems.append(f"predict answers {kinds[1]}, answered {kinds[0]}")
    return problems


def _vanished_classes(old: Manifest, new: Manifest) -> list[str]:
    if old.classes is None or new.classes is None or old.targets != new.targets:
        return []
    now = _labels(new)
    return [label for label in _labels(old) if label not in now]


def _labels(manifest: Manifest) -> list[str]:
    # By repr: False, 0 and "0" are three classes to an app, though Python calls two of them equal.
    labels: list[str] = []
    targets = manifest.targets or ()
    for place, entry in enumerate(manifest.classes or ()):
        if isinstance(entry, tuple):
            target = targets[place] if place < len(targets) else str(place)
            labels += [f"{target}={label!r}" for label in entry]
        else:
            labels.append(repr(entry))
    return labels


def _dtype_kind(dtype: str | None) -> str | None:
    if dtype is None:
        return None
    for prefixes, kind in ((("float",), "floats"), (("int", "uint"), "integers"), (("bool",), "booleans")):
        if dtype.lower().startswith(prefixes):
            return kind
    return "objects"


def _input_problems(old: Manifest, new: Manifest) -> list[str]:
    if old.input != new.input:
        return [f"it takes {new.input}, took {old.input}"]
    if old.input == "array" and len(old.fields) != len(new.fields):
        return [f"it takes {len(new.fields)} columns, took {len(old.fields)}"]
    before = {field.name: field for field in old.fields}
    problems = []
    if (old.features is None) != (new.features is None):
        had, has = (f.name if f else "no feature function" for f in (old.features, new.features))
        problems.append(f"it expects {has}, expected {had}")
    for field in new.fields:
        if field.name in before:
            problems += [f"field {field.name!r} {why}" for why in _narrowed(before[field.name], field)]
        else:
            problems.append(f"field {field.name!r} is new, and every row must have it")
    return problems


def _narrowed(old: Field, new: Field) -> list[str]:
    problems = []
    if not _takes(old) <= _takes(new):
        problems.append(f"takes {_words(new)}, took {_words(old)}")
    if old.nullable and not new.nullable:
        problems.append("may no longer be missing")
    if new.minimum is not None and (old.minimum is None or new.minimum > old.minimum):
        problems.append(f"must be at least {new.minimum:g}{_was(old.minimum)}")
    if new.maximum is not None and (old.maximum is None or new.maximum < old.maximum):
        problems.append(f"must be at most {new.maximum:g}{_was(old.maximum)}")
    if new.enum is not None and (gone := _refused(old.enum, new.enum)):
        problems.append(f"no longer takes {gone}")
    return problems


def _takes(field: Field) -> frozenset[str]:
    """Return the types of value a field takes.

    Integers and floats are numbers alike: whether a column was read as one or the other depends on whether it
    happened to hold a missing value, so a narrower number dtype alone narrows nothing.
    """
    if field.kind == "number":
        return frozenset({"int", "float"})
    if field.kind == "category":
        return frozenset({field.value_type or "str"})
    if field.kind == "datetime":
        return frozenset({"datetime with a time zone" if "," in field.dtype else "datetime"})
    return frozenset({"str" if field.kind == "text" else "bool"})


def _refused(old: tuple[Scalar, ...] | None, new: Sequence[Scalar]) -> str:
    if old is None:
        return f"values other than {_names([repr(v) for v in new])}"
    known = {(type(value), value) for value in new}
    return _names([repr(value) for value in old if (type(value), value) not in known])


def _words(field: Field) -> str:
    return f"{field.kind} ({', '.join(sorted(_takes(field)))})"


def _was(bound: float | None) -> str:
    return ", had no such bound" if bound is None else f", was {bound:g}"


def _rows(comparison: Comparison) -> str:
    return f"{comparison.rows:,} rows that neither was trained on"


def _names(values: Iterable[Any] | None) -> str:
    listed = [str(value)[:40] for value in values or ()]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return ", ".join(listed[:8]) + more if listed else ("" if values is not None else "not named")


def _check_metric(kind: str, metric: str) -> None:
    if not isinstance(metric, str) or not metric:
        raise ConfigError(f"{kind} takes the name of a metric, such as 'roc_auc', not {metric!r}")


def _check_number(kind: str, name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ConfigError(f"{kind}: {name} is a finite number, not {value!r}")
