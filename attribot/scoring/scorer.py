"""Prompt texts to log-likelihoods, under one language model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from attribot.content_cache import ContentCache
from attribot.errors import ParityError
from attribot.models.internals import attention_mass, gradient_norms
from attribot.models.language_model import LanguageModel
from attribot.scoring.base import HiddenSpans, Scores, TokenScores
from attribot.scoring.batching import TokenIds
from attribot.scoring.cost import peak_memory_bytes
from attribot.scoring.engine import LikelihoodEngine, Strategy
from attribot.types import BoolArray, Cost, FloatArray, IntArray, Response

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ModelScorer:
    """A `Scorer` and `TokenScorer` on a language model.

    strategy, batch_size, max_tokens_per_pass: settings of the engine; see `LikelihoodEngine`.
    verify: score the first, the last and a middle prompt of every call naively as well, and fail
        where the difference exceeds `verify_tolerance` [nats per response]. Its time is not
        counted as cost, but stands in wall seconds: never time a method with it.
    """

    language_model: LanguageModel
    strategy: Strategy = "packed"
    batch_size: int = 1
    max_tokens_per_pass: int = 2048
    verify: bool = False
    verify_tolerance: float = 1e-3

    @cached_property
    def engine(self) -> LikelihoodEngine:
        return LikelihoodEngine(
            self.language_model.model, self.strategy, self.batch_size, self.max_tokens_per_pass
        )

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """Log-likelihoods of `response` after each prompt; see `Scorer`.

        Raises:
            PromptTooLongError: a prompt and the response exceed the context window.
        """
        response_ids = self.language_model.encode_response(response)
        encoded = [self.language_model.encode_prompt(prompt).token_ids for prompt in prompts]
        self.language_model.check_length(max(map(len, encoded)), len(response_ids))
        values, cost = self.engine.token_log_likelihoods(encoded, response_ids)
        if self.verify:
            self._verify(encoded, response_ids, values)
        return Scores(values, cost)

    def _verify(self, prompts: Sequence[TokenIds], response: TokenIds, values: FloatArray) -> None:
        """Raises ParityError where a sample of the values is not what naive scoring gives."""
        sample = sorted({0, len(prompts) // 2, len(prompts) - 1})
        naive = replace(self.engine, strategy="naive")
        expected, _ = naive.token_log_likelihoods([prompts[i] for i in sample], response)
        largest = float(np.abs(values[sample].sum(axis=1) - expected.sum(axis=1)).max())
        logger.info("parity with naive scoring: within %.2g nats", largest)
        if largest > self.verify_tolerance:
            raise ParityError(
                f"{self.engine.taken_strategy} scoring of {self.language_model.name} in "
                f"{self.language_model.dtype} differs from naive scoring by {largest:.2g} nats, "
                f"more than verify_tolerance={self.verify_tolerance:.2g}: use scorer=naive and "
                f"report the model and the version of transformers"
            )

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,
        close_gaps: bool,
    ) -> Scores:
        """See `MaskScorer`; one pass over the prompt and one over what each ablation recomputes.

        Raises:
            PromptTooLongError: as in `score`.
            InvalidInputError: the model cannot mask.
        """
        response_ids = self.language_model.encode_response(response)
        encoded = self.language_model.encode_prompt(prompt)
        self.language_model.check_length(len(encoded.token_ids), len(response_ids))
        hidden = [hidden_tokens(prompt, encoded.char_spans, ablation) for ablation in ablations]
        # The engine scores the whole prompt anyway, and equal ablations need no second time.
        distinct = {key: pair for key, pair in ((_key(*pair), pair) for pair in hidden) if key}
        shape = (len(distinct), len(encoded.token_ids))
        values, cost = self.engine.masked_token_log_likelihoods(
            encoded.token_ids,
            response_ids,
            np.array([removed for removed, _ in distinct.values()], dtype=bool).reshape(shape),
            np.array([anew for _, anew in distinct.values()], dtype=bool).reshape(shape),
            close_gaps,
        )
        rows = {b"": 0} | {key: row for row, key in enumerate(distinct, start=1)}
        return Scores(values[[rows[_key(*pair)] for pair in hidden]], cost)

    def attention_mass(self, prompt: str, response: Response) -> TokenScores:
        """See `TokenScorer`; one pass, whose last rows keep their attention weights."""
        return self._token_scores(attention_mass, prompt, response, passes_worth=1.0)

    def gradient_norm(self, prompt: str, response: Response) -> TokenScores:
        """See `TokenScorer`; one forward and one backward pass to the input embeddings only, which
        costs about as much as the forward pass again."""
        return self._token_scores(gradient_norms, prompt, response, passes_worth=2.0)

    def _token_scores(
        self, function: Any, prompt: str, response: Response, passes_worth: float
    ) -> TokenScores:
        model = self.language_model
        response_ids, encoded = model.encode_response(response), model.encode_prompt(prompt)
        model.check_length(len(encoded.token_ids), len(response_ids))
        values = function(model, encoded.token_ids, response_ids)
        num_tokens = len(encoded.token_ids) + len(response_ids) - 1
        flops = self.engine.geometry.pass_flops(num_tokens, 0, len(response_ids))
        cost = Cost(
            forward_passes=1,
            computed_tokens=num_tokens,
            flops=passes_worth * flops,
            peak_memory_bytes=peak_memory_bytes(model.device),
        )
        return TokenScores(values, encoded.char_spans, cost)


def hidden_tokens(
    prompt: str, char_spans: IntArray, ablation: HiddenSpans
) -> tuple[BoolArray, BoolArray]:
    """Removed and recomputed tokens, each `[num_prompt_tokens]`.

    A token goes with its first visible char: the white space before a word belongs to it.
    """
    anchors = token_anchors(prompt, char_spans)
    removed = _inside(anchors, ablation.removed)
    recomputed = _inside(anchors, ablation.recomputed)
    for last in np.flatnonzero(removed[:-1] & ~removed[1:]):
        recomputed[last + 1 : last + 1 + ablation.num_following] = True
    # Whatever the chat template puts behind the prompt has seen all of it.
    behind = np.flatnonzero(char_spans[:, 0] >= 0)[-1] + 1
    recomputed[behind:] = True
    return removed, recomputed & ~removed


def token_anchors(prompt: str, char_spans: IntArray) -> IntArray:
    """`[num_tokens]` position of the char that decides where a token belongs; -1 outside."""
    anchors = np.full(len(char_spans), -1)
    for token, (start, end) in enumerate(char_spans):
        if start >= 0:
            text = prompt[start:end]
            blank = len(text) - len(text.lstrip())
            anchors[token] = start + (blank if blank < len(text) else 0)
    return anchors


def _inside(anchors: IntArray, spans: IntArray) -> BoolArray:
    """`[num_tokens]` whether a token's anchor lies in one of `spans` `[num_spans, 2]`."""
    starts, ends = spans[:, 0], spans[:, 1]
    inside = (anchors[:, None] >= starts) & (anchors[:, None] < ends)
    return np.asarray(inside.any(axis=1))


def _key(removed: BoolArray, recomputed: BoolArray) -> bytes:
    """Identifies an ablation of a prompt; empty where nothing is removed."""
    return removed.tobytes() + recomputed.tobytes() if removed.any() else b""


@dataclass(frozen=True, eq=False)
class StoredScorer:
    """A `ModelScorer` whose answers are kept on disk, for the reference scores.

    The key of an answer holds the model's fingerprint, the prompt text and the response's ids, so
    it is shared by every run that asks the same. What comes from disk costs nothing: never time a
    method through this class.
    """

    scorer: ModelScorer
    cache: ContentCache

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """See `Scorer`. Answers are stored before this returns."""
        keys = [self._key(prompt, response) for prompt in prompts]
        found = [self.cache.get(key) for key in keys]
        missing = [index for index, value in enumerate(found) if value is None]
        cost = Cost()
        if missing:
            fresh = self.scorer.score([prompts[index] for index in missing], response)
            cost = fresh.cost
            for row, index in enumerate(missing):
                found[index] = fresh.token_log_likelihoods[row].tolist()
                self.cache.put(keys[index], found[index])
        return Scores(np.asarray(found, dtype=np.float64), cost)

    def _key(self, prompt: str, response: Response) -> Mapping[str, Any]:
        model = self.scorer.language_model
        return {
            "kind": "token_log_likelihoods",
            "model": model.fingerprint,
            "prompt": prompt,
            "response": list(model.encode_response(response)),
        }
