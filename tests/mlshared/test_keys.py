"""Trusted keys: how they are configured, what their scopes allow, and that nothing else passes for signed."""

import base64
import json
import subprocess
import sys

import pytest
from entries import ALIAS, MODEL, STORE_ID, manifest, release
from hypothesis import given
from hypothesis import strategies as st
from signers import closed, keys, opened, pair, sign

from mlshared import _envelope
from mlshared._keys import NO_KEYS, Trust, TrustedKey, default_keyid, read_keys
from mlshared.errors import ArtifactError, ConfigError, IntegrityError, SignatureError
from mlshared.manifest import to_bytes
from mlshared.settings import from_environment, make_settings
from mlshared.store import open_manifest, open_release

OURS, THEIRS = pair(), pair()
ENTRY = release(1)
SIGNED = sign(ENTRY, OURS)


def read(raw, *trusted, number=1, **options):
    """Return the release in these bytes, as a client with these keys reads it."""
    return open_release(raw, STORE_ID, MODEL, ALIAS, number, Trust(keys(*trusted), **options))


def read_manifest(raw, *trusted, version=1):
    return open_manifest(raw, STORE_ID, MODEL, version, Trust(keys(*trusted)))


# -- what passes --------------------------------------------------------------------------------------------


def test_a_trusted_signature_is_accepted():
    """And the entry says so."""
    stored = read(SIGNED, OURS.trusted())
    assert (stored.entry, stored.trust, stored.raw) == (ENTRY, "signed", SIGNED)
    assert read_manifest(sign(manifest(), OURS), OURS.trusted()).trust == "signed"


def test_without_keys_nothing_is_checked_and_that_is_told():
    """``unverified`` claims to be signed, ``unsigned`` does not even."""
    assert open_release(SIGNED, STORE_ID, MODEL, ALIAS, 1).trust == "unverified"
    assert open_release(to_bytes(ENTRY), STORE_ID, MODEL, ALIAS, 1).trust == "unsigned"
    assert NO_KEYS.keys == ()


def test_a_store_that_is_signed_wants_keys():
    """Nothing of it is read without: neither signed nor unsigned entries."""
    for raw in (SIGNED, to_bytes(ENTRY)):
        with pytest.raises(
            SignatureError, match="no keys are configured; set trusted_keys, or allow_unsigned"
        ):
            read(raw, signed_store=True)


def test_old_and_new_key_at_once():
    """A rotation: both are trusted, either signs."""
    both = [OURS.trusted(), THEIRS.trusted()]
    for by in (OURS, THEIRS):
        assert read(sign(ENTRY, by), *both).trust == "signed"


def test_two_signatures_one_of_them_ours():
    """What else is there does not matter."""
    document, other = opened(SIGNED), opened(sign(ENTRY, THEIRS))
    document["signatures"] = other["signatures"] + document["signatures"]
    for trusted in (OURS, THEIRS):
        assert read(closed(document), trusted.trusted()).trust == "signed"


# -- what does not ------------------------------------------------------------------------------------------


def tampered(**changes):
    return closed({**opened(SIGNED), **changes})


def resigned(**changes):
    document = opened(SIGNED)
    document["signatures"][0] |= changes
    return closed(document)


def signature_of(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (to_bytes(ENTRY), "is not signed, and trusted_keys accept nothing else"),
        (sign(ENTRY, THEIRS), "by no key in trusted_keys"),
        (resigned(keyid=THEIRS.keyid), "by no key in trusted_keys"),
        (resigned(sig=opened(sign(ENTRY, THEIRS))["signatures"][0]["sig"]), "not of these bytes"),
        (resigned(sig=opened(sign(release(1), OURS))["signatures"][0]["sig"]), "not of these bytes"),
        (tampered(payload=opened(sign(release(1, hold=True), OURS))["payload"]), "not of these bytes"),
        (resigned(sig=signature_of(b"")), "not of these bytes"),
        (resigned(sig=signature_of(b"x" * 64)), "not of these bytes"),
        (resigned(sig=signature_of(b"x" * 63)), "not of these bytes"),
        (resigned(sig="!"), "is not base64"),
        (resigned(sig=7), "signatures that are none"),
        (resigned(keyid=None), "signatures that are none"),
        (tampered(signatures=["x"]), "signatures that are none"),
        (tampered(signatures=2 * opened(SIGNED)["signatures"]), "two of one key"),
        (
            tampered(payloadType="application/vnd.mlshared.release+json;unsigned"),
            "do not match the payload type",
        ),
        (tampered(signatures=[]), "do not match the payload type"),
        (tampered(payloadType="application/vnd.mlshared.manifest+json"), "not a release"),
        (tampered(signatures=[{"keyid": str(n), "sig": "AA=="} for n in range(20_000)]), "20,000 signatures"),
        (sign(manifest(), OURS), "not a release"),
    ],
    ids=[
        "unsigned",
        "a stranger's",
        "a stranger's name on ours",
        "a stranger's signature under our name",
        "our signature of another entry",
        "another payload under our signature",
        "empty signature",
        "garbage of the right length",
        "one byte short",
        "no base64",
        "no text",
        "no key id",
        "no signature at all",
        "the same key twice",
        "said to be unsigned",
        "signatures dropped",
        "another payload type",
        "a huge list",
        "a manifest posing as a release",
    ],
)
def test_what_is_not_signed_by_us_is_refused(raw, message):
    """Each in its own words, none read further."""
    with pytest.raises((SignatureError, IntegrityError), match=message):
        read(raw, OURS.trusted())


def relabelled(payload_type):
    """Return our unsigned release with a signature of ours that was made over its bytes as another type."""
    document = opened(to_bytes(ENTRY))
    body = base64.b64decode(document["payload"])
    made = OURS.key._sign(body, payload_type)
    signatures = [{"keyid": OURS.keyid, "sig": signature_of(made[OURS.keyid])}]
    return closed(
        {**document, "payloadType": "application/vnd.mlshared.release+json", "signatures": signatures}
    )


@pytest.mark.parametrize("kind", ["manifest", "lease"])
def test_the_type_is_signed_with_the_payload(kind):
    """A signature over the same bytes as something else does not count: PAE."""
    with pytest.raises(SignatureError, match="not of these bytes"):
        read(relabelled(f"application/vnd.mlshared.{kind}+json"), OURS.trusted())
    assert read(relabelled("application/vnd.mlshared.release+json"), OURS.trusted()).trust == "signed"


def test_nothing_is_parsed_before_its_signature_is_verified(monkeypatch):
    """The payload of an entry that is refused is never looked into."""
    parsed = []
    strict_json = _envelope.strict_json
    monkeypatch.setattr(_envelope, "strict_json", lambda data: parsed.append(data) or strict_json(data))
    with pytest.raises(SignatureError):
        read(sign(ENTRY, THEIRS), OURS.trusted())
    assert parsed == [sign(ENTRY, THEIRS)]  # the envelope; Ed25519 signs alike each time
    read(SIGNED, OURS.trusted())
    assert len(parsed) == 3


# -- scopes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scope",
    [
        {"models": ["hotels"]},
        {"aliases": ["staging"]},
        {"store": "6" * 32},
        {"roles": ["manifest"]},
        {"roles": ["reset"]},
    ],
)
def test_a_key_outside_its_scope(scope):
    """Is as good as none here, and the message says that it is the scope."""
    with pytest.raises(SignatureError, match="whose scope is not release here"):
        read(SIGNED, OURS.trusted(**scope))


@pytest.mark.parametrize(
    "scope",
    [
        {"models": ["hotels", MODEL]},
        {"aliases": [ALIAS]},
        {"store": STORE_ID},
        {"roles": ["release"]},
        {"models": [MODEL], "aliases": [ALIAS], "store": STORE_ID, "roles": ["release"]},
    ],
)
def test_a_key_within_its_scope(scope):
    """Every limit is met."""
    assert read(SIGNED, OURS.trusted(**scope)).trust == "signed"


def test_scopes_of_one_key_add_up_and_do_not_mix():
    """Two grants are two grants: not the models of one with the aliases of the other."""
    grants = [
        OURS.trusted(models=[MODEL], aliases=["staging"]),
        OURS.trusted(models=["hotels"], aliases=[ALIAS]),
    ]
    with pytest.raises(SignatureError, match="scope"):
        read(SIGNED, *grants)
    assert read(SIGNED, *grants, OURS.trusted(models=[MODEL], aliases=[ALIAS])).trust == "signed"


def test_a_manifest_takes_the_role_of_one():
    """A key for releases does not publish; a key for one alias publishes under every one."""
    raw = sign(manifest(), OURS)
    with pytest.raises(SignatureError, match="whose scope is not manifest"):
        read_manifest(raw, OURS.trusted(roles=["release"]))
    assert read_manifest(raw, OURS.trusted(aliases=["staging"])).trust == "signed"


def test_a_reset_takes_a_right_of_its_own():
    """Which no key has unless it is given."""
    raw = sign(release(1, reset=True), OURS)
    for roles in ({}, {"roles": ["release", "manifest"]}):
        with pytest.raises(SignatureError, match="whose scope is not reset"):
            read(raw, OURS.trusted(**roles))
    with pytest.raises(SignatureError, match="whose scope is not release"):
        read(raw, OURS.trusted(roles=["reset"]))
    assert read(raw, OURS.trusted(roles=["release", "reset"])).trust == "signed"


# -- properties ---------------------------------------------------------------------------------------------

REASONS = st.text(max_size=60)


@given(REASONS, st.booleans())
def test_what_is_signed_comes_back(reason, hold):
    """Whatever it says."""
    made = release(1, reason=reason, hold=hold)
    assert read(sign(made, OURS), OURS.trusted()).entry == made


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_one_flipped_bit_is_one_too_many(bit):
    """Anywhere in a signed envelope: refused, never another entry, never any other error."""
    data = bytearray(SIGNED)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ArtifactError):
        read(bytes(data), OURS.trusted())


def test_a_signature_is_written_in_one_way_only():
    """Base64 has spare bits: an envelope that differs in them is another one, and is refused."""
    text = opened(SIGNED)["signatures"][0]["sig"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spare = f"{text[:-3]}{alphabet[alphabet.index(text[-3]) ^ 1]}=="
    assert base64.b64decode(spare) == base64.b64decode(text)
    with pytest.raises(SignatureError, match="not base64 as it is written"):
        read(resigned(sig=spare), OURS.trusted())


# -- the setting --------------------------------------------------------------------------------------------


def test_keys_come_as_objects_or_files(tmp_path):
    """A key, a list of them, a file with one, a file with several."""
    one, both = tmp_path / "one.pub", tmp_path / "both.json"
    one.write_text(json.dumps(OURS.trusted(models=[MODEL])))
    both.write_text(json.dumps([OURS.trusted(), THEIRS.trusted()]))
    assert read_keys(OURS.trusted()) == keys(OURS.trusted())
    assert read_keys([OURS.trusted(), str(one)]) == keys(OURS.trusted(), OURS.trusted(models=[MODEL]))
    assert read_keys(one) == keys(OURS.trusted(models=[MODEL]))
    assert read_keys(str(both)) == keys(OURS.trusted(), THEIRS.trusted())


def test_keys_come_from_the_environment(tmp_path):
    """JSON, or the path of a file."""
    file = tmp_path / "trainer.pub"
    file.write_text(json.dumps(OURS.trusted()))
    for text in (json.dumps([OURS.trusted()]), json.dumps(OURS.trusted()), str(file)):
        settings = make_settings(from_environment({"MLSHARED_TRUSTED_KEYS": text}))
        assert settings.trusted_keys == keys(OURS.trusted())


PUBLIC = OURS.key.public.keyval.public


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "is empty"),
        ((), "is empty"),
        ("", "is empty"),
        (" ", "is empty"),
        ({}, "not a key: keyid"),
        ([{}], "not a key: keyid"),
        ([[]], "holds a list"),
        (7, "holds a int"),
        ("/nowhere/at/all.pub", "cannot be read: No such file"),
        ([{"keyval": {"public": "xyz"}}], "keyval.public"),
        ([{"keyval": {"public": PUBLIC}, "model": ["x"]}], "model: Extra inputs"),
        ([{"keyval": {"public": PUBLIC}, "models": []}], "models"),
        ([{"keyval": {"public": PUBLIC}, "models": "flights"}], "models"),
        ([{"keyval": {"public": PUBLIC}, "models": ["Flights"]}], "cannot name a model"),
        ([{"keyval": {"public": PUBLIC}, "aliases": ["latest"]}], "cannot name an alias"),
        ([{"keyval": {"public": PUBLIC}, "roles": []}], "roles"),
        ([{"keyval": {"public": PUBLIC}, "roles": ["everything"]}], "roles"),
        ([{"keyval": {"public": PUBLIC}, "keytype": "rsa"}], "keytype"),
        ([{"keyval": {"public": PUBLIC}, "store": "x"}], "store"),
        ([OURS.trusted(), {**THEIRS.trusted(), "keyid": OURS.keyid}], "two different keys are called"),
    ],
)
def test_an_unusable_key_is_named(value, message):
    """In one line; nothing is ever taken for "no keys"."""
    with pytest.raises(ConfigError) as caught:
        make_settings({"trusted_keys": value})
    assert message in str(caught.value)
    assert "setting 'trusted_keys'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "[]", "{}", "[", "nowhere.pub"])
def test_an_unusable_variable_is_no_variable_without_keys(text):
    """Whatever a template left there."""
    with pytest.raises(ConfigError):
        make_settings(from_environment({"MLSHARED_TRUSTED_KEYS": text}))


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"keyid": 1}', b"[" * 10_000, b'"x"', b"[[]]"])
def test_an_unusable_file_is_named(tmp_path, content):
    """With what ought to be in it."""
    file = tmp_path / "trainer.pub"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="trusted_keys"):
        make_settings({"trusted_keys": [str(file)]})


def test_a_private_key_is_no_public_key(tmp_path):
    """And is shown to nobody who mistakes one for the other."""
    file = OURS.write_to(tmp_path / "trainer.key")
    with pytest.raises(ConfigError, match="holds no public key") as caught:
        make_settings({"trusted_keys": str(file)})
    assert OURS.pem.splitlines()[1].decode() not in str(caught.value)


def test_keys_and_allow_unsigned_contradict_each_other():
    """Said at once, not when the first unsigned entry comes."""
    with pytest.raises(ConfigError, match="contradict"):
        make_settings({"trusted_keys": [OURS.trusted()], "allow_unsigned": True})


def test_the_key_id_is_securesystemslibs():
    """A key without a name gets the one that signatures carry."""
    assert default_keyid(PUBLIC) == OURS.keyid
    unnamed = {"keyval": {"public": PUBLIC}}
    assert TrustedKey.model_validate(unnamed).keyid == OURS.keyid


CODE = """
import sys
from mlshared._keys import Trust
from mlshared.settings import make_settings
settings = make_settings({"store": "./models"%s})
print("securesystemslib" in sys.modules, end=" ")
Trust(settings.trusted_keys or ())
print("securesystemslib" in sys.modules)
"""


@pytest.mark.parametrize(
    ("setting", "imported"), [("", "False False"), (f', "trusted_keys": [{OURS.trusted()!r}]', "False True")]
)
def test_securesystemslib_is_imported_for_keys_alone(setting, imported):
    """And not before they are used; seen in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", CODE % setting], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == imported


def test_without_securesystemslib_keys_are_an_error_that_says_what_to_install(monkeypatch):
    """Never a reason to check nothing."""
    monkeypatch.setitem(sys.modules, "securesystemslib.signer", None)
    monkeypatch.setitem(sys.modules, "securesystemslib", None)
    with pytest.raises(ConfigError, match=r"pip install 'mlshared\[trust\]'"):
        Trust(keys(OURS.trusted()))


def test_a_name_in_a_signature_is_one():
    """It is shown in logs: one with a line break in it begins no line there."""
    with pytest.raises(SignatureError, match="signatures that are none") as caught:
        read(resigned(keyid="a\nERROR forged"), OURS.trusted())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scope", ["models", "aliases", "store"])
def test_a_scope_that_is_null_widens_nothing(scope):
    """Whoever wrote it meant something else than everything."""
    with pytest.raises(ValueError, match=f"{scope} is null"):
        read_keys([{**OURS.trusted(), scope: None}])


def test_a_scope_that_is_given_twice_widens_nothing(tmp_path):
    """In a file, and in the environment."""
    twice = json.dumps(OURS.trusted(models=["flights"]))[:-1] + ', "models": ["flights", "hotels"]}'
    (tmp_path / "key.pub").write_text(twice)
    with pytest.raises(ValueError, match="holds no public key"):
        read_keys(str(tmp_path / "key.pub"))
    with pytest.raises(ConfigError, match="no key twice"):
        from_environment({"MLSHARED_TRUSTED_KEYS": twice})
