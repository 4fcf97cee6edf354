"""How gunicorn serves either app: each worker has a model before it takes its first request.

gunicorn --config examples/flights/gunicorn_conf.py examples.flights.flask_app:app
"""

from typing import Any

import mlshared
from examples.flights.features import derive

workers = 2
worker_class = "gthread"
threads = 8
keepalive = 30
control_socket_disable = True  # it would lie in the home folder, where another gunicorn may have its own


def post_worker_init(worker: Any) -> None:
    """Load the model in a worker that is about to serve; without one it starts all the same."""
    if not mlshared.get_model("flights", features=derive).ready():
        worker.log.warning("No model yet: answering 503 until there is one.")
