from pathlib import Path
from typing import Any

import pytest
import torch

from attribot.content_cache import ContentCache
from attribot.errors import InvalidInputError, PromptTooLongError
from attribot.models import generation
from attribot.models.generation import (
    GenerationSettings,
    cached_response,
    cached_response_with_prefix,
    end_of_turn_id,
    end_token_ids,
    generate_response,
    generate_with_prefix,
    response_from_text,
    stored_response,
    without_end_token,
)
from attribot.models.language_model import LanguageModel
from attribot.types import Response
from tests.models.tiny import END, PAD, TURN, Architecture, tiny_language_model

PROMPT = "Who built the castle on the hill above the river?"


def text_of(model: LanguageModel, token_ids: tuple[int, ...]) -> str:
    return str(model.tokenizer.decode(list(token_ids), skip_special_tokens=True))


def token_id(model: LanguageModel, token: str) -> int:
    (found,) = model.tokenizer(token, add_special_tokens=False)["input_ids"]
    return int(found)


def naive_greedy(model: LanguageModel, num_tokens: int) -> tuple[int, ...]:
    """One whole forward pass per token, the argmax each time; ends are not looked for."""
    ids = list(model.encode_prompt(PROMPT).token_ids)
    start = len(ids)
    with torch.inference_mode():
        for _ in range(num_tokens):
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[start:])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma3", "gpt2"])
def test_greedy_decoding(architecture: Architecture) -> None:
    model = tiny_language_model(architecture)
    expected = naive_greedy(model, 13)
    response = generate_response(model, PROMPT, max_new_tokens=13)
    assert response == Response(
        text_of(model, expected),
        expected,
        model.tokenizer_sha,
        has_end_token=False,
    )


@pytest.mark.parametrize("reason", [None, "its states cannot be reused"])
def test_tokens_are_counted_as_they_are_written(
    reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "why_not_reusable", lambda _: reason)
    model = tiny_language_model()
    written = naive_greedy(model, 13)
    length = written.index(written[7]) + 1
    model.model.generation_config.eos_token_id = written[7]
    counts: list[int] = []
    settings = GenerationSettings(max_new_tokens=13)
    response, prefix = generate_with_prefix(model, PROMPT, settings, counts.append)
    assert (response.token_ids, prefix is None) == (written[:length], reason is not None)
    assert counts == list(range(1, length + 1))


def test_what_the_counter_raises_ends_the_writing_and_nothing_is_stored() -> None:
    model, settings = tiny_language_model(), GenerationSettings(max_new_tokens=13)
    cache, passes = ContentCache(), []
    model.model.register_forward_hook(lambda *_: passes.append(1))

    def stop(num_tokens: int) -> None:
        if num_tokens == 5:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        cached_response_with_prefix(cache, model, PROMPT, settings, stop)
    assert len(passes) == 5
    assert stored_response(cache, model, PROMPT, settings) is None
    response, _ = cached_response_with_prefix(cache, model, PROMPT, settings)
    assert response.token_ids == naive_greedy(model, 13)
    assert stored_response(cache, model, PROMPT, settings) == response


def test_the_end_token_is_kept_but_not_in_the_text() -> None:
    model = tiny_language_model()
    written = naive_greedy(model, 13)
    end = written[7]
    length = written.index(end) + 1
    model.model.generation_config.eos_token_id = [end, 3]
    response = generate_response(model, PROMPT, max_new_tokens=13)
    assert response.token_ids == written[:length]
    assert response.has_end_token
    assert response.text == text_of(model, written[: length - 1])


def test_a_turn_that_says_nothing_is_refused() -> None:
    model = tiny_language_model()
    model.model.generation_config.eos_token_id = naive_greedy(model, 1)[0]
    with pytest.raises(InvalidInputError, match="response of tiny-llama-0 is empty"):
        generate_response(model, PROMPT, max_new_tokens=5)


def test_the_models_own_sampling_settings_are_off() -> None:
    model = tiny_language_model()
    expected = naive_greedy(model, 13)
    own = model.model.generation_config
    own.repetition_penalty, own.do_sample, own.temperature, own.top_k = 5.0, True, 9.0, 50
    own.no_repeat_ngram_size = 1
    assert generate_response(model, PROMPT, max_new_tokens=13).token_ids == expected


def test_sampling_depends_on_its_seed_alone() -> None:
    model = tiny_language_model()
    state = torch.random.get_rng_state()
    draws = [
        generate_response(model, PROMPT, max_new_tokens=13, temperature=1.0, seed=seed).token_ids
        for seed in (1, 2, 1)
    ]
    assert draws[0] == draws[2] != draws[1]
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_sampling_draws_from_the_whole_distribution(temperature: float) -> None:
    """Against one draw per whole forward pass; the filters that the model asks for are off."""
    model = tiny_language_model()
    own = model.model.generation_config
    own.top_k, own.top_p, own.repetition_penalty = 2, 0.3, 5.0
    settings: dict[str, Any] = {"max_new_tokens": 13, "temperature": temperature, "seed": 7}
    response = generate_response(model, PROMPT, **settings)
    prompt = list(model.encode_prompt(PROMPT).token_ids)
    ids = list(prompt)
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for _ in response.token_ids:
            logits = model.model(torch.tensor([ids])).logits[0, -1]
            ids.append(int(torch.multinomial((logits / temperature).softmax(-1), 1)))
    assert list(response.token_ids) == ids[len(prompt) :]


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    model = tiny_language_model(max_positions=101)
    num_tokens = len(model.encode_prompt(PROMPT).token_ids)
    generate_response(model, PROMPT, max_new_tokens=101 - num_tokens)
    with pytest.raises(PromptTooLongError, match=r"take 102 tokens.*at most 101"):
        generate_response(model, PROMPT, max_new_tokens=102 - num_tokens)


@pytest.mark.parametrize("settings", [{"max_new_tokens": 0}, {"temperature": -0.1}])
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="at least 1 and a temperature of at least 0"):
        generate_response(tiny_language_model(), PROMPT, **settings)


def test_a_given_text_is_encoded_as_a_whole_turn() -> None:
    model = tiny_language_model()
    text = "The king of the north, émile."
    ids = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    end = token_id(model, END)
    sha = model.tokenizer_sha
    assert response_from_text(model, text) == Response(text, (*ids, end), sha, True)
    assert response_from_text(model, text, add_end_token=False) == Response(text, ids, sha, False)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is empty: there is no text to attribute"):
        response_from_text(tiny_language_model(), text)


def test_the_end_of_turn_is_the_templates_not_the_eos() -> None:
    model = tiny_language_model("gemma3")
    model.tokenizer.eos_token = PAD
    pad, end = token_id(model, PAD), token_id(model, END)
    model.model.generation_config.eos_token_id = [pad, end]
    assert end_token_ids(model) == {pad, end}
    assert end_of_turn_id(model) == end


def test_the_end_of_turn_is_the_eos_where_the_template_says_nothing() -> None:
    plain = tiny_language_model("gpt2")
    assert end_of_turn_id(plain) == plain.tokenizer.eos_token_id
    chat = tiny_language_model("llama")
    chat.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '" + TURN
    chat.tokenizer.chat_template += "' }}{% endfor %}"
    assert end_of_turn_id(chat) == chat.tokenizer.eos_token_id


def test_a_model_without_an_end_token() -> None:
    model = tiny_language_model("gpt2")
    model.tokenizer.eos_token = None
    model.model.generation_config.eos_token_id = None
    with pytest.raises(InvalidInputError, match="add_end_token=False"):
        response_from_text(model, "The king.")
    assert not response_from_text(model, "The king.", add_end_token=False).has_end_token
    assert generate_response(model, PROMPT, max_new_tokens=5).token_ids == naive_greedy(model, 5)


def test_the_end_token_can_be_left_out_of_what_is_scored() -> None:
    model = tiny_language_model("llama")
    whole, cut = (response_from_text(model, "The king.", add) for add in (True, False))
    assert without_end_token(whole) == cut
    assert whole.token_ids == (*cut.token_ids, end_of_turn_id(model))
    assert without_end_token(cut) is cut
    # Another tokenizer encodes the text anew and adds no end token of its own either.
    other = tiny_language_model("qwen2", vocab_size=313)
    assert other.encode_response(whole) == (
        *other.encode_response(without_end_token(whole)),
        other.tokenizer.eos_token_id,
    )


def test_a_response_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def counting(*arguments: Any, **settings: Any) -> Response:
        written.append(settings)
        return generate_response(*arguments, **settings)

    monkeypatch.setattr(generation, "generate_response", counting)
    model, settings = tiny_language_model(), GenerationSettings(max_new_tokens=5)
    expected = generate_response(model, PROMPT, max_new_tokens=5)
    for _ in range(2):
        with ContentCache(tmp_path / "cache.sqlite") as cache:
            assert cached_response(cache, model, PROMPT, settings) == expected
    assert written == [{"max_new_tokens": 5, "temperature": 0.0, "seed": 42}]


def test_a_stored_response_is_of_its_model_prompt_and_settings() -> None:
    model, other = tiny_language_model(), tiny_language_model(seed=1)
    settings = GenerationSettings(max_new_tokens=5)
    warm = GenerationSettings(max_new_tokens=5, temperature=2.0)
    cases = [
        (model, PROMPT, settings),
        (other, PROMPT, settings),
        (model, "Where is the sea?", settings),
        (model, PROMPT, GenerationSettings(max_new_tokens=7)),
        (model, PROMPT, warm),
    ]
    with ContentCache() as cache:
        for _ in range(2):
            found = [cached_response(cache, *case).token_ids for case in cases]
            assert len(set(found)) == len(cases)


def test_a_stored_response_is_not_written_for_its_states() -> None:
    """The first time there are states, and they are those of writing without a cache."""
    model, settings = tiny_language_model(), GenerationSettings(max_new_tokens=7)
    cache = ContentCache()
    response, prefix = cached_response_with_prefix(cache, model, PROMPT, settings)
    expected, states = generate_with_prefix(model, PROMPT, settings)
    assert response == expected
    assert prefix is not None
    assert states is not None
    assert prefix.token_ids == states.token_ids
    assert cached_response_with_prefix(cache, model, PROMPT, settings) == (expected, None)
    assert cached_response(cache, model, PROMPT, settings) == expected


def test_greedy_decoding_leaves_the_random_state_to_other_threads() -> None:
    """It is neither set nor restored: what another thread draws meanwhile stays drawn."""
    model = tiny_language_model()
    state = torch.random.get_rng_state()
    drawn: list[float] = []
    handle = model.model.register_forward_hook(lambda *_: drawn.append(torch.rand(()).item()))
    generate_response(model, PROMPT, max_new_tokens=3)
    handle.remove()
    moved = torch.random.get_rng_state()
    torch.random.set_rng_state(state)
    assert [torch.rand(()).item() for _ in drawn] == drawn
    assert torch.equal(torch.random.get_rng_state(), moved)
