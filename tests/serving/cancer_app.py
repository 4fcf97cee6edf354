"""The web app under test: answers with the model in force, and says which version that was."""

import os

from flask import Flask, request

from mlshared import get_model

app = Flask(__name__)
cancer = get_model("cancer")


@app.post("/predict")
def predict():
    version = cancer.current
    return {
        "version": version.version,
        "proba": {str(name): p for name, p in version.predict_proba(request.get_json()).items()},
        "pid": os.getpid(),
    }


@app.get("/status")
def status():
    now = cancer.status()
    return {
        "pid": os.getpid(),
        "state": now.state,
        "version": now.version,
        "last_error": now.last_error,
        "quarantined": dict(now.quarantined),
        "stale_seconds": now.stale_seconds,
    }


@app.errorhandler(Exception)
def failed(error):
    return {"error": f"{type(error).__name__}: {error}"}, 503


if os.environ.get("USE_BEFORE_FORK"):
    assert cancer.ready(timeout=240)
    cancer.predict({field.name: 1.0 for field in cancer.current.manifest.fields})
