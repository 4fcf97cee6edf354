"""Appending: what is won, lost, refused, or not known; on storage that loses requests and answers."""

import uuid

import pytest
from entries import MODEL, STORE_ID, founded, manifest
from fsspec.implementations.memory import MemoryFileSystem
from interleave import explore

from mlshared._objects import open_objects
from mlshared.errors import AccessDenied, ConfigError, NotPublished, StorageError
from mlshared.manifest import to_bytes
from mlshared.store import IDENTITY_KEY, Store, version_key
from trainer import _append
from trainer._append import OutcomeUnknown, append, found_store, nonce, open_identity

KEY = version_key(MODEL, 8)
WHAT = "number 8 of flights"
CONFLICT = StorageError("the store failed (ConditionalRequestConflict)")  # S3's 409
DENIED = AccessDenied("refused (ExpiredToken)")


class Faulty:
    """Objects that fail as told, call by call; a plan used up, they work.

    Args:
        inner: The storage.
        creates: One for each create: None (works), an error (nothing happens), or ("after", error).
        gets: One for each get: None or an error.
        elsewhere: Called before the first create takes effect: what somebody else does meanwhile.
    """

    def __init__(self, inner, *, creates=(), gets=(), elsewhere=None):
        self.inner = inner
        self.creates = list(creates)
        self.gets = list(gets)
        self.elsewhere = elsewhere
        self.done = []

    def create(self, key, data, *, timeout):
        self.done.append("create")
        fault = self.creates.pop(0) if self.creates else None
        if isinstance(fault, Exception):
            raise fault
        if self.elsewhere:
            self.elsewhere()
            self.elsewhere = None
        won = self.inner.create(key, data, timeout=timeout)
        if fault is not None:
            raise fault[1]
        return won

    def get(self, key, *, limit, timeout):
        self.done.append("get")
        if self.gets and (fault := self.gets.pop(0)) is not None:
            raise fault
        return self.inner.get(key, limit=limit, timeout=timeout)

    def names(self, folder, *, timeout):
        return self.inner.names(folder, timeout=timeout)

    def modified(self, key, *, timeout):
        return self.inner.modified(key, timeout=timeout)

    def close(self):
        self.inner.close()


class Clock:
    """Ticks one second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Racing writers need no spreading here."""
    monkeypatch.setattr(_append, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def objects():
    return open_objects(f"memory://{uuid.uuid4().hex}/models")


@pytest.fixture
def mine():
    return to_bytes(manifest(8, labels={"by": "me"}))


@pytest.fixture
def others():
    return to_bytes(manifest(8, labels={"by": "somebody else"}))


def there(objects):
    return objects.get(KEY, limit=1 << 20, timeout=1)


def put(objects, data):
    assert objects.create(KEY, data, timeout=1)


def test_a_free_key_is_won(objects, mine):
    """One create, and no read."""
    faulty = Faulty(objects)
    assert append(Store(faulty), KEY, mine, WHAT)
    assert faulty.done == ["create"]
    assert there(objects) == mine


def test_a_key_with_other_bytes_is_lost(objects, mine, others):
    """What is there stays."""
    put(objects, others)
    assert not append(Store(objects), KEY, mine, WHAT)
    assert there(objects) == others


def test_a_key_with_longer_bytes_is_lost(objects, mine):
    """Bytes that only begin like ours are not ours."""
    put(objects, mine + b" ")
    assert not append(Store(objects), KEY, mine, WHAT)


def test_taken_by_our_own_bytes_is_won(objects, mine):
    """412 also comes when the storage library repeats a request whose answer was lost."""
    put(objects, mine)
    assert append(Store(objects), KEY, mine, WHAT)


@pytest.mark.parametrize("error", [StorageError("no answer within 9 s"), CONFLICT])
def test_an_answer_lost_after_taking_effect_is_won_once(objects, mine, error):
    """It is read back, not written again."""
    faulty = Faulty(objects, creates=[("after", error)])
    assert append(Store(faulty), KEY, mine, WHAT)
    assert faulty.done == ["create", "get"]


@pytest.mark.parametrize("error", [StorageError("connection refused"), CONFLICT])
def test_a_request_lost_before_taking_effect_is_sent_again(objects, mine, error):
    """The same bytes, until they are there."""
    faulty = Faulty(objects, creates=[error, error])
    assert append(Store(faulty), KEY, mine, WHAT)
    assert faulty.done == ["create", "get"] * 2 + ["create"]
    assert there(objects) == mine


def test_a_lost_request_overtaken_by_another_writer_is_lost(objects, mine, others):
    """Reading back tells whose bytes they are."""
    put(objects, others)
    assert not append(Store(Faulty(objects, creates=[CONFLICT])), KEY, mine, WHAT)


def test_another_writer_between_two_attempts_is_lost(objects, mine, others):
    """Absent when read back, taken when sent again."""
    faulty = Faulty(objects, creates=[CONFLICT], elsewhere=lambda: put(objects, others))
    assert not append(Store(faulty), KEY, mine, WHAT)
    assert there(objects) == others


def test_a_store_that_answers_again_in_time_is_asked_until_then(objects, mine):
    """An outage within the deadline is no failure."""
    faulty = Faulty(objects, creates=[("after", CONFLICT)], gets=[CONFLICT] * 5)
    assert append(Store(faulty), KEY, mine, WHAT)
    assert faulty.done == ["create"] + ["get"] * 6


@pytest.mark.parametrize("creates", [[CONFLICT] * 99, [("after", CONFLICT)] * 99], ids=["before", "after"])
def test_no_answer_until_the_deadline_is_unknown(objects, mine, monkeypatch, creates):
    """It says what may still appear, and where to look; it is no plain failure."""
    clock = Clock()
    monkeypatch.setattr("mlshared.store.time", clock)
    store = Store(Faulty(objects, creates=creates, gets=[CONFLICT] * 99), budget_seconds=30)
    with pytest.raises(
        OutcomeUnknown, match=r"number 8 of flights may still appear; look with `trainer hist"
    ):
        append(store, KEY, mine, WHAT)
    assert 30 <= clock.now < 40


def test_absent_until_the_deadline_is_unknown(objects, mine, monkeypatch):
    """A request on its way may arrive after the last look."""
    monkeypatch.setattr("mlshared.store.time", Clock())
    store = Store(Faulty(objects, creates=[CONFLICT] * 99), budget_seconds=30)
    with pytest.raises(OutcomeUnknown, match="may still appear"):
        append(store, KEY, mine, WHAT)


def test_a_refused_write_passes(objects, mine):
    """Nothing was written, and the credentials are to be mended."""
    with pytest.raises(AccessDenied, match="ExpiredToken") as caught:
        append(Store(Faulty(objects, creates=[DENIED])), KEY, mine, WHAT)
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize(
    ("creates", "gets"),
    [
        ([("after", CONFLICT)], [DENIED]),
        ([CONFLICT, DENIED], []),
        ([("after", CONFLICT)], [CONFLICT, DENIED]),
    ],
    ids=["at the read", "at the next write", "at the second read"],
)
def test_credentials_that_expire_while_it_is_unclear_leave_it_unknown(objects, mine, creates, gets):
    """A refusal says nothing of the write before it."""
    with pytest.raises(OutcomeUnknown, match=r"may still appear.*ExpiredToken"):
        append(Store(Faulty(objects, creates=creates, gets=gets)), KEY, mine, WHAT)


def test_a_key_that_may_not_be_read_leaves_it_unknown(objects, mine, others):
    """Taken, perhaps by us."""
    put(objects, others)
    with pytest.raises(OutcomeUnknown, match="may still appear"):
        append(Store(Faulty(objects, gets=[DENIED])), KEY, mine, WHAT)


def test_nonces_are_random():
    """128 bits, as entries want them."""
    assert len({nonce() for _ in range(1000)}) == 1000
    assert len(nonce()) == 32


# -- the identity of a store --------------------------------------------------------------------------------


class Overwriting:
    """Storage that ignores If-None-Match, as some that speaks S3's protocol does."""

    def __init__(self):
        self.kept = {}

    def get(self, key, *, limit, timeout):
        found = self.kept.get(key)
        return None if found is None else found[: limit + 1]

    def create(self, key, data, *, timeout):
        self.kept[key] = data
        return True

    def names(self, folder, *, timeout):
        return []

    def modified(self, key, *, timeout):
        return None

    def close(self):
        pass


def test_a_folder_becomes_a_store_once(objects):
    """Its id is random, and stays."""
    first = found_store(Store(objects))
    assert found_store(Store(objects)) == first == open_identity(Store(objects))
    assert not first.signed


def test_storage_that_overwrites_is_refused_every_time():
    """Also by those who come later, and what is there is left as it is."""
    storage = Overwriting()
    with pytest.raises(ConfigError, match="overwrites existing objects"):
        found_store(Store(storage))
    left = dict(storage.kept)
    with pytest.raises(ConfigError, match="overwrites existing objects"):
        found_store(Store(storage))
    assert storage.kept == left


def test_credentials_for_one_model_alone_can_publish(objects):
    """They may not write the identity, and need not."""
    founded(objects)
    assert found_store(Store(Faulty(objects, creates=[DENIED]))).id == STORE_ID


def test_no_store_yet():
    """Reading does not make one."""
    objects = open_objects(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(NotPublished, match="publish a model first"):
        open_identity(Store(objects))
    assert objects.names("", timeout=1) == []


def test_founders_racing_agree_in_every_order(capsys):
    """Three at once make one store, and all three know it."""
    root = uuid.uuid4().hex
    objects = open_objects(f"memory://{root}")

    def check(run):
        ids = {actor.result.id for actor in run.actors.values()}
        assert ids == {open_identity(Store(objects)).id}, run.schedule

    def forget(keys):
        for key in keys:
            MemoryFileSystem.store.pop(f"/{root}/{key}")

    actors = {name: lambda waiting: found_store(Store(waiting)) for name in "abc"}
    schedules = explore(objects, actors, check, forget=forget)
    with capsys.disabled():
        print(f" [{schedules:,} schedules]", end="")
    assert schedules > 5


def test_the_identity_is_under_its_key(objects):
    """At the root, where every client looks first."""
    found_store(Store(objects))
    assert objects.names("", timeout=1) == [IDENTITY_KEY]
