"""Texts to counts, as CountVectorizer, TfidfVectorizer and HashingVectorizer make them.

    labels -> tokens (n-grams of words or characters) -> counts -> tfidf

A value of the kind tokens is a list of n lists of texts; one of the kind counts a list of n rows, each a pair of
lists: the columns that are not zero, rising, and their values. Python's loops are faster than arrays for the
few dozen tokens of a text.

Word patterns come from the plan, so they are held to a form of which matching takes at most quadratic time.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import sqrt
from typing import Any, Final

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import MAX_WIDTH, Compiled, Shape, Step, only

Tokens = list[list[str]]
Row = tuple[list[int], list[float]]
Counts = list[Row]

MAX_NGRAM: Final = 50
_MOST_PATTERN: Final = 500
_CACHED_CHARACTERS: Final = 64
_SPACES: Final = re.compile(r"\s\s+")

# -- tokens


def tokens(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Cut texts into n-grams of ``low`` to ``high`` words or characters: ``analyzer``.

    ``lowercase``; ``accents``: ``ascii`` or ``unicode`` strips them, ``keep`` does not; for words ``pattern`` and
    ``stop``, words left out. Source: ``_VectorizerMixin`` of sklearn/feature_extraction/text.py.
    """
    only(step, inputs, "labels")
    low = int(step.number("low", low=1, high=MAX_NGRAM))
    high = int(step.number("high", low=low, high=MAX_NGRAM))
    analyzer = step.choice("analyzer", ("word", "char", "char_wb"))
    accents = _ACCENTS[step.choice("accents", tuple(_ACCENTS))]
    lowercase = step.params.get("lowercase") is True
    if analyzer == "word":
        cut = _words(step, low, high)
    elif analyzer == "char":
        cut = _characters(low, high)
    else:
        cut = _characters_of_words(low, high)

    def of_text(text: Any) -> list[str]:
        if not isinstance(text, str):
            raise InputError([{"field": "text", "message": "is missing, and the model refuses that"}])
        if lowercase:
            text = text.lower()
        return cut(text if accents is None else accents(text))

    return Compiled(Shape("tokens", 1, "object"), lambda x: [of_text(text) for text in x[:, 0].tolist()])


def safe_pattern(pattern: str) -> bool:
    """Return whether a word pattern is of the form that can be matched without long backtracking.

    Alternatives of single characters, classes and anchors; in each at most one repeated without end, and at
    most three repeated up to twenty times. No groups, so no repetition lies within another.
    """
    if len(pattern) > _MOST_PATTERN:
        return False
    rest = pattern.removeprefix("(?u)")
    endless = bounded = 0
    while rest:
        if rest.startswith("|"):
            rest, endless, bounded = rest[1:], 0, 0
            continue
        match = _PIECE.match(rest)
        if match is None or not match.group():
            return False
        most = match.group("most")
        endless += match.group("endless") is not None
        bounded += match.group("optional") is not None or most is not None
        if endless > 1 or bounded > 3 or (most is not None and int(most) > 20):
            return False
        rest = rest[match.end() :]
    return True


# One atom (anchor, escape, class, character) and what repeats it. A backslash is followed by no digit, which
# would refer back to a group.
_PIECE: Final = re.compile(
    r"""(?:\\[wWdDsSbB.,;:!?'"\#$%&@*+(){}\[\]|^/\\_<>=~-]
      |\[\^?(?:\\[wWdDsS.,;:!?'"\#$%&@*+(){}\[\]|^/\\_<>=~-]|[^\\\[\]])+\]
      |[^\\\[\](){}*+?|^$])
      (?:(?P<endless>[*+]|\{[0-9]{1,2},\})|(?P<optional>\?)|\{[0-9]{1,2}\}|\{[0-9]{0,2},(?P<most>[0-9]{1,3})\})?""",
    re.VERBOSE,
)


def _words(step: Step, low: int, high: int) -> Callable[[str], list[str]]:
    pattern = step.params.get("pattern")
    if not isinstance(pattern, str) or not safe_pattern(pattern):
        raise IntegrityError("step 'tokens' has a word pattern that is not plain")
    try:
        find = re.compile(pattern).findall
    except re.error as error:
        raise IntegrityError("step 'tokens' has a word pattern that is none") from error
    stop = step.params.get("stop", [])
    if not isinstance(stop, list) or not all(isinstance(word, str) for word in stop):
        raise IntegrityError("step 'tokens' lists no words to leave out")
    left_out = frozenset(stop)

    def cut(text: str) -> list[str]:
        words = find(text)
        if left_out:
            words = [word for word in words if word not in left_out]
        return words if high == 1 else list(_joined(words, low, high))

    return cut


def _joined(words: list[str], low: int, high: int) -> Iterator[str]:
    for n in range(low, min(high, len(words)) + 1):
        yield from words if n == 1 else map(" ".join, zip(*(words[i:] for i in range(n)), strict=False))


def _characters(low: int, high: int) -> Callable[[str], list[str]]:
    def cut(text: str) -> list[str]:
        text = _SPACES.sub(" ", text)
        longest = min(high, len(text))
        return [text[i : i + n] for n in range(low, longest + 1) for i in range(len(text) - n + 1)]

    return cut


def _characters_of_words(low: int, high: int) -> Callable[[str], list[str]]:
    def cut(text: str) -> list[str]:
        found: list[str] = []
        for word in text.split():
            padded = f" {word} "
            size = len(padded)
            for n in range(low, high + 1):
                found += [padded[i : i + n] for i in range(max(size - n, 0) + 1)]
                if n >= size:  # counted once, however much longer n gets
                    break
        return found

    return cut


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _in_ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ASCII", "ignore").decode("ASCII")


_ACCENTS: Final[dict[str, Callable[[str], str] | None]] = {
    "keep": None,
    "unicode": _without_accents,
    "ascii": _in_ascii,
}

# -- counts


def count(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Count tokens: of a vocabulary (``terms``, UTF-8, and ``ends``, in characters), or hashed to ``buckets``.

    ``binary`` counts each once. With ``signed``, a hash below zero counts down.
    """
    only(step, inputs, "tokens")
    binary = step.params.get("binary") is True
    if step.has("terms"):
        vocabulary = _vocabulary(step)
        width = len(vocabulary)
        by_index = vocabulary.get
        tally: Callable[[list[str]], dict[int, float]] = lambda words: _known(words, by_index)  # noqa: E731
    else:
        width = int(step.number("buckets", low=1, high=MAX_WIDTH))
        signed = step.params.get("signed") is True
        tally = lambda words: _hashed(words, width, signed=signed)  # noqa: E731
    if not width:
        raise IntegrityError("step 'count' knows no words")

    def of_row(words: list[str]) -> Row:
        found = tally(words)
        columns = sorted(found)
        return columns, [1.0] * len(columns) if binary else [found[column] for column in columns]

    return Compiled(Shape("counts", width), lambda rows: [of_row(words) for words in rows])


def tfidf(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Weigh counts: ``sublinear`` takes 1 + log, ``idf`` (width) multiplies, ``norm`` (l1, l2, none) divides.

    Source: ``TfidfTransformer.transform`` of sklearn/feature_extraction/text.py.
    """
    shape = only(step, inputs, "counts")
    idf = step.array("idf", shape.width).tolist() if step.has("idf") else None
    sublinear = step.params.get("sublinear") is True
    norm = step.choice("norm", ("l1", "l2", "max", "none"))

    def of_row(row: Row) -> Row:
        columns, values = row
        if sublinear:
            values = (np.log(np.array(values)) + 1.0).tolist()
        if idf is not None:
            values = [value * idf[column] for column, value in zip(columns, values, strict=True)]
        size = SIZES[norm](values) if values else 0.0
        return columns, [value / size for value in values] if size and norm != "none" else values

    return Compiled(shape, lambda rows: [of_row(row) for row in rows])


def _l2(values: list[float]) -> float:
    total = 0.0
    for value in values:  # sum() compensates from Python 3.12 on
        total += value * value
    return sqrt(total)


def _l1(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += abs(value)
    return total


SIZES: Final[dict[str, Callable[[list[float]], float]]] = {
    "l1": _l1,
    "l2": _l2,
    "max": lambda values: max(map(abs, values)),
    "none": lambda _: 1.0,
}


def _vocabulary(step: Step) -> dict[str, int]:
    ends = step.array("ends", None, dtype="int64").tolist()
    try:
        text = step.array("terms", None, dtype="uint8").tobytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError("step 'count' has words that are no UTF-8") from error
    starts = [0, *ends[:-1]]
    if any(start > end for start, end in zip(starts, ends, strict=False)) or (ends or [0])[-1] != len(text):
        raise IntegrityError("step 'count' has words that end nowhere")
    terms = {text[start:end]: i for i, (start, end) in enumerate(zip(starts, ends, strict=False))}
    if len(terms) != len(ends):
        raise IntegrityError("step 'count' has a word twice")
    return terms


def _known(words: list[str], index: Callable[[str], int | None]) -> dict[int, float]:
    found: dict[int, float] = {}
    for word, times in Counter(words).items():
        column = index(word)
        if column is not None:
            found[column] = float(times)
    return found


def _hashed(words: list[str], width: int, *, signed: bool) -> dict[int, float]:
    found: dict[int, float] = {}
    for word in words:
        hashed = (_remembered if len(word) <= _CACHED_CHARACTERS else murmurhash)(word)
        column = abs(hashed) % width
        found[column] = found.get(column, 0.0) + (-1.0 if signed and hashed < 0 else 1.0)
    return found


def murmurhash(word: str) -> int:
    """Return the 32-bit MurmurHash3 of a text in UTF-8, seed 0, as a signed number.

    Source: https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp (public domain).
    """
    try:
        data = word.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "holds half a surrogate pair, and the model refuses that"
        raise InputError([{"field": "text", "message": message}]) from error
    whole = len(data) & ~3
    state = 0
    for start in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        state = ((state << 13 | state >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if whole < len(data):
        state ^= _mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    state ^= state >> 16
    return state - 0x100000000 if state & 0x80000000 else state


def _mixed(block: int) -> int:
    block = block * 0xCC9E2D51 & 0xFFFFFFFF
    return (block << 15 | block >> 17) * 0x1B873593 & 0xFFFFFFFF


_remembered: Final = lru_cache(maxsize=65_536)(murmurhash)
