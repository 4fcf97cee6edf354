"""Vectorizers of texts, and what weighs their counts."""

from typing import Any, Final

import numpy as np
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from mlshared.plan import Step
from mlshared.plan._text import MAX_NGRAM, safe_pattern

from ._block import UNFILLED, Block, Column, Converter

MAX_TERMS: Final = 2_000_000


def _count_vectorizer(estimator: CountVectorizer, x: Block) -> Block:
    if np.dtype(estimator.dtype).kind not in "iu" and np.dtype(estimator.dtype) != np.float64:
        x.refuse(f"counts in {np.dtype(estimator.dtype)}")
    terms = sorted(estimator.vocabulary_, key=estimator.vocabulary_.__getitem__)
    if [estimator.vocabulary_[term] for term in terms] != list(range(len(terms))):
        x.refuse("a vocabulary whose numbers are not 0, 1, 2, ...")
    if len(terms) > MAX_TERMS:
        x.refuse(f"a vocabulary of {len(terms):,} terms")
    try:
        text = "".join(terms).encode("utf-8")
    except UnicodeEncodeError:
        x.refuse("a term that is no valid Unicode")
    arrays: dict[str, Any] = {
        "terms": np.frombuffer(text, dtype=np.uint8),
        "ends": np.cumsum([len(term) for term in terms], dtype=np.int64),
    }
    return _counts(x, Step("count", (_tokens(estimator, x),), {"binary": bool(estimator.binary)}, arrays))


def _tfidf_vectorizer(estimator: TfidfVectorizer, x: Block) -> Block:
    if np.dtype(estimator.dtype) != np.float64:
        x.refuse(f"weights in {np.dtype(estimator.dtype)}")
    return _weighed(estimator, _count_vectorizer(estimator, x))


def _tfidf_transformer(estimator: TfidfTransformer, x: Block) -> Block:
    if x.dtype != "float64" or x.builder.shapes[x.step()].kind != "counts":
        x.refuse("weighs what is not counts of words")
    if estimator.sublinear_tf and "terms" not in x.builder.steps[x.step()].arrays:
        x.refuse("logarithms of hashed counts, which may be negative")
    return _weighed(estimator, x)


def _hashing_vectorizer(estimator: HashingVectorizer, x: Block) -> Block:
    if np.dtype(estimator.dtype) != np.float64:
        x.refuse(f"counts in {np.dtype(estimator.dtype)}")
    params = {
        "binary": bool(estimator.binary),
        "buckets": int(estimator.n_features),
        "signed": bool(estimator.alternate_sign),
    }
    count = Step("count", (_tokens(estimator, x),), params)
    if estimator.norm is None:
        return _counts(x, count)
    number = x.builder.add(count)
    return _counts(x, Step("tfidf", (number,), {"sublinear": False, "norm": estimator.norm}))


def _weighed(estimator: Any, x: Block) -> Block:
    x.builder.rounding |= bool(estimator.sublinear_tf)  # logarithms
    params = {"sublinear": bool(estimator.sublinear_tf), "norm": estimator.norm or "none"}
    idf = {"idf": np.asarray(estimator.idf_, dtype=np.float64)} if estimator.use_idf else {}
    return _counts(x, Step("tfidf", (x.step(),), params, idf))


def _counts(x: Block, step: Step) -> Block:
    """Append a step that gives counts; scikit-learn holds them in a sparse matrix."""
    number = x.builder.add(step)
    width = x.builder.shapes[number].width
    return Block(x.builder, tuple(Column(None, number, index, sparse=True) for index in range(width)))


def _tokens(estimator: Any, x: Block) -> int:
    """Append the step that cuts a text as the vectorizer's analyzer does."""
    column = _one_text(x)
    for name in ("preprocessor", "tokenizer"):
        if getattr(estimator, name) is not None:
            x.refuse(f"a {name} of the user's own")
    analyzer, accents = estimator.analyzer, estimator.strip_accents
    if callable(analyzer) or callable(accents):
        x.refuse("an analyzer or strip_accents of the user's own")
    if estimator.input != "content":
        x.refuse(f"input={estimator.input!r}")
    low, high = estimator.ngram_range
    if not 1 <= low <= high <= MAX_NGRAM:
        x.refuse(f"ngram_range={estimator.ngram_range!r}")
    params = {
        "analyzer": analyzer,
        "low": int(low),
        "high": int(high),
        "lowercase": bool(estimator.lowercase),
        "accents": accents or "keep",
    }
    if analyzer == "word":
        if not safe_pattern(estimator.token_pattern):
            x.refuse(
                f"token_pattern {estimator.token_pattern!r}: groups, or more than one endless repetition"
            )
        params["pattern"] = estimator.token_pattern
        params["stop"] = sorted(estimator.get_stop_words() or ())
    assert column.step is not None
    return x.builder.add(Step("tokens", (column.step,), params))


def _one_text(x: Block) -> Column:
    if x.width != 1 or not x.columns[0].label or x.columns[0].fill is not UNFILLED:
        x.refuse("takes one column of texts, given by its bare name")
    return x.columns[0]


CONVERTERS: Final[dict[type | str, Converter]] = {
    CountVectorizer: _count_vectorizer,
    TfidfVectorizer: _tfidf_vectorizer,
    TfidfTransformer: _tfidf_transformer,
    HashingVectorizer: _hashing_vectorizer,
}
