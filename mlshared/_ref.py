"""A ref, as users type it: which model, and which of its versions.

flights                        the alias the settings name
flights@staging                another alias
flights@42                     version 42, whatever is released
flights@latest                 the highest version published
flights@2026-11-20T12:00Z      what was in force then
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from mlshared.errors import ConfigError
from mlshared.manifest import check_alias, check_model_name


@dataclass(frozen=True, slots=True)
class Ref:
    """A model, and exactly one way to choose its version.

    Attributes:
        model: The model's name.
        alias: The alias whose log decides; also set for a moment in time.
        version: A pinned version, or None.
        latest: Whether the highest version published is meant.
        at: The moment to look at the log from, or None for now.
    """

    model: str
    alias: str
    version: int | None = None
    latest: bool = False
    at: datetime | None = None

    @property
    def fixed(self) -> bool:
        """Whether it always means the same version."""
        return self.version is not None or self.at is not None

    @property
    def log(self) -> str:
        """The name under which a host remembers what it saw; ``latest`` is no alias."""
        return "latest" if self.latest or self.version is not None else self.alias

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.model}@{self.version}"
        if self.latest:
            return f"{self.model}@latest"
        if self.at is not None:
            return f"{self.model}@{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return f"{self.model}@{self.alias}"


def parse_ref(text: str, *, alias: str = "production") -> Ref:
    """Return what ``text`` refers to.

    Args:
        text: As in the module's docstring.
        alias: What a bare name, and a moment in time, look at.

    Raises:
        ConfigError: If it is no ref.

    >>> parse_ref("flights@42").version
    42
    """
    if not isinstance(text, str):
        raise ConfigError(f"a ref is text such as 'flights' or 'flights@42', not {type(text).__name__}")
    name, separator, which = text.partition("@")
    try:
        check_model_name(name)
        check_alias(alias)
        if not separator:
            return Ref(name, alias)
        if which == "latest":
            return Ref(name, alias, latest=True)
        if which.isascii() and which.isdigit():
            return Ref(name, alias, version=_version(which))
        if which[:1].isdigit():
            return Ref(name, alias, at=_moment(which))
        return Ref(name, check_alias(which))
    except ValueError as error:
        raise ConfigError(
            f"{text[:120]!r} is no ref: {error}; write 'flights', 'flights@staging', 'flights@42', "
            "'flights@latest' or 'flights@2026-11-20T12:00Z'"
        ) from error


def _version(digits: str) -> int:
    number = int(digits[:11])
    if not 1 <= number <= 9_999_999_999:
        raise ValueError("versions count from 1")
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone, such as Z")
    return moment
