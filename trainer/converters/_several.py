"""One problem as several: one-vs-rest, one-vs-one, output codes, several targets, chains."""

from typing import Any, Final

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain

from mlshared.plan._ensemble import MAX_DUELLING

from ._answers import answered, as_numbers, one_minus, positive
from ._block import Block, Converter, Outputs, combine, join

# -- one-vs-rest, one-vs-one


def _one_vs_rest(estimator: OneVsRestClassifier, x: Block) -> Outputs:
    inner = estimator.estimators_
    found = [_one_of_several(each, x) for each in inner]
    scores = [_score(one, each, x) for one, each in zip(inner, found, strict=True)]
    methods: dict[str, Block | list[Block]] = {}
    if hasattr(estimator, "predict_proba"):
        methods["predict_proba"] = _shares_of_rest(estimator, found, x)
    if hasattr(estimator, "decision_function"):
        methods["decision_function"] = join(scores)
    classes = np.asarray(estimator.classes_)
    threshold = _threshold(inner[0])
    if estimator.label_binarizer_.y_type_ == "multiclass":
        return Outputs({"predict": join(scores).decide("argmax"), **methods}, (classes,))
    labels = [score.decide("above", column=0, threshold=threshold) for score in scores]
    if len(scores) == 1:
        return Outputs({"predict": labels[0], **methods}, (classes,))
    return Outputs({"predict": list(labels), **methods}, (np.array([0, 1]),) * len(labels))


def _shares_of_rest(estimator: Any, found: list[Outputs], x: Block) -> Block:
    columns = [answered(each, "predict_proba", x).select([1]) for each in found]
    if len(columns) == 1:
        columns = [one_minus(columns[0]), columns[0]]
    if estimator.multilabel_:
        return join(columns)
    x.builder.rounding = True
    return join(columns).apply("shares", otherwise="same")


def _one_vs_one(estimator: OneVsOneClassifier, x: Block) -> Outputs:
    if estimator.pairwise_indices_ is not None:
        x.refuse("inner estimators on pairwise kernels")
    inner, classes = estimator.estimators_, np.asarray(estimator.classes_)
    if len(classes) > MAX_DUELLING:
        x.refuse(f"{len(inner):,} pairs of classes")
    x.builder.rounding = True
    found = [x.predicted(each) for each in inner]
    pairs = list(zip(inner, found, strict=True))
    scores = join([_score(one, each, x) for one, each in pairs])
    codes = join([as_numbers(answered(each, "predict", x), one.classes_) for one, each in pairs])
    votes = combine(
        [scores, codes],
        "duels",
        classes=len(classes),
        rule="codes",
        confidence=True,
        names=[None] * len(classes),
    )
    if len(classes) == 2:
        decided = votes.decide("above", column=1, threshold=_threshold(inner[0]))
        return Outputs({"predict": decided, "decision_function": votes.select([1])}, (classes,))
    return Outputs({"predict": votes.decide("argmax"), "decision_function": votes}, (classes,))


def _output_code(estimator: OutputCodeClassifier, x: Block) -> Outputs:
    scores = [_score(each, _one_of_several(each, x), x) for each in estimator.estimators_]
    book = np.asarray(estimator.code_book_, dtype=np.float64)
    if len(np.unique(book, axis=0)) != len(book):
        x.refuse("two classes share a code, and which one is nearer is chance")
    x.builder.rounding = True
    # The nearest code c has the largest 2 x.c - c.c.
    closeness = join(scores).cast("float64").linear(2 * book.T, -np.square(book).sum(axis=1))
    return Outputs({"predict": closeness.decide("argmax")}, (np.asarray(estimator.classes_),))


def _one_of_several(estimator: Any, x: Block) -> Outputs:
    """Return an inner estimator's answers; a class that all training rows had, or none, has a constant."""
    if type(estimator).__name__ != "_ConstantPredictor":
        return x.predicted(estimator)
    values = np.asarray(estimator.y_, dtype=np.float64).reshape(-1)
    value = x.select([0]).apply("constant", names=[None], arrays={"values": values})
    return Outputs({"decision_function": value, "predict_proba": join([one_minus(value), value])})


def _score(estimator: Any, found: Outputs, x: Block) -> Block:
    """Return what scikit-learn's ``_predict_binary`` returns: a decision function, else a probability."""
    if is_regressor(estimator):
        return answered(found, "predict", x)
    return positive(estimator, found, x)[1]


def _threshold(estimator: Any) -> float:
    return 0.0 if hasattr(estimator, "decision_function") and is_classifier(estimator) else 0.5


# -- several targets


def _multi_output(estimator: Any, x: Block) -> Outputs:
    found = [x.predicted(each) for each in estimator.estimators_]
    if len(found) == 1:
        x.refuse("a table of one target; fit on a 1-D target")
    methods: dict[str, Block | list[Block]] = {
        method: [answered(each, method, x) for each in found]
        for method in ("predict", "predict_proba")
        if hasattr(estimator, method)
    }
    if isinstance(estimator, MultiOutputRegressor):
        return Outputs(methods)
    classes = [np.asarray(each.classes_) for each in estimator.estimators_]
    if len({array.dtype.kind for array in classes}) > 1:
        x.refuse("targets of several kinds")
    common = np.result_type(*classes)
    return Outputs(methods, tuple(array.astype(common) for array in classes))


def _classifier_chain(estimator: ClassifierChain, x: Block) -> Outputs:
    x = x.check(missing=True).cast("float64")
    chained = _Chain(x, estimator)
    classes = [np.asarray(each.classes_) for each in estimator.estimators_]
    if any(array.dtype.kind not in "biuf" or len(array) != 2 for array in classes):
        x.refuse("a chain of other than two numeric classes")
    method = getattr(estimator, "chain_method_", "predict")
    for each in estimator.estimators_:
        chained.add(each, method)
    methods: dict[str, Block | list[Block]] = {"predict": chained.inverse("predict")}
    if hasattr(estimator, "predict_proba"):
        probas = chained.inverse("predict_proba")
        methods["predict_proba"] = join([block.select([1]) for block in probas])
    if hasattr(estimator, "decision_function"):
        methods["decision_function"] = join(chained.inverse("decision_function"))
    ordered = [classes[position] for position in chained.positions()]
    return Outputs(methods, tuple(array.astype(np.float64) for array in ordered))


def _regressor_chain(estimator: RegressorChain, x: Block) -> Outputs:
    chained = _Chain(x.check(missing=True).cast("float64"), estimator)
    for each in estimator.estimators_:
        chained.add(each, "predict")
    return Outputs({"predict": join(chained.inverse("predict"))})


class _Chain:
    """Estimators of which each also reads what those before it answered."""

    def __init__(self, x: Block, estimator: Any) -> None:
        self._x = x.renamed([None] * x.width)
        self._order = [int(position) for position in estimator.order_]
        self._found: list[Outputs] = []

    def add(self, estimator: Any, method: str) -> None:
        """Convert the next estimator, and give its answer to those after it."""
        found = self._x.predicted(estimator)
        block = answered(found, method, self._x)
        if method == "predict_proba":
            block = block.select([1])
        elif found.classes and method == "predict":
            block = as_numbers(block, estimator.classes_)
        self._found.append(found)
        self._x = join([self._x, block])

    def positions(self) -> list[int]:
        """Return which estimator answers for each target."""
        return [self._order.index(target) for target in range(len(self._order))]

    def inverse(self, method: str) -> list[Block]:
        """Return the answers in the order of the targets."""
        return [answered(self._found[position], method, self._x) for position in self.positions()]


CONVERTERS: Final[dict[type | str, Converter]] = {
    OneVsRestClassifier: _one_vs_rest,
    OneVsOneClassifier: _one_vs_one,
    OutputCodeClassifier: _output_code,
    MultiOutputClassifier: _multi_output,
    MultiOutputRegressor: _multi_output,
    ClassifierChain: _classifier_chain,
    RegressorChain: _regressor_chain,
}
