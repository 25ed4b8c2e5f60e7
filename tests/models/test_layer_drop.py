import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from attribot.content_cache import ContentCache
from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models import layer_drop
from attribot.models.generation import generate_response, response_from_text
from attribot.models.language_model import LanguageModel, decoder_layers
from attribot.models.layer_drop import drop_layers, greedy_layer_search, load_layer_dropped
from attribot.models.loading import load_model
from attribot.prompting import PromptTemplate
from tests.models.tiny import Architecture, tiny_language_model
from tests.oracle import naive_token_log_likelihoods

PROMPT = "Who built the castle on the hill above the river?"
LAYER_LISTS = {"gpt2": "transformer.h"}
CASES: list[tuple[Architecture, int | None]] = [
    ("llama", None),
    ("mistral", 7),
    ("qwen2", 7),
    ("gemma3", 7),
    ("gpt2", None),
]


def prompt_ids(model: LanguageModel) -> torch.Tensor:
    return torch.tensor([model.encode_prompt(PROMPT).token_ids])


@torch.inference_mode()
def logits(model: LanguageModel) -> Any:
    return model.model(prompt_ids(model), use_cache=False).logits


@torch.inference_mode()
def logits_in_two_passes(model: LanguageModel) -> torch.Tensor:
    """The same logits, the second half of the prompt on top of the cached first half."""
    ids = prompt_ids(model)
    first = model.model(ids[:, :11], use_cache=True)
    second = model.model(ids[:, 11:], past_key_values=first.past_key_values)
    return torch.cat([first.logits, second.logits], dim=1)


def rebuilt_without(model: LanguageModel, architecture: Architecture, kept: list[int]) -> nn.Module:
    """The oracle: a new model from a configuration with fewer layers, the weights copied over."""
    config = copy.deepcopy(model.model.config)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in kept]
    config.num_hidden_layers = len(kept)
    small: nn.Module = type(model.model)(config).eval()
    layers, weights = LAYER_LISTS.get(architecture, "model.layers"), model.model.state_dict()

    def original(name: str) -> str:
        if not name.startswith(layers):
            return name
        index, rest = name.removeprefix(layers + ".").split(".", 1)
        return f"{layers}.{kept[int(index)]}.{rest}"

    small.load_state_dict({name: weights[original(name)] for name in small.state_dict()})
    return small


@pytest.mark.parametrize(("architecture", "window"), CASES)
def test_equals_a_model_built_with_fewer_layers(
    architecture: Architecture, window: int | None
) -> None:
    model = tiny_language_model(architecture, num_layers=5, sliding_window=window)
    proxy = drop_layers(model, [3, 0])
    with torch.inference_mode():
        expected = rebuilt_without(model, architecture, [1, 2, 4])(prompt_ids(model)).logits
    torch.testing.assert_close(logits(proxy), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits_in_two_passes(proxy), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("architecture", "window"), CASES)
def test_the_original_stays_as_it_was(architecture: Architecture, window: int | None) -> None:
    model = tiny_language_model(architecture, num_layers=5, sliding_window=window)
    before, config = logits(model), model.model.config.to_dict()
    drop_layers(model, [1, 2])
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)
    torch.testing.assert_close(logits_in_two_passes(model), before, rtol=0, atol=1e-5)
    assert model.model.config.to_dict() == config
    assert len(decoder_layers(model.model)) == 5


def test_weights_are_shared() -> None:
    model = tiny_language_model(num_layers=5)
    proxy = drop_layers(model, [0, 4])
    owned = {parameter.data_ptr() for parameter in model.model.parameters()}
    assert {parameter.data_ptr() for parameter in proxy.model.parameters()} < owned


def test_a_proxy_has_a_name_and_a_fingerprint_of_its_own() -> None:
    model = tiny_language_model(num_layers=5)
    proxies = [drop_layers(model, layers) for layers in ([1], [2], [2, 1])]
    assert [proxy.name.removeprefix(model.name) for proxy in proxies] == [
        " without layers 1",
        " without layers 2",
        " without layers 1,2",
    ]
    hashes = {str(each.fingerprint) for each in (model, *proxies)}
    assert len(hashes) == 4
    assert all(proxy.tokenizer_sha == model.tokenizer_sha for proxy in proxies)


def test_a_model_spread_by_accelerate(tmp_path: Path) -> None:
    model = tiny_language_model(num_layers=5)
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    places = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb"), "cpu")
    spread = load_model(tmp_path, device_map={**places, "lm_head": "cpu", "model.layers": "disk"})
    proxy = drop_layers(spread, [1, 3])
    torch.testing.assert_close(logits(proxy), logits(drop_layers(model, [1, 3])), rtol=0, atol=0)
    torch.testing.assert_close(logits(spread), logits(model), rtol=0, atol=0)


@pytest.mark.parametrize("layers", [[], [5], [-1], [1, 1]])
def test_layers_that_cannot_be_dropped(layers: list[int]) -> None:
    with pytest.raises(InvalidInputError, match=r"layers from 0 to 4 of tiny-llama-0, got \["):
        drop_layers(tiny_language_model(num_layers=5), layers)


def test_one_layer_must_stay() -> None:
    with pytest.raises(InvalidInputError, match="all 3 layers of tiny-llama-0"):
        drop_layers(tiny_language_model(num_layers=3), [2, 0, 1])


def test_an_architecture_without_a_list_of_layers() -> None:
    model = tiny_language_model(num_layers=3)
    model.model.model.layers = nn.Sequential(*model.model.model.layers)
    with pytest.raises(InvalidInputError, match="LlamaForCausalLM has no list of 3 decoder layers"):
        drop_layers(model, [1])


def test_the_search_is_greedy() -> None:
    model = tiny_language_model(num_layers=5)
    pairs = [
        (prompt, response_from_text(model, text))
        for prompt, text in ((PROMPT, "The king built it."), ("Where is the sea?", "North."))
    ]

    def fit(layers: tuple[int, ...]) -> float:
        """By the naive way: whole passes, every logit."""
        proxy = drop_layers(model, layers)
        total = 0.0
        for prompt, response in pairs:
            ids = proxy.encode_prompt(prompt).token_ids
            total += float(naive_token_log_likelihoods(proxy, [ids], response.token_ids).sum())
        return total

    first = max(range(5), key=lambda layer: fit((layer,)))
    rest = [layer for layer in range(5) if layer != first]
    second = max(rest, key=lambda layer: fit((first, layer)))
    assert greedy_layer_search(model, pairs, 1) == (first,)
    assert greedy_layer_search(model, pairs, 2) == tuple(sorted((first, second)))


def test_the_search_refuses_what_it_cannot_do() -> None:
    model = tiny_language_model(num_layers=3)
    pair = (PROMPT, response_from_text(model, "The king."))
    for pairs, num_drop in (([], 1), ([pair], 0), ([pair], 3)):
        with pytest.raises(InvalidInputError, match=f"1 to 2 layers.*and {num_drop} layers"):
            greedy_layer_search(model, pairs, num_drop)


def test_the_search_refuses_a_model_that_overflows() -> None:
    model = tiny_language_model(num_layers=3)
    model.model.model.norm.weight.data.fill_(float("nan"))
    pairs = [(PROMPT, response_from_text(model, "The king."))]
    with pytest.raises(NonFiniteLogitsError, match="tiny-llama-0 without layers 0"):
        greedy_layer_search(model, pairs, 1)


def test_a_search_is_done_once_per_model_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def search(model: LanguageModel, pairs: list[object], num_drop: int) -> tuple[int, ...]:
        assert len(pairs) == len(layer_drop.CALIBRATION_PROMPTS)
        searched.append((model.name, num_drop))
        return tuple(range(num_drop))

    monkeypatch.setattr(layer_drop, "greedy_layer_search", search)
    model, other = tiny_language_model(num_layers=5), tiny_language_model(num_layers=5, seed=1)
    with ContentCache() as cache:
        names = [
            load_layer_dropped(base, num_drop=num_drop, cache=cache).name
            for base, num_drop in ((model, 2), (model, 2), (model, 1), (other, 2))
        ]
    assert searched == [("tiny-llama-0", 2), ("tiny-llama-0", 1), ("tiny-llama-1", 2)]
    assert names == [
        "tiny-llama-0 without layers 0,1",
        "tiny-llama-0 without layers 0,1",
        "tiny-llama-0 without layers 0",
        "tiny-llama-1 without layers 0,1",
    ]


def test_the_search_runs_on_the_models_own_responses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTRIBOT_CACHE", str(tmp_path))
    model = tiny_language_model(num_layers=3)
    pairs = [
        (prompt, generate_response(model, prompt, max_new_tokens=32))
        for prompt in layer_drop.CALIBRATION_PROMPTS
    ]
    (expected,) = greedy_layer_search(model, pairs, 1)
    assert load_layer_dropped(model, num_drop=1).name.endswith(f"without layers {expected}")
    assert (tmp_path / "layer_search.sqlite").is_file()


def test_layers_are_named_or_counted() -> None:
    model = tiny_language_model(num_layers=3)
    assert load_layer_dropped(model, layers=[1]).name.endswith("without layers 1")
    both: dict[str, Any] = {"layers": [1], "num_drop": 1}
    for settings in ({}, both):
        with pytest.raises(InvalidInputError, match="either layers or num_drop"):
            load_layer_dropped(model, **settings)


@pytest.mark.slow
def test_real_proxy_agrees_with_the_golden_values(
    shared_dir: Path, bundled_model_dir: Path
) -> None:
    """The golden proxy: layers 10 to 13 dropped. The shortest prompt, its first two sources."""
    golden = json.loads((shared_dir / "golden" / "squad-2.json").read_text())
    proxy = drop_layers(load_model(bundled_model_dir, device_map=None), [10, 11, 12, 13])

    def context(removed: int | None) -> str:
        paragraphs = [list(paragraph) for paragraph in golden["paragraphs"]]
        if removed is not None:
            del paragraphs[0][removed]
        separator = golden["sentence_separator"]
        return "".join(
            "".join(sentence + separator for sentence in paragraph) + golden["paragraph_separator"]
            for paragraph in paragraphs
        )

    prompts = [PromptTemplate().render(context(i), golden["query"]) for i in (None, 0, 1)]
    assert hashlib.sha256(proxy.render(prompts[0]).encode()).hexdigest() == golden["prompt_sha256"]
    encoded = [proxy.encode_prompt(prompt).token_ids for prompt in prompts]
    full, *ablated = naive_token_log_likelihoods(
        proxy, encoded, tuple(golden["response_token_ids"])
    ).sum(axis=1)
    np.testing.assert_allclose(
        full - np.array(ablated), golden["scores"]["proxy_loo"][0][:2], rtol=0, atol=2e-3
    )
