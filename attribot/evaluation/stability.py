"""Whether a method that draws at random says the same again under another seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from attribot.errors import InvalidInputError
from attribot.evaluation.faithfulness import kendall, spearman, top_k_overlap
from attribot.types import FloatArray


def seed_agreement(priorities: FloatArray, ks: Sequence[int]) -> Iterator[tuple[str, float]]:
    """(metric, mean over all pairs of seeds) for the rankings of one example; higher is better.

    `spearman`, `kendall` and, per k, `top_overlap@k`. Pairs for which a metric is undefined (a
    constant ranking) are left out of its mean; NaN where it is undefined for all.

    priorities: `[num_seeds, num_sources]`, larger = ranked earlier, equal = tied.

    Raises:
        InvalidInputError: there are fewer than two seeds, or a priority is not finite.
    """
    priorities = np.asarray(priorities, dtype=np.float64)
    if priorities.ndim != 2 or len(priorities) < 2:
        raise InvalidInputError(
            f"seeds are compared in pairs: expected priorities [num_seeds, num_sources] of at "
            f"least two seeds, got shape {priorities.shape}"
        )
    pairs = list(combinations(priorities, 2))
    yield "spearman", _mean([spearman(first, second) for first, second in pairs])
    yield "kendall", _mean([kendall(first, second) for first, second in pairs])
    for k in ks:
        yield f"top_overlap@{k}", _mean([top_k_overlap(one, other, k) for one, other in pairs])


def _mean(values: Sequence[float]) -> float:
    """Mean of those that are not NaN."""
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")
