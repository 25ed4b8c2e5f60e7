"""Answers that are kept: on disk between runs, and for all methods of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attribot.content_cache import ContentCache
from attribot.scoring.base import HiddenSpans, Scores, TokenScores
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, Response


@dataclass(frozen=True, eq=False)
class StoredScorer:
    """A `ModelScorer` whose answers are kept on disk.

    The key of an answer holds the model's fingerprint, the prompt text, what is hidden of it and
    the response's ids, so it is shared by every run that asks the same. What comes from disk costs
    nothing: never time a method through this class.
    """

    scorer: ModelScorer
    cache: ContentCache

    def opened(self) -> StoredScorer:
        """The same with a fresh memory; see `ModelScorer.opened`."""
        return replace(self, scorer=self.scorer.opened())

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """See `Scorer`. Answers are stored before this returns."""
        return self._scores(
            [self._key("token_log_likelihoods", prompt, response) for prompt in prompts],
            lambda missing: self.scorer.score([prompts[index] for index in missing], response),
        )

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,
        close_gaps: bool,
    ) -> Scores:
        """See `MaskScorer`. Answers are stored before this returns."""
        return self._scores(
            [
                self._key("masked_token_log_likelihoods", prompt, response)
                | {
                    "removed": ablation.removed.tolist(),
                    "recomputed": ablation.recomputed.tolist(),
                    "num_following": ablation.num_following,
                    "close_gaps": close_gaps,
                }
                for ablation in ablations
            ],
            lambda missing: self.scorer.score_masked(
                prompt, [ablations[index] for index in missing], response, close_gaps
            ),
        )

    def attention_mass(self, prompt: str, response: Response) -> TokenScores:
        """See `TokenScorer`. The answer is stored before this returns."""
        return self._token_scores("attention_mass", prompt, response)

    def gradient_norm(self, prompt: str, response: Response) -> TokenScores:
        """See `TokenScorer`. The answer is stored before this returns."""
        return self._token_scores("gradient_norm", prompt, response)

    def _scores(
        self, keys: Sequence[Mapping[str, Any]], compute: Callable[[Sequence[int]], Scores]
    ) -> Scores:
        found = [self.cache.get(key) for key in keys]
        missing = [index for index, value in enumerate(found) if value is None]
        cost = Cost()
        if missing:
            fresh = compute(missing)
            cost = fresh.cost
            for row, index in enumerate(missing):
                found[index] = fresh.token_log_likelihoods[row].tolist()
                self.cache.put(keys[index], found[index])
        return Scores(np.asarray(found, dtype=np.float64), cost)

    def _token_scores(self, kind: str, prompt: str, response: Response) -> TokenScores:
        key = self._key(kind, prompt, response)
        stored, cost = self.cache.get(key), Cost()
        if stored is None:
            fresh: TokenScores = getattr(self.scorer, kind)(prompt, response)
            stored, cost = fresh.values.tolist(), fresh.cost
            self.cache.put(key, stored)
        spans = self.scorer.language_model.encode_prompt(prompt).char_spans
        return TokenScores(np.asarray(stored, dtype=np.float64), spans, cost)

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

    def attention_mass(self, prompt: str, response: Response) -> TokenScores:
        """See `TokenScorer`."""
        scores = self.answers.attention_mass(prompt, response)
        return replace(scores, cost=_counted(self.plan.attention_mass(prompt, response)))

    def gradient_norm(self, prompt: str, response: Response) -> TokenScores:
        """See `TokenScorer`."""
        scores = self.answers.gradient_norm(prompt, response)
        return replace(scores, cost=_counted(self.plan.gradient_norm(prompt, response)))


def _counted(planned: Scores | TokenScores) -> Cost:
    """Without the memory that a plan estimates: records hold measured memory only."""
    return replace(planned.cost, peak_memory_bytes=0)
