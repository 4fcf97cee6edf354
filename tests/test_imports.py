"""Which way imports point, read from the sources; and what `import mlshared` costs a web process."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

# A module imports only from the lines above its own. Where to put a new one: as far up as it can go.
LAYERS = {
    "mlshared": """
        _printable _urls
        _features _looks _native _process _skops_names _status _trainer_entry errors events
        _breath _envelope _gate
        _local _loop _poller _skops_require _skops_types _skops_zip plan._file plan._step
        _disk _remote _selftest _skops_audit _skops_shapes _skops_trees manifest plan._bagging plan._basic
        plan._ensemble
        _problems plan._expand plan._forest plan._labels plan._models plan._normal plan._points
        plan._row_scores plan._row_steps plan._targets plan._text plan._trees
        _keys _skops_content _values
        _artifact
        _answers _bucket _folder _policy _ref _schema plan._counts plan._elementwise plan._neighbours store
        _crashes _frames _objects _target plan._ops settings
        _cache
        _alias_log _estimator _fingerprint _freshness _verdicts plan._program
        _following plan._separable
        plan._row_cuts plan._row_number
        plan._row_blocks plan._row_columns plan._row_states plan._row_terms
        plan._row_tail
        plan._row_forest plan._row_linear plan._row_masks plan._row_text
        plan._rows
        plan._plan
        plan.__init__
        _version
        _planned model
        _load _notices _replaced
        _house _identity _loader _notes
        _refresh
        _worker
        client
        __init__ __main__ testing
    """,
    "trainer": """
        errors
        _append _arguments _clock _columns _estimators _exact _golden _own_schema _schema_class _seen checks
        converters._block
        _fields _lease _log _outcome converters._answers converters._compose
        converters._decomposition converters._encoders converters._expansions
        converters._imputers converters._linear converters._nodes converters._points
        converters._scalers converters._supernodes converters._svm converters._text splits
        _lost _raw_fields _report converters._boosting converters._classes converters._convert
        converters._ensembles converters._forests converters._layers converters._lightgbm
        converters._selection converters._several converters._wrappers converters._xgboost
        recipe
        _fit config converters._adaboost converters._bagging
        _evaluate _scaffold _signing converters.__init__
        _compare _keygen _look _plan _read_back _writing
        _collect _diff _doctor _history _recover _release _renewal
        _publish
        _carry _retrain
        _verify
        _commands
        _commands_alias _commands_look _commands_store _commands_trust
        __init__ cli
    """,
}
WEB_PROCESS_DOES_WITHOUT = ("sklearn", "pandas", "scipy", "joblib", "skops", "s3fs", "django", "flask")


def rank(package: str) -> dict[str, int]:
    """Return each module's line, by its full name."""
    lines = LAYERS[package].split("\n")
    return {f"{package}.{name}": number for number, line in enumerate(lines) for name in line.split()}


def modules(package: str) -> dict[str, Path]:
    """Return every module of a package, by its full name."""
    files = (TOP / package).rglob("*.py")
    return {".".join(file.relative_to(TOP).with_suffix("").parts): file for file in files}


def imported(name: str, file: Path) -> Iterator[tuple[str, int]]:
    """Yield what a module imports, wherever in it, as full names with the number of leading dots."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{source}.{alias.name}", node.level) for alias in node.names)


def module_of(name: str, known: dict[str, Path]) -> str | None:
    """Return the module of ours that an imported name lies in, or None."""
    parent = name.rpartition(".")[0]
    candidates = (name, f"{name}.__init__", parent, f"{parent}.__init__")
    return next((candidate for candidate in candidates if candidate in known), None)


@pytest.mark.parametrize("package", ["mlshared", "trainer"])
def test_every_module_has_its_place(package: str) -> None:
    """In `LAYERS` above; none there that does not exist."""
    assert set(rank(package)) == set(modules(package))


@pytest.mark.parametrize("package", ["mlshared", "trainer"])
def test_imports_point_one_way(package: str) -> None:
    """From a module to those above it, imports within functions too: so there is no cycle."""
    known, ranks = modules(package), rank(package)
    edges = [
        (name, module_of(text, known)) for name, file in known.items() for text, _ in imported(name, file)
    ]
    ours = [(name, target) for name, target in edges if target is not None and target != name]
    wrong = [
        f"{name} imports {target}" for name, target in ours if ranks.get(target, 0) >= ranks.get(name, 0)
    ]
    assert wrong == []


def test_mlshared_never_imports_trainer() -> None:
    """A web process has no use for it, and may not have it."""
    known = modules("mlshared")
    texts = [text for name, file in known.items() for text, _ in imported(name, file)]
    assert [text for text in texts if text.split(".")[0] == "trainer"] == []


def test_trainer_imports_itself_relatively() -> None:
    """Another distribution's `trainer` would otherwise answer for parts of ours."""
    known = modules("trainer")
    absolute = [
        f"{name} imports {text}"
        for name, file in known.items()
        for text, level in imported(name, file)
        if level == 0 and text.split(".")[0] == "trainer"
    ]
    assert absolute == []


def test_only_the_trainer_creates_objects() -> None:
    """In `mlshared`, `create` is defined by storage and called by nothing else."""
    callers = {
        name
        for name, file in modules("mlshared").items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "create"
    }
    assert callers <= {"mlshared._objects", "mlshared._bucket"}


def test_only_the_collector_deletes_objects() -> None:
    """`delete` is defined by storage, and called by one module of `trainer`; by none that a web process loads."""
    callers = {
        name
        for package in ("mlshared", "trainer")
        for name, file in modules(package).items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"delete", "delete_object", "rm", "rm_file"}
    }
    assert callers == {"trainer._collect", "mlshared._objects"}  # the latter: fsspec's memory


def test_one_module_imports_fsspec() -> None:
    """Storage is the only one to know there is such a thing."""
    known = modules("mlshared") | modules("trainer")
    users = {
        n for n, file in known.items() for text, _ in imported(n, file) if text.split(".")[0] == "fsspec"
    }
    assert users <= {"mlshared._objects"}


def test_import_mlshared_loads_no_machine_learning() -> None:
    """Nor S3, nor a web framework, nor any thread: seen in a new interpreter."""
    code = (
        "import sys, threading, mlshared; "
        f"print(sorted(set({WEB_PROCESS_DOES_WITHOUT!r}) & set(sys.modules)), threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=TOP, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "[] 1"
