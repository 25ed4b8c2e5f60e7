"""Running work that its caller can see, stop and take up again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from attribot.errors import AttributionCancelledError
from attribot.models.language_model import LanguageModel
from attribot.scoring.base import Divergences, HiddenSpans, Scores, TokenScores
from attribot.scoring.readings import Reading
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import StoredScorer
from attribot.types import Cost, FloatArray, Response

Progress = Callable[[int, int, str], object]
"""Called with (prompts scored, prompts expected, what is going on); 0 expected: not known yet.

While the model writes its response: with (tokens written, tokens at most, what is going on).
"""

# Prompts between two looks at the caller's wishes: enough to fill a pass, soon enough to stop.
PROMPTS_PER_STEP = 16
# How long a thread that waits for a model does not look at them [seconds].
WAIT = 0.05


class Cancel(Protocol):
    """Such as `threading.Event`."""

    def is_set(self) -> bool:
        """Whether the work shall stop."""
        ...


@dataclass(eq=False)
class Watch:
    """How far the work of all scorers is, and whether it shall go on.

    report: told of every step. cancel: looked at before every step and after every token.
    total: prompts, or tokens, expected; more may come. text: what is going on.
    step: prompts of a step; None takes all that are asked at once.
    done: prompts scored.
    """

    report: Progress | None = None
    cancel: Cancel | None = None
    step: int | None = None
    total: int = 0
    text: str = ""
    done: int = 0

    def check(self) -> None:
        """Raises AttributionCancelledError where the caller wants to stop."""
        if self.cancel is not None and self.cancel.is_set():
            raise AttributionCancelledError(
                f"attribution was cancelled after {self.done} prompts; with cache= the same call "
                f"goes on from there"
            )

    def begin(self, text: str, total: int = 0) -> None:
        """What is going on from now on."""
        self.text, self.total = text, total
        self.count(0)

    def for_planning(self) -> Watch:
        """Of work that is only planned: in the same steps, and nobody is told."""
        return Watch(cancel=self.cancel, step=self.step)

    @contextmanager
    def turn(self, lock: Any) -> Iterator[None]:
        """Holds the lock of a model, and waits for it no longer than the caller wants."""
        while not lock.acquire(timeout=WAIT):
            self.check()
        try:
            self.check()
            yield
        finally:
            lock.release()

    def wrote(self, num_tokens: int) -> None:
        """The response has so many tokens by now."""
        if self.report is not None:
            self.report(num_tokens, self.total, self.text)
        self.check()

    def count(self, num_prompts: int) -> None:
        """So many more prompts are scored."""
        self.done += num_prompts
        if self.report is not None:
            self.report(self.done, max(self.total, self.done) if self.total else 0, self.text)

    def finish(self) -> None:
        """All is scored, which may be less than was expected."""
        self.begin("done", self.done)


@dataclass(frozen=True, eq=False)
class WatchedScorer:
    """A scorer of one attribution, working in steps; it asks nothing twice.

    The memory of an opened `ModelScorer` is no substitute: it is asked by token ids, so every part
    of a response would have all prompts encoded, or looked up in the store, again. That one joins
    what differs in text only, and the whole prompt of ablations that delete and that hide.

    language_model: the scorer's.
    lock: held while the model runs; between steps another thread may run it.
    known: what was answered before, by what was asked.
    """

    scorer: ModelScorer | StoredScorer
    language_model: LanguageModel
    watch: Watch
    lock: Any = field(default_factory=threading.RLock)
    known: dict[Hashable, FloatArray] = field(default_factory=dict)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """See `Identified`."""
        return self.scorer.fingerprint

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        """See `Scorer`."""

        def compute(rows: Sequence[int]) -> tuple[FloatArray, Cost]:
            fresh = self.scorer.score([prompts[row] for row in rows], response)
            return fresh.token_log_likelihoods, fresh.cost

        keys = [(_digest(prompt), response.token_ids) for prompt in prompts]
        return Scores(*self._answers(keys, compute, self.watch.step))

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,
        close_gaps: bool,
    ) -> Scores:
        """See `MaskScorer`."""

        def compute(rows: Sequence[int]) -> tuple[FloatArray, Cost]:
            asked = [ablations[row] for row in rows]
            fresh = self.scorer.score_masked(prompt, asked, response, close_gaps)
            return fresh.token_log_likelihoods, fresh.cost

        keys = [
            (
                _digest(prompt),
                response.token_ids,
                ablation.removed.tobytes(),
                ablation.recomputed.tobytes(),
                ablation.num_following,
                close_gaps,
            )
            for ablation in ablations
        ]
        return Scores(*self._answers(keys, compute, self.watch.step))

    def divergences(self, base: str, prompts: Sequence[str], response: Response) -> Divergences:
        """See `DistributionScorer`. One step, since every call computes the base anew."""

        def compute(rows: Sequence[int]) -> tuple[FloatArray, Cost]:
            fresh = self.scorer.divergences(base, [prompts[row] for row in rows], response)
            return fresh.token_divergences, fresh.cost

        keys = [
            ("divergence", _digest(base), _digest(prompt), response.token_ids) for prompt in prompts
        ]
        return Divergences(*self._answers(keys, compute, None))

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:
        """See `TokenScorer`. One step."""
        with self.watch.turn(self.lock):
            answer = self.scorer.read(prompt, response, reading)
        self.watch.count(1)
        return answer

    def _answers(
        self,
        keys: Sequence[Hashable],
        compute: Callable[[Sequence[int]], tuple[FloatArray, Cost]],
        step: int | None,
    ) -> tuple[FloatArray, Cost]:
        """`[num_keys, num_response_tokens]`, and the cost of those that were not known.

        compute: answers to the keys of these indices, and their cost.
        """
        first: dict[Hashable, int] = {}
        for index, key in enumerate(keys):
            if key not in self.known:
                first.setdefault(key, index)
        missing, cost = list(first.values()), Cost()
        size = step or max(1, len(missing))
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            with self.watch.turn(self.lock):
                rows, spent = compute(part)
            self.known.update((keys[index], row) for index, row in zip(part, rows, strict=True))
            cost += spent
            self.watch.count(len(part))
        return np.stack([self.known[key] for key in keys]), cost


def _digest(text: str) -> bytes:
    """Stands for a prompt where thousands of long ones would be held."""
    return blake2b(text.encode(), digest_size=16).digest()
