"""The scorers of one attribution, by role; and those that look at a part of the response only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attribot.attributors.base import Attributor, Problem
from attribot.content_cache import ContentCache
from attribot.errors import InvalidInputError
from attribot.explain.models import lock_of
from attribot.explain.parts import Extent, part_of, token_offsets, token_range
from attribot.explain.watching import Watch, WatchedScorer
from attribot.models.embedder import SentenceEmbedder
from attribot.models.kv_cache import ComputedPrefix
from attribot.models.language_model import LanguageModel
from attribot.pipeline import attribute_example
from attribot.scoring.base import Divergences, HiddenSpans, Scores, TokenScores
from attribot.scoring.readings import Reading
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import StoredScorer
from attribot.types import Attribution, IntArray, Response


def working_scorers(
    scorers: Mapping[str, ModelScorer],
    watch: Watch,
    store: ContentCache | None,
    prefix: ComputedPrefix | None,
) -> dict[str, Any]:
    """Scorers that compute, with a memory; by role, a sentence embedder among them.

    store: keeps answers on disk; what it has is not computed.
    prefix: states that writing the response has left under the target model.
    """
    opened: dict[str, Any] = {"embedder": SentenceEmbedder()}
    for role, scorer in scorers.items():
        model = scorer.language_model
        fresh = scorer.opened(prefix if role == "target" else None)
        asked = fresh if store is None else StoredScorer(fresh, store)
        opened[role] = WatchedScorer(asked, model, watch, lock_of(model))
    return opened


def planning_scorers(scorers: Mapping[str, ModelScorer], watch: Watch) -> dict[str, Any]:
    """The same for a run that is only planned: they count, and compute nothing."""
    planned: dict[str, Any] = {"embedder": SentenceEmbedder()}
    for role, scorer in scorers.items():
        model = scorer.language_model
        planned[role] = WatchedScorer(scorer.planning(), model, watch, lock_of(model))
    return planned


@dataclass(frozen=True, eq=False)
class PartScorer:
    """Scores a part of a response by the passes over all of it, and what comes before it stays.

    response: all of it. tokens: those of the part `[first, last)`, as the scorer's model reads it.

    Whoever asks passes the part; passes are shared with all other parts.
    """

    scorer: WatchedScorer
    response: Response
    tokens: Extent

    @classmethod
    def of(cls, scorer: WatchedScorer, response: Response, extent: Extent) -> PartScorer:
        """The part at chars `[start, end)` of the response's text."""
        offsets = response_offsets(scorer.language_model, response)
        return cls(scorer, response, token_range(response.text, offsets, *extent))

    def score(self, prompts: Sequence[str], response: Response) -> Scores:  # noqa: ARG002
        """See `Scorer`."""
        return self._narrowed(self.scorer.score(prompts, self.response))

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,  # noqa: ARG002
        close_gaps: bool,
    ) -> Scores:
        """See `MaskScorer`."""
        answer = self.scorer.score_masked(prompt, ablations, self.response, close_gaps)
        return self._narrowed(answer)

    def divergences(
        self,
        base: str,
        prompts: Sequence[str],
        response: Response,  # noqa: ARG002
    ) -> Divergences:
        """See `DistributionScorer`."""
        answer = self.scorer.divergences(base, prompts, self.response)
        part = answer.token_divergences[:, slice(*self.tokens)]
        return replace(answer, token_divergences=part)

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:  # noqa: ARG002
        """Raises InvalidInputError: readings are of whole responses."""
        raise InvalidInputError(
            f"the attributor asks for {reading.name}, which is read off the model for a whole "
            f"response, not for parts of it: leave spans= out, or take one that compares "
            f"log-likelihoods"
        )

    def _narrowed(self, answer: Scores) -> Scores:
        part = answer.token_log_likelihoods[:, slice(*self.tokens)]
        return replace(answer, token_log_likelihoods=part)


def response_offsets(model: LanguageModel, response: Response) -> IntArray:
    """`[num_response_tokens, 2]` char extents of the response's tokens under a model."""
    return token_offsets(model.tokenizer, response, model.encode_response(response))


def attribute_parts(
    problem: Problem,
    extents: Sequence[Extent],
    attributor: Attributor,
    scorers: Mapping[str, Any],
) -> list[Attribution]:
    """One method on the whole response, then on each part; they share their passes.

    A part is attributed as a response would be, so a method that prunes keeps for each part what
    that part needs.

    extents: chars `[start, end)` of the response's text.

    Raises:
        InvalidInputError: the method cannot attribute parts.
    """
    whole = attribute_example(problem, attributor, scorers)
    return [whole, *(_attribute_part(problem, each, attributor, scorers) for each in extents)]


def _attribute_part(
    problem: Problem, extent: Extent, attributor: Attributor, scorers: Mapping[str, Any]
) -> Attribution:
    narrowed = {
        role: PartScorer.of(scorer, problem.response, extent)
        if isinstance(scorer, WatchedScorer)
        else scorer
        for role, scorer in scorers.items()
    }
    part = part_of(problem.response, extent, narrowed["target"].tokens)
    return attribute_example(replace(problem, response=part), attributor, narrowed)
