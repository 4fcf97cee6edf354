"""The newest good scikit-learn model, inside a running web process.

    import mlshared

    flights = mlshared.get_model("flights")
    flights.predict({"carrier": "UA", "distance": 1400})

`client` wires it, `_refresh` is one cycle, `model` is what an app holds. Importing this starts nothing, reads
nothing, and imports no machine-learning library.
"""

from mlshared._ref import Ref
from mlshared._status import Status
from mlshared._version import ModelVersion
from mlshared.client import Client, configure, get_model
from mlshared.errors import (
    AccessDenied,
    ArtifactError,
    ConfigError,
    EnvironmentMismatch,
    FeatureSkew,
    InputError,
    IntegrityError,
    MlsharedError,
    ModelNotReady,
    NotPublished,
    SelfTestFailed,
    SignatureError,
    StorageError,
    UnsupportedFormat,
    UntrustedType,
)
from mlshared.model import Model
from mlshared.settings import Settings

__all__ = [
    "AccessDenied",
    "ArtifactError",
    "Client",
    "ConfigError",
    "EnvironmentMismatch",
    "FeatureSkew",
    "InputError",
    "IntegrityError",
    "MlsharedError",
    "Model",
    "ModelNotReady",
    "ModelVersion",
    "NotPublished",
    "Ref",
    "SelfTestFailed",
    "Settings",
    "SignatureError",
    "Status",
    "StorageError",
    "UnsupportedFormat",
    "UntrustedType",
    "configure",
    "get_model",
]
