"""Which ablations to score, and what their log-likelihoods say about an attribution.

Only masks and numbers are seen here: whoever owns the text renders the masks and scores them.
A kept mask is bool `[num_sources]`, True = stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from attribot.errors import InvalidInputError
from attribot.evaluation.faithfulness import in_document_order, spearman
from attribot.types import BoolArray, FloatArray


def top_k_masks(priority: FloatArray, ks: Sequence[int]) -> BoolArray:
    """Kept masks `[len(ks), n]` without the k sources that `priority` `[n]` ranks first.

    Ties are broken in document order, since a mask must choose; with fewer than k sources all are
    removed. The complement keeps just the k best, for `log_prob_hold`.

    Raises:
        InvalidInputError: a k is below 1, or a priority is NaN.
    """
    priority = np.asarray(priority, dtype=np.float64)
    if any(k < 1 for k in ks):
        raise InvalidInputError(f"every k counts removed sources: expected k >= 1, got {list(ks)}")
    if np.isnan(priority).any():
        raise InvalidInputError(
            "a priority is NaN: rank by Attribution.priority, which places pruned sources too"
        )
    num_ahead = len(priority) - in_document_order(priority)
    return np.asarray(num_ahead >= np.asarray(ks, dtype=np.int64)[:, None])


def random_masks(
    num_masks: int, num_sources: int, keep_probability: float, rng: np.random.Generator
) -> BoolArray:
    """Kept masks `[num_masks, num_sources]`, each source staying with `keep_probability`.

    Raises:
        InvalidInputError: `keep_probability` is not strictly between 0 and 1.
    """
    if not 0 < keep_probability < 1:
        raise InvalidInputError(
            f"keep_probability must lie strictly between 0 and 1, got {keep_probability}"
        )
    return np.asarray(rng.random((num_masks, num_sources)) < keep_probability)


def log_prob_drop(full_log_likelihood: float, ablated_log_likelihoods: ArrayLike) -> FloatArray:
    """Nats lost when the top sources are removed, per ablation; higher is better.

        drop_k = log p(R | full context) - log p(R | context without the k best sources)

    Source: ContextCite (2409.00729).
    """
    return np.asarray(full_log_likelihood - np.asarray(ablated_log_likelihoods, dtype=np.float64))


def log_prob_hold(full_log_likelihood: float, kept_log_likelihoods: ArrayLike) -> FloatArray:
    """Nats lost when only the top sources stay, per ablation; lower is better.

        hold_k = log p(R | full context) - log p(R | just the k best sources)

    The sufficiency counterpart of `log_prob_drop`. Source: ERASER (1911.03429), in nats.
    """
    return np.asarray(full_log_likelihood - np.asarray(kept_log_likelihoods, dtype=np.float64))


def linear_datamodelling_score(
    scores: FloatArray, kept: BoolArray, log_likelihoods: FloatArray
) -> float:
    """How well sums of scores order the effects of random ablations; higher is better.

        LDS = Spearman(sum of the scores kept by ablation j, log p(R | ablation j)), over j

    scores: `[n]`, NaN (pruned) counting 0. kept: `[m, n]`. log_likelihoods: `[m]` [nats].
    NaN where either side is constant, as with all scores equal to 0.
    Source: Park et al. 2023 (2303.14186), as used by ContextCite (2409.00729).

    Raises:
        InvalidInputError: the shapes do not fit or a log-likelihood is not finite.
    """
    scores, kept = np.asarray(scores, dtype=np.float64), np.asarray(kept)
    if kept.dtype != np.bool_ or kept.shape != (len(log_likelihoods), len(scores)):
        raise InvalidInputError(
            f"expected kept masks bool [{len(log_likelihoods)}, {len(scores)}] for "
            f"{len(log_likelihoods)} log-likelihoods and {len(scores)} scores; got {kept.dtype} "
            f"{list(kept.shape)}"
        )
    kept_sums = np.where(kept, np.where(np.isnan(scores), 0.0, scores), 0.0).sum(axis=1)
    return spearman(kept_sums, log_likelihoods)
