"""What about a version in force deserves a look, in words; None where nothing does. Serving goes on."""

from mlshared._features import source_sha256
from mlshared._planned import PlanPredictor
from mlshared._version import ModelVersion
from mlshared.settings import Settings


def untrusted(version: ModelVersion, settings: Settings) -> str | None:
    """Return a warning if nobody's signature was checked, unless the settings say that this is known."""
    if version.trust == "signed" or settings.allow_unsigned:
        return None
    return (
        f"versions of {version.name} are {version.trust}: whoever can write to the store decides what this "
        "process answers; sign them and set trusted_keys, or set allow_unsigned"
    )


def edited(version: ModelVersion) -> str | None:
    """Return a warning if the app's feature function is not the text the version was trained with."""
    expected = version.manifest.features
    if expected is None or version.features is None or source_sha256(version.features) == expected.sha256:
        return None
    return (
        f"{version.ref} was trained with another text of {expected.name}; "
        "on the golden rows both give the same values"
    )


def estimator_problem(version: ModelVersion | None) -> str | None:
    """Return why the estimator beside a plan cannot answer large tables."""
    predictor = version.predictor if version else None
    lazy = predictor.lazy if isinstance(predictor, PlanPredictor) else None
    problem = (lazy.problem or lazy.foreseen) if lazy is not None else None
    return None if problem is None else f"{type(problem).__name__}: {problem}"
