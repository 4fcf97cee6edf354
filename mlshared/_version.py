"""`ModelVersion`: one version of a model, loaded, self-tested; it never changes.

    raw row -> the app's feature function -> rows checked -> predictor -> plain Python

What stands behind a `Predictor`, a row plan or an estimator, is not known here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel

from mlshared._answers import naming
from mlshared._problems import missing_key
from mlshared._schema import Schema
from mlshared.errors import InputError
from mlshared.manifest import Manifest, Trusted
from mlshared.plan import Plan

Row = dict[str, Any]
RowFunction = Callable[[dict[str, Any]], Mapping[str, Any]]


class Predictor(Protocol):
    """Answers checked input; a row plan or an estimator stands behind it."""

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        ...

    def one(self, method: str) -> Callable[[Row], Any]:
        """Return the function that answers one checked row: a scalar, or lists of values."""
        ...

    def rows(self, method: str, rows: list[Row]) -> Any:
        """Return the answer to checked rows: an array of shape (n, ...) or a list of them, one a target."""
        ...

    def table(self, method: str, table: Any) -> Any:
        """Return the answer to a user's DataFrame or 2-D array, checked first."""
        ...


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """One version of a model, loaded, self-tested, immutable.

    Attributes:
        manifest: Everything known about it.
        released_at: When it was released under the alias it was loaded for; None if it was not.
        trust: ``signed`` by a trusted key, ``unsigned``, or ``unverified``: it claims to be signed, and no keys are
            configured here to tell by whom.
        schema: Of the rows it reads.
        predictor: What answers checked rows.
        plan: The row plan, or None where the estimator answers.
        features: The app's feature function, or None.
    """

    manifest: Manifest
    manifest_sha256: str
    released_at: datetime | None
    trust: Trusted
    schema: Schema
    predictor: Predictor
    plan: Plan | None = None
    features: RowFunction | None = None
    _asks: dict[str, Callable[[Any], Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asks = {
            method: _asker(method, self.manifest, self.schema, self.predictor, self.features)
            for method in self.manifest.methods
        }
        object.__setattr__(self, "_asks", asks)

    @property
    def estimator(self) -> Any:
        """The fitted scikit-learn estimator; with a plan, it is fetched and loaded at first use.

        Raises:
            MlsharedError: If it cannot be fetched or loaded here.
        """
        return self.predictor.estimator

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version's number."""
        return self.manifest.version

    @property
    def ref(self) -> str:
        """The ref that always means this version: ``flights@42``."""
        return f"{self.name}@{self.version}"

    @property
    def classes(self) -> list[Any] | None:
        """The classes in the order of ``predict_proba``'s columns; None for a regressor.

        One list per target where there are several.
        """
        classes = self.manifest.classes
        return None if classes is None else [list(c) if isinstance(c, tuple) else c for c in classes]

    @property
    def predict(self) -> Callable[[Any], Any]:
        """One row in, one Python scalar out ({target: scalar} for several); a table in, an array out."""
        return self._method("predict")

    @property
    def predict_proba(self) -> Callable[[Any], Any]:
        """One row in, {class: probability} out; a table in, an array of shape (n, n_classes) out."""
        return self._method("predict_proba")

    @property
    def decision_function(self) -> Callable[[Any], Any]:
        """One row in, a float or {class: float} out; a table in, an array out."""
        return self._method("decision_function")

    @property
    def transform(self) -> Callable[[Any], Any]:
        """One row in, a list of floats out; a table in, an array of shape (n, width) out."""
        return self._method("transform")

    def answer(self, method: str, rows: list[Any]) -> Any:
        """Return the predictor's own answer to a list of raw rows; what the self-test asks."""
        return self.predictor.rows(method, self.schema.rows([self._raw(row) for row in rows]))

    def checked(self, row: Any) -> Row:
        """Return a raw row as the predictor gets it: through the feature function, then checked."""
        return self.schema.row(self._raw(row))

    def __repr__(self) -> str:
        return f"<ModelVersion {self.ref}>"

    def _method(self, method: str) -> Callable[[Any], Any]:
        ask = self._asks.get(method)
        if ask is None:
            has = ", ".join(self.manifest.methods)
            raise AttributeError(f"{self.ref} has no {method}; it has {has}")
        return ask

    def _raw(self, row: Any) -> Any:
        return row if self.features is None else derived(row, self.features)


def _asker(
    method: str, manifest: Manifest, schema: Schema, predictor: Predictor, features: RowFunction | None
) -> Callable[[Any], Any]:
    """Return the function that answers one method; it knows nothing of the version, which so has no cycle."""
    check, one, name = schema.checker(), predictor.one(method), naming(method, manifest)

    def ask(x: Any) -> Any:
        if type(x) is dict and features is None:
            return name(one(check(x)))
        if schema.is_row(x):
            return name(one(check(x if features is None else derived(x, features))))
        if features is not None and hasattr(x, "to_dict"):
            x = x.to_dict(orient="records")
        if isinstance(x, list | tuple):
            rows = list(x) if features is None else [derived(row, features) for row in x]
            return predictor.rows(method, schema.rows(rows))
        if not hasattr(x, "__len__") or isinstance(x, str | bytes):
            schema.row(x)  # refuses it: it is no table either
        return predictor.table(method, x)

    return ask


def derived(row: Any, features: RowFunction) -> Any:
    """Return what a feature function makes of a raw row; what is no row goes on to be refused.

    Raises:
        InputError: If the function asks for a field that the row does not have.
    """
    if isinstance(row, BaseModel):
        row = row.model_dump()
    if not isinstance(row, Mapping):
        return row
    try:
        return features(dict(row))
    except KeyError as error:
        missing = error.args[0] if error.args else None
        if not isinstance(missing, str) or missing in row:
            raise
        raise InputError([missing_key(missing, row)]) from error
