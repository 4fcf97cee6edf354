"""Frames and rows for property tests: constants, tiny and huge scales, gaps, ints, float32, unseen values."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import Phase, settings
from hypothesis import strategies as st

_PHASES = (Phase.explicit, Phase.generate)  # shrinking costs minutes where each example converts
quick = settings(max_examples=6, deadline=None, derandomize=True, phases=_PHASES, report_multiple_bugs=False)
SCALES = (1e-300, 1e-8, 1.0, 1.0, 1.0, 37.5, 1e6, 1e120)
WORDS = ("red", "green", "blue", "", "naïve", "東京", "1", "None", "nan", "a b")
EXTREMES = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e9, -1e9, 1e30, -1e30)
WILD = (float("inf"), float("-inf"), 1e300)


def numbers(
    seed: int, *, rows: int = 40, gaps: bool = False, dtype: str = "float64", scales: Any = SCALES
) -> Any:
    """Return a frame of number columns of many kinds; with gaps, some of them have NaN."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        scales = tuple(scale for scale in scales if 1e-30 < scale < 1e30)
    columns: dict[str, Any] = {}
    for position in range(int(rng.integers(2, 6))):
        kind = rng.integers(6)
        scale = scales[rng.integers(len(scales))]
        if kind == 0:
            values = np.full(rows, float(rng.normal()) * scale)
        elif kind == 1:
            values = rng.integers(-3, 4, rows) * scale
        elif kind == 2:
            values = np.exp(rng.normal(size=rows)) * scale
        else:
            values = rng.normal(size=rows) * scale + rng.normal() * scale * 3
        if gaps and kind % 2 and rows > 4:
            values[rng.random(rows) < 0.3] = np.nan
            values[:2] = values[np.isfinite(values)][0] if np.isfinite(values).any() else 0.0
        columns[f"n{position}"] = values
    with np.errstate(over="ignore"):
        return pd.DataFrame(columns).astype(dtype)


def texts(seed: int, *, rows: int = 60, gap: Any = "none") -> Any:
    """Return a frame of text columns; ``gap`` is their missing value, "none" being no gap at all."""
    rng = np.random.default_rng(seed)
    columns = {}
    for position in range(int(rng.integers(1, 4))):
        words = np.array(WORDS[: int(rng.integers(2, len(WORDS) + 1))], dtype=object)
        weights = rng.random(len(words)) ** 3 + 0.01
        values = rng.choice(words, rows, p=weights / weights.sum())
        if gap != "none":
            values[rng.random(rows) < 0.2] = gap
        columns[f"c{position}"] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns)


def rows_like(frame: Any, seed: int, *, count: int = 8, wild: bool = True, most: float = 1e30) -> Any:
    """Return rows of the frame, and rows with a gap, an unseen or an extreme value in one field."""
    rng = np.random.default_rng(seed + 1)
    rows: list[dict[str, Any]] = frame.iloc[:count].to_dict("records")
    rows = [{key: _plain(value) for key, value in row.items()} for row in rows]
    made = []
    for place, name in enumerate(frame.columns):
        text = not pd.api.types.is_numeric_dtype(frame[name])
        odd = (
            ("unseen", "RED")
            if text
            else [v for v in EXTREMES if abs(v) <= most] + list(WILD if wild and not place else ())
        )
        made += [{**rows[int(rng.integers(len(rows)))], name: value} for value in odd]
        if frame[name].isna().any():
            made.append({**rows[int(rng.integers(len(rows)))], name: None})
        if not text:
            here = frame[name].to_numpy(dtype=np.float64)
            here = here[np.isfinite(here)] if np.isfinite(here).any() else np.zeros(1)
            near = [np.nextafter(v, side) for v in here[:2] for side in (-np.inf, np.inf)]
            made += [
                {**rows[0], name: float(value)}
                for value in [*near, here.min() * 2, here.max() * 2, here.mean()]
            ]
    return rows + made


def target(frame: Any, seed: int) -> Any:
    """Return two classes."""
    rng = np.random.default_rng(seed + 2)
    y = rng.integers(0, 2, len(frame))
    y[:2] = 0, 1
    return y


def fitted(estimator: Any, X: Any, y: Any = None) -> Any:
    """Return it fitted, whatever it warns of."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value


seeds = st.integers(0, 10**6)
