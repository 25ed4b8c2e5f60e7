"""The response: written once by the target model, or the answer that the user already has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from attribot.content_cache import ContentCache
from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.models.kv_cache import ComputedPrefix, PrefixStates, why_not_reusable
from attribot.models.language_model import LanguageModel
from attribot.types import Response

OnToken = Callable[[int], object]
"""Called with the number of tokens written so far; what it raises ends the writing."""


@dataclass(frozen=True)
class GenerationSettings:
    """How responses are written.

    max_new_tokens: where a response that does not end by itself is cut, end token included.
    temperature: 0 decodes greedily; the paper's authors sample at 0.1.
    seed: of the sampling; without effect on greedy decoding.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 42

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0:
            raise InvalidInputError(
                f"expected max_new_tokens of at least 1 and a temperature of at least 0; got "
                f"{self.max_new_tokens} and {self.temperature}"
            )


def generate_response(
    model: LanguageModel,
    prompt: str,
    *,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    seed: int = 42,
) -> Response:
    """The model's response to one user turn; arguments as in `GenerationSettings`.

    The end-of-turn token is kept where it was produced. Repetition penalties, top-k and top-p that
    the model's own generation settings ask for are off: the response is the argmax, or a plain
    sample, of the distribution that is attributed later. Global random state is left as it was.

    Raises:
        EmptyResponseError: the model ended its turn without saying anything.
        PromptTooLongError: prompt plus `max_new_tokens` exceed the context window.
    """
    settings = GenerationSettings(max_new_tokens, temperature, seed)
    return _generate(model, prompt, settings, None, None)[0]


def generate_with_prefix(
    model: LanguageModel,
    prompt: str,
    settings: GenerationSettings,
    on_token: OnToken | None = None,
) -> tuple[Response, ComputedPrefix | None]:
    """As `generate_response`, and the states that generating has left.

    Opened with them (`ModelScorer.opened`), a scorer does not compute the prompt again. None where
    the model's states cannot be reused.

    Raises:
        EmptyResponseError, PromptTooLongError: as there.
    """
    if why_not_reusable(model.model) is not None:
        return _generate(model, prompt, settings, None, on_token)[0], None
    cache = PrefixStates.empty().as_cache(0, 1)
    response, prompt_ids = _generate(model, prompt, settings, cache, on_token)
    computed = prompt_ids + response.token_ids[:-1]
    return response, ComputedPrefix(computed, PrefixStates.of(cache, 0, len(computed)))


@dataclass(frozen=True)
class _TokenCounter(StoppingCriteria):
    """Stops no row by itself; what `on_token` raises ends all."""

    num_prompt_tokens: int
    on_token: OnToken

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        self.on_token(input_ids.shape[1] - self.num_prompt_tokens)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _generate(
    model: LanguageModel,
    prompt: str,
    settings: GenerationSettings,
    cache: DynamicCache | None,
    on_token: OnToken | None,
) -> tuple[Response, tuple[int, ...]]:
    """The response and the ids of the prompt; the states are left in the cache."""
    prompt_ids = model.encode_prompt(prompt).token_ids
    model.check_length(len(prompt_ids), settings.max_new_tokens)
    ends = end_token_ids(model)
    inputs = torch.tensor([prompt_ids], device=model.device)
    counters = [] if on_token is None else [_TokenCounter(len(prompt_ids), on_token)]
    generate: Any = model.model.generate
    with _seeded(settings), torch.inference_mode():
        output = generate(
            inputs=inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=_generation_config(settings, ends),
            past_key_values=cache,
            stopping_criteria=StoppingCriteriaList(counters),
        )
    token_ids = tuple(output[0, len(prompt_ids) :].tolist())
    has_end_token = token_ids[-1] in ends
    said = list(token_ids[:-1] if has_end_token else token_ids)
    text = model.tokenizer.decode(
        said, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return _response(model, str(text), token_ids, has_end_token), prompt_ids


@contextmanager
def _seeded(settings: GenerationSettings) -> Iterator[None]:
    """Random draws inside begin with the seed; greedy decoding draws nothing, so nothing is touched
    that other threads may share."""
    if settings.temperature == 0:
        yield
        return
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(settings.seed)
        yield


def response_from_text(model: LanguageModel, text: str, add_end_token: bool = True) -> Response:
    """A response that was written elsewhere, as the model would have written it.

    add_end_token: the text is a whole turn, so its end-of-turn token is scored too; leave it out
        for a text that was cut.

    Raises:
        EmptyResponseError: the text is empty.
        InvalidInputError: the model has no end-of-turn token to add.
    """
    token_ids = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    if add_end_token:
        token_ids += (end_of_turn_id(model),)
    return _response(model, text, token_ids, add_end_token)


def cached_response(
    cache: ContentCache, model: LanguageModel, prompt: str, settings: GenerationSettings
) -> Response:
    """As `generate_response`, but each prompt is answered once per model and settings."""
    response = stored_response(cache, model, prompt, settings)
    if response is None:
        response = generate_response(model, prompt, **asdict(settings))
        cache.put(_key(model, prompt, settings), asdict(response))
    return response


def cached_response_with_prefix(
    cache: ContentCache,
    model: LanguageModel,
    prompt: str,
    settings: GenerationSettings,
    on_token: OnToken | None = None,
) -> tuple[Response, ComputedPrefix | None]:
    """As `cached_response`, and the states that `generate_with_prefix` has left, if it was run.

    Only whole responses are stored: one that `on_token` has ended is written anew.
    """
    response = stored_response(cache, model, prompt, settings)
    if response is not None:
        return response, None
    response, prefix = generate_with_prefix(model, prompt, settings, on_token)
    cache.put(_key(model, prompt, settings), asdict(response))
    return response, prefix


def stored_response(
    cache: ContentCache, model: LanguageModel, prompt: str, settings: GenerationSettings
) -> Response | None:
    """The response that `cached_response` has written before; None where it has not."""
    stored = cache.get(_key(model, prompt, settings))
    if stored is None:
        return None
    return Response(**(stored | {"token_ids": tuple(stored["token_ids"])}))


def _key(model: LanguageModel, prompt: str, settings: GenerationSettings) -> dict[str, Any]:
    return {
        "kind": "response",
        "model": model.fingerprint,
        "prompt_sha": hashlib.sha256(prompt.encode()).hexdigest(),
        "settings": asdict(settings),
    }


def without_end_token(response: Response) -> Response:
    """The same text, its end-of-turn token left out of what is scored; itself where there is none.

    Other tokenizers leave theirs out, too.
    """
    if not response.has_end_token:
        return response
    return replace(response, token_ids=response.token_ids[:-1], has_end_token=False)


def end_token_ids(model: LanguageModel) -> frozenset[int]:
    """Every token that ends the model's turn, by its generation settings and its tokenizer."""
    configured = model.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*ids, model.tokenizer.eos_token_id) if i is not None)


def end_of_turn_id(model: LanguageModel) -> int:
    """The token that the chat template puts after an assistant's text; else the tokenizer's EOS.

    Gemma, for one, ends turns with `<end_of_turn>` although its EOS token is `<eos>`.

    Raises:
        InvalidInputError: there is neither.
    """
    tokenizer, said = model.tokenizer, "said"
    if model.has_chat_template:
        turns = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": said}]
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
        after = tokenizer(text.rpartition(said)[2], add_special_tokens=False)["input_ids"]
        if after and after[0] in end_token_ids(model):
            return int(after[0])
    if tokenizer.eos_token_id is None:
        raise InvalidInputError(
            f"{model.name} has no end-of-turn token: pass add_end_token=False to score the text "
            f"alone"
        )
    return int(tokenizer.eos_token_id)


def _generation_config(settings: GenerationSettings, ends: frozenset[int]) -> GenerationConfig:
    # Whatever is left unset here, generate() takes from the model's own settings.
    fixed: dict[str, Any] = {
        "max_new_tokens": settings.max_new_tokens,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "eos_token_id": sorted(ends) or None,
        # One row needs no padding, but generate() warns without an id for it.
        "pad_token_id": min(ends, default=0),
    }
    if settings.temperature == 0:
        return GenerationConfig(**fixed, do_sample=False)
    return GenerationConfig(
        **fixed, do_sample=True, temperature=settings.temperature, top_k=0, top_p=1.0
    )


def _response(
    model: LanguageModel, text: str, token_ids: tuple[int, ...], has_end_token: bool
) -> Response:
    if not text.strip():
        raise EmptyResponseError(
            f"the response of {model.name} is empty: there is no text to attribute. Ask for an "
            f"answer in the query, use an instruction-tuned model, or pass a response of your own"
        )
    return Response(text, token_ids, model.tokenizer_sha, has_end_token)
