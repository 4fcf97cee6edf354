"""What differs between two versions, as far as their manifests and plans say."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mlshared._ref import Ref
from mlshared.manifest import Field, Manifest
from mlshared.plan import load_plan

from . import _look

_PLAIN = ("task", "methods", "classes", "class_dtype", "targets", "output_dtype", "input")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        what: ``field distance``, ``metric roc_auc``, ``library scikit-learn``, ...
        first: What the first version says; empty if nothing.
        second: What the second says.
    """

    what: str
    first: str
    second: str


def diff(
    store: _look.OpenStore, first_ref: Ref, second_ref: Ref
) -> tuple[Manifest, Manifest, list[Difference]]:
    """Return two versions and what differs between them; when and by whom they were made does in any case.

    Raises:
        NotPublished: If there is no such version.
        StorageError: If the store does not answer.
    """
    a, b = (_look.find(store, ref) for ref in (first_ref, second_ref))
    said_a, said_b = _said(store, a), _said(store, b)
    told = [(what, said_a.get(what, ""), said_b.get(what, "")) for what in dict.fromkeys([*said_a, *said_b])]
    return a, b, [Difference(what, first, second) for what, first, second in told if first != second]


def _said(store: _look.OpenStore, manifest: Manifest) -> dict[str, str]:
    """Return all that may be compared, each with its name."""
    training, environment = manifest.training, manifest.environment
    said = {name: _text(getattr(manifest, name)) for name in _PLAIN}
    said |= {f"field {field.name}": _field(field) for field in manifest.fields}
    if manifest.features is not None:
        said["features"] = f"{manifest.features.name} {manifest.features.sha256[:12]}"
    said |= {f"metric {name}": f"{value:.6g}" for name, value in training.metrics.items()}
    said |= {
        "rows": _text(training.rows),
        "test rows": _text(training.test_rows),
        "split": _text(training.split),
    }
    said |= {"python": environment.python, "machine": environment.machine}
    said |= {f"library {name}": version for name, version in environment.libraries.items()}
    said |= {f"label {name}": text for name, text in manifest.labels.items()}
    for artifact in manifest.artifacts:
        said[f"artifact {artifact.kind}"] = f"{artifact.size:,} bytes, sha256 {artifact.sha256[:12]}"
    return said | {f"plan step {op}": str(count) for op, count in _steps(store, manifest).items()}


def _field(field: Field) -> str:
    values = field.model_dump(exclude={"name"}, exclude_defaults=True)
    return ", ".join(f"{key} {_text(value)}" for key, value in values.items())


def _steps(store: _look.OpenStore, manifest: Manifest) -> Counter[str]:
    artifact = manifest.artifact("plan")
    if artifact is None or _look.state(store, manifest) == _look.COLLECTED:
        return Counter()
    plan = load_plan(store.reader.blob(manifest.model, manifest.publish_id, artifact))
    return Counter(sorted(step.op for step in plan.program.steps))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)
