"""A proxy made of the target itself: the same weights without some decoder layers.

Ours, not the paper's. Without healing it is a stand-in for a smaller model of the family where
there is none, and layers have to be searched for: arbitrary ones give noise.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from attribot.content_cache import ContentCache
from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.generation import generate_response
from attribot.models.language_model import LanguageModel, decoder_layers
from attribot.models.loading import cache_dir
from attribot.types import Response

logger = logging.getLogger(__name__)

CALIBRATION_PROMPTS = (
    "Answer the question based on the provided context:\n\nContext:\nThe lighthouse at Tarn Head "
    "was built in 1871. Its lamp was lit by whale oil until the harbour got a power station. The "
    "keeper's cottage is a museum today.\n\nQuestion: What fuelled the lamp of the lighthouse at "
    "first?",
    "Answer the question based on the provided context:\n\nContext:\nBakers in the valley let "
    "their dough rest overnight in a cold cellar. The slow rise gives the bread its sour taste. "
    "Rye was the only grain that grew above the tree line, so most loaves are dark.\n\nQuestion: "
    "Why does the bread of the valley taste sour?",
    "Answer the question based on the provided context:\n\nContext:\nMarta Oyelaran studied "
    "geology before she joined the railway. In 1934 she surveyed the tunnel under the pass, which "
    "cut the journey to the coast from two days to six hours.\n\nQuestion: How long did the "
    "journey to the coast take after the tunnel was built?",
)
_CALIBRATION_TOKENS = 32


def drop_layers(model: LanguageModel, layers: Sequence[int]) -> LanguageModel:
    """The model without `layers` (0-based); weights are shared, the original is left as it was.

    Raises:
        InvalidInputError: no layer to drop, one that the model does not have or that is named
            twice, no layer left, or an architecture without a list of decoder layers.
    """
    num_layers = len(decoder_layers(model.model))
    dropped = sorted(layers)
    in_range = all(0 <= index < num_layers for index in dropped)
    if not dropped or not in_range or len(set(dropped)) < len(dropped):
        raise InvalidInputError(
            f"expected one or more different layers from 0 to {num_layers - 1} of {model.name}, "
            f"got {dropped}"
        )
    if len(dropped) == num_layers:
        raise InvalidInputError(f"all {num_layers} layers of {model.name} would be dropped")
    # A deep copy whose memo holds every tensor copies modules, configuration and hooks only.
    tensors = [*model.model.parameters(), *model.model.buffers()]
    proxy = copy.deepcopy(model.model, {id(tensor): tensor for tensor in tensors})
    kept = [index for index in range(num_layers) if index not in dropped]
    _keep_layers(proxy, kept)
    without = ",".join(map(str, dropped))
    return replace(model, model=proxy, name=f"{model.name} without layers {without}")


def greedy_layer_search(
    model: LanguageModel, pairs: Sequence[tuple[str, Response]], num_drop: int
) -> tuple[int, ...]:
    """The layers to drop, sorted: one after another, the one whose loss hurts least.

    Maximises the sum over `pairs` (prompt, response) of log p(response | prompt) [nats] at each
    step; ties go to the earliest layer. Costs about `num_layers * num_drop` passes per pair.

    Raises:
        InvalidInputError: no pairs, or `num_drop` is not between 1 and `num_layers - 1`.
    """
    num_layers = len(decoder_layers(model.model))
    if not pairs or not 1 <= num_drop < num_layers:
        raise InvalidInputError(
            f"expected at least one calibration pair and 1 to {num_layers - 1} layers to drop; "
            f"got {len(pairs)} pairs and {num_drop} layers"
        )
    dropped: tuple[int, ...] = ()
    for _ in range(num_drop):
        candidates = [(*dropped, index) for index in range(num_layers) if index not in dropped]
        dropped = max(candidates, key=lambda layers: _fit(drop_layers(model, layers), pairs))
        logger.info("layers dropped so far: %s", sorted(dropped))
    return tuple(sorted(dropped))


def load_layer_dropped(
    base: LanguageModel,
    *,
    layers: Sequence[int] | None = None,
    num_drop: int | None = None,
    cache: ContentCache | None = None,
) -> LanguageModel:
    """`base` without the given layers, or without the `num_drop` that a small search finds.

    The search maximises the likelihood of the model's own greedy responses to
    `CALIBRATION_PROMPTS`; its result is cached.

    cache: None takes `layer_search.sqlite` in the user's cache directory.

    Raises:
        InvalidInputError: not exactly one of `layers` and `num_drop` is given, or it does not fit
            the model.
    """
    if (layers is None) == (num_drop is None):
        raise InvalidInputError(
            f"expected either layers or num_drop, got layers={layers} and num_drop={num_drop}"
        )
    if layers is not None:
        return drop_layers(base, layers)
    assert num_drop is not None
    if cache is not None:
        return drop_layers(base, _cached_search(base, num_drop, cache))
    with ContentCache(cache_dir() / "layer_search.sqlite") as own:
        return drop_layers(base, _cached_search(base, num_drop, own))


def _cached_search(base: LanguageModel, num_drop: int, cache: ContentCache) -> Sequence[int]:
    calibration = json.dumps([CALIBRATION_PROMPTS, _CALIBRATION_TOKENS])
    key = {
        "kind": "layer_search",
        "model": base.fingerprint,
        "num_drop": num_drop,
        "calibration": hashlib.sha256(calibration.encode()).hexdigest(),
    }
    found: Sequence[int] | None = cache.get(key)
    if found is None:
        logger.info("searching %d layers of %s to drop", num_drop, base.name)
        pairs = [
            (prompt, generate_response(base, prompt, max_new_tokens=_CALIBRATION_TOKENS))
            for prompt in CALIBRATION_PROMPTS
        ]
        found = greedy_layer_search(base, pairs, num_drop)
        cache.put(key, list(found))
    return found


def _keep_layers(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Removes all other decoder layers and renumbers the rest, in place."""
    layers = decoder_layers(model)
    num_layers = len(layers)
    for index in reversed(range(num_layers)):
        if index not in kept:
            del layers[index]
    for position, layer in enumerate(layers):
        modules: Iterable[Any] = layer.modules()
        for module in modules:
            # Attention modules find their key-value cache by this number.
            if hasattr(module, "layer_idx"):
                module.layer_idx = position
    config = model.config.get_text_config()
    for name, value in vars(config).items():
        # layer_types, no_rope_layers and their like: one entry per layer.
        if isinstance(value, list) and len(value) == num_layers:
            setattr(config, name, [value[index] for index in kept])
    config.num_hidden_layers = len(kept)


def _fit(model: LanguageModel, pairs: Sequence[tuple[str, Response]]) -> float:
    """Sum over pairs of log p(response | prompt) [nats]."""
    total = 0.0
    for prompt, response in pairs:
        response_ids = list(model.encode_response(response))
        prompt_ids = list(model.encode_prompt(prompt).token_ids)
        model.check_length(len(prompt_ids), len(response_ids))
        ids = torch.tensor([prompt_ids + response_ids[:-1]], device=model.device)
        with torch.inference_mode():
            output = model.model(ids, use_cache=False, logits_to_keep=len(response_ids))
        log_probabilities = output.logits[0].double().log_softmax(-1)
        picked = log_probabilities[range(len(response_ids)), response_ids]
        total += float(picked.sum())
    if not total > -float("inf"):
        raise NonFiniteLogitsError(f"{model.name} gives the calibration responses {total} nats")
    return total
