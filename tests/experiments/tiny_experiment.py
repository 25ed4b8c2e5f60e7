"""A whole experiment on tiny random models, and the slow and obvious way to its numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attribot.attributors.base import Attributor
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.random_scores import RandomScores
from attribot.attributors.two_stage import TwoStage
from attribot.attributors.word_overlap import WordOverlap
from attribot.content_cache import ContentCache
from attribot.context.partition import NupunktSplitter, paragraph_from_sentences
from attribot.data.loading import LoadedExamples
from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.models.generation import GenerationSettings
from attribot.models.language_model import LanguageModel
from attribot.models.layer_drop import drop_layers
from attribot.prompting import PromptTemplate
from attribot.scoring.scorer import ModelScorer
from attribot.tracking import NoTracker, Tracker
from attribot.types import Document, Example, FloatArray, GoldSpan, Response
from experiments.runner import Experiment, Method
from tests.models.tiny import tiny_language_model
from tests.oracle import naive_token_log_likelihoods

Paragraphs = Sequence[Sequence[str]]

RUN_ID = "0123456789ab"
# Sentences of each paragraph; one context has several paragraphs of one size, one a single source.
CONTEXTS: Mapping[str, Paragraphs] = {
    "castle": (
        ("The castle stands on a hill.", "The king built it."),
        ("The river runs to the sea.", "A bridge crosses it.", "It is of stone."),
    ),
    "bridge": (
        ("A bridge crosses the river.", "It is old.", "The king paid for it."),
        ("The castle is older.",),
        ("The sea is far away.", "Ships come in spring."),
    ),
    "sea": (("The river runs to the sea.",),),
}
QUERIES = {
    "castle": "Who built the castle?",
    "bridge": "What is older than the bridge?",
    "sea": "Where is the sea?",
}
EVALUATION = FaithfulnessEvaluation(ks=(1, 3), num_lds_ablations=11, log_prob_drop_ks=(1, 2))
GENERATION = GenerationSettings(max_new_tokens=7)
PRUNED_TO = 2


def tiny_example(name: str) -> Example:
    """One of `CONTEXTS`; its second sentence is gold where there is one."""
    paragraphs = tuple(paragraph_from_sentences(sentences, " ") for sentences in CONTEXTS[name])
    ends = paragraphs[0].sentence_ends or ()
    gold = (GoldSpan(0, 0, ends[0], ends[1]),) if len(ends) > 1 else ()
    document = Document(paragraphs, document_id=f"page of {name}")
    return Example(name, "tiny", "test", QUERIES[name], (document,), gold=gold)


def tiny_models() -> dict[str, LanguageModel]:
    """A target, a proxy made of it, and one of another family with another tokenizer."""
    target = tiny_language_model("llama", seed=1)
    return {
        "target": target,
        "proxy": drop_layers(target, [1]),
        "stranger": tiny_language_model("qwen2", vocab_size=313, seed=2),
    }


def tiny_methods(models: Mapping[str, LanguageModel]) -> dict[str, Method]:
    """Methods by name; all but "loo" compute every prompt whole, so that their cost is plain."""
    scorers = {role: naive_scorer(model) for role, model in models.items()}
    loo = LeaveOneOut()

    def trick(screen: Attributor, k: int) -> Method:
        return Method("screen, keep, rescore", "trick", TwoStage(screen, TopK(k), loo), scorers)

    return {
        "loo_naive": Method("naive LOO", "exact", loo, scorers),
        "loo": Method("LOO", "exact", loo, {"target": ModelScorer(models["target"])}),
        "hierarchical": trick(LeaveOneOut(level="paragraph"), 1),
        "keep_all": trick(LeaveOneOut(level="paragraph"), 99),
        "proxy_pruning": trick(LeaveOneOut("proxy"), PRUNED_TO),
        "stranger_pruning": trick(LeaveOneOut("stranger"), PRUNED_TO),
        "word_overlap": Method("word overlap", "baseline", WordOverlap(), {}),
        "random": Method("random", "baseline", RandomScores(), {}),
    }


def naive_scorer(model: LanguageModel) -> ModelScorer:
    """Computes every prompt whole."""
    return ModelScorer(model, strategy="naive")


def tiny_experiment(
    run_dir: Path,
    *,
    models: Mapping[str, LanguageModel] | None = None,
    methods: Collection[str] | None = None,
    cache: ContentCache | None = None,
    tracker: Tracker | None = None,
    **changes: Any,
) -> Experiment:
    """All examples and the named methods, None for all; `changes` replace other fields."""
    models = tiny_models() if models is None else models
    chosen = {n: m for n, m in tiny_methods(models).items() if methods is None or n in methods}
    settings: dict[str, Any] = {
        "run_id": RUN_ID,
        "run_dir": run_dir,
        "config": {"name": "tiny"},
        "models": models,
        "methods": chosen,
        "naive": "loo_naive" if "loo_naive" in chosen else None,
        "dataset_name": "tiny",
        "examples": LoadedExamples(tuple(map(tiny_example, CONTEXTS)), 5, {"unanswerable": 2}),
        "splitter": NupunktSplitter(),
        "template": PromptTemplate(),
        "generation": GENERATION,
        "evaluation": EVALUATION,
        "cache": cache or ContentCache(),
        "tracker": tracker or NoTracker(),
        "seed": 42,
        "progress": False,
    }
    return Experiment(**(settings | changes))


def rendered_prompt(
    name: str, kept: Collection[int], paragraphs: Collection[int] = (0, 1, 2)
) -> str:
    """The prompt of an example with the `kept` sources of the kept `paragraphs`, by hand."""
    context, source = "", 0
    for number, sentences in enumerate(CONTEXTS[name]):
        for sentence in sentences:
            context += sentence + " " if number in paragraphs and source in kept else ""
            source += 1
        context += "\n\n" if number in paragraphs else ""
    return (
        "Answer the question based on the provided context:\n\n"
        f"Context:\n{context}\n\nQuestion: {QUERIES[name]}"
    )


def full_prompt(name: str) -> str:
    return rendered_prompt(name, range(num_sources(name)))


def num_sources(name: str) -> int:
    return sum(map(len, CONTEXTS[name]))


def oracle_log_likelihoods(
    model: LanguageModel, prompts: Sequence[str], response: Response
) -> FloatArray:
    """`[num_prompts]` [nats]; the response's text is encoded anew for another tokenizer."""
    ids = response.token_ids
    if response.tokenizer_sha != model.tokenizer_sha:
        ids = tuple(model.tokenizer(response.text, add_special_tokens=False)["input_ids"])
        ids += (model.tokenizer.eos_token_id,) * response.has_end_token
    encoded = [model.encode_prompt(prompt).token_ids for prompt in prompts]
    return np.asarray(naive_token_log_likelihoods(model, encoded, ids).sum(axis=1))


def oracle_scores(
    model: LanguageModel, name: str, kept: Sequence[int], response: Response
) -> FloatArray:
    """`[len(kept)]` LOO scores of the kept sources within their own context [nats]."""
    without = [[source for source in kept if source != removed] for removed in kept]
    prompts = [rendered_prompt(name, mask) for mask in [kept, *without]]
    full, *ablated = oracle_log_likelihoods(model, prompts, response)
    return np.asarray(full - np.array(ablated))
