"""Tiny problems, and scorers that need no model: what they answer is planted, so known exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from attribot.attributors.base import Problem
from attribot.context.tree import ContextTree
from attribot.prompting import PromptTemplate
from attribot.scoring.base import Scores, TokenScores
from attribot.scoring.readings import Reading
from attribot.types import LEVELS, Cost, FloatArray, Response

# Sentences per paragraph: distinct primes, so that no two dimensions can be mistaken.
PARAGRAPH_SIZES = (2, 3, 5)
SENTENCES = (
    "Alpha built the bridge.",
    "Bravo paid for stone.",
    "Charlie drew a map.",
    "Delta sold seven horses.",
    "Echo wrote letters home.",
    "Foxtrot crossed the river.",
    "Golf kept the keys.",
    "Hotel burned down twice.",
    "India sent silk and tea.",
    "Juliet counted the coins.",
)


def paragraphs_of(sizes: Sequence[int] = PARAGRAPH_SIZES) -> list[list[str]]:
    """The first sentences dealt out to paragraphs of the given sizes."""
    assert sum(sizes) <= len(SENTENCES)
    ends = np.cumsum(sizes)
    return [list(SENTENCES[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def tree_of(
    paragraphs: Sequence[Sequence[str]],
    sentence_separator: str = " ",
    paragraph_separator: str = "\n\n",
    header: str = "",
) -> ContextTree:
    """One document; every paragraph starts with `header`."""
    text, rows = "", [[-1, 0, 0, 0, 0, 0]]
    for sentences in paragraphs:
        paragraph, start = len(rows), len(text)
        text += header
        rows.append([0, 1, start, 0, len(text), 0])
        for sentence in sentences:
            begin, end = len(text), len(text) + len(sentence)
            text += sentence + sentence_separator
            rows.append([paragraph, LEVELS.index("sentence"), begin, len(text), begin, end])
        rows[paragraph][5] = len(text)
        text += paragraph_separator
        rows[paragraph][3] = len(text)
    rows[0][3] = rows[0][5] = len(text)
    columns = np.array(rows, dtype=np.int64).T
    return ContextTree(text, *columns, ("document",))


def response_of(text: str = "The coins paid for it.", num_tokens: int = 7) -> Response:
    """A response of `num_tokens` made-up ids."""
    return Response(text, tuple(range(num_tokens)), tokenizer_sha="fake", has_end_token=True)


def build_problem(
    sizes: Sequence[int] = PARAGRAPH_SIZES,
    *,
    paragraphs: Sequence[Sequence[str]] | None = None,
    response: Response | None = None,
    template: PromptTemplate | None = None,
    header: str = "",
) -> Problem:
    """Paragraphs of `sizes` sentences, unless their sentences are given."""
    tree = tree_of(paragraphs_of(sizes=sizes) if paragraphs is None else paragraphs, header=header)
    return Problem.of(tree, "Who built the bridge?", response or response_of(), template)


def source_texts(problem: Problem) -> list[str]:
    """`[num_sources]`"""
    return [problem.tree.source_text(source) for source in range(problem.tree.num_sources)]


def scores_of(log_likelihoods: Sequence[float], response: Response) -> Scores:
    """The given values `[num_prompts]`, spread evenly over the response tokens; one pass each."""
    num_tokens = len(response.token_ids)
    per_token = np.array(log_likelihoods, dtype=np.float64)[:, None] / num_tokens
    return Scores(np.repeat(per_token, num_tokens, axis=1), Cost(forward_passes=len(per_token)))


@dataclass(frozen=True)
class AdditiveScorer:
    """log p = base + sum of the weights of the source texts in the prompt, once per occurrence.

    prompts: every prompt scored so far.
    """

    weights: Mapping[str, float]
    base: float = -40.0
    prompts: list[str] = field(default_factory=list)

    @classmethod
    def planted(cls, problem: Problem, weights: Sequence[float]) -> AdditiveScorer:
        """One weight per source: `[num_sources]`; equal texts need equal weights."""
        return cls(dict(zip(source_texts(problem), weights, strict=True)))

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        self.prompts.extend(prompts)
        return scores_of([self._log_likelihood(prompt) for prompt in prompts], response)

    def _log_likelihood(self, prompt: str) -> float:
        counted = (weight * prompt.count(text) for text, weight in self.weights.items())
        return self.base + sum(counted)


@dataclass(frozen=True)
class RedundantScorer:
    """log p = base + the largest weight among the source texts in the prompt, 0 without any.

    Sources of equal weight carry the same fact: either alone brings all of it.
    """

    weights: Mapping[str, float]
    base: float = -40.0

    @classmethod
    def planted(cls, problem: Problem, pair: tuple[int, int], value: float) -> RedundantScorer:
        """The two sources of `pair` carry the same fact, worth `value` nats."""
        return cls({source_texts(problem)[source]: value for source in pair})

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        return scores_of([self._log_likelihood(prompt) for prompt in prompts], response)

    def _log_likelihood(self, prompt: str) -> float:
        present = (weight for text, weight in self.weights.items() if text in prompt)
        return self.base + max(present, default=0.0)


@dataclass(frozen=True)
class WordLengthTokenScorer:
    """A token per word, the white space before it included; its value is the word's length.

    Two tokens of the chat template, of value 1e6, surround the prompt. `asked` notes the readings.
    """

    asked: list[Reading] = field(default_factory=list)

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:  # noqa: ARG002
        self.asked.append(reading)
        words = list(re.finditer(r"\s*\S+", prompt))
        values = [1e6, *(len(word.group().strip()) for word in words), 1e6]
        spans = [(-1, -1), *(word.span() for word in words), (-1, -1)]
        return TokenScores(np.array(values), np.array(spans), Cost(forward_passes=1))


@dataclass(frozen=True)
class LetterCountEmbedder:
    """Counts of the 26 letters, scaled to unit length."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        letters = "abcdefghijklmnopqrstuvwxyz"
        counts = np.array([[text.lower().count(c) for c in letters] for text in texts], dtype=float)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True))
