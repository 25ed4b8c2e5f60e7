"""What a method computes on a prompt of given shape, counted by the code that counts real runs.

Attributors run as they are, on made-up text and scorers that plan instead of computing. What is
planned does not depend on the model, only what a token costs does: a method is counted once, and
its FLOPs under any two models follow from the work on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attribot.attributors.base import Attributor, Problem
from attribot.context.partition import tree_from_sentences
from attribot.errors import InvalidInputError
from attribot.evaluation.efficiency import PromptShape
from attribot.models.generation import response_from_text
from attribot.models.geometry import random_model
from attribot.models.kv_cache import ComputedPrefix, PrefixStates
from attribot.models.language_model import LanguageModel
from attribot.prompting import PromptTemplate
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.planning import Strategy, Work, WorkPlanner
from attribot.scoring.planning_engine import PlanningEngine
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost

GEOMETRIES = Path(__file__).parents[1] / "geometries"
ROLES = ("target", "proxy")
# Sentences and paragraphs as in HotpotQA; of the latter the compositions keep three.
TOKENS_PER_SOURCE, SOURCES_PER_GROUP, FEWEST_SOURCES = 33, 4, 12
HEAD_TOKENS, QUERY_TOKENS = 40, 20
FEWEST_TOKENS = HEAD_TOKENS + FEWEST_SOURCES * TOKENS_PER_SOURCE + QUERY_TOKENS


@dataclass(frozen=True)
class SyntheticPrompt:
    """A prompt of one-token words, as long as an average one of a data set.

    name: of the data set.
    num_sources, num_groups: sentences n in paragraphs G, as even as whole numbers allow.
    tokens_per_source: T.
    head_tokens: of chat template and instruction, before the context.
    query_tokens: of query and chat template, behind the context.
    response_tokens: of the response.
    """

    name: str
    num_sources: int
    num_groups: int
    tokens_per_source: int
    head_tokens: int = HEAD_TOKENS
    query_tokens: int = QUERY_TOKENS
    response_tokens: int = 40

    def __post_init__(self) -> None:
        if self.head_tokens < 1 or self.query_tokens < 1 or self.response_tokens < 1:
            raise InvalidInputError(
                f"head, query and response need at least one token each; got {self}"
            )

    @classmethod
    def of_length(cls, num_tokens: int) -> SyntheticPrompt:
        """A prompt of so many tokens, in sentences of 33 and paragraphs of about four; tokens that
        make no sentence stand before the context.

        Raises:
            InvalidInputError: they make less than twelve sentences.
        """
        if num_tokens < FEWEST_TOKENS:
            raise InvalidInputError(
                f"expected prompts of at least {FEWEST_TOKENS} tokens, which make "
                f"{FEWEST_SOURCES} sentences; got {num_tokens}"
            )
        num_sources = (num_tokens - HEAD_TOKENS - QUERY_TOKENS) // TOKENS_PER_SOURCE
        return cls(
            f"{num_tokens:,} tokens",
            num_sources,
            round(num_sources / SOURCES_PER_GROUP),
            TOKENS_PER_SOURCE,
            num_tokens - QUERY_TOKENS - num_sources * TOKENS_PER_SOURCE,
        )

    @property
    def shape(self) -> PromptShape:
        """The same for the closed forms; the last token of a response is never fed."""
        return PromptShape(
            self.num_sources,
            self.num_groups,
            self.tokens_per_source,
            self.head_tokens,
            self.query_tokens + self.response_tokens - 1,
        )

    @property
    def prompt_tokens(self) -> int:
        context = self.num_sources * self.tokens_per_source
        return self.head_tokens + context + self.query_tokens

    def paragraphs(self) -> list[list[str]]:
        """Sentences of words that stand nowhere else: ablated prompts share no more than what
        stands before the first difference."""
        sentences = [
            " ".join(f"s{source}w{word}" for word in range(self.tokens_per_source))
            for source in range(self.num_sources)
        ]
        edges = np.linspace(0, self.num_sources, self.num_groups + 1).astype(int).tolist()
        return [sentences[a:b] for a, b in pairwise(edges)]

    def problem(self, model: LanguageModel) -> Problem:
        """The leave-one-out problem of this prompt; see `word_model`."""
        template = PromptTemplate(f"{_words('h', self.head_tokens)}\n{{context}}\n{{query}}")
        response = response_from_text(model, self.response, add_end_token=False)
        tree = tree_from_sentences(self.paragraphs())
        return Problem.of(tree, self.query, response, template)

    @property
    def query(self) -> str:
        return _words("q", self.query_tokens)

    @property
    def response(self) -> str:
        return _words("r", self.response_tokens)

    @property
    def vocabulary(self) -> list[str]:
        """Every word of prompt and response."""
        sentences = [sentence for paragraph in self.paragraphs() for sentence in paragraph]
        return " ".join(
            [_words("h", self.head_tokens), *sentences, self.query, self.response]
        ).split()


def _words(letter: str, count: int) -> str:
    return " ".join(f"{letter}{i}" for i in range(count))


def word_tokenizer(prompts: Iterable[SyntheticPrompt]) -> PreTrainedTokenizerFast:
    """One token per word of the prompts."""
    words = dict.fromkeys(word for prompt in prompts for word in prompt.vocabulary)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def word_model(prompt: SyntheticPrompt) -> LanguageModel:
    """A tiny model that knows the words of the prompt, each a token."""
    tokenizer = word_tokenizer([prompt])
    model = random_model(GEOMETRIES / "tiny-llama.yaml", torch.device("cpu"), torch.float32)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return LanguageModel(model, tokenizer, "words")


@dataclass(frozen=True)
class Call:
    """What one call to a scorer would compute: the work of every sequence, the first that stands
    on nothing, or on what earlier calls left."""

    role: str
    work: tuple[Work, ...]


@dataclass(frozen=True)
class RecordingPlanner(WorkPlanner):
    """Counts as a `WorkPlanner`, and keeps the work that is counted.

    role: of the model that it plans for.
    calls: what was counted so far, by all planners that share the list.
    """

    role: str = "target"
    calls: list[Call] = field(default_factory=list)

    def cost(self, work: Sequence[Work]) -> Cost:
        """See `WorkPlanner`."""
        self.calls.append(Call(self.role, tuple(work)))
        return super().cost(work)


@dataclass(frozen=True, eq=False)
class RecordingScorer(ModelScorer):
    """A `ModelScorer` that plans what it is asked and puts it on record; see `RecordingPlanner`."""

    role: str = "target"
    calls: list[Call] = field(default_factory=list)

    @cached_property
    def engine(self) -> PlanningEngine:
        real = LikelihoodEngine(self.language_model.model, self.strategy)
        planner = RecordingPlanner(
            real.geometry, real.taken_strategy, role=self.role, calls=self.calls
        )
        return PlanningEngine(planner, real.masking_refusal)


def count_calls(
    problem: Problem,
    model: LanguageModel,
    attributor: Attributor,
    strategy: Strategy,
    is_after_generation: bool = False,
) -> list[Call]:
    """The calls of an attributor on a problem, in order, with one memory per role.

    is_after_generation: the target's begins with what generating the response has left.
    """
    calls: list[Call] = []
    target, proxy = (RecordingScorer(model, strategy, role=r, calls=calls) for r in ROLES)
    prefix = None
    if is_after_generation:
        prompt_ids = model.encode_prompt(problem.prompt()).token_ids
        fed = problem.response.token_ids[:-1]
        prefix = ComputedPrefix(prompt_ids + fed, PrefixStates.empty())
    attributor.attribute(problem, {"target": target.opened(prefix), "proxy": proxy.opened()})
    return calls


def flops(geometry: ModelGeometry, work: Iterable[Work]) -> float:
    """Floating point operations of recorded work under a model."""
    return WorkPlanner(geometry).cost(list(work)).flops


def named_geometry(name: str) -> ModelGeometry:
    """Of a model in bfloat16 by the name of its file; no weights are made.

    Raises:
        InvalidInputError: there is no such file.
    """
    path = GEOMETRIES / f"{name}.yaml"
    return ModelGeometry.of(random_model(path, torch.device("meta"), torch.bfloat16))
