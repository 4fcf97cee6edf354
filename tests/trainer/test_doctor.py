"""What `doctor` finds in a store that is sound, and in stores that are not; one line and one mend each."""

import json
import time
import uuid

import proxy
import pytest
from entries import ALIAS, MODEL, STORE_ID, founded, manifest, put, release
from fsspec.implementations.memory import MemoryFileSystem

import trainer
from mlshared._objects import open_objects
from mlshared.manifest import to_bytes
from mlshared.store import IDENTITY_KEY, release_key, version_key
from trainer import _doctor
from trainer._doctor import examine
from trainer.cli import main


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A store in memory with versions 1 to 4, of which 1 and 2 were released; each has an empty blob."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))
    made = Shelf()
    for version in (1, 2):
        trainer.release(MODEL, version, store=made.url)
    return made


class Shelf:
    def __init__(self):
        self.url = f"memory://{uuid.uuid4().hex}/models"
        self.objects = open_objects(self.url)
        self.store = founded(self.objects)
        for version in range(1, 5):
            stored = put(self.store, manifest(version))
            self.objects.create(f"{MODEL}/blobs/{stored.entry.publish_id}/{'0' * 64}", b"", timeout=1)

    def remove(self, key):
        MemoryFileSystem.store.pop(f"/{self.url.removeprefix('memory://')}/{key}")

    def replace(self, key, data):
        self.remove(key)
        self.objects.create(key, data, timeout=1)

    def bad(self, **options):
        """Return what is not ok."""
        return [finding for finding in examine(store=self.url, **options) if finding.kind != "ok"]


def test_a_sound_store(shelf):
    """Nothing but ok, and the model in one line."""
    found = {finding.about: finding for finding in examine(store=shelf.url)}
    assert {finding.kind for finding in found.values()} == {"ok"}
    assert found["identity"].what == STORE_ID
    assert found[MODEL].what == "4 versions; production: whole and in order"


def test_no_store_yet(tmp_path, monkeypatch):
    """The storage is tried all the same, before the first publish."""
    monkeypatch.chdir(tmp_path)
    found = {finding.about: finding for finding in examine(store=f"memory://{uuid.uuid4().hex}")}
    assert found["identity"].what == "no store yet: the first publish makes it one"
    assert found["create-if-absent"].kind == "ok"


def test_read_only_writes_nothing(shelf):
    """As an app's credentials would have it."""
    before = MemoryFileSystem().find("/")
    assert shelf.bad(read_only=True) == []
    assert MemoryFileSystem().find("/") == before


def manifest_of_another(shelf):
    shelf.replace(version_key(MODEL, 2), to_bytes(manifest(2)))


def newer_entry(shelf):
    head = shelf.store.release(STORE_ID, MODEL, ALIAS, 2).entry
    shelf.objects.create(
        release_key(MODEL, ALIAS, 3), to_bytes(release(3, prev=head, format="2.0")), timeout=1
    )


def no_blob(shelf):
    entry = shelf.store.manifest(STORE_ID, MODEL, 2).entry
    shelf.remove(f"{MODEL}/blobs/{entry.publish_id}/{'0' * 64}")


DAMAGES = {
    "a hole in the versions": (
        lambda shelf: shelf.remove(version_key(MODEL, 3)),
        ["problem flights's versions: 3 is missing"],
    ),
    "the first entries expired": (
        lambda shelf: shelf.remove(release_key(MODEL, ALIAS, 1)),
        [
            "problem flights@production's entries: 1 is missing",
            "problem flights@production: has no valid entry",
        ],
    ),
    "an entry is rubbish": (
        lambda shelf: shelf.objects.create(release_key(MODEL, ALIAS, 3), b"{}", timeout=1),
        ["problem flights@production: entry 3 is not valid: not an entry"],
    ),
    "an entry of a newer trainer": (newer_entry, ["warning flights@production: entry 3: format 2.0"]),
    "a manifest is rubbish": (
        lambda shelf: shelf.replace(version_key(MODEL, 4), b"{}"),
        ["problem flights@4: not an entry"],
    ),
    "the manifest in force is gone": (
        lambda shelf: shelf.remove(version_key(MODEL, 2)),
        [
            "problem flights's versions: 2 is missing",
            "problem flights@production: the manifest of version 2, which is in force, is missing",
        ],
    ),
    "the manifest in force is another": (
        manifest_of_another,
        ["problem flights@production: the manifest of version 2, which is in force, is not the one that was"],
    ),
    "a blob in force is gone": (
        no_blob,
        ["problem flights@production: version 2, which is in force, lacks its skops"],
    ),
    "it is another program's folder": (
        lambda shelf: shelf.replace(IDENTITY_KEY, b"{}"),
        ["problem identity: mlshared.json does not identify a store"],
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_found_and_has_a_mend(shelf, damage, said):
    """One line each, and no other."""
    damage(shelf)
    found = shelf.bad()
    assert len(found) == len(said), found
    for finding, words in zip(found, said, strict=True):
        assert f"{finding.kind} {finding.about}: {finding.what}".startswith(words)
        assert finding.mend


@pytest.mark.parametrize(
    ("apart", "kind"), [(30, None), (120, "warning"), (-120, "warning"), (4000, "problem")]
)
def test_clocks_apart_are_told(shelf, monkeypatch, apart, kind):
    """Beyond fifteen minutes S3 takes a request for a forged one."""

    class Clock:
        @staticmethod
        def time():
            return time.time() + apart

    monkeypatch.setattr(_doctor, "time", Clock)
    found = shelf.bad()
    assert [(finding.kind, finding.about) for finding in found] == ([(kind, "clock")] if kind else [])


def test_a_store_that_does_not_answer_is_exit_75(s3_wire, counting_proxy, monkeypatch, tmp_path, capsys):
    """Trying again may help."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(s3_wire.options))
    counting_proxy.stop()
    assert main(["doctor", "--store", s3_wire.url]) == 75
    assert capsys.readouterr().out.startswith("unreachable  reachable: ")


@pytest.mark.parametrize(
    ("method", "path", "line", "code"),
    [
        (
            "GET",
            "/_probes/",
            "warning      rights: the store answers 403 for what is absent; give readers",
            0,
        ),
        ("PUT", "/_probes/", "problem      write: ", 1),
        ("GET", "list-type=2", "problem      list: ", 1),
        ("GET", "mlshared.json", "problem      reachable: ", 1),
    ],
)
def test_missing_rights_are_told_apart(
    s3_store, s3_wire, counting_proxy, monkeypatch, tmp_path, capsys, method, path, line, code
):
    """Each with the right to give."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(s3_wire.options))
    read_only = ["--read-only"] if line.startswith("warning") else []
    counting_proxy.inject(proxy.status(403), method=method, path=path)
    assert main(["doctor", "--store", s3_wire.url, *read_only]) == code
    out = capsys.readouterr().out
    assert any(each.startswith(line) for each in out.splitlines()), out
    assert "s3:" in out
