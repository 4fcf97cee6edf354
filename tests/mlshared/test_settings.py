"""Settings: checked once, from keywords or the environment; what is wrong is named, no secret shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlshared import Client
from mlshared._objects import open_objects
from mlshared.errors import ConfigError
from mlshared.settings import Settings, from_environment, make_settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stor": "./m"}, "unknown setting 'stor'; known: store"),
        ({"store": " "}, "setting 'store': is empty"),
        ({"store": "simplecache::s3://b"}, "chained URLs"),
        ({"store_id": "xyz"}, "setting 'store_id'"),
        ({"alias": "latest"}, "setting 'alias'"),
        ({"pins": {"flights": 0}}, "setting 'pins.flights'"),
        ({"pins": {"Flights": 1}}, "setting 'pins': 'Flights' cannot name a model"),
        ({"floors": {"flights@": 1}}, "setting 'floors'"),
        ({"floors": {"flights@42": 1}}, "has no log of its own"),
        ({"floors": {"flights@latest": 1}}, "has no log of its own"),
        ({"poll_seconds": -1}, "setting 'poll_seconds'"),
        ({"poll_seconds": float("nan")}, "setting 'poll_seconds'"),
        ({"idle_seconds": 0}, "setting 'idle_seconds'"),
        ({"cache_bytes": -1}, "setting 'cache_bytes'"),
        ({"trusted_types": "sklearn.x"}, "setting 'trusted_types'"),
    ],
)
def test_wrong_settings_are_named(values, message):
    """One line."""
    with pytest.raises(ConfigError) as caught:
        make_settings(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secrets_are_shown_nowhere():
    """Neither in a repr nor in a message."""
    options = {"secret": "hunter2"}
    assert "hunter2" not in repr(make_settings({"storage_options": options}))
    with pytest.raises(ConfigError) as caught:
        make_settings({"storage_options": [options]})
    assert "hunter2" not in str(caught.value)


def test_paths_are_absolute(monkeypatch, tmp_path):
    """Wherever the process goes later."""
    monkeypatch.chdir(tmp_path)
    settings = make_settings({"store": "./models", "cache_dir": "cache"})
    assert settings.store == str(tmp_path / "models")
    assert settings.cache_dir == tmp_path / "cache"
    assert make_settings({"store": "~/models"}).store == str(Path.home() / "models")


@pytest.mark.parametrize(
    ("values", "seconds"),
    [({"store": "./m"}, 2.0), ({"store": "file:///m"}, 2.0), ({"store": "s3://b/m"}, 30.0), ({}, 30.0),
     ({"store": "./m", "poll_seconds": 0}, 0.0), ({"store": "s3://b", "poll_seconds": 5}, 5.0)],
)  # fmt: skip
def test_how_often_is_polled(values, seconds):
    """A folder is cheap to ask."""
    assert make_settings(values).poll_interval == seconds


def test_settings_do_not_change():
    """They are read by several threads."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().store = "./m"


def test_the_environment():
    """Texts as they are, structures as JSON; other variables are none of ours."""
    environ = {
        "MLSHARED_STORE": "s3://acme/models",
        "MLSHARED_POLL_SECONDS": "5",
        "MLSHARED_PINS": '{"flights": 41}',
        "HOME": "/root",
    }
    values = from_environment(environ)
    assert values == {"store": "s3://acme/models", "poll_seconds": "5", "pins": {"flights": 41}}
    assert make_settings(values).poll_interval == 5.0


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("MLSHARED_STOER", "x", "MLSHARED_STOER names no setting; known: MLSHARED_STORE"),
        ("MLSHARED_STORE", " ", "MLSHARED_STORE is set and empty"),
        ("MLSHARED_PINS", "flights=41", "MLSHARED_PINS must hold JSON"),
    ],
)
def test_wrong_variables_are_named(variable, text, message):
    """A typo must not be a setting that does nothing."""
    with pytest.raises(ConfigError) as caught:
        from_environment({variable: text})
    assert message in str(caught.value)


@given(st.sampled_from(sorted(Settings.model_fields)), st.text(max_size=30))
def test_any_text_in_any_variable_is_taken_or_refused(name, text):
    """Never anything but a `ConfigError`."""
    try:
        make_settings(from_environment({f"MLSHARED_{name.upper()}": text}))
    except ConfigError:
        return


@pytest.mark.parametrize("store", ["s3:/acme/models", "s3:acme/models"])
def test_half_a_url(store):
    """It would quietly be a folder of that name; for trainers too."""
    for use in (lambda: make_settings({"store": store}), lambda: open_objects(store)):
        with pytest.raises(ConfigError, match="is half a URL; write 's3://acme/models'"):
            use()


def test_a_store_that_is_a_file(tmp_path):
    """Neither an app nor a trainer takes it for a store without models."""
    path = tmp_path / "models"
    path.write_text("")
    with Client(path, cache_dir=tmp_path / "cache") as client, pytest.raises(ConfigError) as caught:
        client.model("flights").predict({})
    assert str(caught.value) == f"the store {path} is a file, not a folder"
    objects = open_objects(str(path))
    for use in (lambda: objects.create("a/b", b"", timeout=1), lambda: objects.names("a", timeout=1)):
        with pytest.raises(ConfigError, match="is a file, not a folder"):
            use()


@pytest.mark.parametrize("url", ["https://user:hunter2@host/models", "s3://user:hunter2@bucket"])
def test_a_store_with_credentials_in_it_is_refused(url):
    """Settings are shown; storage_options are not."""
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        make_settings({"store": url})
    assert "hunter2" not in str(caught.value)
