"""What one pass shows inside a model: attention paid to, and gradients at, each prompt token.

The prompt has n tokens, the response m. Position i predicts token i + 1, so the response is
predicted by the m positions from the last prompt token on:

    position    0  1  ...  n-1  n    ...  n+m-2  n+m-1
    token       p1 p2 ...  pn   r1   ...  r(m-1) rm
    predicts               r1   r2   ...  rm
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from transformers import Cache, PreTrainedModel

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.language_model import input_device
from attribot.types import FloatArray

# Attention weights of all layers are held for this many rows at a time: about 3 GB for a 70B model
# in half precision that reads 8,000 tokens.
ROWS_PER_PASS = 32


@torch.no_grad()
def attention_mass(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    rows_per_pass: int = ROWS_PER_PASS,
    cache: Cache | None = None,
) -> FloatArray:
    """Attention of the rows that predict the response: `[num_prompt_tokens]`.

        mass(t) = sum over layers l, rows r = n-1 .. n+m-2 of mean over heads h of A_{l,h}(r, t)

    The prompt but its last token is read with the model's own attention implementation; only the
    m rows are computed eagerly, on top of its KV states. Memory: layers x heads x rows_per_pass x
    (n + m) weights. Not for use while another thread runs the same model.

    cache: states of the prompt but its last token, where they are at hand.

    Raises:
        InvalidInputError: the model cannot show its attention weights.
        NonFiniteLogitsError: the weights hold NaN or infinity.
    """
    num_prompt, first_row = len(prompt_ids), len(prompt_ids) - 1
    ids = torch.tensor([[*prompt_ids, *response_ids[:-1]]], device=input_device(model))
    mass = np.zeros(ids.shape[1])
    if first_row > 0 and cache is None:
        prefill = model(ids[:, :first_row], use_cache=True, logits_to_keep=1)
        cache = prefill.past_key_values
    with _eager_attention(model):
        for start in range(first_row, ids.shape[1], rows_per_pass):
            rows = ids[:, start : start + rows_per_pass]
            output = model(
                rows,
                past_key_values=cache,
                use_cache=True,
                output_attentions=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            for weights in _attention_weights(model, output.attentions):
                end, num_keys = start + rows.shape[1], weights.shape[-1]
                # Sliding-window layers forget early keys: the last key is always the last row.
                mass[end - num_keys : end] += weights[0].float().mean(0).sum(0).cpu().numpy()
    return _checked(model, mass[:num_prompt], "attention weights")


def gradient_norms(
    model: PreTrainedModel, prompt_ids: Sequence[int], response_ids: Sequence[int]
) -> FloatArray:
    """L2 norms of d log p(response) / d input embedding: `[num_prompt_tokens]`.

    One forward and one backward pass; the log-likelihood is a float32 sum over response tokens.

    Raises:
        NonFiniteLogitsError: the gradient holds NaN or infinity.
    """
    ids = torch.tensor([[*prompt_ids, *response_ids[:-1]]], device=input_device(model))
    with torch.enable_grad(), _frozen_parameters(model):
        embeddings = model.get_input_embeddings()(ids).detach().requires_grad_()
        logits = model(
            inputs_embeds=embeddings, use_cache=False, logits_to_keep=len(response_ids)
        ).logits[0]
        targets = torch.tensor(response_ids, device=logits.device)
        log_likelihood = -torch.nn.functional.cross_entropy(
            logits.float(), targets, reduction="sum"
        )
        (gradient,) = torch.autograd.grad(log_likelihood, embeddings)
    norms = gradient[0, : len(prompt_ids)].cpu().double().norm(dim=-1)
    return _checked(model, norms.numpy(), "gradients")


@contextmanager
def _eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """The model computes attention eagerly inside, and as before afterwards."""
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(implementation)


@contextmanager
def _frozen_parameters(model: PreTrainedModel) -> Iterator[None]:
    """No parameter asks for a gradient inside: none of what theirs would need is kept."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _attention_weights(
    model: PreTrainedModel, attentions: tuple[torch.Tensor | None, ...] | None
) -> list[torch.Tensor]:
    """Per layer `[1, num_heads, num_rows, num_keys]`."""
    weights = [layer for layer in attentions or () if layer is not None]
    if not weights:
        raise InvalidInputError(
            f"{type(model).__name__} returns no attention weights with eager attention: "
            "use an attributor that needs none"
        )
    return weights


def _checked(model: PreTrainedModel, values: FloatArray, name: str) -> FloatArray:
    if not np.isfinite(values).all():
        raise NonFiniteLogitsError(
            f"the {name} of {type(model).__name__} in {model.dtype} hold NaN or infinity: "
            "load it in bfloat16 or float32"
        )
    return values
