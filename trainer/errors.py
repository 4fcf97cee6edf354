"""What a trainer raises beside `mlshared.errors`.

MlsharedError
|-- ConfigError         trainer.toml or the recipe's own fields are wrong: nothing was started
|-- RecipeError         a recipe's function raised, or returned what cannot be used
|-- ReleaseRefused      a version was not put in force
|   `-- LogLost         an alias's log ends before an entry it once had: nothing is written to it
`-- ArtifactError
    |-- NotStorable     an estimator cannot be stored so that a client could load it
    |-- NoGoldenRows    nothing could be made to test a version by
    `-- ReadBackFailed  a version that was published does not load, or answers otherwise

"""

from mlshared.errors import ArtifactError, MlsharedError


class RecipeError(MlsharedError):
    """A recipe's function raised, or returned what cannot be used; the message names it."""


class ReleaseRefused(MlsharedError):  # noqa: N818 - says what it is
    """A version was not put in force; the message says why and what to do."""


class LogLost(ReleaseRefused):
    """An alias's log ends before an entry it once had: expired, or restored from a backup."""


class NotStorable(ArtifactError):  # noqa: N818 - named like the exceptions of mlshared
    """An estimator cannot be stored so that a client could load it; the message names what and why."""


class NoGoldenRows(ArtifactError):  # noqa: N818 - named like the exceptions of mlshared
    """No row could be made that the estimator answers steadily, so a version could not be tested."""


class ReadBackFailed(ArtifactError):  # noqa: N818 - says what it is
    """A published version does not load, or does not answer, in a clean interpreter."""
