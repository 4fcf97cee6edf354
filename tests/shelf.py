"""A store with a small model in three versions, published once and copied for each test that wants one.

    shelf.copy_to(folder)             as a folder
    shelf.send_to(s3_store)           into a bucket
    shelf.offline(2, row)             what version 2 answers, asked of the fitted pipeline itself; equals within EXACT
    add_version(url, ..., change=...) a further version with changed bytes, consistent or not

Version 1 is released, 2 and 3 are published. They were fitted on different rows, so that no two of them
answer a row alike.
"""
# ruff: noqa: PLC0415 - conftest imports this for every test, and few need the libraries

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlshared._objects import open_objects
from mlshared.manifest import Manifest, to_bytes
from mlshared.store import Store, blob_key, version_key

NAME = "cancer"
EXACT = 1e-12  # what a plan with dot products promises of probabilities
COLUMNS = ["mean radius", "mean texture", "mean smoothness", "mean symmetry", "worst area"]


@dataclass(frozen=True)
class Shelf:
    """The published store, and the pipelines behind it.

    Attributes:
        folder: The store; not to be written to.
        rows: Raw rows to ask about.
        pipelines: The fitted pipelines, by version.
    """

    folder: Path
    rows: list[dict[str, float]]
    pipelines: dict[int, Any]

    @property
    def store_id(self) -> str:
        return json.loads((self.folder / "mlshared.json").read_bytes())["id"]

    def copy_to(self, folder: Path) -> str:
        """Copy the store to a folder; return its URL."""
        shutil.copytree(self.folder, folder)
        return str(folder)

    def send_to(self, s3_store) -> None:
        """Put every object of the store into an S3 store."""
        prefix = s3_store.url.removeprefix("s3://")
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                key = path.relative_to(self.folder).as_posix()
                s3_store.server.send("PUT", f"/{prefix}/{key}", path.read_bytes())

    def offline(self, version: int, row: dict[str, float], *, text: bool = False) -> Any:
        """Return what the fitted pipeline of a version answers to one row.

        A version answers rows with its plan, whose dot products add up in another order than the pipeline's: so
        the probabilities returned here are equal to any that are within `EXACT` of them, and to no others.

        Args:
            version: Which one.
            row: Raw values.
            text: Whether classes are named as JSON names them.
        """
        import pandas as pd

        pipeline = self.pipelines[version]
        proba = pipeline.predict_proba(pd.DataFrame([row], columns=COLUMNS))[0]
        names = [str(name) if text else name for name in pipeline.classes_.tolist()]
        return pytest.approx(dict(zip(names, proba.tolist(), strict=True)), rel=0, abs=EXACT)


def make_shelf(folder: Path) -> Shelf:
    """Fit, publish and release; the store is in memory first, where a publish starts no other process."""
    from fsspec.implementations.memory import MemoryFileSystem
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import trainer

    place = f"shelf-{secrets.token_hex(6)}"
    X, y = load_breast_cancer(as_frame=True, return_X_y=True)
    X = X[COLUMNS]
    pipelines = {}
    for version, fitted_on in enumerate([slice(0, 120), slice(120, 320), slice(320, 569)], start=1):
        pipelines[version] = make_pipeline(StandardScaler(), LogisticRegression()).fit(
            X[fitted_on], y[fitted_on]
        )
        trainer.publish(pipelines[version], X, y, name=NAME, store=f"memory://{place}")
    fs = MemoryFileSystem()
    for path in fs.find(f"/{place}"):
        target = folder / Path(path).relative_to(f"/{place}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(fs.cat_file(path))
    fs.rm(f"/{place}", recursive=True)
    return Shelf(folder, X.iloc[np.arange(0, 560, 14)].to_dict("records"), pipelines)


def add_version(
    url: str,
    options: dict[str, Any] | None = None,
    *,
    like: int,
    version: int,
    golden: Callable[[dict[str, Any]], Any] | None = None,
    plan: Callable[[bytes], bytes] | None = None,
    blobs: Callable[[str, bytes], bytes | None] = lambda kind, data: data,
    edit: Callable[[Manifest], dict[str, Any]] = lambda manifest: {},
) -> None:
    """Publish a further version, like another one but for what is changed.

    Args:
        url: The store.
        options: Its storage options.
        like: The version to start from.
        version: The number of the new one.
        golden: Changes the golden rows in place; the manifest names the changed bytes.
        plan: Returns another plan's file, which the manifest names.
        blobs: What is put in the place of each blob, behind the manifest's back; None: nothing.
        edit: Changes to the manifest.
    """
    objects = open_objects(url, options or {})
    try:
        store = Store(objects)
        manifest = store.manifest(store.identity().id, NAME, like).entry
        publish_id, artifacts = secrets.token_hex(16), []
        for artifact in manifest.artifacts:
            data = store.blob(NAME, manifest.publish_id, artifact)
            if artifact.kind == "golden" and golden is not None:
                document = json.loads(data)
                golden(document)
                data = json.dumps(document).encode()
            if artifact.kind == "plan" and plan is not None:
                data = plan(data)
            sha256 = hashlib.sha256(data).hexdigest()
            artifacts.append(artifact.model_copy(update={"sha256": sha256, "size": len(data)}))
            stored = blobs(artifact.kind, data)
            if stored is not None:
                objects.create(blob_key(NAME, publish_id, sha256), stored, timeout=20)
        update = {"version": version, "publish_id": publish_id, "artifacts": tuple(artifacts)}
        made = manifest.model_copy(update={**update, "nonce": secrets.token_hex(16), **edit(manifest)})
        objects.create(version_key(NAME, version), to_bytes(made), timeout=20)
    finally:
        objects.close()


def disagree(document: dict[str, Any]) -> None:
    """Change one golden answer."""
    document["answers"]["predict_proba"][0][0] += 0.25
