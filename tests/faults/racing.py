"""Publishers in processes of their own that begin together: `race(WRITER | FULL, arguments, folder)`.

WRITER   uploads as many versions as told, each marked as its own     FULL   publishes the whole way, read back included
"""

import json
import subprocess
import sys
from pathlib import Path

import trainer

WRITER = """
import json, sys
import numpy as np
from sklearn.dummy import DummyClassifier
from mlshared._objects import open_objects
from mlshared.store import Store
from trainer._append import found_store
from trainer._publish import draft, upload

url, options, me, publishes = json.loads(sys.argv[1])
objects = open_objects(url, options)
store = Store(objects)
X, y = np.zeros((2, 1)), np.array([me, me + 1])
estimator = DummyClassifier(strategy="constant", constant=me).fit(X, y)
made = draft(estimator, X, y, store_id=found_store(store).id, name="flights")
print("ready", flush=True)
sys.stdin.readline()
for number in range(publishes):
    made = type(made)(made.manifest.model_copy(update={"labels": {"by": f"{me}/{number}"}}), made.blobs)
    print(upload(store, made).entry.version, flush=True)
objects.close()
"""


FULL = """
import json, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
import trainer

url, options, me, publishes = json.loads(sys.argv[1])
X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
estimator = LogisticRegression(C=me + 1).fit(X, y)
print("ready", flush=True)
sys.stdin.readline()
for number in range(publishes):
    published = trainer.publish(estimator, X, y, name="flights", store=url, storage_options=options)
    print(published.version, int(published.released), flush=True)
"""


def race(script, arguments, folder):
    """Start one process for each, let them go together, return what each printed."""
    root = str(Path(trainer.__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, json.dumps(each)],
            cwd=folder,
            env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in arguments
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), ends
    return [[int(line) for line in out.split()] for out, _ in ends]
