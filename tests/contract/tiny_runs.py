"""Tiny models in every role, tiny problems, and scorers that count what they are asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from attribot.attributors.base import Attributor, Problem
from attribot.context.partition import NupunktSplitter, build_tree, paragraph_from_sentences
from attribot.models.language_model import LanguageModel
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution, Cost, Document, Example, FloatArray, Response
from tests.attributors.fakes import LetterCountEmbedder
from tests.models.tiny import tiny_language_model

# Sentences of the paragraphs of the documents.
PLAIN = (
    (("The castle stands on a hill.", "The king built it."), ("A bridge crosses the river.",)),
    (("The river runs to the sea.", "Ships come in spring."),),
)
CONTEXTS: dict[str, Sequence[Sequence[Sequence[str]]]] = {
    "plain": PLAIN,
    "documents reversed": PLAIN[::-1],
    "one source": ((("The king built the castle.",),),),
    "equal sentences": ((("The king built it.", "It is old.", "The king built it."),),),
    "blank paragraph": ((("The king built it.",), (), ("It is old.", "It is of stone.")),),
}
VARIANTS = ("one response token", "some candidates", "pruned context")
STRATEGIES: dict[str, dict[str, Any]] = {
    "naive": {"strategy": "naive"},
    "naive, batches of 3": {"strategy": "naive", "batch_size": 3},
    "cached": {"strategy": "cached"},
    "packed": {"strategy": "packed"},
}


@cache
def model_of(role: str) -> LanguageModel:
    """The proxy is of another family, with another tokenizer."""
    if role == "target":
        return tiny_language_model("llama", num_layers=2, seed=1)
    return tiny_language_model("qwen2", num_layers=2, vocab_size=313, seed=2)


@cache
def scorer_of(role: str, strategy: str) -> ModelScorer:
    return ModelScorer(model_of(role), **STRATEGIES[strategy])


@cache
def problem_of(name: str) -> Problem:
    """A context of `CONTEXTS`, or the plain one varied."""
    documents = tuple(
        Document(tuple(paragraph_from_sentences(sentences, " ") for sentences in paragraphs))
        for paragraphs in CONTEXTS.get(name, PLAIN)
    )
    example = Example(name, "tiny", "test", "Who built the castle?", documents)
    target = model_of("target")
    text = "The king" if name == "one response token" else "The king built it."
    ids = tuple(target.tokenizer(text, add_special_tokens=False)["input_ids"])
    response = Response(text, (*ids, target.tokenizer.eos_token_id), target.tokenizer_sha, True)
    if name == "one response token":
        text = target.tokenizer.decode(ids[:1])
        response = Response(text, ids[:1], target.tokenizer_sha, False)
    problem = Problem.of(build_tree(example, NupunktSplitter()), example.query, response)
    candidates = np.array([False, True, True, False, True])
    if name == "some candidates":
        return problem.restrict(candidates)
    if name == "pruned context":
        kept = problem.tree.remove(problem.kept, problem.tree.sources[~candidates])
        return problem.restrict(candidates, kept)
    return problem


class CountingScorer:
    """Passes every call on, and adds up the costs of the answers."""

    def __init__(self, scorer: ModelScorer) -> None:
        self.cost = Cost()
        self.fingerprint = scorer.fingerprint
        # Protocols are checked by the presence of methods: those of the scorer, whichever it has.
        for name, _ in inspect.getmembers(type(scorer), inspect.isfunction):
            if not name.startswith("_"):
                setattr(self, name, self._counting(getattr(scorer, name)))

    def _counting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **settings: Any) -> Any:
            answer = method(*arguments, **settings)
            self.cost += answer.cost
            return answer

        return counted


@dataclass
class CountingEmbedder:
    """Embeds by letters; a text counts as a forward pass."""

    cost: Cost = field(default_factory=Cost)

    def embed(self, texts: Sequence[str]) -> FloatArray:
        self.cost += Cost(forward_passes=len(texts))
        return LetterCountEmbedder().embed(texts)


@dataclass(frozen=True, eq=False)
class Run:
    """One attribution, and what the scorers computed for it."""

    attribution: Attribution
    counted: Cost


def run(attributor: Attributor, problem: str, strategy: str = "packed") -> Run:
    """Scorers begin with an empty memory, as in a real run."""
    opened = {role: scorer_of(role, strategy).opened() for role in ("target", "proxy")}
    scorers = {role: CountingScorer(scorer) for role, scorer in opened.items()}
    scorers["embedder"] = CountingEmbedder()
    attribution = attributor.attribute(problem_of(problem), scorers)
    return Run(attribution, sum((scorer.cost for scorer in scorers.values()), start=Cost()))
