"""Answers that are kept: on disk between runs, and for all methods of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from attribot.content_cache import ContentCache
from attribot.scoring.base import Divergences, HiddenSpans, Scores, TokenScores
from attribot.scoring.readings import Reading
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, FloatArray, Response


@dataclass(frozen=True, eq=False)
class StoredScorer:
    """A `ModelScorer` whose answers are kept on disk.

    The key of an answer holds the model's fingerprint, the prompt text, what is hidden of it and
    the response's ids, so it is shared by every run that asks the same. What comes from disk costs
    nothing: never time a method through this class.
    """

    scorer: ModelScorer
    cache: ContentCache

    @property
    def fingerprint(self) -> dict[str, Any]:
        """See `Identified`."""
        return self.scorer.fingerprint

    def opened(self) -> StoredScorer:
        """The same with a fresh memory; see `ModelScorer.opened`."""
        return replace(self, scorer=self.scorer.opened())

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """See `Scorer`. Answers are stored before this returns."""

        def compute(missing: Sequence[int]) -> tuple[FloatArray, Cost]:
            fresh = self.scorer.score([prompts[index] for index in missing], response)
            return fresh.token_log_likelihoods, fresh.cost

        keys = [self._key("token_log_likelihoods", prompt, response) for prompt in prompts]
        return Scores(*self._stored(keys, compute))

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,
        close_gaps: bool,
    ) -> Scores:
        """See `MaskScorer`. Answers are stored before this returns."""

        def compute(missing: Sequence[int]) -> tuple[FloatArray, Cost]:
            fresh = self.scorer.score_masked(
                prompt, [ablations[index] for index in missing], response, close_gaps
            )
            return fresh.token_log_likelihoods, fresh.cost

        keys = [
            self._key("masked_token_log_likelihoods", prompt, response)
            | {
                "removed": ablation.removed.tolist(),
                "recomputed": ablation.recomputed.tolist(),
                "num_following": ablation.num_following,
                "close_gaps": close_gaps,
            }
            for ablation in ablations
        ]
        return Scores(*self._stored(keys, compute))

    def divergences(self, base: str, prompts: Sequence[str], response: Response) -> Divergences:
        """See `DistributionScorer`. Answers are stored before this returns."""

        def compute(missing: Sequence[int]) -> tuple[FloatArray, Cost]:
            fresh = self.scorer.divergences(base, [prompts[index] for index in missing], response)
            return fresh.token_divergences, fresh.cost

        keys = [
            self._key("token_divergences", prompt, response) | {"base": base} for prompt in prompts
        ]
        return Divergences(*self._stored(keys, compute))

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:
        """See `TokenScorer`. The answer is stored before this returns."""
        key = self._key(reading.name, prompt, response) | asdict(reading)
        stored, cost = self.cache.get(key), Cost()
        if stored is None:
            fresh = self.scorer.read(prompt, response, reading)
            stored, cost = fresh.values.tolist(), fresh.cost
            self.cache.put(key, stored)
        spans = self.scorer.language_model.encode_prompt(prompt).char_spans
        return TokenScores(np.asarray(stored, dtype=np.float64), spans, cost)

    def _stored(
        self,
        keys: Sequence[Mapping[str, Any]],
        compute: Callable[[Sequence[int]], tuple[FloatArray, Cost]],
    ) -> tuple[FloatArray, Cost]:
        """Rows `[num_keys, num_response_tokens]`, and the cost of those not found.

        compute: rows of the keys of these indices, and their cost.
        """
        found = [self.cache.get(key) for key in keys]
        missing = [index for index, value in enumerate(found) if value is None]
        cost = Cost()
        if missing:
            rows, cost = compute(missing)
            for row, index in zip(rows.tolist(), missing, strict=True):
                found[index] = row
                self.cache.put(keys[index], row)
        return np.asarray(found, dtype=np.float64), cost

    def _key(self, kind: str, prompt: str, response: Response) -> dict[str, Any]:
        model = self.scorer.language_model
        return {
            "kind": kind,
            "model": model.fingerprint,
            "prompt": prompt,
            "response": list(model.encode_response(response)),
        }


@dataclass(frozen=True, eq=False)
class SharedScorer:
    """Answers what several methods ask only once, and counts for each what it would cost alone.

    Costs are counted, not measured: they have no seconds and no memory.

    answers: gives the values.
    plan: counts; see `ModelScorer.planning`. Its settings may differ from those that compute the
        values, which all strategies give alike.
    """

    answers: StoredScorer
    plan: ModelScorer

    @property
    def fingerprint(self) -> dict[str, Any]:
        """See `Identified`."""
        return self.answers.fingerprint

    def opened(self) -> SharedScorer:
        """The same with a fresh count: nothing was asked before."""
        return replace(self, plan=self.plan.planning())

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """See `Scorer`."""
        scores = self.answers.score(prompts, response)
        return replace(scores, cost=_counted(self.plan.score(prompts, response)))

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,
        close_gaps: bool,
    ) -> Scores:
        """See `MaskScorer`."""
        scores = self.answers.score_masked(prompt, ablations, response, close_gaps)
        planned = self.plan.score_masked(prompt, ablations, response, close_gaps)
        return replace(scores, cost=_counted(planned))

    def divergences(self, base: str, prompts: Sequence[str], response: Response) -> Divergences:
        """See `DistributionScorer`."""
        found = self.answers.divergences(base, prompts, response)
        return replace(found, cost=_counted(self.plan.divergences(base, prompts, response)))

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:
        """See `TokenScorer`."""
        scores = self.answers.read(prompt, response, reading)
        return replace(scores, cost=_counted(self.plan.read(prompt, response, reading)))


def _counted(planned: Scores | Divergences | TokenScores) -> Cost:
    """Without the memory that a plan estimates: records hold measured memory only."""
    return replace(planned.cost, peak_memory_bytes=0)
