"""Gradients against full backward passes, finite differences and what their sums must be."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.gradients import (
    embeddings_of,
    end_token_id,
    gradient_norms,
    gradient_times_input,
    integrated_gradients,
)
from attribot.models.language_model import LanguageModel
from attribot.types import FloatArray
from tests.models.test_internals import ARCHITECTURES, PROMPT, RESPONSE
from tests.models.tiny import Architecture, tiny_language_model


def finite_difference_norms(model: LanguageModel) -> FloatArray:
    """Central differences of log p(response) by every embedding coordinate of the prompt."""
    step = 1e-5
    with torch.no_grad():
        ids = torch.tensor([PROMPT + RESPONSE])
        embeddings = model.model.get_input_embeddings()(ids)[0]
        coordinates = len(PROMPT) * embeddings.shape[1]
        shifts = torch.zeros(coordinates, embeddings.numel(), dtype=torch.float64)
        shifts[range(coordinates), range(coordinates)] = step
        shifts = shifts.view(coordinates, *embeddings.shape)
        log_likelihoods = []
        for shifted in (embeddings + shifts, embeddings - shifts):
            log_probs = model.model(inputs_embeds=shifted, use_cache=False).logits.log_softmax(-1)
            rows = log_probs[:, len(PROMPT) - 1 : -1]
            log_likelihoods.append(rows[:, range(len(RESPONSE)), RESPONSE].sum(1))
    gradient = (log_likelihoods[0] - log_likelihoods[1]) / (2 * step)
    return np.asarray(np.linalg.norm(gradient.view(len(PROMPT), -1).numpy(), axis=1))


def test_gradient_norms_equal_finite_differences() -> None:
    # GPT-2 alone computes in float64 throughout when asked to, as differences this small need.
    model = tiny_language_model("gpt2")
    model.model.double()
    norms = gradient_norms(model.model, PROMPT, RESPONSE)
    np.testing.assert_allclose(norms, finite_difference_norms(model), rtol=1e-4, atol=1e-6)
    assert norms.dtype == np.float64


def backward_pass_norms(model: LanguageModel) -> FloatArray:
    """The library's own loss on token ids, and the gradient that reaches the embedding layer."""
    outputs = []
    embedding = model.model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda _module, _input, output: outputs.append(output))
    labels = torch.tensor([(-100,) * len(PROMPT) + RESPONSE])
    mean_loss = model.model(torch.tensor([PROMPT + RESPONSE]), labels=labels).loss
    hook.remove()
    (gradient,) = torch.autograd.grad(mean_loss * len(RESPONSE), outputs[0])
    return np.asarray(np.linalg.norm(gradient[0, : len(PROMPT)].double().numpy(), axis=1))


@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_gradient_norms_equal_a_full_backward_pass(
    architecture: Architecture, window: int | None
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    norms = gradient_norms(model.model, PROMPT, RESPONSE)
    np.testing.assert_allclose(norms, backward_pass_norms(model), rtol=1e-4, atol=1e-6)


def test_gradient_norms_leave_the_parameters_as_they_were() -> None:
    model = tiny_language_model("llama")
    frozen = model.model.get_input_embeddings().weight.requires_grad_(False)
    with torch.no_grad():
        gradient_norms(model.model, PROMPT, RESPONSE)
    for parameter in model.model.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad == (parameter is not frozen)


def test_gradients_that_are_not_finite_are_refused() -> None:
    model = tiny_language_model("llama")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[PROMPT[0]] = torch.nan
    message = r"the gradients of LlamaForCausalLM in torch.float32 hold"
    with pytest.raises(NonFiniteLogitsError, match=message):
        gradient_norms(model.model, PROMPT, RESPONSE)


class OneProjection(torch.nn.Module):
    """log p(token 1) = log sigmoid(sum over all tokens of <w, embedding>), at every position."""

    dtype = torch.float64

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(11, 3, dtype=torch.float64)
        self.w = torch.nn.Parameter(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.embedding

    def forward(self, inputs_embeds: torch.Tensor, logits_to_keep: int, **_: Any) -> Any:
        total = (inputs_embeds @ self.w).sum()
        logits = torch.stack([torch.zeros_like(total), total]).expand(1, logits_to_keep, 2)
        return SimpleNamespace(logits=logits)

    def projections(self, token_ids: tuple[int, ...]) -> FloatArray:
        """`[num_tokens]` <w, embedding>"""
        return np.asarray((self.embedding.weight[list(token_ids)] @ self.w).detach().numpy())


def log_sigmoid(x: float) -> float:
    return float(-np.log1p(np.exp(-x)))


def test_a_model_of_one_projection_shares_the_change_by_the_way_of_each_token() -> None:
    model, prompt, moved = OneProjection(), (1, 5, 9, 2, 7), slice(1, 4)
    full = model.projections(prompt)
    way = full[moved] - model.projections((10,))
    change = log_sigmoid(full.sum()) - log_sigmoid(full.sum() - way.sum())
    errors = []
    for num_steps in (1, 4, 16):
        values = integrated_gradients(
            cast("PreTrainedModel", model), prompt, (1,), (1, 4), num_steps, baseline_id=10
        )
        np.testing.assert_array_equal(values[[0, 4]], 0.0)
        # In any number of steps the shares are right; their sum needs some.
        np.testing.assert_allclose(values[moved] / values.sum(), way / way.sum(), rtol=1e-5)
        errors.append(abs(values.sum() - change))
    # The midpoint rule gains a factor of 16 with every fourfold number of steps.
    assert errors[1] < errors[0] / 10
    assert errors[2] < 1e-4 * abs(change)
    products = gradient_times_input(cast("PreTrainedModel", model), prompt, (1,))
    slope = 1 - np.exp(log_sigmoid(full.sum()))
    np.testing.assert_allclose(products, slope * full, rtol=1e-5)


def log_likelihood(model: LanguageModel, embeddings: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model.model(inputs_embeds=embeddings[None], use_cache=False).logits[0]
    rows = logits.double().log_softmax(-1)[len(PROMPT) - 1 :]
    return float(rows[range(len(RESPONSE)), RESPONSE].sum())


@pytest.mark.parametrize(
    "architecture",
    ["gpt2", *(pytest.param(a, marks=pytest.mark.slow) for a in ("llama", "gemma3"))],
)
def test_integrated_gradients_sum_to_the_change_from_the_baseline(
    architecture: Architecture,
) -> None:
    model = tiny_language_model(architecture, num_layers=2)
    end_token, moved = end_token_id(model.model), (2, len(PROMPT) - 1)
    blank = embeddings_of(model.model, PROMPT + RESPONSE[:-1])
    full = log_likelihood(model, blank)
    blank[slice(*moved)] = embeddings_of(model.model, [end_token])
    change = full - log_likelihood(model, blank)
    coarse, fine = (
        integrated_gradients(model.model, PROMPT, RESPONSE, moved, num_steps, end_token)
        for num_steps in (2, 64)
    )
    assert fine.sum() == pytest.approx(change, abs=0.02)
    assert abs(fine.sum() - change) < 0.2 * abs(coarse.sum() - change)
    outside = [*range(moved[0]), *range(moved[1], len(PROMPT))]
    np.testing.assert_array_equal(fine[outside], 0.0)
    assert (np.delete(fine, outside) != 0).all()


def test_the_way_may_begin_at_zero() -> None:
    model = tiny_language_model("gpt2", num_layers=2)
    blank = embeddings_of(model.model, PROMPT + RESPONSE[:-1])
    full = log_likelihood(model, blank)
    blank[1:5] = 0.0
    values = integrated_gradients(model.model, PROMPT, RESPONSE, (1, 5), 16)
    assert values.sum() == pytest.approx(full - log_likelihood(model, blank), abs=0.05)


@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_gradient_times_input_is_the_change_along_the_embedding(
    architecture: Architecture, window: int | None
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    values = gradient_times_input(model.model, PROMPT, RESPONSE)
    norms = gradient_norms(model.model, PROMPT, RESPONSE)
    embeddings = embeddings_of(model.model, PROMPT)
    assert (np.abs(values) <= norms * embeddings.norm(dim=-1).numpy() * (1 + 1e-5)).all()
    if architecture == "gpt2":
        model.model.double()
        embeddings = embeddings_of(model.model, PROMPT + RESPONSE[:-1])
        for token in (0, len(PROMPT) - 1):
            step = torch.zeros_like(embeddings)
            step[token] = 1e-5 * embeddings[token]
            rise = log_likelihood(model, embeddings + step)
            rise -= log_likelihood(model, embeddings - step)
            assert values[token] == pytest.approx(rise / 2e-5, rel=1e-3)


def test_a_model_without_an_end_token() -> None:
    model = tiny_language_model("llama").model
    assert end_token_id(model) == model.config.eos_token_id
    model.config.eos_token_id = [7, 9]
    assert end_token_id(model) == 7
    model.config.eos_token_id = None
    with pytest.raises(InvalidInputError, match="LlamaForCausalLM names no end token: use baseli"):
        end_token_id(model)
