"""One call, from what the caller has to sources with their places."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import attribot
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.errors import EmptyResponseError, InvalidInputError, PromptTooLongError
from attribot.explain.models import as_language_model
from attribot.explain.result import AttributionResult
from attribot.models.bundled import load_bundled
from attribot.models.generation import generate_response
from attribot.models.language_model import LanguageModel
from attribot.prompting import PromptTemplate
from attribot.types import Level
from tests.explain.cases import (
    BRIDGE,
    DOCUMENTS,
    HORSES,
    NUM_SOURCES,
    QUERY,
    RESPONSE,
    SOURCES,
    ask,
    tiny,
)
from tests.models.tiny import tiny_language_model
from tests.oracle import naive_token_log_likelihoods

TOLERANCE = 1e-4
TEXT = f"{BRIDGE}\n\n{HORSES['text']}\n\n"
SECOND = RESPONSE.index("The map")


def oracle_token_scores(
    model: LanguageModel, render: Callable[[str], str], response_ids: tuple[int, ...]
) -> Any:
    """`[num_sources, num_response_tokens]` by one whole pass per prompt.

    render: the templated string of a context.
    """
    cuts = [(0, 0)]
    for index, source in enumerate(SOURCES):
        start = TEXT.index(source)
        # A source takes the white space behind it along, inside its paragraph.
        end = {0: TEXT.index("Bravo"), 3: TEXT.index("Echo")}.get(index, start + len(source))
        end = len(TEXT[:end]) + (1 if index == 2 else 0)
        cuts.append((start, end))
    prompts = [
        tuple(
            model.tokenizer(render(TEXT[:start] + TEXT[end:]), add_special_tokens=False)[
                "input_ids"
            ]
        )
        for start, end in cuts
    ]
    values = naive_token_log_likelihoods(model, prompts, response_ids)
    return values[0] - values[1:]


def turns(*messages: tuple[str, str]) -> str:
    """The tests' chat template, written out."""
    body = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)
    return f"<s>{body}<|im_start|>assistant\n"


def response_ids(model: LanguageModel) -> tuple[int, ...]:
    ids = model.tokenizer(RESPONSE, add_special_tokens=False)["input_ids"]
    return (*ids, model.tokenizer.eos_token_id)


def test_scores_are_exact_and_sources_stand_in_their_place() -> None:
    result = ask(method="loo")
    template = PromptTemplate()
    expected = oracle_token_scores(
        tiny(), lambda text: turns(("user", template.render(text, QUERY))), response_ids(tiny())
    )
    assert result.token_scores is not None
    np.testing.assert_allclose(result.token_scores, expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(result.scores, expected.sum(1), atol=TOLERANCE, rtol=0)
    assert [source.text for source in result.sources] == list(SOURCES)
    for source in result.sources:
        document = result.documents[source.document]
        assert document.text[source.char_start : source.char_end] == source.text
    assert [source.rank for source in result.sources] == [
        1 + int((result.scores > score).sum()) for score in result.scores
    ]
    assert result.sources[3].metadata == {"id": "horses", "page": 7}
    assert (result.query, result.response, result.unit) == (QUERY, RESPONSE, "nats")
    assert result.cost.forward_passes == 1 + NUM_SOURCES


@pytest.mark.parametrize("place", ["system", "user"])
def test_the_prompt_may_be_ones_own_messages(place: str) -> None:
    """The context may stand in any message; what is around it stays."""
    with_context, other = "Read this: {context}", "Now say: {query}"
    messages = [{"role": place, "content": with_context}, {"role": "user", "content": other}]
    result = ask(messages=messages, method="loo")

    def render(text: str) -> str:
        # Prompts are trimmed, as several chat templates do.
        return turns((place, f"Read this: {text}".strip()), ("user", f"Now say: {QUERY}"))

    expected = oracle_token_scores(tiny(), render, response_ids(tiny()))
    np.testing.assert_allclose(result.scores, expected.sum(1), atol=TOLERANCE, rtol=0)


def test_hiding_works_inside_messages() -> None:
    """What follows the context in later messages is computed anew: nothing hidden is seen there."""
    messages = [
        {"role": "system", "content": "Read this: {context}"},
        {"role": "user", "content": "{query}"},
    ]
    result = ask(messages=messages, method="mask", context=SOURCES[0])
    exact = ask(messages=messages, method="loo", context=SOURCES[0])
    np.testing.assert_allclose(result.scores, exact.scores, atol=TOLERANCE, rtol=0)


def test_a_template_is_a_user_turn() -> None:
    result = ask(template="{query}\n{context}!", method="loo")
    expected = oracle_token_scores(
        tiny(), lambda text: turns(("user", f"{QUERY}\n{text}!")), response_ids(tiny())
    )
    np.testing.assert_allclose(result.scores, expected.sum(1), atol=TOLERANCE, rtol=0)


def test_the_same_model_in_any_form_gives_the_same(tmp_path: Path) -> None:
    model = tiny()
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    expected = ask(method="loo").scores
    for forms in (
        {"model": model.model, "tokenizer": model.tokenizer},
        {"model": tmp_path},
        {"model": str(tmp_path)},
    ):
        np.testing.assert_allclose(ask(method="loo", **forms).scores, expected, atol=1e-5, rtol=0)


def test_models_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    model = tiny()
    with pytest.raises(InvalidInputError, match="a loaded LlamaForCausalLM needs its tokenizer"):
        as_language_model(model.model)
    with pytest.raises(
        InvalidInputError, match="a tokenizer goes with a loaded transformers model"
    ):
        as_language_model(model, model.tokenizer)
    with pytest.raises(InvalidInputError, match=r"a hub id, a directory or a \.gguf file; got int"):
        as_language_model(7)  # type: ignore[arg-type]
    with pytest.raises(attribot.ModelNotFoundError, match="there is no such file"):
        as_language_model(tmp_path / "absent.gguf")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="holds pickled weights"):
        as_language_model(tmp_path)
    training = tiny_language_model("llama", num_layers=1)
    training.model.train()
    with pytest.raises(InvalidInputError, match=r"is in training mode: call model\.eval"):
        as_language_model(training.model, training.tokenizer)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_name_is_loaded_as_load_model_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """On an accelerator, in what it is fast in; where there is none, on the CPU in float32."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def from_pretrained(location: str, **settings: Any) -> Any:
        asked.append((location, settings))
        return tiny().model, {"missing_keys": set(), "mismatched_keys": set()}

    tiny().tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(
        "attribot.models.loading.AutoModelForCausalLM.from_pretrained", from_pretrained
    )
    monkeypatch.setattr("torch.accelerator.is_available", lambda: is_there)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda"))
    attribot.load_model(tmp_path)
    as_language_model(tmp_path)
    assert asked[0] == asked[1]
    found = (asked[0][1]["dtype"], asked[0][1]["device_map"])
    assert found == ((torch.float16, "auto") if is_there else (torch.float32, None))


def test_a_base_model_reads_no_messages() -> None:
    base = tiny_language_model("gpt2", seed=1)
    messages = [{"role": "system", "content": "{context}"}, {"role": "user", "content": "{query}"}]
    with pytest.raises(InvalidInputError, match="has no chat template, so it reads plain text"):
        ask(model=base, messages=messages)
    assert ask(model=base, template="{context} {query}").sources


@pytest.mark.parametrize(
    ("model_of", "message"),
    [
        (transformers.LlamaModel, "LlamaModel has no head that predicts the next token"),
        (transformers.BertModel, "BertModel has no head that predicts the next token"),
        (transformers.BertLMHeadModel, "BertLMHeadModel sees the tokens that come next"),
        (
            transformers.T5ForConditionalGeneration,
            "T5ForConditionalGeneration reads its prompt with an encoder: expected a causal",
        ),
    ],
)
def test_models_that_write_from_left_to_right_are_asked_for(model_of: Any, message: str) -> None:
    config = model_of.config_class(
        vocab_size=331, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(InvalidInputError, match=message):
        ask(model=model_of(config).eval(), tokenizer=tiny().tokenizer)


def test_a_model_and_its_tokenizer_come_in_this_order() -> None:
    model, tokenizer = tiny().model, tiny().tokenizer
    with pytest.raises(InvalidInputError, match=r"the model comes first, .*; got Tok"):
        ask(model=tokenizer, tokenizer=model)
    with pytest.raises(InvalidInputError, match=r"needs its loaded tokenizer, such as .*; got str"):
        ask(model=model, tokenizer="tiny")


def test_a_tokenizer_of_another_model_is_told_by_a_token_without_embedding() -> None:
    smaller = tiny_language_model("llama", vocab_size=277).model
    message = r"is token \d+ of the tokenizer, but .* knows 277 tokens: pass the tokenizer that be"
    for response in (RESPONSE, None):
        with pytest.raises(InvalidInputError, match=message):
            ask(model=smaller, tokenizer=tiny().tokenizer, response=response)


def test_a_prompt_of_which_nothing_is_left_is_refused() -> None:
    """Without a token of its own before a text, a base model cannot read an empty one."""
    base = tiny_language_model("gpt2", seed=1)
    with pytest.raises(InvalidInputError, match=r"a prompt has no tokens: .*write words around"):
        ask(model=base, template="{context}", query="", context="Alpha built it.", method="loo")


def test_items_of_lists_are_sources_and_parts() -> None:
    context = "Notes:\n- Alpha built it\n- Bravo paid\n\n```sh\nls. \n\ncd\n```"
    result = ask(
        context=context,
        response="They did:\n\n1. Alpha built it.\n2. Bravo paid.",
        spans="sentences",
    )
    assert [source.text for source in result.sources] == [
        "Notes:",
        "- Alpha built it",
        "- Bravo paid",
        "```sh\nls. \n\ncd\n```",
    ]
    for source in result.sources:
        assert context[source.char_start : source.char_end] == source.text
    assert [source.paragraph for source in result.sources] == [0, 0, 0, 1]
    assert [span.text for span in result.spans] == [
        "They did:\n\n",
        "1. Alpha built it.\n",
        "2. Bravo paid.",
    ]
    assert result.cite(1, -np.inf).count("[") == 3


def test_a_result_says_how_the_response_came_about(tmp_path: Path) -> None:
    given = ask()
    assert (given.is_response_written, given.is_response_cut) == (False, False)
    cache = tmp_path / "scores.sqlite"
    for _ in range(2):
        for score_end_token in (True, False):
            cut = ask(response=None, max_new_tokens=3, score_end_token=score_end_token, cache=cache)
            assert (cut.is_response_written, cut.is_response_cut) == (True, True)
    ended = tiny_language_model("llama", seed=1)
    # Whatever it says second ends its turn.
    second = generate_response(ended, "Why?", max_new_tokens=2).token_ids[1]
    ended.model.generation_config.eos_token_id = second
    result = ask(model=ended, template="{context}?", query="", context="Why", response=None)
    assert (result.is_response_written, result.is_response_cut) == (True, False)


def test_arguments_in_the_types_of_other_libraries() -> None:
    plain = ask(spans=[(0, SECOND)])
    for spans in (np.array([[0, SECOND]]), [(np.int64(0), np.int64(SECOND))], iter([(0, SECOND)])):
        found = ask(spans=spans).spans
        assert [(span.char_start, span.char_end) for span in found] == [(0, SECOND)]
        np.testing.assert_allclose(found[0].scores, plain.spans[0].scores, atol=1e-5, rtol=0)


def test_no_progress_is_shown_where_it_is_switched_off(capfd: pytest.CaptureFixture[str]) -> None:
    ask(progress=False)
    assert capfd.readouterr().err == ""


def test_without_a_response_the_model_answers() -> None:
    result = ask(response=None, max_new_tokens=7, method="loo")
    prompt = PromptTemplate().render(TEXT, QUERY)
    written = generate_response(tiny(), prompt, max_new_tokens=7)
    assert result.response == written.text
    assert len(result.token_offsets) == len(written.token_ids)
    assert result.cost.computed_tokens < ask(response=written.text).cost.computed_tokens


def test_the_end_of_the_response_may_be_left_out() -> None:
    whole, text = ask(method="loo"), ask(method="loo", score_end_token=False)
    assert whole.token_scores is not None
    np.testing.assert_allclose(
        text.scores, whole.token_scores[:, :-1].sum(1), atol=TOLERANCE, rtol=0
    )


def test_sentences_share_all_passes_and_sum_to_the_whole() -> None:
    whole, parts = (
        ask(method="loo", score_end_token=False),
        ask(method="loo", spans="sentences", score_end_token=False),
    )
    assert [span.text for span in parts.spans] == [RESPONSE[:SECOND], RESPONSE[SECOND:]]
    sums = np.sum([span.scores for span in parts.spans], axis=0)
    np.testing.assert_allclose(sums, whole.scores, atol=TOLERANCE, rtol=0)
    for name in ("forward_passes", "computed_tokens", "flops"):
        assert getattr(parts.cost, name) == getattr(whole.cost, name)
    np.testing.assert_allclose(
        parts.span(0, SECOND).scores, whole.span(0, SECOND).scores, atol=TOLERANCE, rtol=0
    )


def test_a_quote_is_a_part() -> None:
    start = RESPONSE.index("map is")
    (span,) = ask(method="loo", spans=["map is"]).spans
    np.testing.assert_allclose(
        span.scores, ask(method="loo").span(start, start + 6).scores, atol=TOLERANCE, rtol=0
    )


def test_methods_that_prune_keep_what_each_part_needs() -> None:
    """A part is attributed as if it were asked alone, though its passes are shared."""
    proxy = tiny_language_model("qwen2", vocab_size=313, seed=2)
    settings: dict[str, Any] = {"method": "pruning", "proxy": proxy, "context": DOCUMENTS * 2}
    both = ask(spans="sentences", **settings)
    for span in both.spans:
        alone = ask(spans=[(span.char_start, span.char_end)], **settings)
        np.testing.assert_allclose(span.scores, alone.spans[0].scores, atol=TOLERANCE, rtol=0)
        assert np.isnan(span.scores).sum() == NUM_SOURCES
    whole = ask(**settings)
    np.testing.assert_allclose(both.scores, whole.scores, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("level", "firsts"), [("paragraph", [0, 2, 3]), ("document", [0, 3])])
def test_a_level_scores_larger_units(level: Level, firsts: list[int]) -> None:
    """They are removed as leave-one-out removes them, with what stands between them."""
    result, units = ask(level=level, method="loo"), ask(method=LeaveOneOut(level=level))
    np.testing.assert_allclose(result.scores, units.scores[firsts], atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_the_noise_floor_is_measured_on_request() -> None:
    assert ask().noise_floor is None
    floor = ask(measure_noise=True).noise_floor
    assert floor is not None
    assert 0 < floor < 1e-3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"response": ""}, EmptyResponseError, "the response is empty"),
        ({"response": ["Alpha."]}, InvalidInputError, "must be a text, or None .*; got list"),
        (
            {"response": "So \ud83d"},
            InvalidInputError,
            "the response is not valid Unicode: at char 3",
        ),
        ({"context": ""}, InvalidInputError, "the context is blank"),
        ({"spans": ["Bravo"]}, InvalidInputError, "its closest sentence is"),
        ({"spans": 7}, InvalidInputError, r"a list of quotes and \(start, end\) pairs; got 7"),
        (
            {"spans": [(0, 0.5)], "response": None, "model": "./absent"},
            InvalidInputError,
            r"a span must be a quote or a pair \(start, end\); got \(0, 0\.5\)",
        ),
        ({"max_cost": 0}, InvalidInputError, "max_cost must be positive; got 0"),
        ({"progress": 7}, InvalidInputError, "progress must be True, False or a function .*got 7"),
        ({"cancel": 1}, InvalidInputError, "cancel must have a method is_set, .*; got 1"),
        ({"scorer": "fast"}, InvalidInputError, "unknown strategy 'fast'"),
        ({"max_memory_gb": 1e-9}, InvalidInputError, "max_memory_gb"),
        ({"context": "A b. " * 900}, PromptTooLongError, "tiny-llama-1 accepts at most 1024"),
    ],
)
def test_what_cannot_be_used_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ask(**changes)


def test_memory_is_bounded_by_a_setting() -> None:
    """Passes get narrower, numbers stay."""
    bounded = ask(method="loo", max_memory_gb=0.0012)
    np.testing.assert_allclose(bounded.scores, ask(method="loo").scores, atol=TOLERANCE, rtol=0)


def test_importing_costs_nothing() -> None:
    """Under 150 ms, and nothing heavy is loaded before it is asked for."""
    code = (
        "import sys, time; start = time.perf_counter(); import attribot; "
        "seconds = time.perf_counter() - start; "
        "assert not {'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules); "
        "assert 'attribute' in dir(attribot); print(seconds)"
    )
    run = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.15


def test_the_package_names_what_it_offers() -> None:
    for name in attribot.__all__:
        assert getattr(attribot, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'attribot' has no attribute 'explian'"):
        attribot.explian  # noqa: B018
    assert attribot.AttributionResult is AttributionResult
    assert (Path(attribot.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_an_obvious_source_comes_first_with_a_real_model() -> None:
    facts = [
        {"text": "The museum opens at nine. Tickets are sold at the north gate.", "id": "visit"},
        {
            "text": "The painter Ilse Brandt was born in Graz. She moved to Oslo in 1931.",
            "id": "life",
        },
        {"text": "Her blue period lasted four years. Few of its works were sold.", "id": "work"},
    ]
    result = attribot.attribute(
        load_bundled(),
        context=facts,
        query="Where was Ilse Brandt born, and when does the museum open?",
        response="Ilse Brandt was born in Graz. The museum opens at nine.",
        spans="sentences",
    )
    assert [span.text.strip() for span in result.spans] == [
        "Ilse Brandt was born in Graz.",
        "The museum opens at nine.",
    ]
    tops = [result.span(s.char_start, s.char_end).top(1)[0] for s in result.spans]
    assert [(top.document_id, top.text) for top in tops] == [
        ("life", "The painter Ilse Brandt was born in Graz."),
        ("visit", "The museum opens at nine."),
    ]
    assert {source.text for source in result.top(2)} == {top.text for top in tops}


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(importlib.import_module("attribot.explain.attribute")) == (0, 5)
