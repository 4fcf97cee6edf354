"""What a trainer raises beside `mlshared.errors`.

MlsharedError
|-- ConfigError     trainer.toml or the recipe's own fields are wrong: nothing was started
`-- RecipeError     a recipe's function raised, or returned what cannot be used

"""

from mlshared.errors import MlsharedError


class RecipeError(MlsharedError):
    """A recipe's function raised, or returned what cannot be used; the message names it."""
