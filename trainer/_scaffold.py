"""What `trainer init` writes: a trainer.toml and a recipe that runs as it is."""

from pathlib import Path
from typing import Final

from mlshared.errors import ConfigError
from mlshared.manifest import check_model_name

from .config import FILE

_TOML: Final = """\
# Where versions are published: a folder, or an URL such as s3://acme/models.
store = "./models"

[models.{name}]
recipe = "{module}:recipe"
"""

_RECIPE: Final = '''\
"""How {name} is trained and judged. It runs as it is; put your own data and estimator in."""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer import AtLeast, KeySplit, NoWorse, Recipe


def load():
    """Return all rows, newest included; "id" tells them apart for ever."""
    return load_breast_cancer(as_frame=True).frame.rename_axis("id").reset_index()


def build():
    """Return a new, unfitted estimator."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


recipe = Recipe(
    name="{name}",
    load=load,
    target="target",
    drop=["id"],
    build=build,
    split=KeySplit("id", test=0.2),
    metrics=["roc_auc", "neg_log_loss"],
    gates=[AtLeast("roc_auc", 0.9), NoWorse("roc_auc", by=0.01)],
)
'''


def write_scaffold(name: str, folder: Path) -> list[Path]:
    """Write both files for a first model.

    Returns:
        The files written.

    Raises:
        ConfigError: If no model may be called so, or a file is there already; nothing is written then.
    """
    try:
        check_model_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    module = f"{name.replace('-', '_').replace('.', '_')}_recipe"
    if module[0].isdigit():
        module = f"model_{module}"
    texts = {
        folder / FILE: _TOML.format(name=name, module=module),
        folder / f"{module}.py": _RECIPE.format(name=name),
    }
    if taken := [path.name for path in texts if path.exists()]:
        raise ConfigError(f"{taken[0]} is here already; add a [models.{name}] table to trainer.toml by hand")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
