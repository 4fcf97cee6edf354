"""What a ref points at: which entries of a log are accepted, voided, remembered; versions; moments."""

import contextlib
import uuid
from datetime import timedelta

import pytest
from entries import NOON, STORE_ID, founded, manifest, put, release

from mlshared._alias_log import CONFIRM_SECONDS, REMEMBERED, AliasLog, accepts
from mlshared._cache import open_cache
from mlshared._following import follow
from mlshared._looks import LOOK_AHEAD, VOID_AFTER_LOOKS
from mlshared._objects import open_objects
from mlshared._ref import parse_ref
from mlshared.errors import AccessDenied, IntegrityError, NotPublished, StorageError, UnsupportedFormat
from mlshared.manifest import Release as Entry
from mlshared.manifest import parse, to_bytes
from mlshared.store import Store, release_key, version_key

REF = parse_ref("flights")
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store():
    return founded(open_objects(f"memory://{uuid.uuid4().hex}"))


@pytest.fixture
def cache(tmp_path):
    return open_cache(tmp_path / "cache", max_bytes=1 << 20)


def stored(entry):
    return parse(to_bytes(entry), Entry)


def following(cache, text="flights", **options):
    ref = parse_ref(text)
    return follow(STORE_ID, ref, cache.log(STORE_ID, "flights", ref.log), **options)


def chain(count):
    """Return releases 1..count of versions 1..count, each after the one before."""
    entries = [release(1, manifest_sha256=A)]
    for number in range(2, count + 1):
        entries.append(release(number, prev=entries[-1], version=number, manifest_sha256=f"{number:064d}"))
    return entries


# -- what may follow what -----------------------------------------------------------------------------------

FIRST = release(5)
NEXT = release(6, prev=FIRST)


@pytest.mark.parametrize(
    ("entry", "accepted"),
    [
        (NEXT, True),
        (release(5), False),
        (release(4), False),
        (release(6, prev=release(5)), False),
        (release(8, prev=release(7)), True),
        (release(6, prev=release(3)), False),
        (release(6), False),
        (release(6, reset=True), True),
        (release(6, prev=release(3), reset=True), True),
        (release(5, reset=True), False),
        (release(8, prev=FIRST), True),
    ],
    ids=[
        "next",
        "same",
        "lower",
        "forged",
        "gap",
        "truncated",
        "rootless",
        "reset",
        "reset2",
        "reset-same",
        "past",
    ],
)
def test_accepts(entry, accepted):
    """After entry 5: what names its very bytes, or a later entry; a lower one only with reset."""
    assert accepts(stored(FIRST), entry) is accepted


def test_the_first_entry_seen_is_accepted():
    """A reader that knows nothing starts anywhere."""
    assert accepts(None, release(9, prev=release(8)))


# -- an alias's log -----------------------------------------------------------------------------------------


def test_the_newest_entry_is_found(store, cache):
    """The first look lists the log and takes its newest entry."""
    put(store, *chain(3))
    log = following(cache)
    log.look(store)
    assert [target.version for target in log.targets] == [3]


def test_new_entries_are_found_one_after_the_other(store, cache):
    """A later look asks for the next number until it is absent."""
    entries = chain(4)
    put(store, entries[0])
    log = following(cache)
    log.look(store)
    put(store, *entries[1:])
    log.look(store)
    assert log.head.entry.number == 4


def test_nothing_released(store, cache):
    """A log without entries is NotPublished, with the mend."""
    with pytest.raises(NotPublished, match="release one first"):
        following(cache).look(store)


def test_targets_are_the_version_its_fallback_and_what_served_before(store, cache):
    """History is a last resort, only from the cache, and without what was withdrawn."""
    first = release(1, version=1, manifest_sha256=A)
    second = release(2, prev=first, version=2, manifest_sha256=B)
    third = release(
        3,
        prev=second,
        version=3,
        manifest_sha256=C,
        fallback={"version": 9, "manifest_sha256": "9" * 64},
        withdrawn=(2,),
    )
    put(store, first)
    log = following(cache)
    log.look(store)
    put(store, second, third)
    log.look(store)
    assert [(target.version, target.cached_only) for target in log.targets] == [
        (3, False),
        (9, False),
        (1, True),
    ]


def test_other_processes_hear_of_entries(store, cache):
    """What one process accepted and remembered, another finds without a request."""
    put(store, *chain(2))
    one, other = following(cache), following(cache)
    one.look(store)
    other.rescan()
    assert other.targets == ()
    one.remember()
    other.rescan()
    assert other.targets == one.targets


def test_floor(store, cache):
    """Entries below the floor are not accepted, and the error names both numbers."""
    entries = chain(3)
    put(store, *entries[:2])
    log = following(cache, floor=3)
    with pytest.raises(NotPublished, match="entry 2, below the floor 3"):
        log.look(store)
    put(store, entries[2])
    log.look(store)
    assert log.head.entry.number == 3


def spoil(store, number, raw=b"{}"):
    store.objects.create(release_key("flights", "production", number), raw, timeout=5)


def test_a_newer_format_is_waited_for(store, cache):
    """An entry of an unknown major format is a problem, however often it is seen; nothing is looked past."""
    first = release(1)
    put(store, first)
    log = following(cache)
    log.look(store)
    spoil(store, 2, to_bytes(release(2, prev=first, format="2.0")))
    for _ in range(VOID_AFTER_LOOKS + 1):
        log.look(store)
    assert isinstance(log.problem, UnsupportedFormat)
    assert log.head.entry.number == 1


def test_a_process_that_starts_below_a_bad_entry(store, cache):
    """The newest valid entry is taken where the highest is bad."""
    put(store, *chain(2))
    spoil(store, 3)
    log = following(cache)
    log.look(store)
    assert log.head.entry.number == 2


def test_an_entry_of_another_store_is_refused(store, cache):
    """A store that changed its identity is not followed."""
    put(store, release(1, store="6" * 32))
    log = following(cache)
    with pytest.raises(IntegrityError, match=r"another place.*store_id"):
        log.look(store)
    assert log.head is None


@pytest.mark.parametrize(("change", "error"), [(None, "gone"), (b"other", "replaced")])
def test_the_head_is_confirmed_every_ten_minutes(tmp_path, cache, change, error):
    """A log that is gone, or whose accepted entry has other bytes, is found out within ten minutes."""
    store = founded(open_objects(str(tmp_path / "models")))
    put(store, release(1))
    now = [0.0]
    log = AliasLog(STORE_ID, REF, cache.log(STORE_ID, "flights", "production"), clock=lambda: now[0])
    log.look(store)
    path = tmp_path / "models" / release_key("flights", "production", 1)
    path.unlink()
    if change is not None:
        path.write_bytes(change)
    now[0] = CONFIRM_SECONDS
    log.look(store)
    now[0] += 1
    with pytest.raises((StorageError, IntegrityError), match=error):
        log.look(store)


class Unlistable:
    """A store's objects as a reader without the right to list sees them: what is absent is refused."""

    def __init__(self, objects):
        self._objects = objects
        self.gets = 0

    def get(self, key, **options):
        self.gets += 1
        raw = self._objects.get(key, **options)
        if raw is None:
            raise AccessDenied(key)
        return raw

    def names(self, folder, **options):
        raise AccessDenied(folder)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 33])
def test_a_reader_that_may_not_list_finds_the_end(store, cache, count):
    """Without ListBucket the end of the log is found by asking on, in few requests."""
    put(store, *chain(count))
    log, objects = following(cache), Unlistable(store.objects)
    log.look(Store(objects))
    assert log.head.entry.number == count
    assert objects.gets <= 2 * count.bit_length() + 3


def test_a_reader_that_may_not_list_is_told(store, cache):
    """Refused and absent look alike there: the head is asked for, and a warning names the missing right."""
    entries = chain(2)
    put(store, entries[0])
    log, reader = following(cache), Store(Unlistable(store.objects))
    log.look(reader)
    assert log.warning is None
    log.look(reader)
    assert "s3:ListBucket" in log.warning
    put(store, entries[1])
    log.look(reader)
    assert log.head.entry.number == 2


def test_a_reader_that_may_not_read(cache):
    """Where not even the first entry may be read, it is the credentials."""
    reader = Store(Unlistable(open_objects(f"memory://{uuid.uuid4().hex}")))
    with pytest.raises(AccessDenied):
        following(cache).look(reader)


@pytest.mark.parametrize("planted", [[1000], [9_999_999_999], list(range(2, 20)), [19]])
def test_what_lies_beyond_what_was_planted_is_found(store, cache, planted):
    """By one who follows the log, too: at once where all it asks for is taken, else within ten minutes."""
    first = release(1, manifest_sha256=A)
    put(store, first)
    now = [0.0]
    log = AliasLog(STORE_ID, REF, cache.log(STORE_ID, "flights", "production"), clock=lambda: now[0])
    log.look(store)
    for number in planted:
        spoil(store, number, b"x")
    place = 20 if len(planted) > 1 else 18
    put(store, release(place, prev=first, version=place))
    for _ in range(VOID_AFTER_LOOKS * LOOK_AHEAD):
        log.look(store)
    if len(planted) == 1:
        assert log.head.entry.number == 1
        now[0] += CONFIRM_SECONDS + 1
        log.look(store)
    assert log.head.entry.number == place


@pytest.mark.parametrize("text", ["flights", "flights@latest"])
def test_a_reader_that_starts_below_many_bad_ones(store, cache, text):
    """Each look goes on where the last one ran out of time; what is mended meanwhile is found."""
    put(store, manifest(1), *chain(1))
    for number in range(2, 12):
        spoil(store, number, b"x")
        spoil_version(store, number)
    log, objects = following(cache, text), Counted(store.objects)
    for _ in range(4):
        objects.left = 6
        with contextlib.suppress(StorageError):
            log.look(Store(objects))
    objects.left = 6
    log.look(Store(objects))
    assert [target.version for target in log.targets] == [1]


def test_the_latest_beyond_all_that_is_asked_for(store, cache):
    """The list tells, once sixteen in a row are void."""
    put(store, manifest(1))
    log = following(cache, "flights@latest")
    log.look(store)
    for number in range(2, 20):
        spoil_version(store, number)
    put(store, manifest(20))
    for _ in range(VOID_AFTER_LOOKS * LOOK_AHEAD):
        log.look(store)
    assert log.targets[0].version == 20


# -- versions and moments -----------------------------------------------------------------------------------


def test_a_pinned_version(store, cache):
    """A number means that version, whatever is released; other processes find it in the cache."""
    put(store, manifest(1), manifest(2), *chain(1))
    one, other = following(cache, "flights@2"), following(cache, "flights@2")
    one.look(store)
    assert [target.version for target in one.targets] == [2]
    one.remember()
    other.rescan()
    assert other.targets == one.targets


def test_a_version_that_is_not_there(store, cache):
    """A number that was never published is NotPublished."""
    with pytest.raises(NotPublished, match="no flights@7"):
        following(cache, "flights@7").look(store)


def test_latest(store, cache):
    """It is the highest version published, and goes on with each publish."""
    put(store, manifest(1), manifest(2))
    log = following(cache, "flights@latest")
    log.look(store)
    assert log.targets[0].version == 2
    put(store, manifest(3), manifest(4))
    log.look(store)
    assert log.targets[0].version == 4


def test_latest_in_other_processes(store, cache):
    """What one process found to be the latest version, the host's others take from the cache."""
    put(store, manifest(1))
    one, other = following(cache, "flights@latest"), following(cache, "flights@latest")
    for version in (2, 3):
        one.look(store)
        one.remember()
        other.rescan()
        assert other.targets == one.targets
        put(store, manifest(version))
    one.look(store)
    one.remember()
    other.rescan()
    assert other.targets[0].version == 3


def test_nothing_published(store, cache):
    """The latest of nothing is NotPublished, until there is something."""
    log = following(cache, "flights@latest")
    with pytest.raises(NotPublished, match="no version of flights"):
        log.look(store)
    put(store, manifest(1))
    log.look(store)
    assert log.targets[0].version == 1


def spoil_version(store, number, raw=b"garbage"):
    store.objects.create(version_key("flights", number), raw, timeout=10)


def test_the_latest_is_found_above_and_below_what_is_void(store, cache):
    """A manifest that cannot be read is passed by: downwards at the start, upwards after three looks."""
    put(store, manifest(1))
    spoil_version(store, 2)
    log = following(cache, "flights@latest")
    log.look(store)
    assert log.targets[0].version == 1
    put(store, manifest(3))
    for look in range(1, VOID_AFTER_LOOKS + 1):
        log.look(store)
        assert log.targets[0].version == (3 if look == VOID_AFTER_LOOKS else 1)
    assert log.problem is None
    log.remember()
    other = following(cache, "flights@latest")
    other.rescan()
    assert other.targets[0].version == 3
    assert [target.version for target in log.targets] == [3, 1]


def test_the_latest_in_a_newer_format_is_waited_for(store, cache):
    """It is no void: whoever upgrades reads it, and versions do not go back because others did not."""
    put(store, manifest(1))
    log = following(cache, "flights@latest")
    log.look(store)
    spoil_version(store, 2, to_bytes(manifest(2, format="2.0")))
    for _ in range(VOID_AFTER_LOOKS + 1):
        log.look(store)
    assert isinstance(log.problem, UnsupportedFormat)
    assert log.targets[0].version == 1


class Counted:
    """A store's objects that answer so many gets, and then no more."""

    def __init__(self, objects):
        self._objects = objects
        self.left = 0

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def get(self, key, **options):
        if self.left == 0:
            raise StorageError("out of time")
        self.left -= 1
        return self._objects.get(key, **options)


def test_a_moment_in_a_long_log_is_found_over_several_looks(store, cache):
    """Each look goes on where the last one ran out of time; times that do not rise are no matter."""
    entries = chain(1)
    for number in range(2, 10):
        minutes = 60 if number > 2 else -60
        at = NOON + timedelta(minutes=minutes)
        entries.append(release(number, prev=entries[-1], version=number, created_at=at))
    put(store, *entries)
    objects = Counted(store.objects)
    log = following(cache, f"flights@{NOON:%Y-%m-%dT%H:%MZ}")
    for _ in range(2):
        objects.left = 3
        with pytest.raises(StorageError):
            log.look(Store(objects))
    objects.left = 3
    log.look(Store(objects))
    assert [target.version for target in log.targets] == [2]


@pytest.mark.parametrize(("minutes", "version"), [(0, 1), (5, 1), (10, 2), (60, 2)])
def test_a_moment(store, cache, minutes, version):
    """A moment means what was in force then."""
    first = release(1, version=1, created_at=NOON)
    put(store, first, release(2, prev=first, version=2, created_at=NOON + timedelta(minutes=10)))
    log = following(cache, f"flights@{NOON + timedelta(minutes=minutes):%Y-%m-%dT%H:%MZ}")
    log.look(store)
    assert [target.version for target in log.targets] == [version]


def test_a_moment_before_the_first_release(store, cache):
    """Before the first release there was nothing."""
    put(store, release(1))
    with pytest.raises(NotPublished, match="as old as"):
        following(cache, "flights@2026-11-20T11:59Z").look(store)


def test_a_new_reader_ends_where_one_who_followed_does(store, cache):
    """An entry that names other bytes as the one before is passed over at the start, as it is on the way."""
    first = release(1, manifest_sha256=A)
    second = release(2, prev=first, version=2, manifest_sha256=B)
    forged = release(
        3, prev=release(2, prev=first, version=2, manifest_sha256=C), version=3, manifest_sha256=C
    )
    put(store, first, second, forged)
    log = following(cache)
    log.look(store)
    assert log.head.entry.number == 2


def test_a_log_that_begins_with_a_bad_entry(store, cache):
    """The first valid entry follows none, and the log goes on from it."""
    spoil(store, 1)
    first = release(2, version=2, manifest_sha256=B)
    put(store, first, release(3, prev=first, version=3, manifest_sha256=C))
    log = following(cache)
    log.look(store)
    assert log.head.entry.number == 3


def test_an_entry_that_follows_none_above_a_valid_one(store, cache):
    """A new reader passes over it, as one who followed the log does."""
    spoil(store, 1)
    put(store, release(2, version=2), release(3, version=3))
    log = following(cache)
    log.look(store)
    assert log.head.entry.number == 2


class Memory:
    """A host's memory of a log that counts what is read of it."""

    def __init__(self, log):
        self._log, self.read = log, []

    def __getattr__(self, name):
        return getattr(self._log, name)

    def entry(self, number):
        self.read.append(number)
        return self._log.entry(number)


@pytest.mark.parametrize("text", ["flights", "flights@latest"])
def test_a_long_memory(cache, text):
    """A process that starts reads its end alone, and takes from that what it would have taken from all of it."""
    ref = parse_ref(text)
    log = Memory(cache.log(STORE_ID, "flights", ref.log))
    entries = chain(100) if text == "flights" else [manifest(number) for number in range(1, 101)]
    for number, entry in enumerate(entries, 1):
        log.remember(number, to_bytes(entry))
    late = follow(STORE_ID, ref, log)
    late.rescan()
    assert [target.version for target in late.targets] == list(range(100, 100 - LOOK_AHEAD - 1, -1))
    assert len(log.read) == LOOK_AHEAD + 1


def test_a_memory_whose_end_cannot_be_read(cache):
    """What lies below is taken, however far."""
    log = cache.log(STORE_ID, "flights", "production")
    for entry in chain(5):
        log.remember(entry.number, to_bytes(entry))
    for number in range(6, 50):
        log.remember(number, b"garbage")
    late = following(cache)
    late.rescan()
    assert late.targets[0].version == 5


@pytest.mark.parametrize("text", ["flights", "flights@latest"])
def test_memory_does_not_grow_for_ever(store, cache, text):
    """What is new takes the place of what is oldest."""
    ref = parse_ref(text)
    log = cache.log(STORE_ID, "flights", ref.log)
    entries = chain(REMEMBERED + 9) if text == "flights" else [manifest(n + 1) for n in range(REMEMBERED + 9)]
    for number, entry in enumerate(entries[:-1], 1):
        log.remember(number, to_bytes(entry))
    put(store, *entries)
    here = following(cache, text)
    here.look(store)
    here.remember()
    assert log.numbers() == list(range(10, REMEMBERED + 10))
