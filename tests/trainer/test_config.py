import os
import re
import sys
from pathlib import Path

import pytest

from mlshared.errors import ConfigError
from trainer.config import Config, choose_options, choose_store, find_config, load_recipe

TOML = 'store = "./models"\n[models.flights]\nrecipe = "{}:recipe"\n'

RECIPE = """
from sklearn.linear_model import LogisticRegression
from trainer.recipe import Recipe
from trainer.splits import KeySplit
recipe = Recipe(name="flights", load=print, target="y", build=LogisticRegression,
                split=KeySplit("id", test=0.2), metrics=["{metric}"])
number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module under a name of its own; give that name."""
    name = f"recipe_of_{abs(hash(str(tmp_path)))}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    def write(source, folder=tmp_path):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        return name

    yield write
    sys.modules.pop(name, None)


def test_the_nearest_file_upward_counts(tmp_path):
    """A command does the same in every folder below it."""
    (tmp_path / "trainer.toml").write_text(TOML.format("a"))
    inner = tmp_path / "deep" / "er"
    inner.mkdir(parents=True)
    config = find_config(inner)
    assert config.path == tmp_path / "trainer.toml"
    assert config.store == str(tmp_path / "models")
    assert list(config.models) == ["flights"]


def test_pyproject_will_do(tmp_path):
    """[tool.trainer] says the same; a pyproject.toml without it is passed by."""
    (tmp_path / "pyproject.toml").write_text('[tool.trainer]\nstore = "s3://acme/models"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert find_config(inner).store == "s3://acme/models"


def test_no_file_is_an_empty_config():
    """A store may still be given by hand."""
    assert find_config(Path("/")) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store = ", "is no TOML: "),
        ("stor = 'x'", "unknown key 'stor'; did you mean 'store'?"),
        ("[models.flights]\nrecipee = 'a:b'", "unknown key 'models.flights.recipee'; did you mean 'recipe'?"),
        ("[models.flights]\n", 'models.flights: has no recipe; add recipe = "module:recipe"'),
        ("[models.Flights]\nrecipe = 'a:b'", "'Flights' cannot name a model"),
        ("store = 3", "store: Input should be a valid string"),
        ("path = 'x'", "unknown key 'path'"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
    """It names the file and the key."""
    (tmp_path / "trainer.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        find_config(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "trainer.toml"))
    assert message in str(caught.value)


def test_a_model_may_be_pinned_without_a_recipe(tmp_path):
    """`gc` keeps what another trainer.toml retrains; to retrain it here says what is missing."""
    (tmp_path / "trainer.toml").write_text("[models.flights]\npins = [41]\n")
    config = find_config(tmp_path)
    assert config.models["flights"].pins == (41,)
    with pytest.raises(ConfigError, match=r"\[models.flights\] has pins alone; to retrain it, add recipe = "):
        config.recipe("flights")


def test_the_store_is_looked_for_in_three_places():
    """What is given wins over the environment, that over the file."""
    config, environ = Config(store="file"), {"MLSHARED_STORE": "environment"}
    assert choose_store("given", config, environ) == "given"
    assert choose_store(None, config, environ) == "environment"
    assert choose_store(None, config, {}) == "file"
    with pytest.raises(ConfigError, match="no store: give --store, set MLSHARED_STORE, or write"):
        choose_store(None, Config(), {})


def test_storage_options_come_from_the_caller_else_from_the_environment(monkeypatch) -> None:
    """Given options win; else MLSHARED_STORAGE_OPTIONS holds a JSON object, or is refused."""
    monkeypatch.delenv("MLSHARED_STORAGE_OPTIONS", raising=False)
    assert choose_options(None) == {}
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", '{"anon": true}')
    assert choose_options(None) == {"anon": True}
    assert choose_options({}) == {}
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", "[1]")
    with pytest.raises(ConfigError, match="MLSHARED_STORAGE_OPTIONS"):
        choose_options(None)


def test_a_recipe_in_the_working_directory_is_importable(module):
    """As with `python -m`."""
    assert load_recipe(f"{module(RECIPE.format(metric='r2'))}:recipe").name == "flights"


def test_a_recipe_beside_the_file_is_importable_from_below(module, tmp_path, monkeypatch):
    """The file's folder counts as well as the working directory."""
    name = module(RECIPE.format(metric="r2"))
    (tmp_path / "trainer.toml").write_text(TOML.format(name))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert find_config().recipe("flights").name == "flights"


@pytest.mark.parametrize(
    ("source", "attribute", "message"),
    [
        ("", "recipe", "recipe does not exist; it has none"),
        (RECIPE.format(metric="r2"), "recipes", "recipes does not exist; did you mean 'recipe'?"),
        (RECIPE.format(metric="r2"), "number", "number is a int, not a Recipe"),
        (RECIPE.format(metric="r22"), "recipe", "scikit-learn has no scorer 'r22'"),
        ("import no_such_module_here", "recipe", "imports 'no_such_module_here', which is not installed"),
        ("\n1 / 0", "recipe", "cannot be imported: ZeroDivisionError: division by zero (recipe_of_"),
        ("def (", "recipe", "cannot be imported: SyntaxError: "),
    ],
)
def test_a_recipe_that_does_not_import_is_one_line(module, source, attribute, message):
    """It says what is wrong with which module, and where."""
    target = f"{module(source)}:{attribute}"
    with pytest.raises(ConfigError) as caught:
        load_recipe(target)
    assert message in str(caught.value)
    assert repr(target) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_says_where_was_looked(tmp_path, monkeypatch):
    """Most often the command was run in another folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=re.escape(f"no module 'nowhere_at_all' is installed or in {tmp_path}")
    ):
        load_recipe("nowhere_at_all.recipes:flights")


@pytest.mark.parametrize("target", ["recipe", "a.b", "a:b:c", "a/b.py:recipe", ":x", ""])
def test_the_form_is_module_and_attribute(target):
    """Anything else shows the form."""
    with pytest.raises(ConfigError, match=r"'package\.module:attribute'"):
        load_recipe(target)


def test_an_unknown_model_names_the_known(tmp_path):
    """With the closest one, or all of them."""
    (tmp_path / "trainer.toml").write_text(TOML.format("a"))
    with pytest.raises(ConfigError, match=r"trainer.toml has no \[models.flight\]; did you mean 'flights'"):
        find_config(tmp_path).recipe("flight")


def test_file_and_recipe_agree_on_the_name(module, tmp_path):
    """Otherwise a retrain would publish to a model nobody asked for."""
    name = module(RECIPE.format(metric="r2"))
    (tmp_path / "trainer.toml").write_text(TOML.format(name).replace("flights", "planes"))
    with pytest.raises(ConfigError, match="calls it 'planes', its recipe 'flights'"):
        find_config().recipe("planes")


def test_a_file_of_another_user_is_not_read(tmp_path, monkeypatch):
    """It names code to run, and anybody may write one into a folder above that is everybody's."""
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "trainer.toml").write_text('store = "theirs"\n')
    real = Path.stat

    def stat(path, **options):
        found = real(path, **options)
        if path.name != "trainer.toml":
            return found
        return os.stat_result([*found[:4], 4242, *found[5:10]])

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.warns(UserWarning, match="belongs to another user"):
        assert find_config(folder) == Config()
