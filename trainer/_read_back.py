"""Reading a published version back by the client's own path, self-test included, in a clean interpreter.

What loads only where it was trained, or answers otherwise after the journey, is found here and never released.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Final

from mlshared import Client
from mlshared.__main__ import EXIT_STORE
from mlshared._version import RowFunction
from mlshared.errors import StorageError
from mlshared.manifest import ESTIMATOR_KINDS, Manifest
from mlshared.settings import ENVIRONMENT_PREFIX

from ._signing import NOT_SIGNING, Signing, without_secrets
from .errors import ReadBackFailed

READ_BACK_SECONDS: Final = 300.0


def read_back(
    url: str,
    options: dict[str, Any],
    manifest: Manifest,
    *,
    features: RowFunction | None = None,
    trusted_types: tuple[str, ...] = (),
    signing: Signing = NOT_SIGNING,
) -> None:
    """Fetch a version as a client would, in a clean interpreter with an empty cache, and self-test it.

    Raises:
        ArtifactError: If it cannot be fetched, loaded, or answers otherwise than here.
        StorageError: If the store does not answer.
    """
    ref = f"{manifest.model}@{manifest.version}"
    estimator = any(manifest.artifact(kind) is not None for kind in ESTIMATOR_KINDS)
    with tempfile.TemporaryDirectory(prefix="mlshared-readback-") as cache:
        settings: dict[str, Any] = {
            "store": url,
            "storage_options": options,
            "store_id": manifest.store,
            "cache_dir": cache,
            "poll_seconds": 0,
            "trusted_types": trusted_types,
            "allow_joblib": True,
            **signing.client_settings(),
        }
        if url.startswith("memory://") or (features is not None and features.__module__ == "__main__"):
            # No other process sees this store, or can import this function.
            with Client(**settings) as client:
                model = client.model(ref, features=features)
                model.refresh(timeout_seconds=READ_BACK_SECONDS)
                if estimator:
                    _ = model.current.estimator  # loads and self-tests it
            return
        _check_in_a_clean_interpreter(ref, settings, features, estimator=estimator)


def _check_in_a_clean_interpreter(
    ref: str, settings: dict[str, Any], features: RowFunction | None, *, estimator: bool
) -> None:
    # By environment, not arguments: storage options may hold secrets, and arguments are seen by all users.
    kept = without_secrets(os.environ)
    environment = {key: value for key, value in kept.items() if not key.startswith(ENVIRONMENT_PREFIX)}
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        environment[f"{ENVIRONMENT_PREFIX}{name.upper()}"] = text
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "mlshared", "check", ref]
    if estimator:
        command.append("--estimator")
    if features is not None:
        command += ["--features", f"{features.__module__}:{features.__qualname__}"]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, env=environment, capture_output=True, text=True, timeout=READ_BACK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StorageError(f"{ref} could not be read back within {READ_BACK_SECONDS:g} s") from error
    if done.returncode == 0:
        return
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if done.returncode == EXIT_STORE:
        raise StorageError(f"{ref} was published and could not be read back: {said}")
    raise ReadBackFailed(f"{ref} was published, is not usable and will not be released: {said}")
