"""Every order in which several actors can use one store, tried one after the other.

    found = explore(objects, {"person": act, "retrain": act}, check)      check(run) after each schedule

Each actor runs on a thread of its own, and each of its storage operations waits until the scheduler grants
it; between two grants nothing runs. A schedule is a sequence of grants. `explore` replays schedules from the
start, each time changing the last choice that has an alternative left, until there is none.

Two orders that differ only in steps which cannot influence each other are one: objects never change, so
reading one that exists commutes with everything, and two lists with each other (sleep sets: Godefroid,
"Partial-Order Methods for the Verification of Concurrent Systems", 1996). ``reduce=False`` tries all orders.
Blobs alone are ever deleted, so a blob is not said to exist for good where an actor deletes; what was deleted is put
back before the next schedule. Steps on keys that no actor ever writes (``inert``) are no choice at all.
"""

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mlshared.errors import StorageError

PATIENCE_SECONDS = 20.0
WRITES = frozenset({"create", "delete"})


@dataclass(frozen=True)
class Step:
    """One storage operation that an actor is about to do."""

    operation: str
    key: str

    def conflicts(self, other):
        """Return whether the order of the two can matter; both touch what may not be there yet."""
        if self.operation not in WRITES:
            return other.operation in WRITES and other.conflicts(self)
        if other.operation == "names":
            return self.key.startswith(f"{other.key}/") or not other.key
        return self.key == other.key


@dataclass
class Actor:
    """An actor in one run, and what became of it.

    Attributes:
        steps: What it did.
        listings: What its lists gave.
        result: What it returned.
        error: What it raised.
    """

    name: str
    steps: list[Step] = field(default_factory=list)
    listings: list[list[str]] = field(default_factory=list)
    result: object = None
    error: Exception | None = None


@dataclass
class Run:
    """One schedule, run to its end."""

    schedule: list[str]
    actors: dict[str, Actor]


@dataclass
class _Choice:
    """A moment at which more than one actor could go on."""

    pending: dict[str, Step]
    asleep: dict[str, Step]
    chosen: str = ""
    done: list[str] = field(default_factory=list)

    def next(self):
        """Choose the next alternative; return whether there was one."""
        left = [name for name in self.pending if name not in self.done and name not in self.asleep]
        self.chosen = left[0] if left else ""
        return bool(left)

    def asleep_after(self):
        """Return the steps that need not follow the chosen one: that order was tried the other way."""
        tried = self.asleep | {name: self.pending[name] for name in self.done}
        step = self.pending[self.chosen]
        return {name: other for name, other in tried.items() if not other.conflicts(step)}


class Waiting:
    """Objects whose every operation waits for the scheduler.

    Args:
        inner: The storage.
        actor: Who uses it.
        ask: Announces a step; returns when it is granted.
        lose: By number of the actor's create, from 1: ``"before"`` or ``"after"`` it takes effect it is lost,
            and the actor learns nothing.
        created: Collects the keys.
        deleted: Collects the keys, for their bytes.
        inert: Whether a key is one that no actor writes.
    """

    def __init__(self, inner, actor, ask, lose, created, deleted, inert):
        self._deleted = deleted
        self._inert = inert
        self._inner = inner
        self._actor = actor
        self._ask = ask
        self._lose = lose
        self._creates = 0
        self._created = created

    def get(self, key, *, limit, timeout):
        self._wait("get", key)
        return self._inner.get(key, limit=limit, timeout=timeout)

    def names(self, folder, *, timeout):
        self._wait("names", folder)
        found = self._inner.names(folder, timeout=timeout)
        self._actor.listings.append(found)
        return found

    def modified(self, key, *, timeout):
        self._wait("get", key)
        return self._inner.modified(key, timeout=timeout)

    def create(self, key, data, *, timeout):
        self._wait("create", key)
        self._creates += 1
        lost = self._lose.get(self._creates)
        if lost == "before":
            raise StorageError("the request was lost")
        won = self._inner.create(key, data, timeout=timeout)
        if won:
            self._created.append(key)
        if lost == "after":
            raise StorageError("the answer was lost")
        return won

    def delete(self, key, *, timeout):
        self._wait("delete", key)
        if key not in self._created:
            found = self._inner.get(key, limit=1 << 20, timeout=timeout)
            if found is not None:
                self._deleted[key] = found
        self._inner.delete(key, timeout=timeout)

    def close(self):
        pass

    def _wait(self, operation, key):
        step = Step(operation, key)
        if not self._inert(key):
            self._ask(step)
        self._actor.steps.append(step)


def explore(
    objects, actors, check, *, forget, lose=None, reduce=True, inert=lambda _key: False, deletes=False
):
    """Run every schedule; return how many there were.

    Args:
        objects: Storage in memory.
        actors: By name, functions of the `Waiting` objects they are to use.
        check: Called after each run, with a `Run`.
        forget: Removes keys from the storage, for the next run.
        lose: By actor, what `Waiting` shall lose.
        reduce: Whether orders that cannot differ count as one.
        inert: Whether a key is one that no actor writes, nor anything right below it.
        deletes: Whether an actor deletes blobs.
    """
    choices: list[_Choice] = []
    schedules = 0
    with ThreadPoolExecutor(max_workers=len(actors), thread_name_prefix="actor") as pool:
        while True:
            stage = _Stage(objects, actors, pool, lose or {}, inert, deletes)
            if _follow(stage, choices, reduce=reduce):
                schedules += 1
                check(stage.run)
            forget([key for key in stage.created if objects.get(key, limit=0, timeout=1) is not None])
            for key, data in stage.deleted.items():
                objects.create(key, data, timeout=1)
            while choices and not _another(choices[-1]):
                choices.pop()
            if not choices:
                return schedules


def _another(choice):
    choice.done.append(choice.chosen)
    return choice.next()


def _follow(stage, choices, *, reduce):
    """Follow the choices made, then the first alternative each time; return whether the order is new."""
    depth, asleep, new = 0, {}, True
    while stage.pending:
        if reduce and (free := stage.commuting()):
            stage.grant(free)
            continue
        if depth == len(choices):
            choice = _Choice(dict(stage.pending), asleep)
            if not new or not choice.next():
                new = False  # whatever can go on was tried before, in another order: just end it
                stage.grant(next(iter(stage.pending)))
                continue
            choices.append(choice)
        choice = choices[depth]
        if reduce:
            asleep = choice.asleep_after()
        stage.grant(choice.chosen)
        depth += 1
    return new


class _Stage:
    """The actors of one run, each before its next step."""

    def __init__(self, objects, actors, pool, lose, inert, deletes):
        self.run = Run([], {name: Actor(name) for name in actors})
        self.pending: dict[str, Step] = {}
        self.created: list[str] = []
        self.deleted: dict[str, bytes] = {}
        self._inert = inert
        self._deletes = deletes
        self._objects = objects
        self._lose = lose
        self._announced: queue.SimpleQueue = queue.SimpleQueue()
        self._granted = {name: queue.SimpleQueue() for name in actors}
        for name, function in actors.items():
            pool.submit(self._act, name, function)
            self._hear()

    def grant(self, name):
        """Let an actor do its step, and wait until it announces the next one or ends."""
        self.run.schedule.append(name)
        self._granted[name].put(None)
        self._hear()

    def commuting(self):
        """Return an actor whose step can neither influence another one's nor be influenced, or None."""
        for name, step in self.pending.items():
            if step.operation in {"names", "delete"} or (self._deletes and "/blobs/" in step.key):
                continue
            if self._objects.get(step.key, limit=0, timeout=1) is not None:
                return name
        return None

    def _act(self, name, function):
        def ask(step):
            self._announced.put((name, step))
            self._granted[name].get(timeout=PATIENCE_SECONDS)

        actor = self.run.actors[name]
        try:
            lose = self._lose.get(name, {})
            actor.result = function(
                Waiting(self._objects, actor, ask, lose, self.created, self.deleted, self._inert)
            )
        except Exception as error:  # noqa: BLE001 - judged by the check
            actor.error = error
        self._announced.put((name, None))

    def _hear(self):
        name, step = self._announced.get(timeout=PATIENCE_SECONDS)
        if step is None:
            self.pending.pop(name, None)
        else:
            self.pending[name] = step
