"""Gradients of the response's log-likelihood by the input embeddings of the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from attribot.errors import InvalidInputError
from attribot.models.internals import check_finite
from attribot.models.language_model import input_device
from attribot.types import FloatArray


def gradient_norms(
    model: PreTrainedModel, prompt_ids: Sequence[int], response_ids: Sequence[int]
) -> FloatArray:
    """L2 norms of d log p(response) / d input embedding: `[num_prompt_tokens]`.

    One forward and one backward pass; the log-likelihood is a float32 sum over response tokens.

    Raises:
        NonFiniteLogitsError: the gradient holds NaN or infinity.
    """
    embeddings = embeddings_of(model, [*prompt_ids, *response_ids[:-1]])
    gradient = embedding_gradient(model, embeddings, response_ids)
    norms = gradient[: len(prompt_ids)].cpu().double().norm(dim=-1)
    return check_finite(model, norms.numpy(), "gradients")


def gradient_times_input(
    model: PreTrainedModel, prompt_ids: Sequence[int], response_ids: Sequence[int]
) -> FloatArray:
    """< d log p(response) / d e(t), e(t) >, e the input embeddings [nats]: `[num_prompt_tokens]`.

    Passes and Raises: as `gradient_norms`.
    """
    embeddings = embeddings_of(model, [*prompt_ids, *response_ids[:-1]])
    gradient = embedding_gradient(model, embeddings, response_ids)
    products = (gradient.double() * embeddings.double())[: len(prompt_ids)].sum(-1)
    return check_finite(model, products.cpu().numpy(), "gradients")


def integrated_gradients(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    moved: tuple[int, int],
    num_steps: int,
    baseline_id: int | None = None,
) -> FloatArray:
    """Gradients along the straight way from a baseline [nats]: `[num_prompt_tokens]`.

        value(t) = < e(t) - b, 1/K sum_{k=1..K} d log p(response) / d e(t) at a_k >,  t moved
        a_k: moved tokens at b + (k - 1/2) / K (e(t) - b), all others at e(t)

    and 0 for tokens that are not moved. As the midpoint rule becomes exact, the values sum to the
    change of log p(response) from baseline to prompt (Sundararajan et al., arXiv 1703.01365,
    proposition 1). K times the passes of `gradient_norms`, one after the other: no more memory.

    moved: tokens `[start, end)` of the prompt.
    baseline_id: b is the embedding of this token; None takes zero.

    Raises: as `gradient_norms`.
    """
    embeddings = embeddings_of(model, [*prompt_ids, *response_ids[:-1]])
    way, rows = torch.zeros_like(embeddings), slice(*moved)
    way[rows] = embeddings[rows]
    if baseline_id is not None:
        way[rows] -= embeddings_of(model, [baseline_id])
    total = torch.zeros_like(way[rows], dtype=torch.float32)
    for step in range(num_steps):
        point = embeddings - (1 - (step + 0.5) / num_steps) * way
        total += embedding_gradient(model, point, response_ids)[rows]
    values = torch.zeros(len(prompt_ids), dtype=torch.float64)
    values[rows] = (total.double() * way[rows].double()).sum(-1).cpu() / num_steps
    return check_finite(model, values.numpy(), "gradients")


@torch.no_grad()
def embeddings_of(model: PreTrainedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """`[num_tokens, hidden_size]` what the first layer reads, positions aside."""
    ids = torch.tensor([*token_ids], device=input_device(model))
    embeddings: torch.Tensor = model.get_input_embeddings()(ids)
    return embeddings


def embedding_gradient(
    model: PreTrainedModel, embeddings: torch.Tensor, response_ids: Sequence[int]
) -> torch.Tensor:
    """`[num_tokens, hidden_size]` d log p(response) / d embeddings of prompt and response.

    embeddings: of the prompt and all of the response but its last token.
    """
    with torch.enable_grad(), frozen_parameters(model):
        inputs = embeddings.detach()[None].requires_grad_()
        logits = model(
            inputs_embeds=inputs, use_cache=False, logits_to_keep=len(response_ids)
        ).logits[0]
        targets = torch.tensor([*response_ids], device=logits.device)
        log_likelihood = -torch.nn.functional.cross_entropy(
            logits.float(), targets, reduction="sum"
        )
        (gradient,) = torch.autograd.grad(log_likelihood, inputs)
    return gradient[0]


def end_token_id(model: PreTrainedModel) -> int:
    """The token that ends a text of this model, the first where it has several.

    Raises:
        InvalidInputError: its configuration names none.
    """
    known = model.config.get_text_config().eos_token_id
    ids = known if isinstance(known, list) else [known]
    if not ids or ids[0] is None:
        raise InvalidInputError(
            f"the configuration of {type(model).__name__} names no end token: use baseline=zero"
        )
    return int(ids[0])


@contextmanager
def frozen_parameters(model: PreTrainedModel) -> Iterator[None]:
    """No parameter asks for a gradient inside: none of what theirs would need is kept."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
