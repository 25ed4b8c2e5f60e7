"""What one pass shows inside a model: the attention paid to each prompt token.

The prompt has n tokens, the response m. Position i predicts token i + 1, so the response is
predicted by the m positions from the last prompt token on:

    position    0  1  ...  n-1  n    ...  n+m-2  n+m-1
    token       p1 p2 ...  pn   r1   ...  r(m-1) rm
    predicts               r1   r2   ...  rm

The prompt but its last token is read with the model's own attention implementation; only the rows
that are wanted are computed eagerly, on top of its KV states. Attention weights of all layers are
held for `rows_per_pass` rows at a time: layers x heads x rows_per_pass x (n + m) numbers. Nothing
here is for use while another thread runs the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.kv_cache import PrefixStates, why_not_reusable
from attribot.models.language_model import input_device
from attribot.types import FloatArray

# About 3 GB for a 70B model in half precision that reads 8,000 tokens.
ROWS_PER_PASS = 32


def attention_mass(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    rows_per_pass: int = ROWS_PER_PASS,
    cache: Cache | None = None,
) -> FloatArray:
    """Attention of the rows that predict the response: `[num_prompt_tokens]`.

        mass(t) = sum over layers l, rows r = n-1 .. n+m-2 of mean over heads h of A_{l,h}(r, t)

    cache: states of the prompt but its last token, where they are at hand.

    Raises:
        InvalidInputError: the model cannot show its attention weights.
        NonFiniteLogitsError: the weights hold NaN or infinity.
    """
    layers = _sums_over_rows(
        model, prompt_ids, response_ids, rows_per_pass, cache, lambda w: w.float().mean(0).sum(0)
    )
    return check_finite(model, np.sum(layers, axis=0), "attention weights")


def head_attention(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    rows_per_pass: int = ROWS_PER_PASS,
    cache: Cache | None = None,
) -> FloatArray:
    """The same head by head: `[num_layers, num_heads, num_prompt_tokens]`.

        mass(l, h, t) = sum over rows r = n-1 .. n+m-2 of A_{l,h}(r, t)

    Raises:
        InvalidInputError: as `attention_mass`, or the layers differ in their numbers of heads.
        NonFiniteLogitsError: the weights hold NaN or infinity.
    """
    layers = _sums_over_rows(
        model, prompt_ids, response_ids, rows_per_pass, cache, lambda w: w.float().sum(1)
    )
    if len(counts := sorted({len(layer) for layer in layers})) > 1:
        raise InvalidInputError(
            f"the layers of {type(model).__name__} have {' or '.join(map(str, counts))} heads: "
            "attention by head needs as many in each; use a reading that is a mean over heads"
        )
    return check_finite(model, np.stack(layers), "attention weights")


def value_weighted_attention(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    rows_per_pass: int = ROWS_PER_PASS,
    cache: DynamicCache | None = None,
) -> FloatArray:
    """Attention times the size of what it moves: `[num_prompt_tokens]`.

        mass(t) = sum over layers l of mean over heads h of
                  ||v_{l,g(h)}(t)||_1  sum over rows r = n-1 .. n+m-2 of A_{l,h}(r, t)

    v_{l,g}(t) is the value vector of token t in key-value head g, which query head h reads.

    cache: as in `attention_mass`, of layers that keep all of their states.

    Raises:
        InvalidInputError: as `attention_mass`, or the model's states are no key and value vectors.
        NonFiniteLogitsError: weights or values hold NaN or infinity.
    """
    if reason := why_not_reusable(model):
        raise InvalidInputError(f"value-weighted attention is not possible: {reason}")
    if cache is None:
        # Without a configuration, so that sliding-window layers keep the values that they leave.
        cache = DynamicCache()
        with torch.inference_mode():
            _extend(model, prompt_ids[:-1], cache)
    by_head = _sums_over_rows(
        model, prompt_ids, response_ids, rows_per_pass, cache, lambda w: w.float().sum(1)
    )
    values = PrefixStates.of(cache, 0, len(prompt_ids)).layers
    mass = np.zeros(len(prompt_ids))
    for masses, (_, vectors) in zip(by_head, values, strict=True):
        norms = vectors[0].float().abs().sum(-1).cpu().numpy()
        mass += (masses * norms.repeat(len(masses) // len(norms), axis=0)).mean(0)
    return check_finite(model, mass, "attention weights or values")


@torch.inference_mode()
def _sums_over_rows(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    rows_per_pass: int,
    cache: Cache | None,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> list[FloatArray]:
    """Per layer `[..., num_prompt_tokens]`, summed over the rows that predict the response.

    reduce: sums the weights `[num_heads, num_rows, num_keys]` of a pass over its rows, which leaves
        `[..., num_keys]`.
    """
    first_row = len(prompt_ids) - 1
    cache = prefix_states(model, prompt_ids[:-1]) if cache is None else cache
    rows = torch.tensor([[prompt_ids[-1], *response_ids[:-1]]], device=input_device(model))
    sums: list[FloatArray] = []
    with attention_implementation(model, "eager"):
        for start in range(0, rows.shape[1], rows_per_pass):
            part = rows[:, start : start + rows_per_pass]
            end = first_row + start + part.shape[1]
            for layer, weights in enumerate(attention_pass(model, part, cache)[0]):
                reduced = reduce(weights).cpu().numpy()
                num_keys = reduced.shape[-1]
                if layer == len(sums):
                    sums.append(np.zeros((*reduced.shape[:-1], first_row + rows.shape[1])))
                # Sliding-window layers forget early keys: the last key is always the last row.
                sums[layer][..., end - num_keys : end] += reduced
    return [layer[..., : len(prompt_ids)] for layer in sums]


def prefix_states(model: PreTrainedModel, token_ids: Sequence[int]) -> Cache:
    """A cache of these tokens' states, computed with the model's own attention implementation."""
    cache: Cache = DynamicCache(config=model.config)
    _extend(model, token_ids, cache)
    return cache


def _extend(model: PreTrainedModel, token_ids: Sequence[int], cache: Cache) -> None:
    if token_ids:
        ids = torch.tensor([token_ids], device=input_device(model))
        model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)


def attention_pass(
    model: PreTrainedModel, rows: torch.Tensor, cache: Cache
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """One pass over `rows` `[1, num_rows]` that extends `cache`, inside eager attention.

    Returns the weights `[num_heads, num_rows, num_keys]` of each layer, and the logits
    `[vocab_size]` of the last row.
    """
    output = model(
        rows, past_key_values=cache, use_cache=True, output_attentions=True, logits_to_keep=1
    )
    weights = [layer[0] for layer in output.attentions or () if layer is not None]
    if not weights:
        raise InvalidInputError(
            f"{type(model).__name__} returns no attention weights with eager attention: "
            "use an attributor that needs none"
        )
    return weights, output.logits[0, -1]


@contextmanager
def attention_implementation(model: PreTrainedModel, name: str) -> Iterator[None]:
    """The model computes attention by this implementation inside, and as before afterwards."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def check_finite(model: PreTrainedModel, values: FloatArray, name: str) -> FloatArray:
    """The values as they are.

    Raises:
        NonFiniteLogitsError: they hold NaN or infinity.
    """
    if not np.isfinite(values).all():
        raise NonFiniteLogitsError(
            f"the {name} of {type(model).__name__} in {model.dtype} hold NaN or infinity: "
            "load it in bfloat16 or float32"
        )
    return values
