"""The commands that look: list, show, diff, schema, versions, history. They write nothing."""

from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mlshared._ref import parse_ref
from mlshared.manifest import Manifest, Release

from . import _diff, _history, _look, _report
from ._commands import (
    AliasOption,
    JsonOption,
    NameArgument,
    QuietOption,
    RefArgument,
    StoreOption,
    on_hold,
    when,
)
from ._log import check_names
from ._schema_class import python_class, type_of
from .config import choose_store, find_config


def list_models(*, store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the models of the store, and what is in force."""
    with _open(store) as opened:
        lines = _look.models(opened)
    if json:
        _report.print_json({"models": [_model_json(line) for line in lines]})
    elif not quiet:
        rows = [row for line in lines for row in _model_rows(line)]
        _report.print_table(("model", "newest", "alias", "in force", "since", ""), rows)


def show(
    ref: RefArgument,
    *,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a version takes, answers and scored, and the steps of its plan."""
    parsed = parse_ref(ref)
    with _open(store) as opened:
        manifest = _look.find(opened, parsed)
        state = _look.state(opened, manifest)
        steps = [] if json or quiet or state == _look.COLLECTED else _look.plan_lines(opened, manifest)
    if json:
        _report.print_json({**manifest.model_dump(mode="json"), "collected": state or None})
    elif not quiet:
        _report.print_lines([*_manifest_lines(manifest, state), *steps])


def diff(
    first: RefArgument,
    second: RefArgument,
    *,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what differs between two versions: fields, scores, libraries, steps of the plan."""
    refs = parse_ref(first), parse_ref(second)
    with _open(store) as opened:
        a, b, differences = _diff.diff(opened, *refs)
    names = [f"{manifest.model}@{manifest.version}" for manifest in (a, b)]
    if json:
        _report.print_json({"refs": names, "differences": [asdict(each) for each in differences]})
    elif not quiet:
        _report.print_table(("", *names), [(each.what, each.first, each.second) for each in differences])


def schema(
    ref: RefArgument,
    *,
    python: Annotated[
        bool, typer.Option("--python", help="Print a pydantic class for the app, as a module.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the fields a version takes, or print them as a pydantic class."""
    parsed = parse_ref(ref)
    with _open(store) as opened:
        manifest = _look.find(opened, parsed)
    if json:
        fields = [field.model_dump(mode="json", exclude_none=True) for field in manifest.fields]
        source = {"python": python_class(manifest)} if python else {}
        _report.print_json({"ref": f"{manifest.model}@{manifest.version}", "fields": fields, **source})
    elif python and not quiet:
        typer.echo(python_class(manifest), nl=False)
    elif not quiet:
        rows = [
            (f.name, f.kind, type_of(f), "may be missing" if f.nullable else "", f.minimum, f.maximum)
            for f in manifest.fields
        ]
        _report.print_table(("field", "kind", "type", "", "from", "to"), rows)


def versions(
    name: NameArgument, *, store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List a model's versions with their scores, newest last."""
    check_names(name)
    with _open(store) as opened:
        manifests = _look.versions(opened, name)
        states = _look.states(opened, name, manifests)
    if json:
        _report.print_json(
            {
                "versions": [
                    {**m.model_dump(mode="json"), "collected": states.get(m.version)} for m in manifests
                ]
            }
        )
    elif not quiet:
        rows = [
            (m.version, when(m), m.training.rows, _scores(m), states.get(m.version, "")) for m in manifests
        ]
        _report.print_table(("version", "published", "rows", "scores", ""), rows)


def history(
    name: NameArgument,
    *,
    alias: AliasOption = "production",
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List what was in force when, by whom and why, newest last."""
    entries = _history.history(name, alias=alias, store=store)
    if json:
        _report.print_json({"history": [entry.model_dump(mode="json") for entry in entries]})
    elif not quiet:
        rows = [(e.number, e.version, e.kind, when(e), e.by, on_hold(e), e.reason) for e in entries]
        _report.print_table(("entry", "version", "kind", "at", "by", "", "reason"), rows)


def _open(store: str | None) -> AbstractContextManager[_look.OpenStore]:
    return _look.open_store(choose_store(store, find_config()))


def _model_json(line: _look.ModelLine) -> dict[str, Any]:
    aliases = {
        alias: {**entry.model_dump(mode="json"), "collected": line.states.get(entry.version)}
        for alias, entry in line.in_force.items()
    }
    return {"name": line.name, "newest": line.newest, "aliases": aliases}


def _model_rows(line: _look.ModelLine) -> list[tuple[Any, ...]]:
    if not line.in_force:
        return [(line.name, line.newest, "-", "-", "", "")]
    return [
        (line.name, line.newest, alias, entry.version, when(entry), _notes(line, entry))
        for alias, entry in line.in_force.items()
    ]


def _notes(line: _look.ModelLine, entry: Release) -> str:
    return ", ".join(note for note in (on_hold(entry), line.states.get(entry.version, "")) if note)


def _manifest_lines(manifest: Manifest, state: str) -> list[str]:
    training = manifest.training
    lines = [
        f"{manifest.model}@{manifest.version}  {manifest.task}, published {when(manifest)}",
        f"answers  {', '.join(manifest.methods)}",
        f"takes    {manifest.input}: {len(manifest.fields)} fields",
    ]
    lines += [f"  {f.name}  {f.kind}{', may be missing' if f.nullable else ''}" for f in manifest.fields]
    if manifest.features is not None:
        lines.append(f"features {manifest.features.name}")
    if training.rows is not None:
        lines.append(
            f"trained  on {training.rows:,} rows, scored on {training.test_rows or 0:,}: {_scores(manifest)}"
        )
    lines += [
        f"  {'passed' if check.get('passed') else 'FAILED'}  {check.get('name')}: {check.get('message')}"
        for check in training.checks
    ]
    lines += [f"holds    {a.kind}  {a.size:,} bytes" for a in manifest.artifacts]
    return [*lines, f"state    {state}"] if state else lines


def _scores(manifest: Manifest) -> str:
    return "  ".join(f"{name} {value:.6g}" for name, value in manifest.training.metrics.items())
