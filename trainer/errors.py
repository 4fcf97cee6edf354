"""What a trainer raises beside `mlshared.errors`.

MlsharedError
|-- ConfigError         trainer.toml or the recipe's own fields are wrong: nothing was started
|-- RecipeError         a recipe's function raised, or returned what cannot be used
`-- ReleaseRefused      a version was not put in force
    `-- LogLost         an alias's log ends before an entry it once had: nothing is written to it

"""

from mlshared.errors import MlsharedError


class RecipeError(MlsharedError):
    """A recipe's function raised, or returned what cannot be used; the message names it."""


class ReleaseRefused(MlsharedError):  # noqa: N818 - says what it is
    """A version was not put in force; the message says why and what to do."""


class LogLost(ReleaseRefused):
    """An alias's log ends before an entry it once had: expired, or restored from a backup."""
