"""A Flask app that answers with the version in force, and changes to the next one while it runs.

    MLSHARED_STORE=./models gunicorn -c examples/flights/gunicorn_conf.py examples.flights.flask_app:app

POST /predict with a flight as JSON; GET /ready for the load balancer.
"""

import os
from typing import Any

from flask import Flask, request

import mlshared
from examples.flights.features import derive

app = Flask(__name__)
flights = mlshared.get_model("flights", features=derive)


@app.post("/predict")
def predict() -> dict[str, Any]:
    """Return whether the flight will be late, how probable that is, and which version says so."""
    model = flights.current  # once: the answer and the version it is said to be of are the same
    probability = model.predict_proba(request.get_json())[True]
    return {
        "late": probability >= 0.5,
        "probability": probability,
        "version": model.version,
        "worker": os.getpid(),
    }


@app.get("/ready")
def ready() -> tuple[dict[str, Any], int]:
    """Return 200 if there is a model to answer with, else 503."""
    is_ready = flights.ready(timeout=0)
    return {"ready": is_ready, "worker": os.getpid()}, 200 if is_ready else 503


@app.errorhandler(mlshared.InputError)
def refuse(error: mlshared.InputError) -> tuple[dict[str, Any], int]:
    """Say which fields are wrong, and how."""
    return {"errors": error.errors()}, 400


@app.errorhandler(mlshared.ModelNotReady)
def wait(error: mlshared.ModelNotReady) -> tuple[dict[str, Any], int]:
    """Say that there is no model yet."""
    return {"errors": [{"field": "", "message": str(error)}]}, 503
