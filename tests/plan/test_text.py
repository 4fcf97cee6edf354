"""Texts are cut, counted, hashed and weighed as scikit-learn does, and patterns cannot run away."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import murmurhash3_32

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import Shape, Step
from mlshared.plan._text import murmurhash, safe_pattern, tokens
from trainer.converters import NotConvertible, convert

from .exactness import compare
from .frames import fitted, quick, seeds

WORDS = (
    *("the", "flight", "DELAYED", "Zürich", "naïve", "a", "x1", "не", "été", "ß", "İstanbul", "on", "time"),
    *("😀", "ﬁne", "a_b", "42", "rain  rain", "don't", "\n", "\u2028", "e\u0301te\u0301"),
)
ODD = ["", "   ", "zzz", " \u2028 a", "ÀÉ é flight flight", "the", "a\x00b c\x1cd"]
LOGISTIC = LogisticRegression(max_iter=300)


def documents(seed: int, count: int = 80) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["the flight", *(" ".join(rng.choice(WORDS, rng.integers(0, 12))) for _ in range(count - 1))]


def subjects(texts: list[str], classes: int = 3) -> Any:
    found = np.array([("rain" in text) + ("time" in text) for text in texts])
    return np.minimum(found, classes - 1)


def assert_exact(pipeline: Any, seed: int, more: tuple[str, ...] = (), classes: int = 3) -> Any:
    texts = documents(seed)
    fitted(pipeline, texts, subjects(texts, classes))
    seen = [*texts[:20], *documents(seed + 1, 20), *ODD, *more]
    return compare(pipeline, texts, [{"text": text} for text in seen])


text_strategy = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
analyzers = st.sampled_from(["word", "char", "char_wb"])
ranges = st.sampled_from([(1, 1), (1, 2), (2, 3), (3, 3)])
accents = st.sampled_from([None, "ascii", "unicode"])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=seeds,
    kind=st.sampled_from([CountVectorizer, TfidfVectorizer, HashingVectorizer]),
    analyzer=analyzers,
    ngrams=ranges,
    strip=accents,
    lowercase=st.booleans(),
    binary=st.booleans(),
    more=st.lists(text_strategy, max_size=6),
)
def test_texts_are_cut_and_counted(
    *,
    seed: int,
    kind: Any,
    analyzer: str,
    ngrams: Any,
    strip: Any,
    lowercase: bool,
    binary: bool,
    more: list[str],
) -> None:
    vectorizer = kind(
        analyzer=analyzer, ngram_range=ngrams, strip_accents=strip, lowercase=lowercase, binary=binary
    )
    if kind is HashingVectorizer:
        vectorizer.set_params(n_features=2**10)
    assert_exact(make_pipeline(vectorizer, LOGISTIC), seed, tuple(more))


@quick
@given(
    seed=seeds,
    norm=st.sampled_from(["l1", "l2", None]),
    use_idf=st.booleans(),
    smooth=st.booleans(),
    sublinear=st.booleans(),
    binary=st.booleans(),
)
def test_counts_are_weighed(
    *, seed: int, norm: Any, use_idf: bool, smooth: bool, sublinear: bool, binary: bool
) -> None:
    weights = {"norm": norm, "use_idf": use_idf, "smooth_idf": smooth, "sublinear_tf": sublinear}
    assert_exact(make_pipeline(TfidfVectorizer(binary=binary, **weights), LOGISTIC), seed)
    counted = CountVectorizer(binary=binary)
    assert_exact(make_pipeline(counted, TfidfTransformer(**weights), LOGISTIC), seed)


@quick
@given(
    seed=seeds,
    buckets=st.sampled_from([1, 7, 2**20]),
    signed=st.booleans(),
    norm=st.sampled_from(["l1", "l2", None]),
    binary=st.booleans(),
)
def test_hashes_of_few_buckets_collide_alike(
    *, seed: int, buckets: int, signed: bool, norm: Any, binary: bool
) -> None:
    """Opposite signs leave zeros behind, which ``binary`` makes ones."""
    if buckets > 10 and seed % 3:
        buckets = 2**12
    options = {"n_features": buckets, "alternate_sign": signed, "norm": norm, "binary": binary}
    assert_exact(make_pipeline(HashingVectorizer(**options), LOGISTIC), seed)


@pytest.mark.parametrize(
    "options",
    [
        {"stop_words": "english"},
        {"stop_words": ["the", "a"], "ngram_range": (1, 2)},
        {"token_pattern": r"\w+"},
        {"token_pattern": r"[^\s]+"},
        {"token_pattern": r"(?u)\b\w\w+\b|!|\?"},
        {"token_pattern": r"[a-zA-Z]{2,}"},
        {"vocabulary": ["flight", "time", "never seen"]},
        {"max_features": 3},
        {"min_df": 2},
        {"dtype": np.float64},
    ],
)
def test_words(options: Any) -> None:
    assert_exact(make_pipeline(CountVectorizer(**options), LOGISTIC), 3)


@pytest.mark.parametrize(
    "estimator",
    [
        *(MultinomialNB(), ComplementNB(), BernoulliNB(), LinearSVC(), SGDClassifier(random_state=0)),
        *(SVC(kernel="linear"), SVC(), RandomForestClassifier(5, random_state=0)),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_what_follows_counts(estimator: Any, classes: int) -> None:
    """Linear models read them sparsely, others as a block."""
    assert_exact(make_pipeline(TfidfVectorizer(), estimator), 4, classes=classes)


@pytest.mark.parametrize(
    "step", [TruncatedSVD(3, random_state=0), MaxAbsScaler(), StandardScaler(with_mean=False), Normalizer()]
)
def test_counts_are_scaled(step: Any) -> None:
    assert_exact(make_pipeline(CountVectorizer(), step, LOGISTIC), 5)


@pytest.mark.parametrize("threshold", [0, 0.3, 1])
@pytest.mark.parametrize(
    "part",
    [
        TfidfVectorizer(),
        make_pipeline(HashingVectorizer(n_features=50)),
        make_pipeline(TfidfVectorizer(), TruncatedSVD(2, random_state=0)),
    ],
)
def test_texts_beside_numbers_and_categories(part: Any, threshold: float) -> None:
    rng = np.random.default_rng(6)
    texts = documents(6)
    X = pd.DataFrame(
        {"text": texts, "n": rng.normal(size=len(texts)), "c": rng.choice(list("uvw"), len(texts))}
    )
    parts = [
        ("t", part, "text"),
        ("n", StandardScaler(), ["n"]),
        ("c", OneHotEncoder(handle_unknown="ignore"), ["c"]),
    ]
    pipeline = make_pipeline(ColumnTransformer(parts, sparse_threshold=threshold), LOGISTIC)
    fitted(pipeline, X, subjects(texts))
    more = [{"text": text, "n": 1e3, "c": "unseen"} for text in ODD]
    compare(pipeline, X, [*X.head(30).to_dict("records"), *more])


@given(text_strategy)
def test_hashes_are_scikit_learns(text: str) -> None:
    assert murmurhash(text) == murmurhash3_32(text, seed=0)


def test_half_a_surrogate_pair_is_refused_as_scikit_learn_refuses_it() -> None:
    plan = assert_exact(make_pipeline(HashingVectorizer(n_features=10, analyzer="char"), LOGISTIC), 7)
    with pytest.raises(InputError, match="surrogate"):
        plan.one("predict")({"text": "\ud800 broken\ud800"})


@pytest.mark.parametrize(
    "options",
    [
        {"tokenizer": str.split, "token_pattern": None},
        {"preprocessor": str.lower},
        {"analyzer": str.split},
        {"strip_accents": str.lower},
        {"token_pattern": r"(\w)\w+"},
        {"token_pattern": r"\w+-\w+"},
        {"dtype": np.float32},
    ],
)
def test_what_a_plan_cannot_hold_is_refused(options: Any) -> None:
    texts = [*documents(8), "on-time"]
    pipeline = fitted(make_pipeline(TfidfVectorizer(**options), LOGISTIC), texts, subjects(texts))
    with pytest.raises(NotConvertible):
        convert(pipeline, texts)


PATTERNS = [r"(a+)+b", r"a+a+b", r"(?=a)", r"\1", r"a**", r"[a-z", r"(?u)(?i)a", r"a{99999}", r"(?P<x>a)",
            r"a{1,999}b", "a" * 600, "a?" * 20, r"\p", "[]a]", "[[:alpha:]]+", "a+|b+c+d+"]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_that_could_run_away_are_refused(pattern: str) -> None:
    assert not safe_pattern(pattern)
    params = {"analyzer": "word", "low": 1, "high": 1, "accents": "keep", "pattern": pattern}
    with pytest.raises(IntegrityError):
        tokens(Step("tokens", (0,), params), (Shape("labels", 1, "object"),))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", r"\w", r"[ab]", "+", "*", "?", "{2,}", "{1,9}", "|", r"\b", "b", "(", ")"])
    )
)
def test_patterns_that_are_taken_end_soon(pieces: list[str]) -> None:
    pattern = "".join(pieces)
    if not safe_pattern(pattern):
        return
    params = {"analyzer": "word", "low": 1, "high": 1, "accents": "keep", "pattern": pattern}
    try:
        step = tokens(Step("tokens", (0,), params), (Shape("labels", 1, "object"),))
    except IntegrityError:
        return
    started = time.perf_counter()
    step.run(np.array([["a" * 300 + "!"]], dtype=object))
    assert time.perf_counter() - started < 5
