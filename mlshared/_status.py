"""`Status`: how a model is doing in this process, for people, probes and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Status:
    """How a model is doing in this process.

    Attributes:
        ref: What was asked for.
        state: ``idle`` (not used yet), ``loading``, ``serving``, ``stale`` (the store does not answer, a
            newer version could not be loaded, or nobody looks for one), ``overdue`` (the release in force promised
            a newer one by now) or ``failed`` (nothing could be loaded).
        ready: Whether a prediction would be answered at once.
        version: The version in force, or None.
        trust: ``signed`` by a trusted key, ``unsigned``, ``unverified`` (it claims to be signed, and no keys are
            configured to tell by whom), or None while nothing is loaded.
        stale_seconds: Seconds since the store last confirmed what is in force; None before the first time.
        last_error: The last failure since the last success, as ``Type: message``.
        quarantined: Versions set aside in this environment, ``{version: reason}``.
        ignored_fields: Fields that rows brought and the model does not read, ``{field: count}``.
        cache_problem: Why nothing is kept on disk, if so.
        overdue: Whether the release in force is older than it promised to become.
        estimator_problem: Why the plan answers large tables too, and the estimator cannot, if so.
    """

    ref: str
    state: str
    ready: bool
    version: int | None = None
    trust: str | None = None
    stale_seconds: float | None = None
    last_error: str | None = None
    quarantined: Mapping[int, str] = field(default_factory=dict)
    ignored_fields: Mapping[str, int] = field(default_factory=dict)
    cache_problem: str | None = None
    overdue: bool = False
    estimator_problem: str | None = None
