"""Keeping an alias fresh when a retrain finds nothing better: an entry with the version and the hold in force.

Apps count an alias as overdue when its newest entry is older than the ``fresh_for_seconds`` it promised. A retrain
that releases nothing has looked all the same, and says so here. It changes nothing else, so a hold does not
stop it; an entry it cannot judge, or a log that was lost, does.
"""

from datetime import UTC, datetime

from mlshared.manifest import Previous, Release

from ._append import nonce
from ._log import Log, read_log
from ._lost import check_log
from ._writing import Writing, append_entry
from .errors import LogLost


def renew(to: Writing, model: str, alias: str, *, fresh_for_seconds: float | None, reason: str) -> bool:
    """Write a renewal, if there is a promise to keep; return whether it was written.

    Args:
        to: Where.
        model: The model.
        alias: The alias.
        fresh_for_seconds: The promise from here on; None: the one in force, if any.
        reason: Why nothing was released.

    Raises:
        OutcomeUnknown: If the store stopped answering while writing.
    """
    log = read_log(to.store, to.store_id, model, alias)
    entry = renewal(log, fresh_for_seconds=fresh_for_seconds, reason=reason)
    if entry is None:
        return False
    try:
        check_log(to.store, log, to.seen)
    except LogLost:
        return False  # its number was given out already; whoever asked for the retrain is told why nothing was released
    # Losing the race is as good: somebody else has just written an entry.
    return append_entry(to, entry)


def renewal(log: Log, *, fresh_for_seconds: float | None, reason: str) -> Release | None:
    """Return the entry that renews what is in force in ``log``; None if nothing is promised, or it is obscured."""
    if log.head is None or log.obscured:
        return None
    head = log.head.entry
    promise = head.fresh_for_seconds if fresh_for_seconds is None else fresh_for_seconds
    if promise is None:
        return None
    update = {
        "number": head.number + 1,
        "nonce": nonce(),
        "kind": "renewal",
        "prev": Previous(number=head.number, sha256=log.head.sha256),
        "by": "retrain",
        "reason": reason,
        "created_at": datetime.now(UTC),
        "fresh_for_seconds": promise,
        "reset": False,
    }
    return head.model_copy(update=update)
