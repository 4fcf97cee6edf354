"""How the checks of `_skops_content` refuse."""

from mlshared.errors import IntegrityError


def require(holds: object, what: str) -> None:
    """Refuse an estimator unless ``holds``.

    Raises:
        IntegrityError: If not.
    """
    if not holds:
        raise IntegrityError(f"{what} would be read outside its arrays")
