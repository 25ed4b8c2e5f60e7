"""One call from an answer to the sources that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from attribot.attributors.base import Attributor, Problem
from attribot.content_cache import ContentCache
from attribot.context.partition import NupunktSplitter, SentenceSplitter
from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.explain.given import (
    Context,
    GivenContext,
    check_chars,
    read_context,
    read_prompt,
)
from attribot.explain.methods import METHODS, NATS, Choice, Job, choose, named_method
from attribot.explain.models import Model, as_language_model, lock_of
from attribot.explain.parts import Spans, checked_spans, read_spans
from attribot.explain.result import AttributionResult, SourceScore, SpanScores, ranks_of
from attribot.explain.scorers import attribute_parts, response_offsets, working_scorers
from attribot.explain.terminal import TerminalBar
from attribot.explain.watching import PROMPTS_PER_STEP, Cancel, Progress, Watch
from attribot.models.generation import (
    GenerationSettings,
    cached_response_with_prefix,
    generate_with_prefix,
    response_from_text,
    without_end_token,
)
from attribot.models.kv_cache import ComputedPrefix
from attribot.models.language_model import ONE_USER_TURN, LanguageModel
from attribot.models.memory import reset_peak_memory
from attribot.scoring.noise import noise_floor
from attribot.scoring.planning import Strategy
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution, Cost, Level, Response


def attribute(
    model: Model,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    context: Context,
    query: str = "",
    response: str | None = None,
    proxy: Model | None = None,
    proxy_tokenizer: PreTrainedTokenizerBase | None = None,
    method: str | Attributor = "auto",
    messages: Sequence[Mapping[str, str]] | None = None,
    template: str | None = None,
    spans: Spans | None = None,
    level: Level = "sentence",
    splitter: SentenceSplitter | None = None,
    scorer: Strategy = "packed",
    max_cost: float = 16.0,
    max_memory_gb: float | None = None,
    max_new_tokens: int = 256,
    score_end_token: bool = True,
    measure_noise: bool = False,
    progress: Progress | bool | None = None,
    cache: str | Path | None = None,
    cancel: Cancel | None = None,
) -> AttributionResult:
    """Which parts of the context made the model give this response.

    The score of a source is by how much the response becomes less likely without it [nats], exactly
    or as near as the method comes. It says what moved the model, not whether the source is right.

        >>> import attribot
        >>> from attribot.models.bundled import load_bundled
        >>> result = attribot.attribute(
        ...     load_bundled(),
        ...     context=[
        ...         "Lake Ornvik lies in a narrow valley. A road follows its shore.",
        ...         "It freezes every winter. Near the bottom it stays at four degrees.",
        ...     ],
        ...     query="How warm is the bottom of Lake Ornvik in winter?",
        ...     response="The bottom of the lake stays at four degrees.",
        ... )
        >>> result.top(1)[0].text
        'Near the bottom it stays at four degrees.'
        >>> result.cite(num_citations=1)
        'The bottom of the lake stays at four degrees. [4]'

    model, tokenizer: a loaded transformers model with its tokenizer; or alone what
        `attribot.load_model` returns, or a hub id, a directory or a `.gguf` file, which this calls
        `load_model` on, at each call: to attribute more than once, load it once.
    context: a text, or a list of documents: texts, mappings with `text` (and `id` or `title`, and
        whatever else the result shall pass on), or `Document`s.
    query: what was asked; it stands where the prompt says `{query}`.
    response: what the model said, or another one; None lets the model answer, greedily. The result
        says which, and whether the answer was cut at `max_new_tokens`.
    proxy, proxy_tokenizer: a smaller model of the same kind of data, for methods that ask one.
    method: "auto" takes the most faithful one within `max_cost`, see `methods.choose`; a name of
        `methods.METHODS`; or an attributor.
    messages, template: the prompt, where it is not that of `PromptTemplate`: chat messages with
        `{context}` in one of them, or the text of one user turn.
    spans: parts of the response to attribute as well: "sentences", or a list of quotes and
        `(start, end)` chars. They share the passes of the whole response; methods that prune add
        those of the sources that only a part keeps. Methods that read attention or gradients have
        none.
    level: what a source is: a "sentence", "paragraph" or "document".
    splitter: cuts context and response into sentences, where items of lists, headings, rows of
        tables and code do not (see `BlockSplitter`); None takes `NupunktSplitter`, English.
    scorer: how prompts are scored; see `LikelihoodEngine`.
    max_cost: of "auto", in passes over the full prompt [FLOPs].
    max_memory_gb: bound on weights, states and activations of each model [1e9 bytes]. The ids of
        prompts that are scored together come on top, 75 bytes per token: 0.75 GB for 1,000 prompts
        of 10,000 tokens; with `progress`, `cache` or `cancel`, of 16 prompts at a time.
    max_new_tokens: of a response that the model writes.
    score_end_token: the end of the response is part of it, as in the paper; False scores the text
        alone, which is right for a response that was cut.
    measure_noise: also measure the noise floor: 36 short prompts, and a float32 copy of the model.
    progress: called with (prompts scored, prompts expected, what is going on), with tokens while
        the model writes its response; or True for a bar on the terminal.
    cache: file that keeps what is scored: the same call goes on where another one was stopped.
    cancel: such as a `threading.Event`; once set, the call ends with `AttributionCancelledError`:
        after the token that the model writes, or after the step of planning or scoring, which is of
        16 prompts, or of all that a method reads of the model at once.

    Threads may attribute with one model at the same time: they take turns.

    Raises:
        InvalidInputError: an argument cannot be used; the message says what was expected.
        PromptTooLongError: prompt and response exceed the context window.
        EmptyResponseError: there is nothing to attribute.
        AttributionCancelledError: `cancel` was set.
    """
    splitter = splitter or NupunktSplitter()
    given = read_context(context, level, splitter)
    prompt, conversation = read_prompt(messages, template, query)
    spans = checked_spans(spans)
    _check(response, spans, splitter, max_cost, cancel)
    named = None if method == "auto" else named_method(method, proxy is not None, bool(spans))
    report = _report(progress)
    is_watched = any(each is not None for each in (report, cache, cancel))
    watch = Watch(report, cancel, PROMPTS_PER_STEP if is_watched else None)
    watch.check()
    models = {"target": as_language_model(model, tokenizer, conversation)}
    if proxy is not None:
        models["proxy"] = as_language_model(proxy, proxy_tokenizer, conversation)
    scorers = {
        role: ModelScorer(each, scorer, max_memory_gb=max_memory_gb)
        for role, each in models.items()
    }
    with ExitStack() as stack:
        store = None if cache is None else stack.enter_context(ContentCache(cache))
        text = prompt.render(given.tree.text, query)
        settings = GenerationSettings(max_new_tokens)
        if response is None:
            watch.begin("the model answers", max_new_tokens)
            said, prefix = _written(models["target"], text, settings, store, watch)
            is_cut = not said.has_end_token
            said = said if score_end_token else without_end_token(said)
        else:
            said, prefix = response_from_text(models["target"], response, score_end_token), None
            is_cut = False
        problem = Problem.of(given.tree, query, said, prompt)
        job = Job(problem, read_spans(spans, said.text, splitter), scorers, watch)
        watch.begin("planning")
        choice = named or choose(job, max_cost)
        attributions = _run(job, choice, working_scorers(scorers, watch, store, prefix))
    result = replace(
        _result(given, job, choice, attributions),
        is_response_written=response is None,
        is_response_cut=is_cut,
    )
    if measure_noise:
        watch.begin("measuring rounding noise")
        result = replace(result, noise_floor=_noise(models["target"], watch))
    watch.finish()
    return result


def _report(progress: Progress | bool | None) -> Progress | None:
    """Whom to tell how far the work is."""
    if progress is None or isinstance(progress, bool):
        return TerminalBar() if progress else None
    if not callable(progress):
        raise InvalidInputError(
            f"progress must be True, False or a function of (prompts scored, prompts expected, "
            f"what is going on); got {progress!r}"
        )
    return progress


def _check(
    response: str | None,
    spans: Spans | None,
    splitter: SentenceSplitter,
    max_cost: float,
    cancel: Any,
) -> None:
    """Refuses what cannot be used before any model is loaded."""
    if response is not None:
        if not isinstance(response, str):
            raise InvalidInputError(
                f"the response must be a text, or None to let the model answer; got "
                f"{type(response).__name__}"
            )
        if not response.strip():
            raise EmptyResponseError("the response is empty: there is no text to attribute")
        check_chars(response, "the response")
        read_spans(spans, response, splitter)
    if not max_cost > 0:
        raise InvalidInputError(f"max_cost must be positive; got {max_cost}")
    if cancel is not None and not callable(getattr(cancel, "is_set", None)):
        raise InvalidInputError(
            f"cancel must have a method is_set, as a threading.Event has; got {cancel!r}"
        )


def _written(
    model: LanguageModel,
    prompt: str,
    settings: GenerationSettings,
    store: ContentCache | None,
    watch: Watch,
) -> tuple[Response, ComputedPrefix | None]:
    """The model's response and the states that writing has left; a stored one is not written
    again."""
    with watch.turn(lock_of(model)):
        if store is None:
            return generate_with_prefix(model, prompt, settings, watch.wrote)
        return cached_response_with_prefix(store, model, prompt, settings, watch.wrote)


def _run(job: Job, choice: Choice, scorers: Mapping[str, Any]) -> list[Attribution]:
    """The attribution of the whole response, then those of its parts."""
    attributor, plan, watch = choice.method.attributor, choice.plan, job.watch
    # Whether an attributor of the caller's can attribute parts shows in its plan, before any pass.
    is_unknown = bool(job.extents) and choice.name not in METHODS
    if plan is None and (is_unknown or watch.report is not None):
        plan = job.plan(attributor)
    watch.begin(choice.method.what, 0 if plan is None else plan.num_prompts)
    reset_peak_memory(job.scorers["target"].language_model.device, hands_back=False)
    return attribute_parts(job.problem, job.extents, attributor, scorers)


def _result(
    given: GivenContext, job: Job, choice: Choice, attributions: Sequence[Attribution]
) -> AttributionResult:
    """The attributions, put back into the words and places of what was given."""
    whole, *parts = attributions
    response, scorer = job.problem.response, job.scorers["target"]
    model = scorer.language_model
    ranks = ranks_of(whole.priority)
    return AttributionResult(
        query=job.problem.query,
        response=response.text,
        documents=given.documents,
        sources=tuple(
            SourceScore(
                index=index,
                text=given.tree.source_text(index),
                document=place.document,
                document_id=given.documents[place.document].document_id,
                metadata=given.documents[place.document].metadata,
                paragraph=place.paragraph,
                char_start=place.char_start,
                char_end=place.char_end,
                score=float(whole.scores[index]),
                rank=ranks[index],
                is_pruned=bool(whole.is_pruned[index]),
            )
            for index, place in enumerate(given.places())
        ),
        spans=tuple(
            SpanScores(
                start,
                end,
                response.text[start:end],
                tuple(part.scores.tolist()),
                ranks_of(part.priority),
            )
            for (start, end), part in zip(job.extents, parts, strict=True)
        ),
        token_offsets=response_offsets(model, response),
        token_scores=whole.token_scores,
        method=choice.name,
        reason=choice.reason,
        unit=choice.method.unit or ("score" if whole.base_log_likelihood is None else NATS),
        cost=sum((each.cost for each in attributions), Cost()),
        model=model.name,
        provenance={
            "revision": model.revision,
            "dtype": model.dtype,
            "attn_implementation": model.model.config._attn_implementation,
            "chat_template_sha": model.chat_template_sha,
            "scorer": scorer.strategy,
            "models": {role: each.language_model.name for role, each in job.scorers.items()},
        },
        base_log_likelihood=whole.base_log_likelihood,
    )


def _noise(model: LanguageModel, watch: Watch) -> float:
    """Root mean square of what rounding does to scores [nats]."""
    with watch.turn(lock_of(model)):
        return noise_floor(replace(model, conversation=ONE_USER_TURN)).rms
