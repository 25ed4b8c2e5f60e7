"""The names that `method=` takes: what each method does, needs and costs, and how `auto` chooses.

Costs are counted, not measured: every method is planned on one made-up prompt, for models that
have shapes and no weights.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attribot.attributors.base import Attributor, Problem
from attribot.attributors.similarity import Similarity
from attribot.context.partition import NupunktSplitter
from attribot.explain.attribute import attribute
from attribot.explain.given import read_context
from attribot.explain.methods import METHODS, Job, Method, admitted
from attribot.explain.scorers import planning_scorers
from attribot.explain.watching import Watch
from attribot.models.embedder import SentenceEmbedder
from attribot.models.generation import response_from_text
from attribot.models.geometry import random_model
from attribot.models.language_model import LanguageModel
from attribot.pipeline import attribute_example
from attribot.prompting import PromptTemplate
from attribot.report.tables import MISSING, markdown_table
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution
from experiments.dry_run import CountedEmbedder
from experiments.methods_page.links import Links

GEOMETRIES = Path(__file__).resolve().parents[1] / "geometries"
MODELS = {"target": "qwen2.5-1.5b", "proxy": "qwen2.5-0.5b"}
# Of the made-up prompt: about what three retrieved pages hold.
NUM_PARAGRAPHS, NUM_SENTENCES, NUM_WORDS, NUM_RESPONSE_WORDS = 10, 5, 20, 40
_EXTRA = re.compile(r'import_extra\("[\w.]+", "(\w+)"\)')

NAMES = """\
`attribot.attribute(..., method=NAME)` and `attribot attribute --method NAME` take `auto`, the
default, or one of these. The call in Python also takes an attributor with
{settings}."""

READING = """\
- **Scores in**: the unit. Nats are a difference of log-likelihoods; other units rank the sources of
  one result, and say nothing beyond it.
- **Cost**: counted FLOPs in passes over the prompt, the unit of `max_cost`; one pass is what a
  model computes before the first word of its answer. Here for {num_sources} sentences in
  {num_paragraphs} paragraphs, {num_words:,} words in all, under a model of 1.5B parameters with a
  proxy of 0.5B; where a method decides by scores, by random ones. With more sources all costs grow
  but those of `attention` and below.
- **Parts**: of the response. *any*: all that `spans=` asks for, and afterwards others by
  `result.span`; *asked*: by `spans=` alone; *none*: the whole response only.
- **Needs**: *proxy*: a smaller model, `proxy=`. *hiding*: a source is hidden from the model's
  attention instead of deleted, which Llama, Qwen, Mistral, Gemma 3 and most others admit, recurrent
  models do not. Names in code: an {extra}."""

AUTO = """\
It goes down a list, the most faithful in the committed results first, and takes the first method
that costs at most `max_cost` passes over the prompt, {max_cost:g} unless you set it; where all cost
more, the cheapest. Costs are counted before anything is computed, and `result.reason` tells them.
What is on the list depends on the model:"""

WITHOUT_EXTRA = "`word_overlap_full` is on it only with the extra `baselines`."


class _NoHiding(Job):
    """The same job under models that cannot hide sources."""

    def can_hide(self, role: str) -> bool:  # noqa: ARG002
        return False


def names_section(links: Links, methods: Mapping[str, Method] = METHODS) -> list[str]:
    """The table of names and the lists of `auto`, as parts of a page."""
    job = planned_job()
    one_pass = job.one_pass().flops
    rows = [_row(name, method, job, one_pass) for name, method in methods.items()]
    reading = READING.format(
        num_sources=job.problem.tree.num_sources,
        num_words=NUM_PARAGRAPHS * NUM_SENTENCES * NUM_WORDS,
        num_paragraphs=NUM_PARAGRAPHS,
        extra=links.to_page("install.md", "extra", "#extras"),
    )
    max_cost = inspect.signature(attribute).parameters["max_cost"].default
    return [
        "## Names",
        NAMES.format(settings=links.to_page("guide.md", "settings of your own", "#methods")),
        markdown_table(pd.DataFrame(rows)),
        reading,
        "## How `auto` chooses",
        AUTO.format(max_cost=max_cost),
        markdown_table(pd.DataFrame(_choices(job))),
        WITHOUT_EXTRA,
    ]


def _row(name: str, method: Method, job: Job, one_pass: float) -> dict[str, str]:
    whole = planned(job, method.attributor)
    parts = "asked" if whole.token_scores is None else "any"
    return {
        "`method=`": f"[`{name}`](#{type(method.attributor).__name__.lower()})",
        "What it does": method.what,
        "Scores in": method.unit,
        "Cost": f"{whole.cost.flops / one_pass:.1f}",
        "Parts": parts if method.has_parts else "none",
        "Needs": ", ".join(_needs(method)) or MISSING,
    }


def _needs(method: Method) -> Iterator[str]:
    if method.needs_proxy:
        yield "proxy"
    if method.hides:
        yield "hiding"
    yield from (f"`{extra}`" for extra in sorted(extras_of(method.attributor)))


def _choices(job: Job) -> Iterator[dict[str, str]]:
    """The candidates of `auto` where models can and cannot hide, without and with a proxy."""
    alone = {"target": job.scorers["target"]}
    for kind, hides in ((Job, "can hide"), (_NoHiding, "cannot hide")):
        for scorers, proxy in ((alone, "no proxy"), (job.scorers, "a proxy")):
            names = admitted(kind(job.problem, (), scorers))
            yield {
                "Model": f"{hides} sources, {proxy}",
                "Tried in this order": ", ".join(f"`{name}`" for name in names),
            }


def planned(job: Job, attributor: Attributor) -> Attribution:
    """What the method would give for the whole response: made-up scores, and their counted cost."""
    counting = planning_scorers(job.scorers, Watch()) | {"embedder": CountedEmbedder()}
    return attribute_example(job.problem, attributor, counting)


def extras_of(attributor: Attributor) -> set[str]:
    """The extras that the modules behind the attributor import something of."""
    classes = _classes(attributor)
    if Similarity in classes:
        classes.add(SentenceEmbedder)
    modules = [inspect.getsource(sys.modules[each.__module__]) for each in classes]
    return {extra for text in modules for extra in _EXTRA.findall(text)}


def _classes(part: Any) -> set[type]:
    """That of a dataclass, and of the dataclasses that it consists of."""
    parts = [each for each in vars(part).values() if is_dataclass(each)]
    return {type(part)}.union(*map(_classes, parts))


def planned_job() -> Job:
    """The made-up prompt under models of real shapes, whose tokens are its words."""
    paragraphs = [
        " ".join(_sentence(number, index) for index in range(NUM_SENTENCES))
        for number in range(NUM_PARAGRAPHS)
    ]
    response = " ".join(paragraphs[NUM_PARAGRAPHS // 2].split()[:NUM_RESPONSE_WORDS])
    words = dict.fromkeys([word for text in paragraphs for word in text.split()])
    language_models = {role: _model(name, words) for role, name in MODELS.items()}
    scorers = {
        role: ModelScorer(model, strategy="cached") for role, model in language_models.items()
    }
    tree = read_context(paragraphs, "sentence", NupunktSplitter()).tree
    said = response_from_text(language_models["target"], response)
    return Job(Problem.of(tree, "Who said so?", said, PromptTemplate()), (), scorers)


def _sentence(paragraph: int, index: int) -> str:
    words = [f"w{paragraph}x{index}x{number}" for number in range(NUM_WORDS)]
    return " ".join(words).capitalize() + "."


def _model(name: str, words: Mapping[str, None]) -> LanguageModel:
    model = random_model(GEOMETRIES / f"{name}.yaml", torch.device("meta"), torch.float32)
    vocabulary = {word: index for index, word in enumerate(["<unknown>", "<end>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    return LanguageModel(model, fast, name)
