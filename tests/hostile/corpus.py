"""Hostile artifacts by name: what each is, and the error it must be refused with.

Payloads would run a command, or make a file, named by CANARY; or import a module that is not there to import, or
take more memory than there is. Shapes of known holes (CVE-2024-37065, -2025-54412, -54413, -54886 of skops, and
the protocol, generator and tree holes closed since) are written anew here.
"""

import io
import pickle
import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import sklearn
import skops.io
import test_names
from archives import archives, json_depths
from changes import npy, zipped
from making import (
    BAD,
    COMMAND,
    LOGISTIC,
    NO,
    UNSEEN,
    Case,
    Command,
    X,
    Y,
    dictionary,
    edited,
    file,
    listed,
    node,
    nodes,
    numbers,
    plain,
    set_first,
    text,
    tupled,
)
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from mlshared._artifact import load_estimator
from mlshared.errors import MlsharedError

LOADERS = [
    *(
        "ObjectNode",
        "FunctionNode",
        "TypeNode",
        "ListNode",
        "SetNode",
        "TupleNode",
        "BytesNode",
        "NdArrayNode",
    ),
    *("MaskedArrayNode", "RandomStateNode", "LossNode", "TreeNode", "DictNode", "ConstructorFromReduceNode"),
    *("ReduceNode", "SliceNode", "DTypeNode", "SparseMatrixNode", "_DictWithDeprecatedKeysNode"),
]


def pickles() -> Iterator[Case]:
    """A pickle under every dress; none is ever handed to an unpickler."""
    packed = io.BytesIO()
    joblib.dump(Command(), packed)
    squeezed = io.BytesIO()
    joblib.dump(Command(), squeezed, compress=("zlib", 3))
    raw = {
        "pickle": pickle.dumps(Command()),
        "pickle of protocol 0": pickle.dumps(Command(), protocol=0),
        "joblib": packed.getvalue(),
        "joblib in zlib": squeezed.getvalue(),
        "pickle in zlib": zlib.compress(pickle.dumps(Command())),
    }
    objects = np.array([Command()], dtype=object)
    array = io.BytesIO()
    np.save(array, objects, allow_pickle=True)
    ndarray = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    sparse = node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="1.npz")
    for name, data in raw.items():
        yield name, data, BAD
        yield f"{name} as schema.json", zipped({"schema.json": data}), BAD
        yield f"{name} as an array", file(ndarray, **{"1_npy": data}), BAD
        yield (
            f"{name} before a skops file",
            data + skops.io.dumps(LogisticRegression().fit(X, Y)),
            BAD,
        )
        yield f"{name} as another member", file(text("x"), data_pkl=data), BAD
        content = tupled(node("BytesNode", "builtins.bytes", file="1.bin"))
        bytes_node = node("ConstructorFromReduceNode", "pickle.loads", content=content)
        yield f"{name} for pickle.loads", file(bytes_node, **{"1_bin": data}), NO
    yield "an array of objects", file(ndarray, **{"1_npy": array.getvalue()}), BAD
    inside = zipped({"data.npy": array.getvalue(), "format.npy": npy(np.array(b"csr"))})
    yield "objects in a sparse matrix", file(sparse, **{"1_npz": inside}), BAD


def loaders() -> Iterator[Case]:
    """Nodes that reach for what a file names."""
    system = node("FunctionNode", "os.system")
    content = {"func": system, "args": tupled(text(COMMAND)), "kwds": dictionary(), "namespace": text(None)}
    yield (
        "a partial of os.system",
        file(node("PartialNode", "functools.partial", content=content)),
        NO,
    )
    more = {
        "content": [text(COMMAND)],
        "type": "json",
        "shape": tupled(text(1)),
        "file": "1.bin",
        "__reduce__": {"args": tupled(text(COMMAND))},
        "key_types": listed(),
    }
    functions = (
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        f"{UNSEEN}.run",
    )
    for name in functions:
        for loader in LOADERS:
            yield f"{name} as {loader}", file(node(loader, name, **more), **{"1_bin": b"x"}), NO
    operator = node("OperatorFuncNode", "operator.call", attrs=tupled(system, text(COMMAND)))
    yield "operator.call", file(operator), NO
    hidden = {**operator, "__module__": "builtins", "__class__": "list"}
    yield "operator.call that says it is a list", file(hidden), NO
    inner = node("ObjectNode", LOGISTIC, content=dictionary())
    for func in ("__reduce_ex__", "set_params", "__class__", "__init_subclass__"):
        method = node(
            "MethodNode",
            "sklearn.linear_model._logistic.LogisticRegression",
            content={"func": func, "obj": inner},
        )
        yield f"the method {func}", file(method), NO
    other = node("MethodNode", "builtins.list", content={"func": "__globals__", "obj": system})
    yield "a method of another object than it says", file(other), NO
    for protocol in (0, 1, -1):
        yield f"protocol {protocol}", file(system, protocol), "UnsupportedFormat"
    for protocol in (True, None, "2", 2.0, [2]):
        yield f"protocol {protocol!r}", file(system, protocol), BAD
    yield "a protocol to come", file(system, 3), "EnvironmentMismatch"


def state_of_generator(name: str, pool: Any = 4) -> dict[str, Any]:
    bits = dictionary(
        bit_generator=text(name),
        state=dictionary(state=text(1), inc=text(1)),
        has_uint32=text(0),
        uinteger=text(0),
    )
    seed = dictionary(entropy=text(1), spawn_key=tupled(), pool_size=text(pool), n_children_spawned=text(0))
    return node(
        "RandomGeneratorNode",
        "numpy.random._generator.Generator",
        content={"bit_generator": bits, "seed_seq": seed},
    )


def calls() -> Iterator[Case]:
    """Where skops calls what a file names, by way of something trusted."""
    for name in ("seed", "set_bit_generator", "MT19937"):
        yield f"numpy.random.{name} as a generator", file(state_of_generator(name)), NO
    yield "a generator's pool of 40 GB", file(state_of_generator("PCG64", 10**10)), NO
    keys = {**dictionary(x=text(1)), "key_types": listed(node("FunctionNode", "os.system"))}
    keys["content"] = {COMMAND: text(1)}
    yield "a dict whose key runs a command", file(keys), NO
    void = node("NdArrayNode", "numpy.void", type="numpy", file="1.npy")
    yield "numpy.void of 8 TB", file(void, **{"1_npy": npy(np.array(2**43))}), NO
    yield (
        "numpy.fromfile of an array",
        file({**void, "__class__": "fromfile"}, **{"1_npy": npy(np.zeros(1))}),
        NO,
    )
    tree = node("TreeNode", "sklearn.tree._tree.Tree", content=dictionary())
    classes = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    for outputs, array in (
        (2**31 - 1, np.ones(1, np.int64)),
        (9, np.ones(1, np.int64)),
        (1, np.ones(0, np.int64)),
    ):
        made = {**tree, "__reduce__": {"args": tupled(text(2), classes, text(outputs))}}
        name = f"a tree of {outputs} outputs and {array.size} numbers of classes"
        yield name, file(made, **{"1_npy": npy(array)}), NO
    system = node("FunctionNode", "os.system", __id__=7)
    first = node("FunctionNode", "numpy.log1p", __id__=7)
    yield "a second node of a trusted id", file(listed(first, system)), BAD
    inside = {**listed(), "__id__": 7}
    yield "a node that is within itself", file({**listed(inside), "__id__": 7}), BAD
    level = {**listed(text(1)), "__id__": 1}
    for number in range(2, 60):
        level = {**listed(level, {**listed(), "__id__": number - 1}), "__id__": number}
    yield "a list of 2**58 by its ids", file(level), BAD
    yield "a back-reference", file(listed(node("CachedNode", "builtins.list", __id__=3))), NO
    yield "an id that is no number", file({**text(1), "__id__": [1]}), BAD


def tampered() -> Iterator[Case]:
    """Estimators whose numbers would have compiled code read or write elsewhere."""
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    forest = RandomForestClassifier(2, random_state=0).fit(X, Y)
    for name, owner in (("tree", tree), ("forest", forest)):
        for value in (2**40, -5, 0):
            yield (
                f"a {name} with child {value}",
                numbers(owner, "nodes", set_first(value), field="left_child"),
                BAD,
            )
        yield (
            f"a {name} of column 10**9",
            numbers(owner, "nodes", set_first(10**9), field="feature"),
            BAD,
        )
        for value in (np.array(3), np.zeros((2, 2)), np.zeros(0)):
            made = numbers(owner, "nodes", lambda _array, value=value: value)
            yield f"a {name} of {value.ndim}-dimensional nodes, {value.size} of them", made, NO
    svc = SVC().fit(X, Y)
    for name, change in {
        "_n_support": set_first(10**6), "support_vectors_": lambda a: a[:1], "_dual_coef_": lambda a: a[:, :1],
        "_intercept_": lambda a: a[:0], "support_": lambda a: a[:1], "_probA": lambda a: np.ones(7),
    }.items():  # fmt: skip
        yield f"a machine with another {name}", numbers(svc, name, change), BAD
    for told in ("_effective_probability", "probability"):
        yield f"a machine without its {told}", plain(svc, **{told: text(1.0)}), BAD
    yield "a machine of another kind", plain(svc, _impl=text("epsilon_svr")), BAD
    near = KNeighborsClassifier(3, algorithm="brute").fit(X, Y)
    yield "neighbours of class 10**9", numbers(near, "_y", set_first(10**9)), BAD
    yield "neighbours without a column", numbers(near, "_fit_X", lambda a: a[:, :1].copy()), BAD
    yield "neighbours of kd without points", numbers(near, "_fit_X", lambda a: a[:1]), BAD
    kinds = np.array([["u"], ["v"], ["w"]], dtype=object)
    one_hot = OneHotEncoder().fit(kinds)
    yield "an encoder of fewer columns", plain(one_hot, _n_features_outs=listed(text(1))), BAD
    words = CountVectorizer().fit(["a cat", "the dog"])
    numbered = dictionary(cat=text(0), dog=text(10**6), the=text(2))
    yield "a word of column 10**6", plain(words, vocabulary_=numbered), BAD
    yield "texts that name files", plain(words, input=text("filename")), BAD
    votes = VotingClassifier([("a", DecisionTreeClassifier())]).fit(X, Y)
    voted = numbers(votes, "classes_", lambda a: a + (2**63 - 2), inside="estimators_")
    yield "a vote for class 2**63 - 1", voted, BAD
    shadow = plain(tree, _validate_X_predict=node("FunctionNode", "sklearn.utils.validation.check_array"))
    yield "a method's place taken by a function", shadow, BAD
    pipeline = make_pipeline(LogisticRegression()).fit(X, Y)

    def renamed(schema: Any, _parts: dict[str, bytes]) -> None:
        found = next(n for n in nodes(schema, "ObjectNode") if n["__class__"] == "LogisticRegression")
        found.update(__module__=UNSEEN, __class__="Estimator")

    yield "a class of a module that was never seen", edited(pipeline, renamed), NO

    def private(schema: Any, _parts: dict[str, bytes]) -> None:
        found = next(n for n in nodes(schema, "ObjectNode") if n["__class__"] == "LogisticRegression")
        found.update(__module__="sklearn.utils._mocking", __class__="CheckingClassifier")

    yield "a private class of scikit-learn", edited(pipeline, private), NO


def main() -> int:
    """Print what is not refused as it must be beside the libraries that are here; 1 with any."""
    warnings.simplefilter("ignore")
    for rule in (test_names.test_estimators_are_those_of_this_scikit_learn,
                 test_names.test_functions_numbers_and_losses_are_those_of_this_numpy_and_scipy):  # fmt: skip
        rule()
    wrong = {name: said for name, expected, said in outcomes() if said != expected}
    print(
        f"hostile artifacts beside scikit-learn {sklearn.__version__}: {len(wrong)} not refused as they must be {wrong}"
    )
    return 1 if wrong else 0


def outcomes() -> Iterator[tuple[str, str, str]]:
    """Yield name, expected error, and what became of each."""
    for name, data, expected in corpus():
        try:
            load_estimator(data)
        except MlsharedError as error:
            yield name, expected, type(error).__name__
        else:
            yield name, expected, "loaded"


def corpus() -> Iterator[Case]:
    """Yield name, bytes and the error's class of each."""
    for family in (pickles, loaders, calls, archives, json_depths, tampered):
        yield from family()


if __name__ == "__main__":
    sys.exit(main())
