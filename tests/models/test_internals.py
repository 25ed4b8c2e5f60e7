"""Attention mass and gradient norms against full eager passes and finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.internals import attention_mass, gradient_norms
from attribot.models.language_model import LanguageModel
from attribot.types import FloatArray
from tests.models.tiny import Architecture, tiny_language_model

# 23 prompt tokens, 7 response tokens; a window of 11 hides most of the prompt.
PROMPT = tuple(np.random.default_rng(0).integers(4, 331, 23).tolist())
RESPONSE = tuple(np.random.default_rng(1).integers(4, 331, 7).tolist())
ARCHITECTURES = [
    ("llama", None),
    ("qwen2", None),
    ("gpt2", None),
    ("mistral", 11),
    ("gemma3", 11),
]


def full_map_mass(
    architecture: Architecture,
    window: int | None,
    prompt: tuple[int, ...],
    response: tuple[int, ...],
) -> FloatArray:
    """The definition, on the whole maps of one eager pass: `[num_prompt_tokens]`."""
    model = tiny_language_model(architecture, sliding_window=window, attn_implementation="eager")
    with torch.no_grad():
        output = model.model(
            torch.tensor([prompt + response]), output_attentions=True, use_cache=False
        )
    mass = np.zeros(len(prompt))
    for layer in output.attentions:
        maps = layer[0].double().numpy()
        for row in range(len(prompt) - 1, len(prompt) + len(response) - 1):
            mass += maps[:, row, : len(prompt)].mean(axis=0)
    return mass


@pytest.mark.parametrize("rows_per_pass", [1, 3, 32])
@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_attention_mass_equals_the_full_maps(
    architecture: Architecture, window: int | None, rows_per_pass: int
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    mass = attention_mass(model.model, PROMPT, RESPONSE, rows_per_pass)
    wanted = full_map_mass(architecture, window, PROMPT, RESPONSE)
    np.testing.assert_allclose(mass, wanted, rtol=0, atol=3e-6)
    assert mass.dtype == np.float64


@pytest.mark.parametrize(("prompt", "response"), [(PROMPT[:1], RESPONSE), (PROMPT, RESPONSE[:1])])
def test_attention_mass_of_one_token(prompt: tuple[int, ...], response: tuple[int, ...]) -> None:
    mass = attention_mass(tiny_language_model("llama").model, prompt, response)
    wanted = full_map_mass("llama", None, prompt, response)
    np.testing.assert_allclose(mass, wanted, rtol=0, atol=3e-6)


def test_attention_mass_leaves_the_implementation_as_it_was() -> None:
    model = tiny_language_model("llama")
    attention_mass(model.model, PROMPT, RESPONSE)
    assert model.model.config._attn_implementation == "sdpa"
    out_of_vocabulary = (*RESPONSE, 10_000, 4)
    with pytest.raises(IndexError):
        attention_mass(model.model, PROMPT, out_of_vocabulary)
    assert model.model.config._attn_implementation == "sdpa"


def test_a_model_that_returns_no_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_language_model("llama")
    monkeypatch.setattr(model.model, "set_attn_implementation", lambda _name: None)
    with pytest.raises(InvalidInputError, match="LlamaForCausalLM returns no attention weights"):
        attention_mass(model.model, PROMPT, RESPONSE)


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


@pytest.mark.parametrize(
    ("function", "what"), [(attention_mass, "attention weights"), (gradient_norms, "gradients")]
)
def test_values_that_are_not_finite_are_refused(
    function: Callable[..., FloatArray], what: str
) -> None:
    model = tiny_language_model("llama")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[PROMPT[0]] = torch.nan
    with pytest.raises(
        NonFiniteLogitsError, match=f"the {what} of LlamaForCausalLM in torch.float32 hold"
    ):
        function(model.model, PROMPT, RESPONSE)
