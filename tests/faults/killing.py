"""A publisher that is killed at every step: a process of its own, forked anew for each step.

    for step, killed in deaths(url, options): ...     the store of that step is at f"{url}/{step}"

The child of step n publishes and releases two versions into a store of its own, and gets SIGKILL from itself at its
n-th step; the last child gets through. In a folder a step is whatever touches the store's files: opening, linking,
removing a file, making a folder. Elsewhere it is a create that was answered: whatever a process reads, it dies with, so
dying anywhere before the next create is the same.
"""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
FILE_STEPS = {"open", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.rename"}
BLOBS = {"skops": b"an estimator", "golden": b"rows"}


def deaths(url, options):
    """Run every child; return the steps at which one died, and the one that got through."""
    done = subprocess.run(
        [sys.executable, __file__, json.dumps([url, options])],
        cwd=TOP,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TOP), str(TOP / "tests")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def publish_and_release(url, options, wrap=lambda objects: objects):
    """Publish a version twice and release it, as `trainer.publish` does but for reading back; return its number."""
    from entries import MODEL, manifest

    import trainer
    from mlshared._objects import open_objects
    from mlshared.manifest import Artifact
    from mlshared.store import Store
    from trainer import _writing
    from trainer._append import found_store
    from trainer._publish import Draft, upload
    from trainer._release import release_first

    objects = wrap(open_objects(url, options))
    _writing.open_objects = lambda _url, _options: objects
    try:
        store = Store(objects)
        store_id = found_store(store).id
        artifacts = tuple(
            Artifact(kind=kind, required=True, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            for kind, data in BLOBS.items()
        )
        made = Draft(manifest(store=store_id, artifacts=artifacts), BLOBS)
        first = upload(store, made)
        release_first(store, store_id, first, "production", reason="the first")
        second = upload(store, made)
        trainer.release(MODEL, second.entry.version, store=url, storage_options=options, reason="a test")
        return second.entry.version
    finally:
        _writing.open_objects = open_objects
        objects.close()


class Dying:
    """Objects whose n-th create kills the process once it was answered."""

    def __init__(self, inner, step):
        self._inner = inner
        self._left = step

    def create(self, key, data, *, timeout):
        won = self._inner.create(key, data, timeout=timeout)
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return won

    def __getattr__(self, name):
        return getattr(self._inner, name)


def _die_at_file(root, step):
    left = itertools.count(step - 1, -1)

    def hook(event, arguments):
        if event not in FILE_STEPS:
            return
        touched = any(isinstance(a, str | Path) and str(a).startswith(root) for a in arguments[:2])
        if touched and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _child(url, options, step):
    if "://" in url:
        publish_and_release(url, options, lambda objects: Dying(objects, step))
        return
    _die_at_file(url, step)
    publish_and_release(url, options)


def _main():
    import entries  # noqa: F401 - everything is imported before the first fork

    import trainer  # noqa: F401
    from trainer import _publish, _release  # noqa: F401

    url, options = json.loads(sys.argv[1])
    if "://" in url:
        import s3fs  # noqa: F401
    steps = []
    for step in itertools.count(1):
        child = os.fork()
        if child == 0:
            _child(f"{url}/{step}", options, step)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0, f"step {step} ended with {status}"
        steps.append([step, killed])
        if not killed:
            break
    print(json.dumps(steps))


if __name__ == "__main__":
    _main()
