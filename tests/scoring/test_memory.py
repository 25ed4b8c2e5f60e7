"""Estimated memory: against a case worked by hand, against the process, and as a bound."""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError
from attribot.models.bundled import load_bundled
from attribot.models.memory import peak_memory, reset_peak_memory
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.held import HeldStates
from attribot.scoring.memory import MemoryEstimate
from attribot.scoring.planning import PackedPlan
from tests.models.tiny import tiny_language_model

RESPONSE = (7, 8, 9)
PROMPT = tuple(range(20, 33))
PROMPTS = [PROMPT, *(PROMPT[:i] + PROMPT[i + 2 :] for i in range(2, 10, 2))]
# L, d_attn, d, V, P_blocks, P, d_kv, d_mlp, weight bytes, bytes per value.
GEOMETRY = ModelGeometry(2, 12, 10, 31, 1000, 2000, 4, 24, 8000, 4, 2)


def test_the_estimate_of_a_case_worked_by_hand():
    """Full prompt of 15 fed tokens; without the tokens 2 and 3, 11 tokens after 2 shared ones."""
    pairs = [(PROMPTS[0], RESPONSE), (PROMPTS[1], RESPONSE)]
    plan = PackedPlan.of_pairs(pairs, HeldStates())
    per_token = 4 * (4 * 10 + 4 * 12 + 2 * 4 + 3 * 24)
    states = 15 * 4 * 2 * 2 * 4
    widest = 15 * per_token + 3 * 31 * 4
    assert MemoryEstimate(GEOMETRY).peak_bytes(plan, 100) == 8000 + states + widest


def test_a_bound_narrows_the_passes_and_leaves_the_scores():
    model = tiny_language_model("llama").model
    prompts = [tuple(np.random.default_rng(i).integers(4, 300, 150).tolist()) for i in range(9)]
    free = LikelihoodEngine(model)
    plan = PackedPlan.of_pairs([(p, RESPONSE) for p in prompts], HeldStates())
    estimate = MemoryEstimate(free.geometry)
    bound = estimate.peak_bytes(plan, 300)
    assert bound < estimate.peak_bytes(plan, 2048)
    bounded = LikelihoodEngine(model, max_memory_gb=bound / 1e9)
    assert bounded.planner.pass_width(plan) == 256
    expected, cost = free.token_log_likelihoods(prompts, RESPONSE)
    values, bounded_cost = bounded.token_log_likelihoods(prompts, RESPONSE)
    np.testing.assert_allclose(values, expected, atol=1e-5, rtol=0)
    assert bounded_cost.computed_tokens == cost.computed_tokens


def test_a_bound_that_nothing_meets_is_an_error_with_both_sizes():
    engine = LikelihoodEngine(tiny_language_model("llama").model, max_memory_gb=1e-6)
    with pytest.raises(InvalidInputError, match=r"needs about 0\.00 GB .*max_memory_gb=0\.00 is"):
        engine.token_log_likelihoods(PROMPTS, RESPONSE)


@pytest.mark.parametrize("bound", [0, -1.0])
def test_a_bound_must_be_positive(bound):
    with pytest.raises(InvalidInputError, match="max_memory_gb must be positive"):
        LikelihoodEngine(tiny_language_model("llama").model, max_memory_gb=bound)


def estimated_and_measured():
    """Bytes that a masked call should add to those of the weights, and what it adds."""
    engine = LikelihoodEngine(load_bundled().model)
    ids = tuple(np.random.default_rng(0).integers(0, 40_000, 1600).tolist())
    response, removed = ids[:30], np.zeros((24, len(ids)), dtype=bool)
    for row in range(len(removed)):
        removed[row, 60 * row : 60 * row + 40] = True
    recomputed = np.zeros_like(removed)
    recomputed[:, -40:] = True
    engine.token_log_likelihoods([ids[:50]], response)
    plan = PackedPlan.of_masks(ids, [response], removed, recomputed, True, HeldStates())
    estimated = MemoryEstimate(engine.geometry).peak_bytes(plan, engine.max_tokens_per_pass)
    added = estimated - engine.geometry.weight_bytes
    device = engine.model.device
    reset_peak_memory(device)
    resting = peak_memory(device)
    engine.masked_token_log_likelihoods(ids, response, removed, recomputed, True)
    return added, peak_memory(device) - resting


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
@pytest.mark.skipif(math.isnan(peak_memory(torch.device("cpu"))), reason="no resettable peak")
def test_the_process_takes_about_what_was_estimated(monkeypatch):
    """In a process of its own, whose allocator gives back what is freed: the peak is then that of
    what is in use, and not of what this or an earlier test has left."""
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.setenv(name, "65536")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        added, measured = pool.submit(estimated_and_measured).result()
    assert 0.5 * added < measured < 1.5 * added
