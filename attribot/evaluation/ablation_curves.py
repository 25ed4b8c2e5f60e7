"""Which ablations to score, and what their log-likelihoods say about an attribution.

Only masks and numbers are seen here: whoever owns the text renders the masks and scores them.
A kept mask is bool `[num_sources]`, True = stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid

from attribot.errors import InvalidInputError
from attribot.evaluation.faithfulness import in_document_order, spearman
from attribot.types import BoolArray, FloatArray, IntArray


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


def curve_counts(num_sources: int, num_points: int) -> IntArray:
    """Numbers of sources, from 1 to `num_sources - 1`, at which a curve is read.

    All of them where they are no more than `num_points`; else at most `num_points`, evenly spaced
    on a logarithmic scale and rounded: the first sources move the likelihood most. Source: ours.
    """
    if num_sources - 1 <= num_points:
        return np.arange(1, num_sources, dtype=np.int64)
    return np.unique(np.geomspace(1, num_sources - 1, num_points).round().astype(np.int64))


def ablation_auc(
    num_kept: ArrayLike, log_likelihoods: ArrayLike, num_response_tokens: int
) -> float:
    """What kept sources are worth on average over their number [nats per response token].

        AUC = integral over x from 0 to 1 of (v(x) - v(0)) / num_response_tokens

    x: share of the sources that are kept; v(x): log-likelihood then [nats], linear between points.
    With sources kept from the top down this is `insertion_auc`, higher is better; from the bottom
    up, as removing the top ones leaves them, `deletion_auc`, lower is better. Where scores add up,
    the two sum to (v(1) - v(0)) / num_response_tokens and a random order gives half of it each.

    Nats and no share of v(1) - v(0): that difference is near 0 where the model knows the response
    without the context, and a ratio would let such examples decide the mean.
    Source: RISE (1806.07421), on log-likelihoods; the unit and the anchor v(0) are ours.

    num_kept: `[num_points]` from 0 to all sources, growing. log_likelihoods: `[num_points]`.

    Raises:
        InvalidInputError: the points do not lead from the empty to the full context, or there is
            no response token.
    """
    kept = np.asarray(num_kept, dtype=np.float64)
    values = np.asarray(log_likelihoods, dtype=np.float64)
    if kept.shape != values.shape or len(kept) < 2 or kept[0] != 0 or (np.diff(kept) <= 0).any():
        raise InvalidInputError(
            "a curve needs one log-likelihood per number of kept sources, which grows from 0 to "
            f"all; got {kept.tolist()} with {len(values)} log-likelihoods"
        )
    if num_response_tokens < 1:
        raise InvalidInputError(f"expected num_response_tokens >= 1, got {num_response_tokens}")
    return float(trapezoid(values - values[0], kept / kept[-1]) / num_response_tokens)


@dataclass(frozen=True)
class TopAblations:
    """The ablations of an attribution's top sources that a protocol asks for.

    drop_ks, hold_ks: cut-offs of `log_prob_drop@k` and `log_prob_hold@k`, at most `num_sources`.
    num_curve_points: of `curve_counts`, for `insertion_auc` and `deletion_auc`; 0 = without them.
    """

    num_sources: int
    drop_ks: tuple[int, ...] = ()
    hold_ks: tuple[int, ...] = ()
    num_curve_points: int = 0

    @property
    def removed_counts(self) -> tuple[int, ...]:
        """Numbers of top sources to remove, each once."""
        # Without all sources nothing is left, which is where both curves are anchored.
        ends = (self.num_sources,) if self.num_curve_points else ()
        return tuple(sorted({*self.drop_ks, *self._inner_counts, *ends}))

    @property
    def kept_counts(self) -> tuple[int, ...]:
        """Numbers of top sources to keep, and nothing else, each once."""
        return tuple(sorted({*self.hold_ks, *self._inner_counts}))

    @property
    def _inner_counts(self) -> tuple[int, ...]:
        if not self.num_curve_points:
            return ()
        return tuple(curve_counts(self.num_sources, self.num_curve_points).tolist())

    def masks(self, priority: FloatArray) -> BoolArray:
        """Kept masks `[num_masks, num_sources]`: the full context, then `removed_counts`, then
        `kept_counts`; none where nothing is asked for.

        Raises:
            InvalidInputError: see `top_k_masks`.
        """
        removed = top_k_masks(priority, self.removed_counts)
        kept = ~top_k_masks(priority, self.kept_counts)
        full = np.ones((1 if len(removed) + len(kept) else 0, self.num_sources), dtype=bool)
        return np.concatenate([full, removed, kept])

    def metrics(
        self, log_likelihoods: FloatArray, num_response_tokens: int
    ) -> Iterator[tuple[str, float]]:
        """(metric, value) from the log-likelihoods `[num_masks]` of the masks [nats]."""
        full, *others = log_likelihoods.tolist()
        counts = [*self.removed_counts, *self.kept_counts]
        split = len(self.removed_counts)
        without = dict(zip(counts[:split], others[:split], strict=True))
        alone = dict(zip(counts[split:], others[split:], strict=True))
        for k in self.drop_ks:
            yield f"log_prob_drop@{k}", float(log_prob_drop(full, without[k]))
        for k in self.hold_ks:
            yield f"log_prob_hold@{k}", float(log_prob_hold(full, alone[k]))
        if self.num_curve_points:
            n, inner = self.num_sources, self._inner_counts
            top = [without[n], *(alone[k] for k in inner), full]
            yield "insertion_auc", ablation_auc([0, *inner, n], top, num_response_tokens)
            bottom = [without[n], *(without[k] for k in reversed(inner)), full]
            left = [0, *(n - k for k in reversed(inner)), n]
            yield "deletion_auc", ablation_auc(left, bottom, num_response_tokens)
