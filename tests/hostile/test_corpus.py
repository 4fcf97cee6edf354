"""Hostile artifacts are refused, each with the right error; no code of theirs runs, none takes much memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parent
# What the process may take beyond what it has with skops and scikit-learn imported, and what one case may take.
MORE_BYTES = 512 * 1024 * 1024
SECONDS_EACH = 20

# Every case in one process, which tells on standard output what each came to, and what was seen meanwhile.
LOADER = f"""
import json, os, pathlib, re, resource, sys, time, warnings
sys.path[:0] = [{str(FOLDER)!r}, {str(FOLDER.parents[1])!r}]
warnings.simplefilter("ignore")
from corpus import corpus
from making import CANARY, UNSEEN
from mlshared._artifact import load_estimator
from mlshared.errors import UnsupportedFormat, UntrustedType
import mlshared._skops_content
cases = list(corpus())
seen, watching = [], False
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "pickle.find_class",
             "exec", "compile", "socket.", "ctypes.", "os.remove", "os.rename", "os.mkdir", "shutil.")
def hook(event, arguments):
    if not watching:
        return
    if event == "import":
        seen.append(["import", str(arguments[0])])
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(["open", str(arguments[0])])
    # ast.literal_eval, which reads an array's header, compiles to a tree and never to code.
    elif event.startswith(FORBIDDEN) and (event, str(arguments[1:])) != ("compile", "('<unknown>',)"):
        seen.append([event, repr(arguments)[:200]])
sys.addaudithook(hook)
now = int(re.search(r"VmSize:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (now + {MORE_BYTES}, resource.RLIM_INFINITY))
for name, data, expected in cases:
    began, before, watching = time.monotonic(), set(sys.modules), True
    try:
        load_estimator(data)
        said = "loaded"
    except Exception as error:
        said = type(error).__name__
    for kind in ("joblib", "pickle", "plan", "golden"):
        try:
            load_estimator(data, kind)
            said = "loaded as " + kind
        except (UntrustedType, UnsupportedFormat):
            pass
    watching = False
    seconds, modules = time.monotonic() - began, sorted(set(sys.modules) - before)
    print(json.dumps([name, expected, said, seconds, modules, seen]), flush=True)
    seen.clear()
    assert not os.path.exists(CANARY), name
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Case -> expected error, what it came to, seconds, modules imported, audit events."""
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        cwd=tmp_path_factory.mktemp("nowhere"),
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr[-3000:])
    assert len(lines) > 200
    return {name: rest for name, *rest in lines}


def test_each_is_refused_with_the_error_that_says_why(outcomes):
    """Wrong bytes are an IntegrityError, names that nobody trusts an UntrustedType; none loads."""
    assert {name: said for name, (expected, said, *_) in outcomes.items() if said != expected} == {}


def test_none_runs_a_command_or_opens_what_it_names(outcomes):
    """Python's own audit events show no command, no code compiled, nothing unpickled, no file written."""
    seen = {name: [e for e in events if e[0] != "import"] for name, (*_, events) in outcomes.items()}
    assert {name: events for name, events in seen.items() if events} == {}


def test_nothing_is_imported_that_only_a_file_names(outcomes):
    """No import is even tried for the names in a refused file: the audit comes first."""
    ours = ("mlshared", "skops", "sklearn", "scipy", "numpy", "joblib")
    for name, (*_, modules, events) in outcomes.items():
        tried = {each for kind, each in events if kind == "import"} | set(modules)
        assert not [
            m for m in tried if "module_that_only" in m or m.split(".")[0] in {"subprocess", "antigravity"}
        ], name
        assert not [m for m in modules if m.split(".")[0] not in {*ours, *sys.stdlib_module_names}], name


def test_each_is_refused_soon(outcomes):
    """Generously: the machine may be busy; a case without end would take for ever."""
    assert {name: seconds for name, (_, _, seconds, *_) in outcomes.items() if seconds > SECONDS_EACH} == {}
