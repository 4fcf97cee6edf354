"""The web app that `host.py` serves with gunicorn: a row in, probabilities out; told when to swap.

Each worker connects to the measuring process and swaps whenever a line arrives there; it answers with its process
id and when the swap began and ended, on the clock that all processes of a host share.
"""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from host_models import opened

way, folder, cache, port = json.loads(os.environ["HOST_WEB"])
answers = opened(way, Path(folder), cache)


def app(environ, start_response):
    row = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps({"proba": answers.ask(row), "pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def swap_when_told():
    with socket.create_connection(("127.0.0.1", port)) as told, told.makefile("rw") as lines:
        print("ready", file=lines, flush=True)
        while lines.readline():
            began = time.monotonic()
            answers.swap()
            print(json.dumps([os.getpid(), began, time.monotonic()]), file=lines, flush=True)


threading.Thread(target=swap_when_told, daemon=True).start()
