"""From text to ids: special tokens, offsets, and what identifies a model."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.errors import InvalidInputError, PromptTooLongError
from attribot.models.language_model import Conversation, LanguageModel
from attribot.types import Response
from tests.models.tiny import Architecture, tiny_language_model

ARCHITECTURES = get_args(Architecture)
PROMPT = "Context:\nThe castle stands on a hill.\n\nQuestion: Who built the castle?"
TRIMMING = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] | trim }}{{ '<|im_end|>\n' }}{% endfor %}"
)
MODEL = tiny_language_model("llama")


def model_with(template: str) -> LanguageModel:
    model = tiny_language_model("llama")
    model.tokenizer.chat_template = template
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("double_bos", [False, True])
def test_bos_stands_once_and_twice_only_where_asked(
    architecture: Architecture, double_bos: bool
) -> None:
    """Template and tokenizer both bring one, except for Qwen and GPT-2, which have none."""
    model = tiny_language_model(architecture, double_bos=double_bos)
    ids = model.encode_prompt(PROMPT).token_ids
    bos = model.tokenizer.bos_token_id
    expected = 0 if architecture in ("qwen2", "qwen3", "gpt2") else 1 + double_bos
    assert ids.count(bos) == expected
    assert ids[:expected] == (bos,) * expected


@pytest.mark.parametrize("double_bos", [False, True])
def test_without_a_template_the_tokenizer_brings_the_bos(double_bos: bool) -> None:
    model = tiny_language_model("llama", double_bos=double_bos)
    model.tokenizer.chat_template = None
    plain = tuple(model.tokenizer(PROMPT, add_special_tokens=False)["input_ids"])
    assert model.encode_prompt(PROMPT).token_ids == (model.tokenizer.bos_token_id, *plain)


def test_the_ids_are_those_of_the_templated_text() -> None:
    model = tiny_language_model("llama")
    text = f"<s><|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    assert model.render(PROMPT) == text
    expected = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert model.encode_prompt(PROMPT).token_ids == tuple(expected)


@pytest.mark.parametrize("template", ["own", TRIMMING], ids=["verbatim", "trimming"])
@pytest.mark.parametrize("prompt", [PROMPT, f" \n{PROMPT} \n\n", "user", "s", "assistant\n"])
def test_spans_cut_every_token_out_of_the_prompt(template: str, prompt: str) -> None:
    """Inside the user's text token by token; words of the template itself are not taken for it."""
    model = tiny_language_model("llama") if template == "own" else model_with(template)
    encoded = model.encode_prompt(prompt)
    is_inside = encoded.char_spans[:, 0] >= 0
    np.testing.assert_array_equal(encoded.char_spans[~is_inside], -1)
    pieces = [prompt[start:end] for start, end in encoded.char_spans[is_inside]]
    inside = [i for i, kept in zip(encoded.token_ids, is_inside, strict=True) if kept]
    assert pieces == [model.tokenizer.decode([i]) for i in inside]
    assert "".join(pieces) == prompt.strip()
    # The user's text is one piece, and the template goes on after it.
    assert np.diff(np.flatnonzero(is_inside)).max(initial=1) == 1
    before = list(encoded.token_ids[: int(np.argmax(is_inside))])
    assert model.tokenizer.decode(before) == "<s><|im_start|>user\n"


@settings(deadline=None, max_examples=60)
@given(text=st.text(min_size=1, max_size=40))
def test_spans_cover_any_text(text: str) -> None:
    """A char of several tokens belongs to each of them; no visible char is left out."""
    encoded = MODEL.encode_prompt(text)
    covered = np.zeros(len(text), dtype=bool)
    for start, end in encoded.char_spans[encoded.char_spans[:, 0] >= 0]:
        assert 0 <= start < end <= len(text)
        covered[start:end] = True
    leading = len(text) - len(text.lstrip())
    expected = np.zeros(len(text), dtype=bool)
    expected[leading : leading + len(text.strip())] = True
    np.testing.assert_array_equal(covered, expected)


@pytest.mark.parametrize(
    "content",
    ["message['content'] | upper", "message['content'][:9]", "'no user here'"],
)
def test_a_template_that_rewrites_the_text_is_refused(content: str) -> None:
    model = model_with("{% for message in messages %}{{ " + content + " }}{% endfor %}")
    with pytest.raises(InvalidInputError, match="template of tiny-llama-0 rewrites the user's tex"):
        model.encode_prompt(PROMPT)


def test_a_template_that_prints_the_date_prints_the_same_every_day() -> None:
    model = model_with("Today: {{ date_string }}\n{{ messages[0]['content'] }}")
    assert model.render(PROMPT) == f"Today: 26 Jul 2024\n{PROMPT}"


@pytest.mark.parametrize("flat_index", [0, 1, 101, -1])
@pytest.mark.parametrize("name", ["embed_tokens", "layers.1.mlp.down_proj", "lm_head"])
def test_one_changed_weight_is_another_model(name: str, flat_index: int) -> None:
    twin, changed = tiny_language_model("llama"), tiny_language_model("llama")
    (weight,) = (w for n, w in changed.model.named_parameters() if f"{name}." in n)
    with torch.no_grad():
        flat = weight.view(-1)
        flat[flat_index] = torch.nextafter(flat[flat_index], torch.tensor(torch.inf))
    assert twin.weights_sha == MODEL.weights_sha
    assert changed.weights_sha != MODEL.weights_sha
    assert changed.fingerprint != MODEL.fingerprint


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_weights_of_every_dtype_have_a_hash(dtype: torch.dtype) -> None:
    model = tiny_language_model("llama")
    torch.nn.Module.to(model.model, dtype)
    assert model.weights_sha != MODEL.weights_sha


def test_tokenizers_are_told_apart_by_what_they_do() -> None:
    """Padding and truncation are call settings; vocabulary and special tokens are not."""
    model, padded = tiny_language_model("llama"), tiny_language_model("llama")
    padded.tokenizer.backend_tokenizer.enable_padding(length=7)
    padded.tokenizer.backend_tokenizer.enable_truncation(3)
    assert padded.tokenizer_sha == model.tokenizer_sha
    others = [tiny_language_model("llama", vocab_size=313), tiny_language_model("qwen2")]
    assert len({each.tokenizer_sha for each in (model, *others)}) == 3


def test_the_context_window_is_kept_to_the_token() -> None:
    model = tiny_language_model("llama", max_positions=101)
    model.check_length(94, 7)
    with pytest.raises(PromptTooLongError, match=r"take 102 tokens.*at most 101") as caught:
        model.check_length(95, 7)
    assert (caught.value.num_tokens, caught.value.max_tokens) == (102, 101)


def test_models_that_cannot_be_scored_are_refused() -> None:
    model = tiny_language_model("llama")
    with pytest.raises(InvalidInputError, match=r"training mode: call model\.eval\(\) first"):
        LanguageModel(model.model.train(), model.tokenizer, "mine")
    with pytest.raises(InvalidInputError, match="mine has no fast tokenizer"):
        LanguageModel(model.model.eval(), object(), "mine")  # type: ignore[arg-type]


AMONG = Conversation((("system", "Be brief."),), "user", (("user", "Who built it?"),))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_an_empty_prompt_needs_a_token_before_it(architecture: Architecture) -> None:
    model = tiny_language_model(architecture)
    if architecture == "llama":
        model.tokenizer.chat_template = None
        assert model.encode_prompt(" ").token_ids == (model.tokenizer.bos_token_id,)
        return
    with pytest.raises(InvalidInputError, match=r"no tokens: it is empty, and tiny-gpt2-0 puts"):
        model.encode_prompt(" ")


def test_tokens_that_the_model_does_not_know_are_named() -> None:
    """Those alone: a tokenizer may hold more than what is used."""
    model = tiny_language_model("llama")
    model.tokenizer.add_tokens(["<image>"])
    assert max(model.encode_prompt("The castle").token_ids) < model.num_embeddings == 331
    message = "'<image>' is token 331 of the tokenizer, but tiny-llama-0 knows 331 tokens: pass"
    with pytest.raises(InvalidInputError, match=message):
        model.encode_prompt("The <image>")
    with pytest.raises(InvalidInputError, match=message):
        model.encode_response(Response("<image>", (331,), model.tokenizer_sha, False))


def test_a_prompt_may_stand_among_messages() -> None:
    """Its tokens keep their offsets in its own text; all other tokens lie outside of it."""
    model = replace(MODEL, conversation=AMONG)
    encoded = model.encode_prompt(f" {PROMPT}\n")
    expected = MODEL.tokenizer(
        "<s><|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n"
        "<|im_start|>user\nWho built it?<|im_end|>\n<|im_start|>assistant\n",
        add_special_tokens=False,
    )["input_ids"]
    assert encoded.token_ids == tuple(expected)
    alone = MODEL.encode_prompt(f" {PROMPT}\n")
    inside = [spans[spans[:, 0] >= 0].tolist() for spans in (encoded.char_spans, alone.char_spans)]
    assert inside[0] == inside[1]


def test_a_conversation_is_part_of_what_scores_depend_on() -> None:
    fingerprint = replace(MODEL, conversation=AMONG).fingerprint
    assert fingerprint.pop("conversation") != ""
    assert fingerprint == MODEL.fingerprint


def test_models_say_what_conversations_they_refuse() -> None:
    with pytest.raises(InvalidInputError, match="tiny-gpt2-0 has no chat template, so it reads pl"):
        replace(tiny_language_model("gpt2"), conversation=AMONG)
    strict = "{{ raise_exception('no system role') }}"
    with pytest.raises(InvalidInputError, match=r"\['system', 'user', 'user'\]: no system role"):
        replace(model_with(strict), conversation=AMONG).encode_prompt(PROMPT)
