"""What SECURITY.md says: its tests exist, its policies allow what is done with them and nothing else."""

import ast
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import trainer
from mlshared import Client

TOP = Path(__file__).parents[1]
TEXT = (TOP / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
POLICIES = {
    name: json.loads(text) for name, text in re.findall(r"```json ([\w-]+)\n(.*?)```", TEXT, re.DOTALL)
}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_it_names_exists(file, name):
    """A promise nobody holds is none."""
    functions = [
        node.name for node in ast.parse((TOP / file).read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    assert name in functions


def test_every_name_of_a_test_was_understood():
    """Whatever is written as code and begins with ``tests/`` names a test in full."""
    assert len(re.findall(r"`tests/", TEXT)) == len(re.findall(r"`tests/[\w/]+\.py::\w+`", TEXT)) > 15


@pytest.mark.parametrize(
    "promise",
    re.findall(r"^- \*\*.*?(?=^- |^## |\Z)", TEXT.split("## What is not")[0], re.MULTILINE | re.DOTALL),
)
def test_every_promise_names_a_test(promise):
    """None is only words."""
    assert "::test_" in promise


# -- policies -----------------------------------------------------------------------------------------------


def listed(value):
    return value if isinstance(value, list) else [value]


def matches(statement, action, resource, headers):
    if action not in listed(statement["Action"]):
        return False
    if not any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"])):
        return False
    absent = statement.get("Condition", {}).get("Null", {})
    return all(("if-none-match" not in headers) == (value == "true") for value in absent.values())


def allows(role, action, resource, headers=()):
    """Return whether a role may do this, by its own policy and the bucket's."""
    denied = any(matches(s, action, resource, headers) for s in POLICIES["bucket"]["Statement"])
    return not denied and any(matches(s, action, resource, headers) for s in POLICIES[role]["Statement"])


def done(request, bucket):
    """Return the action that a request is, and on what, in the store of the policies."""
    url = urlsplit(request.path)
    key = url.path.removeprefix(f"/{bucket}").strip("/")
    if not key:
        assert request.method == "GET"
        assert parse_qs(url.query)["prefix"][0].startswith("models")
        return "s3:ListBucket", "arn:aws:s3:::acme"
    actions = {
        "GET": "s3:GetObject",
        "HEAD": "s3:GetObject",
        "PUT": "s3:PutObject",
        "DELETE": "s3:DeleteObject",
    }
    return actions[request.method], f"arn:aws:s3:::acme/{key}"


def test_the_policies_are_four():
    """Three roles, and the bucket."""
    assert set(POLICIES) == {"web-app", "trainer", "collector", "bucket"}


def test_what_trainer_and_app_do_over_the_wire_is_allowed(s3_wire, counting_proxy, tmp_path):
    """Every request that a publish, a release and a web process send; each write is conditional."""
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1]
    to = {"store": s3_wire.url, "storage_options": s3_wire.options}
    for _ in range(2):
        trainer.publish(LogisticRegression().fit(X, y), X, y, name="flights", **to)
    trainer.release("flights", 2, **to)
    sent = counting_proxy.seen()
    assert {request.method for request in sent} >= {"GET", "PUT"}
    refused = [r for r in sent if not allows("trainer", *done(r, s3_wire.bucket), r.headers)]
    assert refused == []
    before = len(sent)
    with Client(s3_wire.url, storage_options=s3_wire.options, cache_dir=tmp_path, poll_seconds=0) as client:
        client.model("flights").refresh()
        client.model("flights").refresh()
        client.model("flights@latest").refresh()
    sent = counting_proxy.seen()[before:]
    assert len(sent) > 5
    assert [r for r in sent if not allows("web-app", *done(r, s3_wire.bucket))] == []


def test_what_the_collector_does_over_the_wire_is_allowed(s3_wire, counting_proxy):
    """It reads, asks the store for its time, and deletes blobs that no manifest names."""
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1]
    to = {"store": s3_wire.url, "storage_options": s3_wire.options}
    trainer.publish(LogisticRegression().fit(X, y), X, y, name="flights", **to)
    before = len(counting_proxy.seen())
    trainer.collect("flights", **to)
    sent = counting_proxy.seen()[before:]
    assert "PUT" in {request.method for request in sent}
    assert [r for r in sent if not allows("collector", *done(r, s3_wire.bucket), r.headers)] == []


BLOB = f"arn:aws:s3:::acme/models/flights/blobs/{'0123456789abcdef' * 2}/x"
ENTRY = "arn:aws:s3:::acme/models/flights/releases/production/0000000001.json"
MANIFEST = "arn:aws:s3:::acme/models/flights/versions/0000000001.json"
TOMBSTONE = "arn:aws:s3:::acme/models/flights/tombstones/0000000001.json"
CREATE = {"if-none-match": "*"}


@pytest.mark.parametrize(
    ("role", "action", "resource", "headers", "allowed"),
    [
        ("web-app", "s3:PutObject", ENTRY, CREATE, False),
        ("web-app", "s3:DeleteObject", BLOB, {}, False),
        ("web-app", "s3:GetObject", "arn:aws:s3:::acme/secrets", {}, False),
        ("trainer", "s3:PutObject", ENTRY, CREATE, True),
        ("trainer", "s3:PutObject", ENTRY, {}, False),
        ("trainer", "s3:DeleteObject", BLOB, {}, False),
        ("collector", "s3:DeleteObject", BLOB, {}, True),
        ("collector", "s3:DeleteObject", ENTRY, {}, False),
        ("collector", "s3:DeleteObject", MANIFEST, {}, False),
        ("collector", "s3:PutObject", TOMBSTONE, CREATE, True),
        ("collector", "s3:PutObject", ENTRY, CREATE, False),
        ("collector", "s3:PutObject", MANIFEST, CREATE, False),
    ],
)
def test_no_role_may_do_more(role, action, resource, headers, allowed):
    """Who reads does not write, who writes does not delete or overwrite, who deletes releases nothing."""
    assert allows(role, action, resource, headers) == allowed
