"""verify, pull, copy: what they check, what they carry, and that nobody vouches for what was not checked."""

import json
import os
import uuid
from pathlib import Path

import pytest
from shelf import NAME, add_version, disagree
from signers import pair, sign_store

import trainer
from mlshared import (
    Client,
    ConfigError,
    IntegrityError,
    ModelNotReady,
    NotPublished,
    SignatureError,
    get_model,
)
from mlshared._objects import open_objects
from mlshared.store import Store, version_key
from mlshared.testing import override_model
from trainer.cli import main

OURS, THEIRS = pair(), pair()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, a cache of its own, and an environment without keys."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("MLSHARED_", "TRAINER_SIGNING_KEY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path


@pytest.fixture
def signed(shelf):
    """A signed store in memory, where a self-test starts no other process."""
    return sign_store(shelf, f"memory://{uuid.uuid4().hex}/models", OURS)


@pytest.fixture
def target():
    return f"memory://{uuid.uuid4().hex}/models"


@pytest.fixture
def trusts(monkeypatch):
    """Have the trainer trust a key."""
    return lambda by: monkeypatch.setenv("MLSHARED_TRUSTED_KEYS", json.dumps([by.trusted()]))


@pytest.fixture
def signs(monkeypatch):
    return lambda by: monkeypatch.setenv("TRAINER_SIGNING_KEY", by.pem.decode())


def failed(verification):
    return [check.name for check in verification.checks if not check.passed]


# -- verify -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [NAME, f"{NAME}@1", f"{NAME}@latest", f"{NAME}@2040-01-01T00:00Z"])
def test_verify_looks_at_everything(signed, trusts, ref):
    """Signatures, hashes, types, and the self-test."""
    trusts(OURS)
    found = trainer.verify(ref, store=signed)
    assert (found.passed, found.trust, failed(found)) == (True, "signed", [])
    names = [check.name for check in found.checks]
    assert names[0] == "signature"
    assert names[-1] == "self-test"
    assert {"bytes of plan", "bytes of skops", "bytes of golden", "types in plan", "types in skops"} < set(
        names
    )
    assert "sklearn.linear_model._logistic.LogisticRegression" in found.types["skops"]
    assert found.types["plan"]


def test_verify_in_a_clean_interpreter(shelf, tmp_path, trusts):
    """Where the store can be reached from one; keys and all."""
    trusts(OURS)
    url = sign_store(shelf, tmp_path / "models", OURS)
    assert trainer.verify(f"{NAME}@2", store=url).passed


def test_verify_by_another_key(signed, trusts):
    """The rest is looked at all the same."""
    trusts(THEIRS)
    found = trainer.verify(f"{NAME}@1", store=signed)
    assert failed(found) == ["signature"]
    assert "by no key in trusted_keys" in found.checks[0].message


def test_verify_without_keys(signed, shelf):
    """A signed store's word is not enough; an unsigned one makes no claim, and is told as such."""
    found = trainer.verify(NAME, store=signed)
    assert (failed(found), found.trust) == (["signature"], "unverified")
    found = trainer.verify(NAME, store=str(shelf.folder))
    assert (found.passed, found.trust) == (True, "unsigned")
    assert found.checks[0].message.startswith("unsigned: ")


def test_verify_bytes_that_were_changed(shelf, tmp_path):
    """Named by artifact; what they would do to the self-test is told, too."""
    url = shelf.copy_to(tmp_path / "models")
    add_version(
        url, like=1, version=4, blobs=lambda kind, data: data[:-1] + b"x" if kind == "golden" else data
    )
    found = trainer.verify(f"{NAME}@4", store=url)
    assert failed(found) == ["bytes of golden", "self-test"]


def test_verify_answers_that_disagree(shelf, tmp_path):
    """Hashes fit, answers do not."""
    url = shelf.copy_to(tmp_path / "models")
    add_version(url, like=1, version=4, golden=disagree)
    assert failed(trainer.verify(f"{NAME}@4", store=url)) == ["self-test"]


def test_verify_what_is_not_there(signed):
    """Said as such."""
    for ref in (f"{NAME}@9", "hotels", f"{NAME}@staging"):
        with pytest.raises(NotPublished):
            trainer.verify(ref, store=signed)


def test_verify_on_the_command_line(signed, trusts, capsys):
    """Exit code 0 or 1; each check a line; JSON for machines."""
    trusts(OURS)
    assert main(["verify", NAME, "--store", signed]) == 0
    assert "passed  self-test" in capsys.readouterr().out
    assert main(["verify", NAME, "--store", signed, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["ref"], shown["trust"], shown["passed"]) == (f"{NAME}@1", "signed", True)
    trusts(THEIRS)
    assert main(["verify", f"{NAME}@1", "--store", signed, "--quiet"]) == 1
    assert capsys.readouterr().out.count("FAILED") == 1


# -- pull ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [NAME, f"{NAME}@1", f"{NAME}@latest"])
def test_a_pulled_folder_is_a_store_of_one_version(shelf, tmp_path, ref):
    """A plain client reads it, and so does `override_model`; it holds nothing else."""
    pulled = trainer.pull(ref, tmp_path / "pulled", store=str(shelf.folder))
    version = 3 if ref.endswith("latest") else 1
    assert (pulled.folder, pulled.version, pulled.ref) == (tmp_path / "pulled", version, f"{NAME}@production")
    with Client(pulled.folder, poll_seconds=0, cache_dir=tmp_path / "cache") as client:
        assert client.model(NAME).current.version == version
        assert client.model(f"{NAME}@{version}").current.estimator is not None
    with override_model(NAME, store=pulled.folder):
        assert get_model(NAME).current.version == version
    store = Store(open_objects(str(pulled.folder)))
    assert store.versions(NAME) == [version]
    assert len(store.releases(NAME, "production")) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_pulled_folder_keeps_its_signatures(signed, tmp_path, trusts):
    """A client with the store's keys reads it; one with others does not."""
    trusts(OURS)
    trainer.pull(NAME, tmp_path / "pulled", store=signed)
    settings = {"poll_seconds": 0, "cache_dir": tmp_path / "cache"}
    with Client(tmp_path / "pulled", trusted_keys=[OURS.trusted()], **settings) as client:
        assert client.model(NAME).current.trust == "signed"
    with (
        Client(tmp_path / "pulled", trusted_keys=[THEIRS.trusted()], **settings) as client,
        pytest.raises(ModelNotReady),
    ):
        _ = client.model(NAME).current
    with override_model(NAME, store=tmp_path / "pulled"):
        assert get_model(NAME).current.version == 1


def test_a_version_that_was_never_released(signed, tmp_path, trusts, signs):
    """Of a signed store it answers to its number: the store's key does not say that somebody released it."""
    trusts(OURS)
    assert trainer.pull(f"{NAME}@2", tmp_path / "a", store=signed).ref == f"{NAME}@2"
    signs(OURS)
    assert trainer.pull(f"{NAME}@2", tmp_path / "b", store=signed).ref == f"{NAME}@2"
    for folder in "ab":
        assert Store(open_objects(str(tmp_path / folder))).aliases(NAME) == []
        settings = {"poll_seconds": 0, "cache_dir": tmp_path / f"cache-{folder}"}
        with Client(tmp_path / folder, trusted_keys=[OURS.trusted()], **settings) as client:
            assert client.model(f"{NAME}@2").current.version == 2


def test_a_pull_from_a_signed_store_is_checked(signed, tmp_path, trusts):
    """Without keys, or with others, nothing is written."""
    with pytest.raises(SignatureError, match="was not checked: set trusted_keys"):
        trainer.pull(NAME, tmp_path / "pulled", store=signed)
    trusts(THEIRS)
    with pytest.raises(SignatureError):
        trainer.pull(NAME, tmp_path / "pulled", store=signed)
    assert not (tmp_path / "pulled").exists()


def test_a_pull_writes_a_whole_folder_or_none(shelf, tmp_path):
    """Where something lies it is refused; where bytes are wrong nothing is left."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    with pytest.raises(ConfigError, match="not empty"):
        trainer.pull(NAME, tmp_path / "full", store=str(shelf.folder))
    url = shelf.copy_to(tmp_path / "models")
    add_version(
        url, like=1, version=4, blobs=lambda kind, data: data[:-1] + b"x" if kind == "golden" else data
    )
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with pytest.raises(IntegrityError):
            trainer.pull(f"{NAME}@4", tmp_path / name, store=url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "models"]
    assert trainer.pull(NAME, tmp_path / "empty", store=url).version == 1


def test_a_manifest_that_was_replaced_is_not_carried(shelf, tmp_path):
    """The release names its bytes."""
    url = shelf.copy_to(tmp_path / "models")
    store = Store(open_objects(url))
    (Path(url) / version_key(NAME, 1)).unlink()
    other = store.manifest(store.identity().id, NAME, 2).entry.model_copy(update={"version": 1})
    store.objects.create(version_key(NAME, 1), store.seal(other), timeout=5)
    with pytest.raises(IntegrityError, match="not the one that was released"):
        trainer.pull(NAME, tmp_path / "pulled", store=url)


def test_pull_on_the_command_line(shelf, tmp_path, capsys):
    """It says what answers to what."""
    assert main(["pull", NAME, "pulled", "--store", str(shelf.folder)]) == 0
    assert f"is a store that answers to {NAME}@production (version 1)" in capsys.readouterr().out


# -- copy ---------------------------------------------------------------------------------------------------


def test_a_copy_is_signed_anew(signed, target, trusts, tmp_path):
    """Checked by the one environment's key, signed by the other's; it says where it comes from."""
    trusts(OURS)
    key = THEIRS.write_to(tmp_path / "theirs.key")
    made = trainer.copy(f"{NAME}@2", target, store=signed, key=key)
    assert (made.ref, made.released, made.reason) == (f"{NAME}@1", True, "")
    assert made.manifest.labels["copied-from"].endswith(f"/{NAME}@2")
    with Client(
        target, trusted_keys=[THEIRS.trusted()], poll_seconds=0, cache_dir=tmp_path / "cache"
    ) as client:
        assert client.model(NAME).current.trust == "signed"
    again = trainer.copy(f"{NAME}@3", target, store=signed, key=key)
    assert (again.ref, again.released, again.reason) == (f"{NAME}@2", False, "not asked to")


def test_a_copy_is_released_if_asked_to(signed, target, trusts, signs):
    """Under any alias."""
    trusts(OURS)
    signs(OURS)
    trainer.copy(NAME, target, store=signed)
    made = trainer.copy(f"{NAME}@2", target, store=signed, release="staging")
    assert (made.version, made.released) == (2, True)
    assert [entry.version for entry in trainer.history(NAME, alias="staging", store=target)] == [2]


def test_a_copy_vouches_for_nothing_unchecked(signed, target, trusts, signs):
    """A signed store's versions are carried on only with its keys; nothing is written."""
    signs(THEIRS)
    with pytest.raises(SignatureError):
        trainer.copy(f"{NAME}@1", target, store=signed)
    assert Store(open_objects(target)).identity() is None


def test_a_copy_signs_nothing_unsigned(shelf, signed, target, trusts, tmp_path, capsys):
    """Whatever its store calls itself, which is a word in the bucket: only if the operator says so."""
    key = str(THEIRS.write_to(tmp_path / "theirs.key"))
    url = str(shelf.folder)
    with pytest.raises(SignatureError, match="--unsigned-source"):
        trainer.copy(f"{NAME}@2", target, store=url, key=key)
    trusts(OURS)
    with pytest.raises(SignatureError):
        trainer.copy(f"{NAME}@2", target, store=url, key=key)
    assert Store(open_objects(target)).identity() is None
    # Nor is a signed store's version signed anew unchecked by that word.
    trusts(THEIRS)
    with pytest.raises(SignatureError, match="lies in a signed store"):
        trainer.copy(f"{NAME}@2", target, store=signed, key=key, unsigned_source=True)
    assert main(["copy", f"{NAME}@2", "--to", target, "--key", key, "--store", url, "--unsigned-source"]) == 0
    assert f"{NAME}@1 in {target}" in capsys.readouterr().out


def test_verify_with_keys_passes_nothing_unsigned(shelf, trusts):
    """In a store that calls itself unsigned, too."""
    trusts(OURS)
    assert failed(trainer.verify(f"{NAME}@1", store=str(shelf.folder))) == ["signature"]


def test_a_copy_into_the_same_store(shelf):
    """Is a release."""
    with pytest.raises(ConfigError, match="release it there"):
        trainer.copy(NAME, str(shelf.folder), store=str(shelf.folder))


def test_a_copy_into_a_signed_store_needs_its_key(shelf, signed):
    """As every write does."""
    with pytest.raises(ConfigError, match="this store is signed"):
        trainer.copy(NAME, signed, store=str(shelf.folder))


def test_copy_on_the_command_line(signed, target, trusts, capsys, tmp_path):
    """It says what became of it, and where."""
    trusts(OURS)
    key = THEIRS.write_to(tmp_path / "theirs.key")
    assert main(["copy", NAME, "--to", target, "--key", str(key), "--store", signed]) == 0
    assert f"{NAME} is {NAME}@1 in {target}, in force" in capsys.readouterr().out
