"""What attributors may ask of a model: the scorer protocols and their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from attribot.scoring.readings import Reading
from attribot.types import Cost, FloatArray, IntArray, Response


@dataclass(frozen=True, eq=False)
class Scores:
    """Likelihoods of one response under several prompts.

    token_log_likelihoods: `[num_prompts, num_response_tokens]` log p(token | prompt, earlier
        tokens) [nats], float64.
    cost: of this call.
    """

    token_log_likelihoods: FloatArray
    cost: Cost

    @property
    def log_likelihoods(self) -> FloatArray:
        """`[num_prompts]` log p(response | prompt), summed over tokens [nats]."""
        return np.asarray(self.token_log_likelihoods.sum(axis=1))


@dataclass(frozen=True, eq=False)
class HiddenSpans:
    """A masked ablation of a prompt: what is hidden, and what is computed anew without it.

    removed: `[num_removed, 2]` char extents of the prompt that nothing recomputed may see.
    recomputed: `[num_recomputed, 2]` char extents whose tokens are computed anew; what follows
        the prompt in the chat template, and the response, always are.
    num_following: tokens behind each removed extent that are computed anew as well.
    """

    removed: IntArray
    recomputed: IntArray
    num_following: int = 0


@dataclass(frozen=True, eq=False)
class Divergences:
    """How far next-token distributions after several prompts are from those after another one.

    token_divergences: `[num_prompts, num_response_tokens]` Jensen-Shannon divergences of the
        distributions that predict each token of the response [nats], float64.
    cost: of this call.
    """

    token_divergences: FloatArray
    cost: Cost


@dataclass(frozen=True, eq=False)
class TokenScores:
    """A number, or several, per prompt token.

    values: `[..., num_prompt_tokens]`; the reading says what the dimensions before are.
    char_spans: `[num_prompt_tokens, 2]` extent of each token in the prompt text; tokens of the
        chat template lie outside it and have the span (-1, -1).
    cost: of this call.
    """

    values: FloatArray
    char_spans: IntArray
    cost: Cost


@runtime_checkable
class Scorer(Protocol):
    """Texts in, log-likelihoods out; knows nothing of sources, trees or methods."""

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """Log-likelihoods of `response` after each prompt, in the order given."""
        ...


@runtime_checkable
class MaskScorer(Protocol):
    """Likelihoods of ablations that hide parts of one prompt instead of deleting them."""

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,
        close_gaps: bool,
    ) -> Scores:
        """Log-likelihoods of `response`, one row per ablation.

        close_gaps: recomputed tokens take the positions they would have after deletion.
        """
        ...


@runtime_checkable
class DistributionScorer(Protocol):
    """Comparisons of whole next-token distributions, which themselves are never handed out."""

    def divergences(self, base: str, prompts: Sequence[str], response: Response) -> Divergences:
        """Of the distributions along `response` after each prompt from those after `base`."""
        ...


@runtime_checkable
class TokenScorer(Protocol):
    """Numbers of single prompt tokens from the model's internals."""

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:
        """What `reading` defines of each token of `prompt`, followed by `response`."""
        ...


@runtime_checkable
class Identified(Protocol):
    """A scorer that tells on which model it is."""

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that its numbers depend on; see `LanguageModel.fingerprint`."""
        ...


@runtime_checkable
class Openable(Protocol):
    """A scorer that can have a memory of its own for one attribution."""

    def opened(self) -> Any:
        """The same scorer with a fresh memory."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Sentence embeddings."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """`[num_texts, dim]`, rows of unit length."""
        ...
