"""Signing: where the key comes from, what is signed, and who may write to which store."""

import importlib
import json
import os
import stat
import subprocess
import sys
import uuid

import numpy as np
import pandas as pd
import pytest
from entries import ALIAS, MODEL, manifest
from fsspec.implementations.memory import MemoryFileSystem
from signers import pair
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

import trainer
from mlshared import (
    Client,
    ConfigError,
    EnvironmentMismatch,
    IntegrityError,
    SignatureError,
    StorageError,
    UntrustedType,
)
from mlshared._keys import Trust
from mlshared._objects import open_objects
from mlshared._policy import check_policy
from mlshared.manifest import Artifact, Previous
from mlshared.store import IDENTITY_KEY, Store, open_manifest, open_release, release_key, version_key
from trainer import _collect
from trainer._append import found_store
from trainer._doctor import examine
from trainer._log import read_log
from trainer._seen import Seen
from trainer._signing import Signing, find_signing, signing_key, without_secrets
from trainer._writing import writing
from trainer.cli import main
from trainer.config import Config, find_config
from trainer.errors import NotStorable, ReleaseRefused

KEY, FILE = "TRAINER_SIGNING_KEY", "TRAINER_SIGNING_KEY_FILE"
OURS, THEIRS = pair(), pair()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and an environment without keys."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("MLSHARED_", KEY)):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def signs(monkeypatch):
    """Give the trainer a key."""

    def sign_with(by):
        monkeypatch.setenv(KEY, by.pem.decode())

    sign_with(OURS)
    return sign_with


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/models"


@pytest.fixture(scope="module")
def fitted():
    X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 3.0]] * 10)
    return LogisticRegression().fit(X, [0, 0, 1, 1] * 10), X


def publish(fitted, url, **options):
    return trainer.publish(*fitted, name=MODEL, store=url, **options)


def serve(url, cache, **settings):
    return Client(url, cache_dir=cache, poll_seconds=0, **settings)


# -- keygen -------------------------------------------------------------------------------------------------


def test_keygen_writes_a_pair_that_fits(folder):
    """The private one for its owner alone; what it signs is accepted under the public one."""
    made = trainer.keygen("keys.key")
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert made.public.name == "keys.pub"
    own = find_signing(Config(), {}, key=made.private)
    raw = own.key.seal(manifest())
    trust = Trust(find_signing(Config(), {"MLSHARED_TRUSTED_KEYS": str(made.public)}).trusted)
    assert open_manifest(raw, manifest().store, MODEL, 1, trust).trust == "signed"
    assert made.keyid == own.key.public.keyid
    assert b"PRIVATE" not in made.public.read_bytes()


def test_keygen_gives_0600_whatever_the_umask(folder):
    """A lax one does not show the key, a strict one does not hide it from its owner."""
    for number, mask in enumerate((0o000, 0o777)):
        before = os.umask(mask)
        try:
            made = trainer.keygen(f"{number}.key")
        finally:
            os.umask(before)
        assert stat.S_IMODE(made.private.stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["trainer.key", "trainer.pub"])
def test_keygen_never_overwrites(folder, there):
    """Neither file; nor does it leave half a pair."""
    (folder / there).write_text("kept")
    with pytest.raises(ConfigError, match="never overwritten"):
        trainer.keygen()
    assert [path.name for path in folder.iterdir()] == [there]
    assert (folder / there).read_text() == "kept"


def test_keygen_follows_no_link(folder):
    """A link that leads nowhere is no free place."""
    (folder / "trainer.key").symlink_to(folder / "elsewhere")
    with pytest.raises(ConfigError, match="never overwritten"):
        trainer.keygen()
    assert not (folder / "elsewhere").exists()


def test_keygen_on_the_command_line(folder, capsys):
    """It says which file goes where, and shows no secret; a second call is refused."""
    assert main(["keygen", "team.key"]) == 0
    shown = capsys.readouterr()
    assert "team.pub" in shown.out
    secret = (folder / "team.key").read_text().splitlines()[1]
    assert secret not in shown.out + shown.err
    assert main(["keygen", "team.key"]) == 2


# -- where the key comes from -------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_or_a_file(folder):
    """PEM, as it is or on one line as CI systems keep it; a path; trainer.toml. All the same key."""
    OURS.write_to(folder / "trainer.key")
    (folder / "trainer.toml").write_text('key = "trainer.key"\n')
    one_line = OURS.pem.decode().replace("\n", "\\n")
    for environ in ({KEY: OURS.pem.decode()}, {KEY: one_line}, {FILE: str(folder / "trainer.key")}, {}):
        found = find_signing(find_config(folder), environ)
        assert found.key.public.keyid == OURS.keyid
        assert found.trusted == (OURS.key.public,)


def test_who_only_reads_needs_no_private_key(folder, url, signs, fitted, monkeypatch):
    """Where trainer.toml names a file that CI alone has, everybody lists, looks and collects; nobody else releases."""
    publish(fitted, url)
    monkeypatch.delenv(KEY)
    (folder / "trainer.toml").write_text('key = "trainer.key"\n')
    assert len(trainer.versions(MODEL, store=url)) == len(trainer.history(MODEL, store=url)) == 1
    assert trainer.collect(MODEL, store=url)
    assert examine(store=url, read_only=True)
    with pytest.raises(ConfigError, match=r"trainer\.key' cannot be read"):
        trainer.hold(MODEL, store=url)


def test_the_environment_wins(folder):
    """A CI job's key over the file's."""
    OURS.write_to(folder / "trainer.key")
    (folder / "trainer.toml").write_text('key = "trainer.key"\n')
    found = find_signing(find_config(folder), {KEY: THEIRS.pem.decode()})
    assert found.key.public.keyid == THEIRS.keyid


def test_trusted_keys_come_from_the_file(folder):
    """Paths relative to it, or objects; the environment wins; one's own key is always among them."""
    (folder / "sub").mkdir()
    (folder / "them.pub").write_text(json.dumps(THEIRS.trusted()))
    (folder / "trainer.toml").write_text('trusted_keys = ["them.pub"]\n')
    found = find_signing(find_config(folder / "sub"), {KEY: OURS.pem.decode()})
    assert [key.keyid for key in found.trusted] == [OURS.keyid, THEIRS.keyid]
    found = find_signing(find_config(folder), {"MLSHARED_TRUSTED_KEYS": json.dumps(OURS.trusted())})
    assert [key.keyid for key in found.trusted] == [OURS.keyid]


RSA = subprocess.run(
    [
        sys.executable,
        "-c",
        "from securesystemslib.signer import CryptoSigner as C;print(C.generate_ecdsa().private_bytes.decode())",
    ],
    capture_output=True,
    text=True,
    check=True,
).stdout


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({KEY: ""}, f"{KEY} is set and empty"),
        ({FILE: " "}, f"{FILE} is set and empty"),
        ({KEY: "x", FILE: "y"}, "both set"),
        ({KEY: "hunter2"}, "holds no unencrypted private key"),
        ({KEY: OURS.pem.decode()[:60]}, "holds no unencrypted private key"),
        ({KEY: RSA}, "of kind ecdsa"),
        ({FILE: "/nowhere/trainer.key"}, "cannot be read: No such file"),
        ({FILE: "\0"}, "cannot be read"),
        ({"MLSHARED_TRUSTED_KEYS": "[]"}, "trusted_keys: is empty"),
    ],
)
def test_an_unusable_key_is_an_error_that_shows_none_of_it(environ, message):
    """Never "no key": nothing would be signed, without a word."""
    with pytest.raises(ConfigError) as caught:
        find_signing(Config(), environ)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert OURS.pem.decode().splitlines()[1] not in repr(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize("line", ['key = ""', "trusted_keys = []", 'trusted_keys = "x"', 'keys = "x"'])
def test_an_unusable_line_in_the_file(folder, line):
    """Named, too."""
    (folder / "trainer.toml").write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=r"trainer.toml"):
        find_config(folder)


def test_secrets_are_in_no_repr_and_reach_no_other_process():
    """Of whatever holds the key."""
    secret = OURS.pem.decode().splitlines()[1]
    held = find_signing(Config(), {KEY: OURS.pem.decode()})
    assert secret not in repr(held) + str(held) + repr(held.key) + repr(held.client_settings())
    assert "CryptoSigner" not in repr(held)
    assert without_secrets({KEY: "a", FILE: "b", "PATH": "c"}) == {"PATH": "c"}


LEAK = """
import os, pathlib
pathlib.Path(f"seen-{os.getpid()}").write_text(repr([n for n in os.environ if n.startswith("TRAINER_SIGNING_KEY")]))
def derive(row):
    return {"x0": row["x0"]}
"""


@pytest.mark.slow
def test_the_interpreter_that_reads_back_does_not_get_the_key(folder, signs, monkeypatch):
    """It runs the app's code, which needs none."""
    (folder / "leak.py").write_text(LEAK)
    monkeypatch.syspath_prepend(str(folder))
    derive = importlib.import_module("leak").derive
    frame = pd.DataFrame({"x0": [0.0, 1.0, 2.0, 3.0]})
    estimator = LogisticRegression().fit(frame, [0, 0, 1, 1])
    trainer.publish(estimator, frame, name=MODEL, store=str(folder / "models"), features=derive, raw=frame)
    own = folder / f"seen-{os.getpid()}"
    assert own.read_text() == repr([KEY])
    others = [path.read_text() for path in folder.glob("seen-*") if path != own]
    assert others == ["[]"]


# -- what is signed, and where ------------------------------------------------------------------------------


def test_manifests_and_releases_are_signed(url, signs, fitted, tmp_path):
    """And served by a client that trusts the key, for a name, a number and the newest."""
    publish(fitted, url)
    for ref in (MODEL, f"{MODEL}@1", f"{MODEL}@latest"):
        with serve(url, tmp_path / "cache", trusted_keys=[OURS.trusted()]) as client:
            model = client.model(ref)
            assert model.predict({"x0": 3.0, "x1": 3.0}) == 1
            assert model.status().trust == model.current.trust == "signed"


def test_a_store_made_with_a_key_says_so(url, signs, fitted):
    """For ever: mlshared.json is never written again."""
    publish(fitted, url)
    assert Store(open_objects(url)).identity().signed


def test_a_signed_store_is_not_written_without_a_key(url, signs, fitted, monkeypatch):
    """Every command that writes says which setting is missing; nothing was written."""
    publish(fitted, url)
    monkeypatch.delenv(KEY)
    for write in (
        lambda: publish(fitted, url),
        lambda: trainer.release(MODEL, 1, store=url),
        lambda: trainer.hold(MODEL, store=url),
        lambda: trainer.rollback(MODEL, to=1, store=url),
    ):
        with pytest.raises(
            ConfigError, match=r"this store is signed, and no signing key.*TRAINER_SIGNING_KEY_FILE"
        ):
            write()
    assert len(trainer.versions(MODEL, store=url)) == len(trainer.history(MODEL, store=url)) == 1


def call_unsigned(url):
    """Change a store's word, as who writes to its bucket can."""
    path = f"{url.removeprefix('memory:/')}/{IDENTITY_KEY}"
    raw = MemoryFileSystem().cat_file(path)
    MemoryFileSystem().pipe_file(path, raw.replace(b'"signed":true', b'"signed":false'))
    assert not Store(open_objects(url)).identity().signed


def test_an_unsigned_store_can_be_signed_from_now_on(fitted, monkeypatch, tmp_path):
    """By a person who releases a version that was published with the key; nothing from before is vouched for."""
    url = str(tmp_path / "models")  # where this host remembers the log, too
    publish(fitted, url)
    with serve(url, tmp_path / "a", trusted_keys=[OURS.trusted()]) as client, pytest.raises(SignatureError):
        client.model(MODEL).refresh()
    monkeypatch.setenv(KEY, OURS.pem.decode())
    for write in (
        lambda: trainer.hold(MODEL, store=url),
        lambda: trainer.release(MODEL, 1, store=url),
        lambda: trainer.rollback(MODEL, to=1, store=url),
    ):
        with pytest.raises((SignatureError, ReleaseRefused)):
            write()
    assert not publish(fitted, url).released
    entry = trainer.release(MODEL, 2, store=url)
    assert (entry.number, entry.prev.number, entry.fallback) == (2, 1, None)
    assert not Store(open_objects(url)).identity().signed
    with serve(url, tmp_path / "b", trusted_keys=[OURS.trusted()]) as client:
        client.model(MODEL).refresh()
        assert client.model(MODEL).current.version == 2
    with serve(url, tmp_path / "c") as client:
        client.model(MODEL).refresh()
        assert client.model(MODEL).current.trust == "unverified"


def test_a_store_that_calls_itself_unsigned_is_checked_all_the_same(url, signs, fitted):
    """The key here decides, not a word in the bucket: nothing planted is fallen back to, held by, or signed."""
    publish(fitted, url)
    publish(fitted, url, release=ALIAS)
    call_unsigned(url)
    store = Store(open_objects(url))
    store_id = store.identity().id
    evil = store.manifest(store_id, MODEL, 1).entry.model_copy(update={"version": 3})
    assert store.objects.create(version_key(MODEL, 3), store.seal(evil), timeout=5)
    update = {
        "number": 3,
        "version": 3,
        "hold": True,
        "manifest_sha256": store.manifest(store_id, MODEL, 3).sha256,
        "prev": Previous(number=2, sha256=store.release(store_id, MODEL, ALIAS, 2).sha256),
    }
    planted = store.release(store_id, MODEL, ALIAS, 2).entry.model_copy(update=update)
    assert store.objects.create(release_key(MODEL, ALIAS, 3), store.seal(planted), timeout=5)
    entry = trainer.hold(MODEL, store=url)
    assert (entry.number, entry.version, entry.fallback.version) == (4, 2, 1)
    assert trainer.rollback(MODEL, store=url, hold=False).version == 1
    with pytest.raises(SignatureError):
        trainer.release(MODEL, 3, store=url)


def test_an_entry_by_a_colleagues_key(url, signs, fitted, monkeypatch, tmp_path):
    """No automatic release goes over what cannot be judged; a person's does, and follows it for every client."""
    publish(fitted, url)
    signs(THEIRS)
    publish(fitted, url)
    log = read_log(
        find_signing().store(open_objects(url)), Store(open_objects(url)).identity().id, MODEL, ALIAS
    )
    assert (log.head, log.obscured, log.highest) == (None, True, 1)
    entry = trainer.release(MODEL, 2, store=url, breaking=True)
    assert (entry.number, entry.prev.number) == (2, 1)
    for trusted in ([THEIRS.trusted()], [OURS.trusted(), THEIRS.trusted()]):
        with serve(url, tmp_path / str(len(trusted)), trusted_keys=trusted) as client:
            client.model(MODEL).refresh()
            assert client.model(MODEL).current.version == 2
    with pytest.raises(SignatureError, match="by no key in trusted_keys"):
        trainer.release(MODEL, 1, store=url)
    monkeypatch.setenv("MLSHARED_TRUSTED_KEYS", json.dumps(OURS.trusted()))
    assert trainer.release(MODEL, 1, store=url).prev.number == 2


def test_a_log_by_a_key_of_before_is_not_lost(url, signs, fitted, monkeypatch, tmp_path):
    """It leaked, say, and nobody trusts it here: apps that still do follow the first release with the new one."""
    publish(fitted, url)
    publish(fitted, url, release=ALIAS)
    known = tmp_path / "known"
    monkeypatch.setattr("trainer._publish.seen_from", lambda *_: Seen(lambda: known))
    monkeypatch.setattr("trainer._writing.seen_from", lambda *_: Seen(lambda: known))
    assert trainer.hold(MODEL, store=url).number == 3
    signs(THEIRS)
    with pytest.raises(
        ReleaseRefused, match="entry 3 of flights@production is signed by no key that is trusted"
    ):
        trainer.hold(MODEL, store=url)
    made = publish(fitted, url, release=ALIAS)
    assert (made.released, made.reason) == (True, "")
    with serve(url, tmp_path / "app", trusted_keys=[OURS.trusted(), THEIRS.trusted()]) as client:
        assert client.model(MODEL).current.version == made.version


def test_an_unsigned_entry_in_a_signed_store_is_passed_over(url, signs, fitted, tmp_path):
    """By trainers as by clients; the next entry follows it all the same, for clients that check nothing."""
    publish(fitted, url)
    store = Store(open_objects(url))
    store_id = store.identity().id
    (planted,) = trainer.history(MODEL, store=url)
    planted = planted.model_copy(update={"number": 2, "hold": True})
    assert store.objects.create(release_key(MODEL, ALIAS, 2), store.seal(planted), timeout=5)
    entry = trainer.release(MODEL, 1, store=url)
    assert (entry.number, entry.prev.number, entry.hold) == (3, 2, False)
    with serve(url, tmp_path / "cache", trusted_keys=[OURS.trusted()]) as client:
        client.model(MODEL).refresh()
    trust = Trust([OURS.key.public])
    assert (
        open_release(store.release_bytes(MODEL, ALIAS, 3), store_id, MODEL, ALIAS, 3, trust).trust == "signed"
    )


def test_founding_twice_keeps_the_first_word(url):
    """A trainer without a key made it: it stays unsigned, whoever writes later."""
    objects = open_objects(url)
    assert not found_store(Store(objects)).signed
    assert not found_store(Signing(OURS.key, (OURS.key.public,)).store(objects)).signed


# -- joblib -------------------------------------------------------------------------------------------------


def positive(x):
    return abs(x)


@pytest.fixture
def custom():
    """What neither skops stores without a word nor a plan can be made of."""
    X = np.array([[-1.0], [2.0]] * 10)
    return FunctionTransformer(positive).fit(X), X


def test_joblib_needs_a_signing_key(url, custom):
    """Said before anything is written."""
    with pytest.raises(ConfigError, match="needs a signing key"):
        publish(custom, url, format="joblib")
    assert Store(open_objects(url)).identity() is None


def test_joblib_is_never_fallen_back_to(url, signs, custom):
    """What skops cannot store is refused, with the mend."""
    with pytest.raises(NotStorable, match="positive"):
        publish(custom, url)


@pytest.fixture
def joblib_store(url, signs, custom):
    made = publish(custom, url, format="joblib")
    assert [a.kind for a in made.manifest.artifacts if a.kind in {"joblib", "skops"}] == ["joblib"]
    return url


def test_joblib_is_loaded_with_the_setting_and_a_signature(joblib_store, tmp_path):
    """Both."""
    with serve(joblib_store, tmp_path, trusted_keys=[OURS.trusted()], allow_joblib=True) as client:
        assert client.model(MODEL).transform({"x0": -3.0}) == [3.0]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"trusted_keys": [OURS.trusted()]}, "allow_joblib is not set here"),
        ({"allow_joblib": True, "allow_unsigned": True}, "the version is unverified"),
        ({"allow_unsigned": True}, "allow_joblib is not set here"),
    ],
)
def test_joblib_is_refused_before_it_is_downloaded(joblib_store, tmp_path, settings, why):
    """With one of the two alone, or neither."""
    with serve(joblib_store, tmp_path, **settings) as client:
        with pytest.raises(UntrustedType, match=why):
            client.model(MODEL).refresh()
        assert client.model(MODEL).status().quarantined == {}
    held = [path.name for path in (tmp_path / "blobs").iterdir()]
    assert len(held) == 1  # the manifest


def test_a_main_function_is_refused_in_a_joblib_file_too(url, signs):
    """No app could load it."""
    code = (
        "import numpy, trainer\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "def double(x): return [[2 * x[0][0]]] * len(x)\n"
        "estimator = FunctionTransformer(double).fit([[1.0]])\n"
        "for format in ('skops', 'joblib'):\n"
        "    try: trainer.publish(estimator, numpy.array([[1.0], [2.0]]), name='x', store='./m', format=format)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "estimator = FunctionTransformer(lambda x: x).fit([[1.0]])\n"
        "try: trainer.publish(estimator, numpy.array([[1.0], [2.0]]), name='x', store='./m')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NotStorable"] * 3, done.stdout + done.stderr
    for line in lines[:2]:
        assert "__main__.double (move it into a module that the web app can import too" in line
    assert "give it a name in a module" in lines[2]


def test_two_estimators_in_one_version_are_none(joblib_store):
    """Which one counts would be a guess."""
    two = tuple(Artifact(kind=kind, required=True, sha256="0" * 64, size=0) for kind in ("skops", "joblib"))
    with pytest.raises(IntegrityError, match="two artifacts"):
        check_policy(manifest(artifacts=two), trust="signed", allow_joblib=True)


def test_the_environment_is_looked_at_before_a_download():
    """An estimator needs its scikit-learn and its libraries; a plan needs neither."""

    def of(*kinds, **requires):
        made = (Artifact(kind=k, required=True, sha256="0" * 64, size=0, requires=requires) for k in kinds)
        return manifest(artifacts=tuple(made))

    for requires in ({"scikit-learn": "0.24.2"}, {"no-such-library": "1"}):
        with pytest.raises(EnvironmentMismatch):
            check_policy(of("skops", **requires), trust="unsigned")
        check_policy(of("skops", "plan", **requires), trust="unsigned")


def test_a_signing_key_shows_nothing_of_itself():
    """Not even where it is one."""
    assert OURS.pem.decode().splitlines()[1] not in repr(signing_key(OURS.pem, "a test"))


# -- a store in order ---------------------------------------------------------------------------------------


def test_the_collector_needs_no_signing_key(url, signs, fitted, monkeypatch):
    """It writes what says that blobs go, and no manifest or release."""
    publish(fitted, url)
    monkeypatch.delenv(KEY)
    monkeypatch.setenv("MLSHARED_TRUSTED_KEYS", json.dumps(OURS.trusted()))
    (collected,) = trainer.collect(MODEL, store=url)
    assert collected.problem == ""


def test_the_collector_keeps_what_another_key_put_in_force(url, signs, fitted):
    """Some app may trust it."""
    publish(fitted, url)
    publish(fitted, url, release=ALIAS)
    signs(THEIRS)
    assert publish(fitted, url, release=ALIAS).released
    with writing(url, None, releases=False) as to:
        assert _collect._in_use(to, MODEL) == {1, 2, 3}


def test_doctor_tells_of_an_entry_that_nobody_trusted_signed(url, signs, fitted):
    """As a problem of that entry, and goes on to the next finding."""
    publish(fitted, url)
    signs(THEIRS)
    found = [f for f in examine(store=url, read_only=True) if f.kind == "problem"]
    assert any("by no key in trusted_keys" in f.what for f in found)


def test_recover_needs_a_key_with_that_role_in_the_app(url, signs, fitted, tmp_path):
    """An app that trusts the trainer's key for releases alone keeps what it has."""
    publish(fitted, url)
    publish(fitted, url, release=ALIAS)
    lax = serve(url, tmp_path / "a", trusted_keys=[OURS.trusted(roles=["release", "manifest", "reset"])])
    strict = serve(url, tmp_path / "b", trusted_keys=[OURS.trusted()])
    with lax, strict:
        models = [client.model(MODEL) for client in (lax, strict)]
        assert [model.current.version for model in models] == [2, 2]
        MemoryFileSystem().rm(f"{url.removeprefix('memory:/')}/{MODEL}/releases", recursive=True)
        assert trainer.recover(MODEL, past=2, version=1, store=url).number == 3
        models[0].refresh()
        with pytest.raises((StorageError, SignatureError, IntegrityError)):
            models[1].refresh()
        assert [model.current.version for model in models] == [1, 2]
