"""What is not tried again, for how long, and by whom."""

import os
import time

import pytest

from mlshared._cache import open_cache
from mlshared._crashes import CONDEMNED, REMEMBER_SECONDS
from mlshared._target import Target
from mlshared._verdicts import (
    CONDEMNED_AFTER_LOOKS,
    DEADLY,
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    Verdicts,
    backoff,
)
from mlshared.errors import (
    EnvironmentMismatch,
    FeatureSkew,
    IntegrityError,
    SelfTestFailed,
    StorageError,
    UnsupportedFormat,
    UntrustedType,
)

APART = 30.0
TARGET = Target(2, "b" * 64)
OTHER = Target(3, "c" * 64)
PASSING = [
    StorageError("x"),
    UnsupportedFormat("x"),
    EnvironmentMismatch("x"),
    UntrustedType("x"),
    FeatureSkew("x"),
    MemoryError(),
    OSError("x"),
]


@pytest.fixture
def log(tmp_path):
    return open_cache(tmp_path / "cache", max_bytes=1 << 20).log("5" * 32, "flights", "production")


@pytest.fixture
def now():
    return [100.0]


def verdicts(log, now, fingerprint="here", told=None):
    def tell(version, reason):
        if told is not None:
            told.append((version, reason))

    return Verdicts(log, lambda: fingerprint, apart=APART, tell=tell, clock=lambda: now[0])


def failed(verdicts, target, error):
    """Note a failure of bytes that are all here."""
    return verdicts.failed(target, error, while_fetching=False)


@pytest.mark.parametrize("error", [IntegrityError("wrong bytes"), SelfTestFailed("row 0")], ids=repr)
def test_what_would_fail_again_is_for_good(log, now, error):
    """Bytes that make no sense and a self-test that disagrees are kept for the next process, and never forgiven."""
    told = []
    assert failed(verdicts(log, now, told=told), TARGET, error)
    assert told == [(2, f"{type(error).__name__}: {error}")]
    later = verdicts(log, now)
    later.forgive()
    now[0] += 1e9
    assert later.set_aside([TARGET, OTHER]) == {TARGET.manifest_sha256}
    assert later.quarantined == {2: f"{type(error).__name__}: {error}"}


def test_bytes_that_came_wrong(log, now):
    """They count when they have come wrong at three looks a poll apart; looks in between count for nothing."""
    here = verdicts(log, now)
    for _ in range(CONDEMNED_AFTER_LOOKS - 1):
        for _ in range(5):
            assert not here.failed(TARGET, IntegrityError("wrong bytes"), while_fetching=True)
        assert here.set_aside([TARGET]) == {TARGET.manifest_sha256}
        now[0] += APART
        assert here.set_aside([TARGET]) == set()
        here.forgive()
    assert here.failed(TARGET, IntegrityError("wrong bytes"), while_fetching=True)
    assert verdicts(log, now).set_aside([TARGET]) == {TARGET.manifest_sha256}


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(log, now, error):
    """Everything else is set aside for a while, in this process only."""
    here = verdicts(log, now)
    assert not failed(here, TARGET, error)
    assert here.set_aside([TARGET]) == {TARGET.manifest_sha256}
    assert verdicts(log, now).set_aside([TARGET]) == set()
    now[0] += 2 * FIRST_BACKOFF_SECONDS + 0.001
    assert here.set_aside([TARGET]) == set()
    assert here.quarantined == {}


def test_another_environment_tries_again(log, now):
    """A quarantine holds for one environment: a new deploy of the app tries again."""
    failed(verdicts(log, now), TARGET, SelfTestFailed("row 0"))
    assert verdicts(log, now, "new deploy").set_aside([TARGET]) == set()


def test_forgiven(log, now):
    """A refresh by hand tries at once what only waits."""
    here = verdicts(log, now)
    failed(here, TARGET, StorageError("down"))
    here.forgive()
    assert here.set_aside([TARGET]) == set()


def test_a_quarantine_that_no_disk_keeps(tmp_path, now):
    """Without a disk the process that found it still does not try again."""
    in_the_way = tmp_path / "cache"
    in_the_way.write_bytes(b"a file")
    cache = open_cache(in_the_way, max_bytes=1 << 20)
    assert cache.problem
    here = verdicts(cache.log("5" * 32, "flights", "production"), now)
    failed(here, TARGET, SelfTestFailed("row 0"))
    here.forgive()
    assert here.set_aside([TARGET]) == {TARGET.manifest_sha256}


@pytest.mark.parametrize("failures", [1, 2, 5, 30, 10_000])
def test_backoff_grows_to_its_limit(failures):
    """Waits are spread between half a second and a ceiling that doubles, up to five minutes."""
    waits = [backoff(failures) for _ in range(200)]
    assert min(waits) >= 0.5
    assert max(waits) <= min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 30))
    assert len(set(waits)) > 50


def test_the_environment_is_looked_up_once(log, now):
    """When it is first needed, not when a process starts."""
    asked = []
    here = Verdicts(
        log, lambda: asked.append(True) or "here", apart=APART, tell=lambda *_: None, clock=lambda: now[0]
    )
    assert not asked
    for _ in range(2):
        assert here.set_aside([TARGET, OTHER]) == set()
    failed(here, TARGET, SelfTestFailed("row 0"))
    assert here.set_aside([TARGET]) == {TARGET.manifest_sha256}
    assert len(asked) == 1


def test_deaths_are_held_against_it_for_an_hour_only(log, now, tmp_path):
    """Over restarts; nobody knows of what those processes died, so no verdict is kept."""
    told = []
    here = verdicts(log, now, told=told)
    deaths = tmp_path / "cache/stores" / ("5" * 32) / "flights/production/deaths" / here.key(TARGET)
    deaths.mkdir(parents=True)
    for number in range(CONDEMNED):
        (deaths / f"{number}.1").touch()
    for each in (here, verdicts(log, now), here):
        assert each.set_aside([TARGET, OTHER]) == {TARGET.manifest_sha256}
        assert each.quarantined == {2: DEADLY}
    assert told == [(2, DEADLY)]
    for death in deaths.iterdir():
        os.utime(death, (time.time() - REMEMBER_SECONDS - 1,) * 2)
    for each in (here, verdicts(log, now)):
        assert (each.set_aside([TARGET]), each.quarantined) == (set(), {})
