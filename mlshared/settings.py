"""The settings of a client: frozen, checked once, from keywords, the environment or a framework.

Nothing is read at import. `from_environment` reads ``MLSHARED_*`` when it is called; keywords win over it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlshared._envelope import no_duplicates
from mlshared._keys import TrustedKey, read_keys
from mlshared._ref import parse_ref
from mlshared._urls import mended
from mlshared.errors import ConfigError
from mlshared.manifest import check_alias, check_model_name

ENVIRONMENT_PREFIX: Final = "MLSHARED_"
_FROM_JSON: Final = frozenset({"storage_options", "pins", "floors", "trusted_types"})

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """How a client finds, trusts, caches and refreshes models.

    Attributes:
        store: URL or path of the store: ``s3://acme/models``, ``./models``, ``~/models``.
        storage_options: Passed to the storage library as they are; never logged.
        store_id: The store's id, if it shall be known rather than learnt at first use.
        alias: What a bare name such as ``flights`` refers to.
        pins: ``{"flights": 41}`` serves version 41 whatever is released.
        floors: ``{"flights": 12}`` accepts no release entry below number 12.
        cache_dir: Folder shared by all processes of a user on the host; default: the platform's cache folder.
        cache_bytes: Blobs beyond this much are evicted, least recently used first.
        poll_seconds: Seconds between looks for a new release; 0: only by `refresh`, or by use while nothing is
            loaded. Default 30, or 2 for a store on the local file system.
        first_load_seconds: How long a first use waits for a model, in seconds; within a request never over 5.
        idle_seconds: After this many seconds without a prediction a model is no longer polled; its next use
            starts polling again. None: never.
        estimator_min_rows: Tables of so many rows and more are answered by the estimator where there is a plan
            as well, once it is loaded.
        trusted_types: Full names of types an estimator may hold beyond this package's own list.
        trusted_keys: Public keys, as objects or as paths of files made by ``trainer keygen``: nothing is accepted
            that none of them signed. None: signatures are not checked.
        allow_unsigned: Without keys, serve even from a store that says it is signed; and warn nobody.
        allow_joblib: Load estimators stored by joblib, which runs any code in them; only with a verified signature.
        refuse_overdue: Answer nothing once the release in force is older than it promised to become.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    store: str | None = None
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    store_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    alias: str = "production"
    pins: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    floors: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    cache_dir: Path | None = None
    cache_bytes: Annotated[int, Field(ge=0)] = 10 * 1024**3
    poll_seconds: Seconds | None = None
    first_load_seconds: Seconds = 10.0
    idle_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    estimator_min_rows: Annotated[int, Field(ge=1)] = 1000
    trusted_types: tuple[str, ...] = ()
    trusted_keys: tuple[TrustedKey, ...] | None = None
    allow_unsigned: bool = False
    allow_joblib: bool = False
    refuse_overdue: bool = False

    @field_validator("store")
    @classmethod
    def _usable_store(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip():
            raise ValueError("is empty")
        if "::" in value:
            raise ValueError("chained URLs ('::') are not accepted")
        if (meant := mended(value)) is not None:
            raise ValueError(f"{value[:80]!r} is half a URL; write {meant[:80]!r}")
        _, scheme, rest = value.partition("://")
        if scheme and "@" in rest.partition("/")[0]:
            raise ValueError("holds credentials, which would be shown; give them in storage_options")
        return value if "://" in value else str(Path(value).expanduser().absolute())

    @field_validator("alias")
    @classmethod
    def _usable_alias(cls, value: str) -> str:
        return check_alias(value)

    @field_validator("pins")
    @classmethod
    def _usable_names(cls, value: dict[str, int]) -> dict[str, int]:
        for name in value:
            check_model_name(name)
        return value

    @field_validator("floors")
    @classmethod
    def _usable_refs(cls, value: dict[str, int]) -> dict[str, int]:
        for ref in value:
            try:
                parsed = parse_ref(ref)
            except ConfigError as error:
                raise ValueError(str(error)) from error
            if parsed.fixed or parsed.latest:
                raise ValueError(f"{ref!r} has no log of its own; write 'flights' or 'flights@staging'")
        return value

    @field_validator("trusted_keys", mode="before")
    @classmethod
    def _usable_keys(cls, value: Any) -> Any:
        return None if value is None else read_keys(value)

    @model_validator(mode="after")
    def _one_kind_of_trust(self) -> "Settings":
        if self.trusted_keys and self.allow_unsigned:
            raise ValueError(
                "allow_unsigned and trusted_keys contradict each other: with keys nothing unsigned is accepted"
            )
        return self

    @field_validator("cache_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @property
    def local(self) -> bool:
        """Whether the store is a folder of this host."""
        return self.store is not None and ("://" not in self.store or self.store.startswith("file://"))

    @property
    def poll_interval(self) -> float:
        """Seconds between polls, after the defaults; 0: only by hand."""
        if self.poll_seconds is not None:
            return self.poll_seconds
        return 2.0 if self.local else 30.0


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Return checked settings.

    Raises:
        ConfigError: If a name is unknown or a value unusable; the message names the first such setting.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(Settings.model_fields)
            raise ConfigError(f"unknown setting {name[:80]!r}; known: {known}") from error
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(f"setting {name!r}: {message}" if name else f"settings: {message}") from error


def from_environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the settings that ``MLSHARED_*`` variables give, unchecked.

    ``MLSHARED_STORAGE_OPTIONS``, ``_PINS``, ``_FLOORS`` and ``_TRUSTED_TYPES`` hold JSON, ``_TRUSTED_KEYS`` JSON or
    the path of a file.

    Raises:
        ConfigError: If a variable names no setting, is empty, or should hold JSON and does not.
    """
    values: dict[str, Any] = {}
    for variable, text in (os.environ if environ is None else environ).items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in Settings.model_fields:
            known = ", ".join(f"{ENVIRONMENT_PREFIX}{field.upper()}" for field in Settings.model_fields)
            raise ConfigError(f"{variable[:80]} names no setting; known: {known}")
        if not text.strip():
            raise ConfigError(f"{variable} is set and empty; unset it or give it a value")
        is_json = name in _FROM_JSON or (name == "trusted_keys" and text.lstrip()[0] in "[{")
        values[name] = _from_json(variable, text) if is_json else text
    return values


def _from_json(variable: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{variable} must hold JSON, no key twice") from error
