"""What a store's entries say: `Manifest`, `Release`, `Lease`, `Tombstone`, and the pieces they are made of.

    to_bytes(entry) -> envelope bytes        parse(bytes, Manifest) -> Opened entry

Fields fixed here are fixed for ever: they are in every store ever written. A reader ignores fields it
does not know, unless the entry's ``critical`` names them. Adding an optional field raises the minor
number of `FORMAT`; anything else the major one, which older readers refuse with `UnsupportedFormat`.

No entry holds a value of a data row: entries are never deleted, and people have the right to be forgotten.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NamedTuple, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from pydantic import Field as Constrained

from mlshared._envelope import Closed, open_closed, seal, unwrap
from mlshared.errors import IntegrityError, UnsupportedFormat

FORMAT: Final = "1.0"
MAX_BLOB_BYTES: Final = 2**50  # more than any storage takes; sums of times and sizes stay finite

MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
ALIAS_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
RESERVED_MODELS: Final = frozenset({"feed"})
RESERVED_ALIASES: Final = frozenset({"latest"})

Sha256 = Annotated[str, Constrained(pattern=r"^[0-9a-f]{64}$")]
Hex128 = Annotated[str, Constrained(pattern=r"^[0-9a-f]{32}$")]
Number = Annotated[int, Constrained(ge=1, le=9_999_999_999)]
Finite = Annotated[float, Constrained(strict=True, allow_inf_nan=False)]
Scalar = bool | int | float | str
Trusted = Literal["signed", "unsigned", "unverified"]
ESTIMATOR_KINDS: Final = frozenset({"skops", "joblib"})  # of artifacts that hold a fitted estimator
FieldKind = Literal["number", "boolean", "category", "datetime", "text"]


class Frozen(BaseModel):
    """Immutable; unknown fields are ignored, so that trainers may be newer than clients."""

    # defer_build: a web process, which reads two kinds of entry, makes validators for two of a dozen classes.
    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=False, protected_namespaces=(), defer_build=True
    )


class Field(Frozen):
    """One input the fitted pipeline reads.

    Attributes:
        name: The key of a mapping, or the column of a table.
        kind: How values are checked.
        dtype: The training column's dtype, as ``str(dtype)``: ``float64``, ``object``, ``str``, ``category``.
        value_type: The Python type of a category's values: ``str``, ``int``, ``float`` or ``bool``.
        missing: The training frame's own missing value, which one-row frames must use as well.
        nullable: Whether the fitted pipeline answers with this field missing (tried at publish).
        minimum: Inclusive lower bound, only from the user's own schema.
        maximum: Inclusive upper bound, only from the user's own schema.
        enum: Allowed values, only from the user's own schema.
    """

    name: str
    kind: FieldKind
    dtype: str
    value_type: Literal["str", "int", "float", "bool"] | None = None
    missing: Literal["nan", "none", "na", "nat"] = "nan"
    nullable: bool = False
    minimum: Finite | None = None
    maximum: Finite | None = None
    enum: tuple[Scalar, ...] | None = None


class Artifact(Frozen):
    """One blob of a version.

    Attributes:
        kind: ``skops`` or ``joblib`` (the estimator), ``plan``, ``golden`` (rows and answers for the
            self-test), ``categories`` (of columns with a pandas category dtype).
        required: Whether a client that does not know this kind must refuse the version.
        sha256: Of the blob.
        size: In bytes; reading stops one byte later.
        requires: Libraries it needs at load, ``{distribution: version at publish}``.
    """

    kind: str
    required: bool
    sha256: Sha256
    size: Annotated[int, Constrained(ge=0, le=MAX_BLOB_BYTES)]
    requires: dict[str, str] = {}


class Environment(Frozen):
    """Where the version was trained."""

    python: str
    machine: str
    libraries: dict[str, str] = {}


class Features(Frozen):
    """The feature function rows pass through first: which one the app is expected to name."""

    name: str
    sha256: Sha256


class Training(Frozen):
    """How the version came to be.

    Attributes:
        recipe: The recipe's name, or None for an estimator published from a notebook.
        rows: Training rows.
        test_rows: Held-out rows.
        split: How rows were held out: ``{"kind": "time" | "key" | "callable", ...}``; tells which rows
            this version was not trained on.
        metrics: Scores on the held-out rows, higher is better.
        checks: Every check's verdict, ``{"name", "passed", "message"}``.
        seconds: Wall time of load, fit and evaluate.
    """

    recipe: str | None = None
    rows: int | None = None
    test_rows: int | None = None
    split: dict[str, Any] | None = None
    metrics: dict[str, float] = {}
    checks: tuple[dict[str, Any], ...] = ()
    seconds: float | None = None


class Entry(Frozen):
    """What every payload begins with.

    Attributes:
        type: The payload type.
        format: ``major.minor``.
        critical: Fields a reader must know to use this entry.
        store: The store's id.
        model: The model's name.
        nonce: Random; tells a writer whether the bytes it finds are its own.
    """

    TYPE: ClassVar[str]

    type: str
    format: str
    critical: tuple[str, ...] = ()
    store: Hex128
    model: str
    nonce: Hex128


class Manifest(Entry):
    """One version of a model: what it is, what it reads, where its blobs are.

    Attributes:
        version: Its number.
        publish_id: The folder of its blobs.
        created_at: When it was published.
        task: What kind of estimator it is.
        methods: The predicting methods it has.
        classes: What it can answer, in the order of ``predict_proba``'s columns; one list per target where
            there are several.
        class_dtype: The numpy dtype of the classes.
        targets: Names of the targets where there are several, else None.
        output_dtype: The numpy dtype of what ``predict`` returns.
        input: ``fields`` (fitted on named columns), ``array`` (fitted without names: x0..xn) or ``text``.
        fields: What it reads, in the order of training.
        artifacts: Its blobs.
        features: The feature function raw rows pass through, if any.
        environment: Where it was trained.
        training: How it was trained and judged.
        plan_report: What converting it to a row plan gave, one line.
        labels: Free text by the publisher.
        heads: How far each alias's log had come when this was published: a log that ends before was lost.
    """

    TYPE: ClassVar[str] = "manifest"

    version: Number
    publish_id: Hex128
    created_at: AwareDatetime
    task: Literal["classifier", "regressor", "clusterer", "outlier_detector", "transformer", "other"]
    methods: tuple[str, ...]
    classes: tuple[Scalar, ...] | tuple[tuple[Scalar, ...], ...] | None = None
    class_dtype: str | None = None
    targets: tuple[str, ...] | None = None
    output_dtype: str | None = None
    input: Literal["fields", "array", "text"]
    fields: tuple[Field, ...]
    artifacts: tuple[Artifact, ...]
    features: Features | None = None
    environment: Environment
    training: Training = Training()
    plan_report: str | None = None
    labels: dict[str, str] = {}
    heads: dict[str, Number] = {}

    def artifact(self, kind: str) -> Artifact | None:
        """Return the artifact of that kind, or None."""
        return next((a for a in self.artifacts if a.kind == kind), None)


class Previous(Frozen):
    """The entry that a release follows: its number, and the hash of its bytes."""

    number: Number
    sha256: Sha256


class Fallback(Frozen):
    """The version to take where the released one cannot be used."""

    version: Number
    manifest_sha256: Sha256


class Release(Entry):
    """One entry of an alias's log: which version is in force from here on.

    Attributes:
        alias: The alias.
        number: The entry's own number.
        kind: Why it was written.
        prev: The entry before; None only for the first of a log.
        version: The version in force.
        manifest_sha256: Of that version's manifest: a number is a label, the release names the bytes.
        fallback: The version to take where this one cannot be used.
        withdrawn: Versions rolled back from: never a fallback, never released automatically again.
        hold: Whether automatic releases stop here until a person releases.
        by: Who wrote it.
        reason: Why, in a person's words.
        created_at: When; order is by number, never by this.
        fresh_for_seconds: After how long without a newer entry the alias counts as overdue.
        reset: Whether this entry may follow a lower number than a reader remembers.
    """

    TYPE: ClassVar[str] = "release"

    alias: str
    number: Number
    kind: Literal["release", "rollback", "hold", "renewal", "recover"]
    prev: Previous | None
    version: Number
    manifest_sha256: Sha256
    fallback: Fallback | None = None
    withdrawn: tuple[Number, ...] = ()
    hold: bool = False
    by: Literal["person", "retrain"]
    reason: str = ""
    created_at: AwareDatetime
    fresh_for_seconds: Annotated[Finite, Constrained(ge=0)] | None = None
    reset: bool = False

    @property
    def rootless(self) -> bool:
        """Whether it follows no entry although it is not number 1: valid only with no valid entry below it.

        So begins a log whose first number was taken by what is no entry.
        """
        return self.prev is None and self.number > 1 and not self.reset


class Lease(Entry):
    """Who is retraining a model now: the lease itself (beat 0), a beat, or its end."""

    TYPE: ClassVar[str] = "lease"

    number: Number
    beat: Annotated[int, Constrained(ge=0)] = 0
    owner: str
    done: bool = False


class Tombstone(Entry):
    """A version's blobs are to be collected, and the version is never released again.

    Attributes:
        version: Its number.
        manifest_sha256: Of its manifest.
        created_at: When; its age is told by the store's clock, never by this.
    """

    TYPE: ClassVar[str] = "tombstone"

    version: Number
    manifest_sha256: Sha256
    created_at: AwareDatetime


E_ = TypeVar("E_", bound=Entry)


class Stored(NamedTuple, Generic[E_]):
    """An entry as it lies in a store.

    Attributes:
        entry: What it says.
        raw: Its bytes.
        sha256: Of its bytes.
        signed: Whether it claims to be signed.
        trust: What is known of that: ``signed`` (by a trusted key), ``unsigned``, or ``unverified`` (it claims to
            be signed, and nobody has looked by whom).
    """

    entry: E_
    raw: bytes
    sha256: str
    signed: bool
    trust: Trusted = "unsigned"


def to_bytes(entry: Entry) -> bytes:
    """Return the unsigned envelope of an entry."""
    return seal(entry.model_dump(mode="json"), entry.TYPE)


def parse(raw: bytes, kind: type[E_], check: Callable[[Closed], Trusted] | None = None) -> Stored[E_]:
    """Return the entry in these bytes.

    Args:
        raw: The bytes.
        kind: What it should be.
        check: Judges the signatures, before the payload is parsed.

    Raises:
        SignatureError: If ``check`` does.
        UnsupportedFormat: If its format's major number, or a field it calls critical, is not known here.
        IntegrityError: If it is anything but a well-formed entry of ``kind``.
    """
    closed = unwrap(raw, kind.TYPE)
    trust: Trusted = check(closed) if check is not None else "unverified" if closed.signed else "unsigned"
    payload = open_closed(closed).payload
    if payload.get("type") != kind.TYPE:
        raise IntegrityError(f"says it is a {str(payload.get('type'))[:80]!r}, not a {kind.TYPE}")
    _check_format(payload, kind)
    try:
        entry = kind.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"not a {kind.TYPE}: {where}: {first['msg']}") from error
    return Stored(entry, raw, closed.sha256, closed.signed, trust)


def check_model_name(name: str) -> str:
    """Return ``name``, or raise ValueError if no model may be called so."""
    if not MODEL_NAME.fullmatch(name) or name in RESERVED_MODELS:
        raise ValueError(
            f"{name[:80]!r} cannot name a model: lower-case letters, digits, '.', '_' and '-', at most 64"
        )
    return name


def check_alias(alias: str) -> str:
    """Return ``alias``, or raise ValueError if no alias may be called so."""
    if not ALIAS_NAME.fullmatch(alias) or alias in RESERVED_ALIASES:
        raise ValueError(
            f"{alias[:80]!r} cannot name an alias: lower-case letters, digits, '-', at most 32, not 'latest'"
        )
    return alias


def _check_format(payload: dict[str, Any], kind: type[Entry]) -> None:
    written = payload.get("format")
    if not isinstance(written, str) or not re.fullmatch(r"\d{1,6}\.\d{1,6}", written, re.ASCII):
        raise IntegrityError("names no format")
    if written.split(".")[0] != FORMAT.split(".")[0]:
        raise UnsupportedFormat(f"format {written}, this release reads {FORMAT}: upgrade mlshared")
    critical = payload.get("critical", [])
    if not isinstance(critical, list) or not all(isinstance(name, str) for name in critical):
        raise IntegrityError("critical is no list of names")
    unknown = [name for name in critical if name not in kind.model_fields]
    if unknown:
        raise UnsupportedFormat(f"needs {unknown[0][:80]!r}, unknown here: upgrade mlshared")
