"""Masked ablations against a dense oracle: one pass with an explicit mask and shifted positions."""

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError
from attribot.scoring.engine import LikelihoodEngine
from tests.models.tiny import VARIANT_PARAMS, VARIANTS, tiny_language_model
from tests.oracle import naive_token_log_likelihoods

RESPONSE = (5, 17, 101, 23, 7)
PROMPT = tuple(int(i) for i in np.random.default_rng(5).integers(4, 300, size=53))


@pytest.fixture(params=VARIANT_PARAMS)
def model(request):
    return tiny_language_model(request.param.split(",")[0], **VARIANTS[request.param])


def spans(*extents):
    out = np.zeros(len(PROMPT), dtype=bool)
    for start, end in extents:
        out[start:end] = True
    return out


def without(removed):
    return tuple(token for token, gone in zip(PROMPT, removed, strict=True) if not gone)


REMOVALS = [spans((7, 12)), spans((20, 31)), spans((7, 12), (33, 35)), spans((0, 3))]


@pytest.mark.parametrize("removed", REMOVALS, ids=["one", "long", "two", "head"])
def test_recomputing_all_that_follows_is_deletion(model, removed):
    """The limit identity: a window up to the end leaves no trace of what was removed."""
    recomputed = np.zeros(len(PROMPT), dtype=bool)
    recomputed[removed.argmax() :] = True
    engine = LikelihoodEngine(model.model)
    values, cost = engine.masked_token_log_likelihoods(
        PROMPT, RESPONSE, removed[None], recomputed[None], close_gaps=True
    )
    expected = naive_token_log_likelihoods(model, [PROMPT, without(removed)], RESPONSE)
    np.testing.assert_allclose(values, expected, atol=1e-4, rtol=0)
    assert cost.forward_passes == 2


def dense_masked(model, removed, recomputed, close_gaps):
    """The ablation as one row, [whole sequence | recomputed tokens], under a dense mask.

    Only right where closing gaps leaves all distances between keys and queries as they are.
    """
    sequence = np.array(PROMPT + RESPONSE[:-1])
    fed = len(RESPONSE) - 1
    removed, recomputed = np.pad(removed, (0, fed)), np.pad(recomputed, (0, fed), constant_values=1)
    own = np.flatnonzero(recomputed & ~removed)
    gone = np.cumsum(removed) if close_gaps else np.zeros(len(sequence), dtype=int)
    place = np.concatenate([np.arange(len(sequence)), own])
    is_own = np.arange(len(place)) >= len(sequence)
    seen = place[None] <= place[:, None]
    # The whole sequence sees itself; recomputed tokens see each other and what is kept as it was.
    kept = ~is_own & ~np.isin(place, np.flatnonzero(removed | recomputed))
    visible = np.where(is_own[:, None], (kept | is_own)[None], ~is_own[None]) & seen
    mask = torch.zeros(1, 1, *visible.shape).masked_fill(~torch.tensor(visible), -torch.inf)
    positions = np.concatenate([np.arange(len(sequence)), (np.arange(len(sequence)) - gone)[own]])
    with torch.inference_mode():
        logits = model.model(
            torch.tensor(sequence[place])[None],
            position_ids=torch.tensor(positions)[None],
            attention_mask=mask,
            use_cache=False,
        ).logits[0, -len(RESPONSE) :]
    log_probs = logits.double().log_softmax(-1)
    return [log_probs[i, token].item() for i, token in enumerate(RESPONSE)]


@pytest.mark.parametrize(
    "architecture",
    [
        "llama",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2", "mistral", "gpt2")),
    ],
)
@pytest.mark.parametrize("removed", REMOVALS, ids=["one", "long", "two", "head"])
@pytest.mark.parametrize("window", [0, 5, 17])
def test_partial_windows_equal_a_dense_mask(architecture, removed, window):
    model = tiny_language_model(architecture)
    recomputed = spans((45, len(PROMPT)))
    for last in np.flatnonzero(removed[:-1] & ~removed[1:]):
        recomputed[last + 1 : last + 1 + window] = True
    values, _ = LikelihoodEngine(model.model).masked_token_log_likelihoods(
        PROMPT, RESPONSE, removed[None], recomputed[None], close_gaps=False
    )
    expected = dense_masked(model, removed, recomputed, close_gaps=False)
    np.testing.assert_allclose(values[1], expected, atol=1e-4, rtol=0)


def test_learned_positions_close_up_like_the_dense_mask():
    """With learned positions attention knows no distances, so the dense mask is right here too."""
    model = tiny_language_model("gpt2")
    removed, recomputed = REMOVALS[2], spans((40, len(PROMPT)))
    values, _ = LikelihoodEngine(model.model).masked_token_log_likelihoods(
        PROMPT, RESPONSE, removed[None], recomputed[None], close_gaps=True
    )
    expected = dense_masked(model, removed, recomputed, close_gaps=True)
    np.testing.assert_allclose(values[1], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma3"])
def test_closing_gaps_moves_readers_as_if_the_kept_run_had_moved(architecture):
    """Oracle for the rotation: a model of one layer, whose keys depend on token and position only.

    There the states of a kept run are free of the removed text, so masking without any window
    equals deletion if and only if every distance is the one of the closed-up sequence.
    """
    model = tiny_language_model(architecture, num_layers=1)
    removed = REMOVALS[2]
    recomputed = spans((45, len(PROMPT)))
    values, _ = LikelihoodEngine(model.model).masked_token_log_likelihoods(
        PROMPT, RESPONSE, removed[None], recomputed[None], close_gaps=True
    )
    expected = naive_token_log_likelihoods(model, [without(removed)], RESPONSE)
    np.testing.assert_allclose(values[1:], expected, atol=1e-4, rtol=0)


def test_cost_of_an_ablation_does_not_depend_on_the_context(model):
    removed, recomputed = spans((7, 12)), spans((12, 15), (50, len(PROMPT)))
    _, cost = LikelihoodEngine(model.model).masked_token_log_likelihoods(
        PROMPT, RESPONSE, removed[None], recomputed[None], close_gaps=True
    )
    whole = len(PROMPT) + len(RESPONSE) - 1
    assert cost.computed_tokens == whole + 3 + 3 + 4
    assert cost.reused_tokens == whole - 5 - 3 - 3 - 4


def test_the_token_that_predicts_the_response_must_be_recomputed():
    model = tiny_language_model("llama").model
    nothing = np.zeros((1, len(PROMPT)), dtype=bool)
    with pytest.raises(InvalidInputError, match="last token of the prompt"):
        LikelihoodEngine(model).masked_token_log_likelihoods(
            PROMPT, RESPONSE, nothing, nothing, close_gaps=True
        )
