"""Prompt texts to log-likelihoods, under one language model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from attribot.errors import ParityError
from attribot.models.kv_cache import ComputedPrefix
from attribot.models.language_model import LanguageModel
from attribot.scoring.base import Divergences, HiddenSpans, Scores, TokenScores
from attribot.scoring.batching import TokenIds
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.held import Session
from attribot.scoring.hiding import MaskedPrompt
from attribot.scoring.keys import ids_key
from attribot.scoring.planning import Pair, Strategy
from attribot.scoring.planning_engine import PlanningEngine
from attribot.scoring.readings import IntegratedGradients, LookaheadAttention, Reading
from attribot.types import Cost, FloatArray, Response

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ModelScorer:
    """A `Scorer`, `MaskScorer`, `DistributionScorer` and `TokenScorer` on a language model.

    strategy, batch_size, max_tokens_per_pass, max_memory_gb: settings of the engine; see
        `LikelihoodEngine`.
    verify: score the first, the last and a middle prompt of every call naively as well, and fail
        where the difference exceeds `verify_tolerance` [nats per response]. Its time is not
        counted as cost, but stands in wall seconds: never time a method with it.
    session: what earlier calls have left; None forgets every call. See `opened`.
    """

    language_model: LanguageModel
    strategy: Strategy = "packed"
    batch_size: int = 1
    max_tokens_per_pass: int = 2048
    max_memory_gb: float | None = None
    verify: bool = False
    verify_tolerance: float = 1e-3
    session: Session | None = None

    @cached_property
    def engine(self) -> LikelihoodEngine | PlanningEngine:
        return LikelihoodEngine(
            self.language_model.model,
            self.strategy,
            self.batch_size,
            self.max_tokens_per_pass,
            self.max_memory_gb,
        )

    @property
    def fingerprint(self) -> dict[str, Any]:
        """See `Identified`."""
        return self.language_model.fingerprint

    def opened(self, prefix: ComputedPrefix | None = None) -> ModelScorer:
        """The same scorer with a memory: what its calls ask twice is computed once.

        Prompts asked before are not scored again, and packed scoring takes over the states of the
        first call's prompt. One attribution opens its scorers once; not to be shared by threads.

        prefix: states to begin with, as `generate_with_prefix` leaves them.
        """
        return self._with(self.engine, Session.of(prefix))

    def opened_for(self, responses: Sequence[Response]) -> ModelScorer:
        """As `opened`, but whatever is asked about one of the responses is scored for all."""
        scorer = self.opened()
        assert scorer.session is not None
        scorer.session.responses = tuple(responses)
        return scorer

    def planning(self) -> ModelScorer:
        """A scorer that computes nothing: it counts what this one would, and answers at random."""
        engine = self.engine
        if isinstance(engine, LikelihoodEngine):
            engine = PlanningEngine(engine.planner, engine.masking_refusal)
        return replace(self, verify=False)._with(engine, Session())

    def _with(self, engine: LikelihoodEngine | PlanningEngine, session: Session) -> ModelScorer:
        scorer = replace(self, session=session)
        # An engine holds a view of the model: building it anew would cost more than small calls.
        vars(scorer)["engine"] = engine
        return scorer

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """Log-likelihoods of `response` after each prompt; see `Scorer`.

        Raises:
            PromptTooLongError: a prompt and the response exceed the context window.
        """
        values, cost = self.score_responses(prompts, self._together_with(response))
        return Scores(values[0], cost)

    def _together_with(self, response: Response) -> list[Response]:
        """The response asked about, then those that are scored by the same passes."""
        others = self.session.responses if self.session is not None else ()
        return [response, *(other for other in others if other != response)]

    def score_responses(
        self, prompts: Sequence[str], responses: Sequence[Response]
    ) -> tuple[list[FloatArray], Cost]:
        """`[num_prompts, num_response_tokens]` [nats] for every response, and the cost of all.

        The responses share what is computed of a prompt.

        Raises:
            PromptTooLongError: as in `score`.
        """
        asked, said = self._encoded(prompts, responses)
        keys = _pair_keys(asked, said)
        session = self.session or Session()
        fresh = {
            key: pair
            for key, pair in zip(keys, _pairs(asked, said), strict=True)
            if key not in session.known
        }
        cost = Cost()
        if fresh:
            pairs = [*fresh.values()]
            answers, cost = self.engine.pair_log_likelihoods(pairs, session.held)
            if self.verify:
                self._verify(pairs, answers)
            session.known |= dict(zip(fresh, answers, strict=True))
        return _by_response([session.known[key] for key in keys], len(responses)), cost

    def _encoded(
        self, prompts: Sequence[str], responses: Sequence[Response]
    ) -> tuple[list[TokenIds], list[TokenIds]]:
        """Token ids of the prompts and of the responses."""
        model = self.language_model
        asked = [model.encode_prompt(prompt).token_ids for prompt in prompts]
        said = [model.encode_response(response) for response in responses]
        model.check_length(max(map(len, asked)), max(map(len, said)))
        return asked, said

    def _verify(self, pairs: Sequence[Pair], answers: Sequence[FloatArray]) -> None:
        """Raises ParityError where a sample of the answers is not what naive scoring gives."""
        sample = sorted({0, len(pairs) // 2, len(pairs) - 1})
        naive = LikelihoodEngine(self.language_model.model, "naive", self.batch_size)
        expected, _ = naive.pair_log_likelihoods([pairs[i] for i in sample])
        largest = max(
            abs(float(answers[i].sum() - row.sum()))
            for i, row in zip(sample, expected, strict=True)
        )
        logger.info("parity with naive scoring: within %.2g nats", largest)
        if largest > self.verify_tolerance:
            raise ParityError(
                f"{self.strategy} scoring of {self.language_model.name} in "
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
        values, cost = self.score_masked_responses(
            prompt, ablations, self._together_with(response), close_gaps
        )
        return Scores(values[0], cost)

    def score_masked_responses(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        responses: Sequence[Response],
        close_gaps: bool,
    ) -> tuple[list[FloatArray], Cost]:
        """As `score_responses`, for masked ablations of one prompt."""
        _, said = self._encoded([prompt], responses)
        masked = MaskedPrompt.of(self.language_model, prompt, ablations)
        session = self.session or Session()

        def is_unknown(row: int) -> bool:
            return any(masked.key(row, r, close_gaps) not in session.known for r in said)

        asked = sorted(set(masked.rows))
        fresh = [row for row in asked if row and is_unknown(row)]
        cost = Cost()
        if fresh or any(map(is_unknown, asked)):
            places = np.array(fresh, dtype=np.int64) - 1
            answers, cost = self.engine.masked_log_likelihoods(
                masked.token_ids,
                said,
                masked.removed[places],
                masked.recomputed[places],
                close_gaps,
                session.held,
            )
            for response, values in zip(said, answers, strict=True):
                # The engine scores the whole prompt in any case.
                for row, value in zip([0, *fresh], values, strict=True):
                    session.known[masked.key(row, response, close_gaps)] = value
        keys = [masked.key(row, response, close_gaps) for response in said for row in masked.rows]
        return _by_response([session.known[key] for key in keys], len(said)), cost

    def divergences(self, base: str, prompts: Sequence[str], response: Response) -> Divergences:
        """See `DistributionScorer`; one pass per distinct prompt, and one for `base`. `verify` does
        not look at them.

        Raises:
            PromptTooLongError: as in `score`.
        """
        asked, said = self._encoded([base, *prompts], [response])
        start, *pairs = _pairs(asked, said)
        first, *others = _pair_keys(asked, said)
        session = self.session or Session()
        keys = [("divergence", first, other) for other in others]
        fresh = {
            key: pair for key, pair in zip(keys, pairs, strict=True) if key not in session.known
        }
        cost = Cost()
        if fresh:
            values, cost = self.engine.pair_divergences(start, [*fresh.values()], session.held)
            session.known |= dict(zip(fresh, values, strict=True))
        return Divergences(np.stack([session.known[key] for key in keys]), cost)

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:
        """See `TokenScorer`; states of the prompt are taken over where the reading admits it.

        Raises:
            PromptTooLongError: as in `score`, or with what a reading generates.
            InvalidInputError: the model cannot show what is to be read.
        """
        (prompt_ids,), (response_ids,) = self._encoded([prompt], [response])
        if isinstance(reading, LookaheadAttention):
            self.language_model.check_length(len(prompt_ids), reading.num_lookahead)
        char_spans = self.language_model.encode_prompt(prompt).char_spans
        if isinstance(reading, IntegratedGradients):
            reading = reading.on_tokens(char_spans)
        held = (self.session or Session()).held
        values, cost = self.engine.read(prompt_ids, response_ids, reading, held)
        return TokenScores(values, char_spans, cost)


def _pairs(asked: Sequence[TokenIds], said: Sequence[TokenIds]) -> list[Pair]:
    """Every prompt with every response, response by response."""
    return [(prompt, response) for response in said for prompt in asked]


def _pair_keys(asked: Sequence[TokenIds], said: Sequence[TokenIds]) -> list[tuple[bytes, bytes]]:
    """What stands for each of `_pairs` in a memory."""
    prompts = [ids_key(prompt) for prompt in asked]
    return [(prompt, ids_key(response)) for response in said for prompt in prompts]


def _by_response(rows: Sequence[FloatArray], num_responses: int) -> list[FloatArray]:
    """Rows in equal parts, each `[num_prompts, num_response_tokens]`."""
    count = len(rows) // num_responses
    return [np.stack(rows[i * count : (i + 1) * count]) for i in range(num_responses)]
